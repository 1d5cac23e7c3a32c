//! One `cairn node` as a child of this process.
//!
//! Its stdin is a pipe of this process, whose end is the child's: so it ends when this process does, however that comes about. It is
//! not started again by itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use net::peer::PeerId;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::layout::KnownPeer;

/// See the module.
#[derive(Debug)]
pub(super) struct ChildNode {
    pid: u32,
    running: Arc<AtomicBool>,
    watched: Mutex<Option<Watched>>,
}

/// Dropping the sender ends the child too; nobody waits for it then.
#[derive(Debug)]
struct Watched {
    stop: oneshot::Sender<()>,
    watch: JoinHandle<()>,
}

/// The part of the announcement that is asked for.
#[derive(Deserialize)]
struct Announced {
    peer_id: String,
    address: SocketAddr,
    domain: String,
    drives: Vec<AnnouncedDrive>,
}

#[derive(Deserialize)]
struct AnnouncedDrive {
    id: String,
}

impl ChildNode {
    /// Starts it and waits until it is ready; otherwise says why it is not, when it has ended.
    pub(super) async fn start(
        directory: &Path,
        cluster: &[u8; 16],
        gateway: &PeerId,
    ) -> Result<(KnownPeer, Self), String> {
        let mut child = command(directory, cluster, gateway)
            .and_then(|mut command| command.spawn())
            .map_err(|error| error.to_string())?;
        let (stdin, stdout, pid) = (child.stdin.take(), child.stdout.take(), child.id());
        let (Some(stdin), Some(stdout), Some(pid)) = (stdin, stdout, pid) else {
            return Err("it has no pipes".to_owned());
        };
        let said = tokio::time::timeout(READY_WAIT, announcement(stdout)).await;
        match said.unwrap_or_else(|_| Err(format!("it is not ready after {} s", READY_WAIT.as_secs()))) {
            Ok(said) => Ok((said, Self::watch(child, stdin, pid, start_again(directory)))),
            Err(why) => {
                end(child, stdin).await;
                Err(why)
            }
        }
    }

    fn watch(mut child: Child, stdin: ChildStdin, pid: u32, start_again: String) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let (stop, mut stopping) = oneshot::channel();
        let runs = Arc::clone(&running);
        let watch = tokio::spawn(async move {
            tokio::select! {
                ended = child.wait() => {
                    let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                    tracing::error!(pid, how, "a storage peer has ended and is not started again by itself: `{start_again}` does it");
                }
                _ = &mut stopping => end(child, stdin).await,
            }
            runs.store(false, Ordering::Release);
        });
        Self {
            pid,
            running,
            watched: Mutex::new(Some(Watched { stop, watch })),
        }
    }

    /// Its process id while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.load(Ordering::Acquire).then_some(self.pid)
    }

    /// Ends it, in an orderly way if it takes that.
    pub(super) async fn end(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Watched { stop, watch }) = watched {
            // Of no effect on one that has ended.
            let _ = stop.send(());
            let _ = watch.await;
        }
    }
}

/// The command that starts the node of a directory by hand. It remembers whom it serves and where it listens.
pub(crate) fn start_again(directory: &Path) -> String {
    let directory = directory.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    match directory.chars().all(plain) {
        true => format!("cairn node --data {directory}"),
        false => format!("cairn node --data '{}'", directory.replace('\'', r"'\''")),
    }
}

fn command(directory: &Path, cluster: &[u8; 16], gateway: &PeerId) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    // What is meant for this process, the root key's secret perhaps, is no storage peer's.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIRN_") {
            command.env_remove(name);
        }
    }
    if let Some(format) = crate::logging::format_name() {
        command.args(["--log-format", &format]);
    }
    command
        .args(["node", "--json", "--until-stdin-closes", "--data"])
        .arg(directory)
        .args([
            "--cluster",
            &hex::encode(cluster),
            "--gateway",
            &gateway.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command)
}

/// Reads what a node says up to `ready`.
async fn announcement(stdout: ChildStdout) -> Result<KnownPeer, String> {
    let mut lines = BufReader::new(stdout.take(SAID_BYTES_MAX)).lines();
    let mut said = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "ready" {
            return known(&said).ok_or_else(|| "what it says of itself does not read".to_owned());
        }
        said.push_str(&line);
    }
    let failure: Value = serde_json::from_str(&said).unwrap_or_default();
    let message = failure.pointer("/error/message").and_then(Value::as_str);
    Err(message.unwrap_or("it ended before it was ready").to_owned())
}

fn known(said: &str) -> Option<KnownPeer> {
    let said: Announced = serde_json::from_str(said).ok()?;
    let drive = |drive: &AnnouncedDrive| hex::decode(&drive.id).ok()?.try_into().ok();
    Some(KnownPeer {
        id: said.peer_id.parse().ok()?,
        address: said.address,
        domain: said.domain,
        drives: said.drives.iter().map(drive).collect::<Option<_>>()?,
    })
}

async fn end(mut child: Child, stdin: ChildStdin) {
    drop(stdin);
    if tokio::time::timeout(END_WAIT, child.wait()).await.is_err() {
        tracing::warn!(pid = child.id(), "a storage peer does not end and is killed");
        let _ = child.kill().await;
    }
}

/// How long a node may take to open its drives.
const READY_WAIT: Duration = Duration::from_secs(30);
/// How long it may take to close them.
const END_WAIT: Duration = Duration::from_secs(10);
/// Most bytes that it may say before it is ready.
const SAID_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_starts_a_node_again_can_be_pasted() {
        let shown = |path: &str| start_again(Path::new(path));
        assert_eq!(
            shown("/srv/cairn-data/peers/3"),
            "cairn node --data /srv/cairn-data/peers/3"
        );
        assert_eq!(shown("/my files/it's"), r"cairn node --data '/my files/it'\''s'");
    }
}
