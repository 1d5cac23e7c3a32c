//! From the errors of the rooms below to what a session answers.
//!
//! What a client can do nothing about becomes [`SessionError::Internal`] with a fixed text; the cause goes to the gateway's log.
//! Invariant: no name, key or secret of the cause reaches the answer.

use super::{RecorderError, SessionError};
use engine::disk::is_full;
use engine::slots::BadAppend;
use engine::view::ViewError;
use net::{LedgerError, PutError, ReadError};
use vault::commit::CommitError;
use vault::index::IndexError;
use vault::seal::SealError;
use vault::value::ValueError;

impl From<LedgerError> for SessionError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Full => Self::DiskFull,
            LedgerError::Fenced | LedgerError::Closed => Self::Fenced,
            LedgerError::Unreachable => Self::LedgerAway,
            LedgerError::Bad(BadAppend::Limit(limit)) => too_large(&limit),
            _ => {
                tracing::error!(%error, "the ledger refused");
                Self::Internal {
                    what: "the ledger refused",
                }
            }
        }
    }
}

fn too_large(limit: &engine::slots::AppendLimit) -> SessionError {
    use engine::slots::{APPEND_BYTES_MAX, AppendLimit, EXPECTATIONS_MAX, WRITES_MAX};
    let (what, most, got) = match *limit {
        AppendLimit::Expectations { got } => ("expectations of one append", EXPECTATIONS_MAX, got),
        AppendLimit::Writes { got } => ("entries of one append", WRITES_MAX, got),
        AppendLimit::Bytes { got } => ("bytes of one append", APPEND_BYTES_MAX, got),
    };
    SessionError::Limit {
        what,
        limit: most as u64,
        got: got as u64,
    }
}

impl From<PutError> for SessionError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::NotEnoughDrives { have, need } | PutError::Layout { have, need } => {
                Self::NotWritable { have, need }
            }
            PutError::Domains { have, left, need } => Self::TooClose { have, left, need },
            PutError::DiskFull { .. } => Self::DiskFull,
            PutError::LeaseEnded { .. } => Self::Fenced,
            _ => {
                tracing::error!(%error, "the drives refused");
                Self::Internal {
                    what: "the drives refused",
                }
            }
        }
    }
}

impl From<ReadError> for SessionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotEnoughShards { have, need } => Self::Unreadable { have, need },
            _ => {
                tracing::error!(%error, "a pack cannot be read");
                Self::Internal {
                    what: "a pack cannot be read",
                }
            }
        }
    }
}

impl From<RecorderError> for SessionError {
    fn from(error: RecorderError) -> Self {
        match error {
            RecorderError::Behind => Self::Behind,
            RecorderError::Ledger(error) => error.into(),
            RecorderError::Open(_) | RecorderError::Fenced(_) => Self::Fenced,
        }
    }
}

impl From<IndexError> for SessionError {
    fn from(error: IndexError) -> Self {
        if let IndexError::View(ViewError::Io { source, .. }) = &error
            && is_full(source)
        {
            return Self::DiskFull;
        }
        tracing::error!(%error, "the object index failed");
        Self::Internal {
            what: "the object index failed; its view can be deleted and is rebuilt at the next start",
        }
    }
}

impl From<CommitError> for SessionError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Limit(limit) => too_large(&limit),
            CommitError::Value(error) => error.into(),
            _ => Self::Internal {
                what: "an append that cannot be made",
            },
        }
    }
}

impl From<ValueError> for SessionError {
    fn from(error: ValueError) -> Self {
        match error {
            ValueError::TooLong { limit, got } => Self::Limit {
                what: "bytes of an entry",
                limit: limit as u64,
                got: got as u64,
            },
            _ => Self::Internal {
                what: "a value that does not seal",
            },
        }
    }
}

impl From<SealError> for SessionError {
    fn from(error: SealError) -> Self {
        tracing::error!(%error, "a chunk was not sealed");
        Self::Internal {
            what: "a chunk was not sealed",
        }
    }
}
