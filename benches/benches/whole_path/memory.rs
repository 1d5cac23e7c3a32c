//! Peak memory of the server while eight objects of 1 GiB are uploaded at once.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use benches::noise;
use benches::server::{Server, command, scratch};

const UPLOADS: usize = 8;
const OBJECT_MIB: usize = 1024;
/// The bound, in MB of 10^6 bytes.
const MEMORY_MB_MAX: f64 = 300.0;

/// Runs the uploads on a server of its own and prints what it came to.
pub(crate) fn print(program: &Path) -> Result<(), Box<dyn Error>> {
    let parent = scratch()?;
    let data = parent.path().join("data");
    let server = Server::start(program, &data)?;
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
