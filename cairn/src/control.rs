//! The control socket, `D/control.sock`: how a command reaches the process that serves D.
//!
//! Mode 0600, and the peer must be the same user, so secrets may pass. One connection is one operation: the client
//! sends one line of JSON, the [`Request`](crate::request::Request); the server answers with lines, any number of `{"progress":…}` and then
//! one `{"result":…}` or `{"error":{"code":…,"message":…}}`. Lines have a limit in both directions. After the result of
//! the operation `s3` the connection speaks HTTP to the gateway.
//!
//! The socket's place in the file system may be longer than the 108 bytes that its address may take; both sides go
//! through `/proc/self/fd/N/control.sock`, N being the directory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::operator::OperatorError;
use crate::request::Step;

mod client;
mod server;

pub use client::{Connection, connect};
pub use server::ControlServer;

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress(Step),
    Result(serde_json::Value),
    Error(OperatorError),
}

/// Why the control socket does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be made or reached.
    #[error("control socket {path}: {source}")]
    Socket {
        /// The socket.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The peer went away before its answer was whole.
    #[error(
        "the process that serves the data directory closed the connection without an answer: see its log"
    )]
    HungUp,
    /// The peer said something that is no answer.
    #[error(
        "the process that serves the data directory answers in another form: is it another version of cairn?"
    )]
    Protocol,
    /// A line is longer than may be.
    #[error("a line on the control socket is longer than {limit} bytes")]
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Reading or writing failed on the way.
    #[error("control socket: {0}")]
    Io(#[from] io::Error),
}

/// A short name for the socket in `directory`, good as long as the returned directory handle lives.
fn socket_path(directory: &Path) -> io::Result<(File, PathBuf)> {
    let handle = File::open(directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", handle.as_raw_fd()));
    if short.parent().is_some_and(Path::exists) {
        Ok((handle, short))
    } else {
        // A system without /proc: the plain name, which serves unless it is long.
        Ok((handle, directory.join(SOCKET_FILE)))
    }
}

/// Reads one line without its newline; `None` at a clean end.
async fn read_line(
    source: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> Result<Option<Vec<u8>>, ControlError> {
    let mut line = Vec::new();
    loop {
        let available = source.fill_buf().await?;
        if available.is_empty() {
            return if line.is_empty() {
                Ok(None)
            } else {
                Err(ControlError::HungUp)
            };
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if line.len().saturating_add(taken) > limit {
            return Err(ControlError::LineTooLong { limit });
        }
        line.extend(available.iter().take(taken));
        source.consume(taken.saturating_add(usize::from(end.is_some())));
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

fn encode_line(value: &impl Serialize) -> Result<Vec<u8>, ControlError> {
    let mut line = serde_json::to_vec(value).map_err(|_| ControlError::Protocol)?;
    line.push(b'\n');
    Ok(line)
}

const SOCKET_FILE: &str = "control.sock";
/// A request is a few names; a key may list many scopes.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// An answer may be a long list of records.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests;
