//! The asking side of the control socket.

use std::io;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::control::{
    ANSWER_BYTES_MAX, ControlError, Line, SOCKET_FILE, encode_line, read_line, socket_path,
};
use crate::exit::Failure;
use crate::request::{OnStep, Request};

/// A connection that has asked nothing yet.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
}

/// Connects to the process that serves `directory`; `None` if none does.
pub async fn connect(directory: &Path) -> Result<Option<Connection>, ControlError> {
    let failed = |source| ControlError::Socket {
        path: directory.join(SOCKET_FILE).display().to_string(),
        source,
    };
    let (_handle, path) = match socket_path(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    match UnixStream::connect(&path).await {
        Ok(stream) => Ok(Some(Connection {
            stream: BufReader::new(stream),
        })),
        // A socket whose process died without taking it away refuses.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(failed(source)),
    }
}

impl Connection {
    /// Sends the one request and waits for its answer.
    pub async fn ask(&mut self, request: &Request, on_step: OnStep<'_>) -> Result<Value, Failure> {
        let line = encode_line(request)?;
        self.stream
            .get_mut()
            .write_all(&line)
            .await
            .map_err(ControlError::from)?;
        loop {
            let line = read_line(&mut self.stream, ANSWER_BYTES_MAX)
                .await?
                .ok_or(ControlError::HungUp)?;
            match serde_json::from_slice(&line).map_err(|_| ControlError::Protocol)? {
                Line::Progress(step) => on_step(step),
                Line::Result(value) => return Ok(value),
                Line::Error(error) => return Err(error.into()),
            }
        }
    }

    /// The stream itself, after an `s3` request has been answered.
    pub fn into_stream(self) -> BufReader<UnixStream> {
        self.stream
    }
}
