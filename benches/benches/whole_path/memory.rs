//! Peak memory of the server while eight objects of 1 GiB are uploaded at once.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use benches::noise;

const UPLOADS: usize = 8;
const OBJECT_MIB: usize = 1024;
/// The bound, in MB of 10^6 bytes.
const MEMORY_MB_MAX: f64 = 300.0;

/// Runs the uploads on a server of its own and prints what it came to.
pub(crate) fn print(program: &Path) -> Result<(), Box<dyn Error>> {
    let parent = match std::env::var_os("CAIRN_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let data = parent.path().join("data");
    let mut server = Server::start(program, &data)?;
    let idle_mb = server.peak_mb()?;
    // One file for all: what is sent, not what it says, costs memory.
    let payload = parent.path().join("payload");
    let mut file = File::create(&payload)?;
    for part in 0..OBJECT_MIB / 64 {
        file.write_all(&noise((64 << 20) + part).split_off(part))?;
    }
    let made = command(program, &data)
        .args(["scope", "create", "large"])
        .status()?;
    if !made.success() {
        return Err("no scope for the uploads".into());
    }
    let put = |number: usize| {
        let mut put = command(program, &data);
        put.arg("put")
            .arg(&payload)
            .arg(format!("large/{number}"))
            .stderr(Stdio::null())
            .spawn()
    };
    let uploads: Vec<Child> = (0..UPLOADS).map(put).collect::<Result<_, _>>()?;
    for mut upload in uploads {
        if !upload.wait()?.success() {
            return Err("an upload failed".into());
        }
    }
    let peak_mb = server.peak_mb()?;
    let mark = if peak_mb <= MEMORY_MB_MAX {
        "kept"
    } else {
        "MISSED"
    };
    println!(
        "peak memory of {UPLOADS} uploads of {OBJECT_MIB} MiB at once: {peak_mb:.0} MB ({idle_mb:.0} before them); {mark}: <= {MEMORY_MB_MAX} MB\n"
    );
    Ok(())
}

fn command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// `cairn up`, killed when dropped.
struct Server(Child);

impl Server {
    fn start(program: &Path, data: &Path) -> Result<Self, Box<dyn Error>> {
        let mut up = command(program, data);
        up.args(["up", "--json", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdout(Stdio::piped());
        let mut server = Self(up.spawn()?);
        let output = server.0.stdout.take().ok_or("the server has no output")?;
        for line in BufReader::new(output).lines() {
            if line? == "ready" {
                return Ok(server);
            }
        }
        Err("the server did not start".into())
    }

    /// The most memory that it ever had resident.
    fn peak_mb(&mut self) -> Result<f64, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .ok_or("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
