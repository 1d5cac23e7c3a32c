//! Reading the activity log as its owner: records opened, receipts built.
//!
//! Invariant: what is shown was in the log under a signed checkpoint, after everything answered before the question.

use super::{Session, SessionError};
use activity::{Receipt, Record, RecordId, commitment};
use net::recorder::BODY_HEAD_BYTES;

/// Which records to show: the newest that fit.
#[derive(Debug, Clone, Default)]
pub struct ActivityQuery {
    /// At most so many; 0 is all.
    pub limit: usize,
    /// Only operations of this name.
    pub operation: Option<String>,
    /// Only records of the operation with this id.
    pub operation_id: Option<[u8; 16]>,
    /// Only from this time on, ms since 1970.
    pub since_ms: Option<u64>,
}

/// The most records one answer holds.
const RECORDS_MAX: usize = 100_000;

/// A record as its owner sees it.
#[derive(Debug, Clone)]
pub struct OpenedRecord {
    /// Its index in the log.
    pub index: u64,
    /// The record.
    pub record: Record,
}

impl Session {
    /// The vault's records, oldest first, after everything answered before the call was taken over.
    ///
    /// # Errors
    /// When the activity log has failed or cannot be read.
    pub async fn activity(&self, query: &ActivityQuery) -> Result<Vec<OpenedRecord>, SessionError> {
        self.inner.recorder.flush().await?;
        let limit = if query.limit == 0 {
            RECORDS_MAX
        } else {
            query.limit.min(RECORDS_MAX)
        };
        let mut found = Vec::new();
        let reader = self.inner.recorder.reader();
        let mut index = reader.len();
        // Backwards, so that a limit means the newest and the log is read no further than needed.
        while index > 0 && found.len() < limit {
            index -= 1;
            let Some((record, _)) = self.opened(index)? else {
                continue;
            };
            let time_ms = record.time.ms();
            if query.since_ms.is_some_and(|since| time_ms < since) {
                break;
            }
            let is_named = query
                .operation
                .as_ref()
                .is_none_or(|name| *name == record.operation);
            if is_named && query.operation_id.is_none_or(|id| id == record.operation_id.0) {
                found.push(OpenedRecord { index, record });
            }
        }
        found.reverse();
        Ok(found)
    }

    /// The receipt of a record: an offline proof that it is in the log.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`] when the log has no such record of this vault.
    pub async fn receipt(&self, record_id: &str) -> Result<String, SessionError> {
        let id: RecordId = record_id.parse().map_err(|_| SessionError::NoSuchKey)?;
        self.inner.recorder.flush().await?;
        let reader = self.inner.recorder.reader();
        let index = reader.find(&id).ok_or(SessionError::NoSuchKey)?;
        let (record, blind) = self.opened(index)?.ok_or(SessionError::NoSuchKey)?;
        let bytes = record.canonical_bytes().map_err(|_| SessionError::Internal {
            what: "a record that does not encode",
        })?;
        Ok(Receipt::build(reader, index, &bytes, &blind)
            .map_err(unreadable)?
            .to_string())
    }

    /// The record at an index with its blind, if it is this vault's.
    fn opened(&self, index: u64) -> Result<Option<(Record, [u8; 32])>, SessionError> {
        let entry = self.inner.recorder.reader().entry(index).map_err(unreadable)?;
        let Some((head, sealed)) = entry.body.split_at_checked(BODY_HEAD_BYTES) else {
            return Ok(None);
        };
        if !head.starts_with(&self.inner.vault.0) {
            return Ok(None);
        }
        let damaged = SessionError::Internal {
            what: "a record that does not open",
        };
        let plain = self
            .inner
            .keyring
            .open_record(sealed)
            .map_err(|_| damaged.clone())?;
        let (blind, bytes) = plain.split_first_chunk::<32>().ok_or(damaged.clone())?;
        if commitment(blind, bytes) != entry.commitment {
            return Err(damaged);
        }
        let record = Record::parse(bytes).map_err(|_| damaged)?;
        Ok(Some((record, *blind)))
    }
}

fn unreadable(error: impl std::fmt::Display) -> SessionError {
    tracing::error!(%error, "the activity log cannot be read");
    SessionError::Internal {
        what: "the activity log cannot be read",
    }
}
