//! What is written down about an operation: the record, its blind and commitment, its sealed body.
//!
//! Decides nothing about when a record is kept; `commit.rs` sends it with an append, `read.rs` and refusals straight to the
//! activity log. Invariant: the body opens only with the vault's root key; what stands outside it says nothing of names.

use super::refusals::Verdict;
use super::{Caller, Inner, Session, SessionError, fill_random, now_ms};
use crate::operations;
use activity::{
    Compute, OperationId, Purpose, Record, RecordId, ResultHash, Timestamp, commitment, vault_scope,
};
use engine::slots::RecordPart;
use net::recorder::PreparedRecord;
use scopes::Identity;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the start waits for the record of a gap.
const GAP_WAIT: Duration = Duration::from_secs(2);
/// How often refusals that are only counted are summed up.
const REFUSALS_EVERY: Duration = Duration::from_secs(1);

/// What an operation was, for its record.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// S3's name of the operation.
    pub(crate) operation: &'static str,
    /// The scope's name, if it had one.
    pub(crate) scope: Option<String>,
    /// Plaintext bytes moved.
    pub(crate) bytes: u64,
    /// `ok`, or the S3 error code it was refused with.
    pub(crate) status: Cow<'static, str>,
    /// Why it was done.
    pub(crate) purpose: Purpose,
    /// BLAKE3 of the manifest that was written or read, which names the packs by hash.
    pub(crate) result: Option<[u8; 32]>,
}

/// An operation that was refused.
#[derive(Debug, Clone, Copy)]
pub struct RefusedOperation<'a> {
    /// Its id, under which it may have written shards already.
    pub operation_id: [u8; 16],
    /// S3's name of it, or what stands for one that is not known.
    pub operation: &'static str,
    /// The bucket, if one is named.
    pub bucket: Option<&'a str>,
    /// S3's error code.
    pub code: &'a str,
}

/// Who a record says did it.
pub(crate) struct Agent {
    name: String,
    is_gateway: bool,
    /// The operation; attempts share it.
    pub(crate) operation_id: [u8; 16],
}

impl Note {
    /// A note of a successful operation that moved no bytes.
    pub(crate) fn of(operation: &'static str, scope: Option<&str>, purpose: Purpose) -> Self {
        Self {
            operation,
            scope: scope.map(str::to_owned),
            bytes: 0,
            status: "ok".into(),
            purpose,
            result: None,
        }
    }
}

impl Session {
    /// Writes down an operation that reads nothing from drives and changes nothing: HEAD, lists, the location of a bucket.
    ///
    /// # Errors
    /// When the activity log has failed or is far behind; the answer must then be withheld.
    pub async fn noted(
        &self,
        caller: &Caller,
        operation: &'static str,
        scope: Option<&str>,
    ) -> Result<(), SessionError> {
        self.inner
            .record_now(caller, Note::of(operation, scope, Purpose::Read))
            .await
    }

    /// Writes down a refused operation, without waiting: it is dropped when the activity log is behind, for a refusal must not
    /// be a way to slow down others. Without a verified identity only so many a second are written down one by one, and the
    /// others as one number.
    pub fn refused(&self, identity: Option<&Identity>, asked: RefusedOperation<'_>) {
        let inner = &self.inner;
        if identity.is_none_or(Identity::is_anonymous) {
            match inner.refusals.judge(Instant::now()) {
                Verdict::Write => {}
                Verdict::CountedFirst => return inner.sum_up_refusals(),
                Verdict::Counted => return,
            }
        }
        let name = identity.map_or_else(|| "anonymous".to_owned(), Identity::agent);
        let agent = Agent {
            name,
            is_gateway: false,
            operation_id: asked.operation_id,
        };
        let note = Note {
            status: asked.code.to_owned().into(),
            ..Note::of(asked.operation, asked.bucket, Purpose::Read)
        };
        match inner.prepare(&agent, note) {
            Ok(record) => inner.recorder.append_lossy(record),
            Err(error) => tracing::warn!(%error, "a refusal could not be recorded"),
        }
    }
}

impl Inner {
    /// Puts a record into the activity log and waits until the log has it.
    pub(crate) async fn record_now(&self, caller: &Caller, note: Note) -> Result<(), SessionError> {
        self.record_now_by(&Agent::of(caller), note).await
    }

    /// As [`Self::record_now`], of whoever it is.
    pub(crate) async fn record_now_by(&self, agent: &Agent, note: Note) -> Result<(), SessionError> {
        Ok(self.recorder.append(self.prepare(agent, note)?).await?)
    }

    /// Puts a record into the activity log without waiting: for what ended otherwise than by its own doing.
    pub(crate) fn record_lossy(&self, caller: &Caller, note: Note) {
        match self.prepare(&Agent::of(caller), note) {
            Ok(record) => self.recorder.append_lossy(record),
            Err(error) => tracing::warn!(%error, "a read that ended early could not be recorded"),
        }
    }

    /// Writes down in a second how many refusals were only counted by then.
    fn sum_up_refusals(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(REFUSALS_EVERY).await;
            let Some(inner) = weak.upgrade() else { return };
            let agent = Agent {
                name: "anonymous".to_owned(),
                ..Agent::gateway()
            };
            let note = Note {
                status: format!("and {} more", inner.refusals.take_more()).into(),
                ..Note::of(operations::REFUSED, None, Purpose::Read)
            };
            match inner.prepare(&agent, note) {
                Ok(record) => inner.recorder.append_lossy(record),
                Err(error) => tracing::warn!(%error, "refusals could not be recorded"),
            }
        });
    }

    /// The record to travel with a ledger append.
    pub(crate) fn record_part(&self, caller: &Caller, note: Note) -> Result<RecordPart, SessionError> {
        self.record_part_by(&Agent::of(caller), note)
    }

    /// As [`Self::record_part`], of whoever it is.
    pub(crate) fn record_part_by(&self, agent: &Agent, note: Note) -> Result<RecordPart, SessionError> {
        let record = self.prepare(agent, note)?;
        Ok(RecordPart {
            commitment: record.commitment,
            body: record.body,
        })
    }

    /// After a crash: writes down that records of reads may be missing, for those are durable only within a moment.
    pub(crate) async fn record_gap(&self) -> Result<(), SessionError> {
        let note = Note {
            status: "reads of the last second before this start may be missing".into(),
            ..Note::of(operations::ACTIVITY_GAP, None, Purpose::Read)
        };
        self.record_own(note).await
    }

    /// As [`Self::record_gap`]; when the log has no room now, as on a full disk, it goes on trying in the background.
    pub(crate) async fn record_gap_in_time(self: &Arc<Self>) -> Result<(), SessionError> {
        let first = tokio::time::timeout(GAP_WAIT, self.record_gap()).await;
        if let Ok(done @ (Ok(()) | Err(SessionError::Fenced))) = first {
            return done;
        }
        tracing::warn!("the gap in the activity log could not be recorded yet");
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(inner) = weak.upgrade() else { return };
                match inner.record_gap().await {
                    Err(SessionError::Behind) => {}
                    Ok(()) | Err(_) => return,
                }
                drop(inner);
                tokio::time::sleep(GAP_WAIT).await;
            }
        });
        Ok(())
    }

    /// Puts a record of something the gateway did on its own behalf into the activity log.
    pub(crate) async fn record_own(&self, note: Note) -> Result<(), SessionError> {
        self.record_now_by(&Agent::gateway(), note).await
    }

    /// The record of something the gateway does on its own behalf.
    pub(crate) fn own_record_part(&self, note: Note) -> Result<RecordPart, SessionError> {
        self.record_part_by(&Agent::gateway(), note)
    }

    fn prepare(&self, agent: &Agent, note: Note) -> Result<PreparedRecord, SessionError> {
        debug_assert!(operations::is_recorded(note.operation), "{}", note.operation);
        let mut record_id = [0; 16];
        fill_random(&mut record_id);
        let mut record = Record {
            record_id: RecordId(record_id),
            agent: agent.name.clone(),
            vault_scope: vault_scope(self.vault, note.scope.as_deref().unwrap_or("*")),
            operation: note.operation.to_owned(),
            // Not measured: operations share threads, and many share one pack.
            compute: Compute::default(),
            result_hash: note.result.map_or(ResultHash::None, ResultHash::Blake3),
            signatures: Vec::new(),
            grant_id: None,
            bytes: note.bytes,
            time: Timestamp::from_ms(now_ms()),
            operation_id: OperationId(agent.operation_id),
            attempt: 1,
            purpose: note.purpose,
            status: note.status.into_owned(),
        };
        let unfit = |_| SessionError::Internal {
            what: "a record that does not encode",
        };
        let canonical = record.sign_first(self.recorder.signer()).map_err(unfit)?;
        let mut blind = [0; 32];
        fill_random(&mut blind);
        let plain = [&blind[..], &canonical].concat();
        let sealed = self.keyring.seal_record(&plain, &mut fill_random)?;
        Ok(PreparedRecord::new(
            &self.vault.0,
            record_id,
            commitment(&blind, &canonical),
            &[&sealed],
        ))
    }
}

impl Agent {
    /// The gateway, on its own behalf, for an operation of its own.
    pub(crate) fn gateway() -> Self {
        let mut operation_id = [0; 16];
        fill_random(&mut operation_id);
        Self {
            name: "gateway".to_owned(),
            is_gateway: true,
            operation_id,
        }
    }

    /// What is noted of a deletion: the gateway deletes only what a bucket's lifecycle says.
    pub(crate) fn deletion(&self, bucket: &str) -> Note {
        if self.is_gateway {
            Note::of(operations::LIFECYCLE, Some(bucket), Purpose::Gc)
        } else {
            Note::of("DeleteObject", Some(bucket), Purpose::Write)
        }
    }

    /// A caller.
    pub(crate) fn of(caller: &Caller) -> Self {
        Self {
            name: caller.identity.agent(),
            is_gateway: false,
            operation_id: caller.operation_id,
        }
    }
}
