//! How a command ends: 0 done, 1 failed or incomplete, 2 usage.
//!
//! The one place where the errors of the program's parts come together. They keep their own sentences; this adds only
//! the exit status.

use crate::admin::AdminError;
use crate::config::ConfigError;
use crate::control::ControlError;
use crate::data_dir::DataDirError;
use crate::key_store::KeyStoreError;
use crate::node::NodeError;
use crate::operator::OperatorError;
use crate::runtime::RuntimeError;
use crate::s3_client::ClientError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the configuration does not make sense.
    #[error("{0}")]
    Usage(String),
    /// Bad configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The keys cannot be used.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The store does not open, or stopped.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The storage peer does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The running process cannot be spoken to.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The operation was refused or failed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The admin port does not open.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// An S3 request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A local file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The work ended, and its report says that something is missing. The report has been printed.
    #[error("{0}")]
    Incomplete(String),
}

impl Failure {
    /// The exit status of the process: 2 for usage, 1 for the rest.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Operator(error) if error.is_usage() => 2,
            Self::Node(error) if error.is_usage() => 2,
            _ => 1,
        }
    }

    /// A failure on a local file.
    pub fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.display().to_string(),
            source,
        }
    }
}
