//! A `cairn up` under measurement: a child process on a data directory that the bench owns.
//!
//! Not the server of `cairn bench`, which hides its data directory; this one can be stopped and started on the same data.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The access key id of a bench's server.
pub const ACCESS_KEY: &str = "benchbenchbenchbench";
/// Its secret. The server listens on the loopback only.
pub const SECRET_KEY: &str = "bench-secret-bench-secret-bench";

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    host: String,
    started_in: Duration,
}

impl Server {
    /// Starts `program up` on `data` and waits until it is ready; over as many storage peers as `CAIRN_BENCH_PEERS` says, or drives of its own.
    ///
    /// # Errors
    /// When it ends before.
    pub fn start(program: &Path, data: &Path) -> Result<Self, Box<dyn Error>> {
        let begun = Instant::now();
        let peers = std::env::var("CAIRN_BENCH_PEERS").ok();
        let over = peers.iter().flat_map(|peers| ["--peers", peers]);
        let child = command(program, data)
            .args(["up", "--json", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(over)
            .env("CAIRN_ACCESS_KEY", ACCESS_KEY)
            .env("CAIRN_SECRET_KEY", SECRET_KEY)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Self {
            child,
            host: String::new(),
            started_in: Duration::ZERO,
        };
        let output = server.child.stdout.take().ok_or("the server has no output")?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("\"endpoint\":\"http://") {
                server.host = rest.split('"').next().unwrap_or_default().to_owned();
            } else if line == "ready" {
                server.started_in = begun.elapsed();
                return Ok(server);
            }
        }
        Err("the server did not start".into())
    }

    /// `host:port` of its S3 port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From its start to `ready`.
    pub const fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The most memory that it ever had resident, in MB of 10^6 bytes.
    ///
    /// # Errors
    /// Where /proc does not tell.
    pub fn peak_mb(&self) -> Result<f64, Box<dyn Error>> {
        self.status_mb("VmHWM:")
    }

    /// The memory that it has resident, in MB of 10^6 bytes.
    ///
    /// # Errors
    /// Where /proc does not tell.
    pub fn resident_mb(&self) -> Result<f64, Box<dyn Error>> {
        self.status_mb("VmRSS:")
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(mut self) -> Result<(), Box<dyn Error>> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).ok_or("the server has no process")?;
        kill_process(pid, Signal::TERM)?;
        let ended = self.child.wait()?;
        if ended.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {ended}").into())
        }
    }

    fn status_mb(&self, field: &str) -> Result<f64, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.ok_or("a field is missing")?.trim().trim_end_matches("kB");
        Ok(kib.trim().parse::<f64>()? * 1024.0 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `program --data data`, quiet, with no settings of whoever runs the bench.
pub fn command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIRN_") {
            command.env_remove(name);
        }
    }
    command
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// The program under test: `CAIRN_BIN`, or else built from here in release mode.
///
/// # Errors
/// When it does not build.
pub fn program() -> Result<std::path::PathBuf, Box<dyn Error>> {
    if let Some(program) = std::env::var_os("CAIRN_BIN") {
        return Ok(program.into());
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", "cairn"])
        .current_dir(top)
        .status()?;
    if !built.success() {
        return Err("cairn does not build".into());
    }
    // A bench is target/release/deps/NAME-…, the program target/release/cairn.
    let this = std::env::current_exe()?;
    let release = this
        .parent()
        .and_then(Path::parent)
        .ok_or("the bench lies in no target directory")?;
    Ok(release.join("cairn"))
}

/// A new directory on the disk that `CAIRN_BENCH_DIR` names, or else in the system's temporary one.
///
/// # Errors
/// When it cannot be made.
pub fn scratch() -> Result<tempfile::TempDir, Box<dyn Error>> {
    Ok(match std::env::var_os("CAIRN_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    })
}
