//! The answering side of the control socket.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::control::{
    ControlError, Line, REQUEST_BYTES_MAX, SOCKET_FILE, encode_line, read_line, socket_path,
};
use crate::operator::{ErrorCode, Operate, OperatorError};
use crate::request::{Request, Step};

/// The bound socket. Dropping it takes the socket file away.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlServer {
    /// Binds `directory`'s socket. The caller holds the directory's lock, so a socket that is there is a dead one.
    pub fn bind(directory: &Path) -> Result<Self, ControlError> {
        let path = directory.join(SOCKET_FILE);
        let failed = |source| ControlError::Socket {
            path: path.display().to_string(),
            source,
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let (_handle, short) = socket_path(directory).map_err(failed)?;
        let listener = UnixListener::bind(&short).map_err(failed)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Serves until dropped.
    pub async fn serve(self, operator: Arc<dyn Operate>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket: accept");
                    // Out of file descriptors, most likely: give them time to come back.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let operator = Arc::clone(&operator);
            tokio::spawn(async move {
                if let Err(error) = answer(stream, operator).await {
                    tracing::debug!(%error, "control connection");
                }
                drop(permit);
            });
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, operator: Arc<dyn Operate>) -> Result<(), ControlError> {
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!("control socket: refused another user");
        return Ok(());
    }
    let mut stream = BufReader::new(stream);
    let line = timeout(REQUEST_WAIT, read_line(&mut stream, REQUEST_BYTES_MAX)).await;
    let Ok(line) = line else { return Ok(()) };
    let Some(line) = line? else { return Ok(()) };
    let request = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let refusal = OperatorError::new(ErrorCode::BadRequest, format!("not a request: {error}"));
            return send(&mut stream, &Line::Error(refusal)).await;
        }
    };
    let becomes_s3 = matches!(request, Request::S3 { .. });
    let last = run(&mut stream, request, Arc::clone(&operator)).await?;
    let answered = matches!(last, Line::Result(_));
    send(&mut stream, &last).await?;
    if becomes_s3 && answered {
        operator.serve_s3(Box::new(stream)).await;
    }
    Ok(())
}

/// Runs the operation on a task of its own, so that a client that goes away does not cut it off half way.
async fn run(
    stream: &mut BufReader<UnixStream>,
    request: Request,
    operator: Arc<dyn Operate>,
) -> Result<Line, ControlError> {
    // Only the newest step is kept: a slow reader holds up nothing and fills no queue.
    let (steps, mut newest) = watch::channel(Step::default());
    let mut work = tokio::spawn(async move {
        let on_step = |step| {
            steps.send_replace(step);
        };
        operator.run(request, &on_step).await
    });
    let mut counting = true;
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            changed = newest.changed(), if counting => match changed {
                Ok(()) => {
                    let step = newest.borrow_and_update().clone();
                    send(stream, &Line::Progress(step)).await?;
                }
                Err(_) => counting = false,
            },
        }
    };
    Ok(match ended {
        Ok(Ok(value)) => Line::Result(value),
        Ok(Err(error)) => Line::Error(error),
        Err(_) => Line::Error(OperatorError::new(
            ErrorCode::Failed,
            "the operation broke off: see the log",
        )),
    })
}

async fn send(stream: &mut BufReader<UnixStream>, line: &Line) -> Result<(), ControlError> {
    let line = encode_line(line)?;
    match timeout(SEND_WAIT, stream.get_mut().write_all(&line)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(ControlError::HungUp),
    }
}

const CONNECTIONS_MAX: usize = 64;
const REQUEST_WAIT: Duration = Duration::from_secs(10);
const SEND_WAIT: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
