//! The operations of a running store that are no S3 operations: what the control socket and the commands call.
//!
//! [`Operate`] is the seam between how an operation is asked for (the control socket, or the command's own process)
//! and what does it.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::request::{OnStep, Request};

mod access;
mod durability;
mod gateways;
mod nodes;
pub(crate) mod records;
mod running;
mod status;
mod tend;

pub use running::Operator;

/// Carries requests out.
pub trait Operate: Send + Sync {
    /// Runs one operation to its end.
    fn run<'a>(
        &'a self,
        request: Request,
        on_step: OnStep<'a>,
    ) -> BoxFuture<'a, Result<Value, OperatorError>>;

    /// Speaks S3 over `stream` until it ends.
    fn serve_s3(&self, stream: Box<dyn S3Stream>) -> BoxFuture<'_, ()>;
}

/// A byte stream that S3 can be spoken over.
pub trait S3Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> S3Stream for S {}

/// A refused or failed operation, as it travels over the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct OperatorError {
    /// What kind of failure it is, for programs.
    pub code: ErrorCode,
    /// What happened and what to do next, for people.
    pub message: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request makes no sense.
    BadRequest,
    /// What it names is not there.
    NotFound,
    /// What it would make is there already.
    Exists,
    /// Another such operation is under way.
    Busy,
    /// Too few drives, a full disk or a quota.
    Unavailable,
    /// It failed.
    Failed,
}

impl OperatorError {
    /// An error with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Whether the caller asked for something that makes no sense.
    pub fn is_usage(&self) -> bool {
        self.code == ErrorCode::BadRequest
    }
}
