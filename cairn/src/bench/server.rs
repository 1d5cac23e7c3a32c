//! The server under load: a child process on a temporary data directory, and the CPU clock of any process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::exit::Failure;

/// A child process that serves a temporary data directory. Dropping it ends both.
#[derive(Debug)]
pub struct BenchServer {
    child: Child,
    directory: PathBuf,
    /// `host:port` of its S3 port.
    pub host: String,
    /// Its root access key id.
    pub access_key_id: String,
    /// Its root secret.
    pub secret: Zeroizing<String>,
}

/// The part of `cairn up --json` that matters here.
#[derive(Deserialize)]
struct Announced {
    endpoint: String,
}

impl BenchServer {
    /// Starts `cairn up` with free ports on a new data directory below `parent` and waits until it is ready.
    pub fn start(parent: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::file(Path::new("cairn"), error))?;
        let directory = parent.join(format!("cairn-bench-{}", random_name()?));
        let (access_key_id, secret) = (random_name()?, Zeroizing::new(random_name()? + &random_name()?));
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(name);
            }
        }
        let spawned = command
            .args([
                "up",
                "--json",
                "--s3",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(&directory)
            .env("CAIRN_ACCESS_KEY", &access_key_id)
            .env("CAIRN_SECRET_KEY", secret.as_str())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let child = spawned.map_err(|error| Failure::file(Path::new("cairn up"), error))?;
        let mut server = Self {
            child,
            directory,
            host: String::new(),
            access_key_id,
            secret,
        };
        server.host = server.wait_until_ready()?;
        Ok(server)
    }

    /// The CPU clock of the child.
    pub fn clock(&self) -> CpuClock {
        CpuClock::of(self.child.id())
    }

    /// The allocated bytes of its drives.
    pub fn drive_bytes(&self) -> u64 {
        allocated_bytes(&self.directory.join("drives"))
    }

    fn wait_until_ready(&mut self) -> Result<String, Failure> {
        let failed = || Failure::Incomplete("the server of the bench did not start: see above".to_owned());
        let output = self.child.stdout.take().ok_or_else(failed)?;
        let mut host = None;
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|_| failed())?;
            if let Ok(announced) = serde_json::from_str::<Announced>(&line) {
                host = announced.endpoint.strip_prefix("http://").map(str::to_owned);
            } else if line == "ready" {
                return host.ok_or_else(failed);
            }
        }
        Err(failed())
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The CPU time of a process, from /proc.
#[derive(Clone, Debug)]
pub struct CpuClock {
    stat: PathBuf,
}

impl CpuClock {
    /// The clock of process `pid`.
    pub fn of(pid: u32) -> Self {
        Self {
            stat: PathBuf::from(format!("/proc/{pid}/stat")),
        }
    }

    /// User and system seconds so far; `None` where the system does not tell.
    pub fn seconds(&self) -> Option<f64> {
        let text = fs::read_to_string(&self.stat).ok()?;
        let ticks = cpu_ticks(&text)?;
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// utime + stime: fields 14 and 15 of proc(5), counted behind the name, which may itself hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn allocated_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => allocated_bytes(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn random_name() -> Result<String, Failure> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|_| Failure::Incomplete("the system gives no randomness".to_owned()))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_process_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("42 (a"), None);
    }

    #[test]
    fn this_process_has_a_clock() {
        assert!(CpuClock::of(std::process::id()).seconds().is_some());
    }
}
