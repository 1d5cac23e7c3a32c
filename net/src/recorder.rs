//! The owner of an activity log, a gateway's or a node's: one thread that appends records, follows the ledger for those that travelled
//! with an append, if there is one, and signs a checkpoint behind every flush. A record that needs no waiting is appended without the thread (`writing`).
//!
//! The thread's work is in `owner`. Knows records only as commitments and bodies. Invariants: records of a gateway's own leases that came
//! through the ledger stand in its log in ledger order, each once, those of a gateway that was lost behind them as they were adopted; a record's ledger
//! copy is let go of only when the log of its gateway holds it durably; what was appended is durable within [`SYNC_EVERY`].

mod owner;
mod writing;

use activity::{ActivityLog, ActivityReader, LogIdentity};
use bytes::Bytes;
use engine::disk::{Disk, is_full};
use engine::log::LogConfig;
use engine::slots::Sequence;
use owner::Owner;
use scopes::Wallet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use writing::Writing;

use crate::ledger::Ledger;
use crate::offload::Offload;
use crate::reserve::Reserve;

/// How long an appended record may wait for its flush and checkpoint.
pub const SYNC_EVERY: Duration = Duration::from_millis(250);
/// How long a read waits for a log that has fallen behind, before it is refused.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// Records that wait for the thread.
const QUEUE_MAX: usize = 8_192;
/// Ledger appends taken over in one go.
const FEED_MAX: usize = 1_024;
/// Space set aside for a full disk, at most a segment's.
const RESERVE_BYTES: u64 = 16 << 20;

/// Why the activity log does not take records.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecorderError {
    /// The log could not be opened, or is damaged.
    #[error("the activity log cannot be opened: {0}")]
    Open(String),
    /// The log failed; the process must end.
    #[error("the activity log has failed: {0}")]
    Fenced(String),
    /// The ledger did not give the records that were to be taken over. The log is as well as before.
    #[error("the ledger did not give the records: {0}")]
    Ledger(crate::ledger::LedgerError),
    /// The log has not kept up for ten seconds.
    #[error("the activity log is behind by more than {} s", WAIT_MAX.as_secs())]
    Behind,
}

/// One record for the log: what is public of it and its body.
#[derive(Debug)]
pub struct PreparedRecord {
    /// The record's id, random.
    pub record_id: [u8; 16],
    /// SHA-256(blind ‖ record).
    pub commitment: [u8; 32],
    /// Vault id 16, record id 16, then blind and record: sealed in a gateway's log, as they are in a node's.
    pub body: Bytes,
}

impl PreparedRecord {
    /// Of a vault's record: `content` is its blind and its bytes, sealed or not, as the body carries them.
    pub fn new(vault: &[u8; 16], record_id: [u8; 16], commitment: [u8; 32], content: &[&[u8]]) -> Self {
        let bytes = content.iter().map(|part| part.len()).sum::<usize>();
        let mut body = Vec::with_capacity(BODY_HEAD_BYTES + bytes);
        body.extend_from_slice(vault);
        body.extend_from_slice(&record_id);
        for part in content {
            body.extend_from_slice(part);
        }
        Self {
            record_id,
            commitment,
            body: Bytes::from(body),
        }
    }
}

/// Where the answer goes, if somebody waits for it.
type Reply = Option<oneshot::Sender<Result<(), RecorderError>>>;

/// A record on its way to the log.
struct Queued {
    record: PreparedRecord,
    reply: Reply,
    /// What it tells of was done, and stays so if nobody waits any more. Another that nobody waits for was refused instead.
    is_done: bool,
}

enum Command {
    Append(Queued),
    Flush(oneshot::Sender<Result<(), RecorderError>>),
    /// Takes over the records of a lease that was lost, after this sequence.
    Adopt(u64, Sequence, oneshot::Sender<Result<(), RecorderError>>),
    Close(oneshot::Sender<Result<(), RecorderError>>),
}

/// The way to the activity log; clones share it.
#[derive(Clone)]
pub struct Recorder {
    commands: mpsc::Sender<Command>,
    writing: Writing,
    /// Every record of this gateway's up to this sequence is durable here.
    taken: Arc<AtomicU64>,
    reader: ActivityReader,
    fence: watch::Receiver<Option<RecorderError>>,
    signer: Arc<Wallet>,
    unclean: bool,
}

/// An activity log that is open and has no thread yet: what takes long at a start, and needs no ledger.
pub struct OpenedLog {
    log: ActivityLog,
    reserve: Reserve,
    signer: Arc<Wallet>,
    unclean: bool,
}

impl OpenedLog {
    /// Opens the log under `dir`, or begins one with the random `fresh_log_id`. Reads all of its index; not for a runtime's own threads.
    ///
    /// # Errors
    /// When the log is damaged or cannot be read.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        origin: &str,
        signing_seed: &[u8; 32],
        (config, fresh_log_id): (LogConfig, u64),
    ) -> Result<Self, RecorderError> {
        let signer = Arc::new(Wallet::from_seed(signing_seed));
        let open = || {
            let identity = LogIdentity::new(origin, Wallet::from_seed(signing_seed))
                .map_err(|e| (RecorderError::Open(e.to_string()), false))?;
            ActivityLog::open_with(Arc::clone(&disk), dir, identity, fresh_log_id, config)
                .map_err(|e| (RecorderError::Open(e.to_string()), is_for_space(&e)))
        };
        let mut reserve = Reserve::find(
            Arc::clone(&disk),
            dir,
            "the activity log",
            RESERVE_BYTES.min(u64::from(config.segment_bytes)),
        );
        let (log, opened) = match open() {
            Err((_, true)) if reserve.release() => open(),
            opened => opened,
        }
        .map_err(|(error, _)| error)?;
        reserve.refill();
        Ok(Self {
            log,
            reserve,
            signer,
            unclean: !opened.recovery.clean,
        })
    }
}

impl Recorder {
    /// Starts the thread of a log that was opened. Takes over from `ledger`, if there is one, every record the log does not hold yet
    /// before it returns.
    ///
    /// # Errors
    /// When the log cannot be caught up with `ledger`.
    pub async fn start(opened: OpenedLog, ledger: Option<Arc<dyn Ledger>>) -> Result<Self, RecorderError> {
        let OpenedLog {
            log,
            reserve,
            signer,
            unclean,
        } = opened;
        let reader = log.reader();
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let (fence_set, fence) = watch::channel(None);
        let (started, ready) = oneshot::channel();
        // A rebuilt ledger begins above what this log remembers, and says so.
        let let_go = ledger
            .as_ref()
            .map_or(0, |ledger| ledger.status().records_through);
        let fed = Sequence(reader.ledger_sequence_through().max(let_go));
        let writing = Writing::new(log, reserve);
        let taken = Arc::new(AtomicU64::new(0));
        let owner = Owner::new(writing.clone(), ledger, fed, Arc::clone(&taken), fence_set);
        Offload::apart("activity", move || owner.run(queue, started))
            .map_err(|e| RecorderError::Open(e.to_string()))?;
        ready
            .await
            .map_err(|_| RecorderError::Open("its thread stopped".to_owned()))??;
        Ok(Self {
            commands,
            writing,
            taken,
            reader,
            fence,
            signer,
            unclean,
        })
    }
    /// Whether the log was not closed cleanly before this opening: records of reads in the last second may be missing.
    pub const fn was_unclean(&self) -> bool {
        self.unclean
    }

    /// The key that signs records and checkpoints.
    pub fn signer(&self) -> &Wallet {
        &self.signer
    }

    /// Reads of the log: entries, proofs, checkpoints.
    pub const fn reader(&self) -> &ActivityReader {
        &self.reader
    }

    /// Appends a record and returns when the log has taken it; it is durable within [`SYNC_EVERY`].
    ///
    /// # Errors
    /// [`RecorderError::Behind`] after ten seconds, [`RecorderError::Fenced`] when the log has failed.
    pub async fn append(&self, record: PreparedRecord) -> Result<(), RecorderError> {
        self.append_as(record, false).await
    }

    /// As [`Self::append`], for what was done and cannot be refused any more: it is written down also if the caller gives up waiting.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn append_done(&self, record: PreparedRecord) -> Result<(), RecorderError> {
        self.append_as(record, true).await
    }

    async fn append_as(&self, record: PreparedRecord, is_done: bool) -> Result<(), RecorderError> {
        let Err(record) = self.writing.append_now(record) else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        let queued = Queued {
            record,
            reply: Some(reply),
            is_done,
        };
        self.send(Command::Append(queued), answer).await
    }

    /// Whether the log takes records now.
    pub fn takes(&self) -> bool {
        self.writing.takes()
    }

    /// Waits until the log takes records, so that what cannot be undone is begun only then.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn ready(&self) -> Result<(), RecorderError> {
        let began = Instant::now();
        while !self.takes() {
            if let Some(error) = self.fence.borrow().clone() {
                return Err(error);
            }
            if began.elapsed() >= WAIT_MAX {
                return Err(RecorderError::Behind);
            }
            tokio::time::sleep(SYNC_EVERY / 4).await;
        }
        Ok(())
    }

    /// Appends a record if the log has room for it now. For refusals, which must not become a way to slow others down, and
    /// for reads that ended early, which nobody waits for.
    pub fn append_lossy(&self, record: PreparedRecord) {
        let Err(record) = self.writing.append_now(record) else {
            return;
        };
        let queued = Queued {
            record,
            reply: None,
            is_done: false,
        };
        if self.commands.try_send(Command::Append(queued)).is_err() {
            tracing::warn!("the activity log is behind; a refusal or what ended early was not recorded");
        }
    }

    /// Brings the log up to every operation that was answered before the call, durably and under a signed checkpoint.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn flush(&self) -> Result<(), RecorderError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Flush(reply), answer).await
    }

    /// Every record of this gateway's operations up to this sequence is durable in the log; 0 without a ledger.
    pub fn taken(&self) -> Sequence {
        Sequence(self.taken.load(Ordering::Acquire))
    }

    /// Takes over, durably, the records of a lease whose holder was lost, those after `after`; those that the log has are left alone.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn adopt(&self, lease: u64, after: Sequence) -> Result<(), RecorderError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Adopt(lease, after, reply), answer).await
    }

    /// Flushes and closes the log; later appends fail.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn close(&self) -> Result<(), RecorderError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close(reply), answer).await
    }

    /// Resolves when the log has failed; the process must then end.
    pub async fn fenced(&self) -> RecorderError {
        let mut fence = self.fence.clone();
        let failed = fence
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|seen| seen.clone());
        match failed {
            Some(error) => error,
            // The owner is gone without a failure: a clean close, after which nothing is to be waited for.
            None => std::future::pending().await,
        }
    }

    async fn send(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<(), RecorderError>>,
    ) -> Result<(), RecorderError> {
        let stopped = || {
            let seen = self.fence.borrow().clone();
            seen.unwrap_or_else(|| RecorderError::Fenced("it was closed".to_owned()))
        };
        let all = async {
            self.commands.send(command).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        };
        tokio::time::timeout(WAIT_MAX, all)
            .await
            .map_err(|_| RecorderError::Behind)?
    }
}

/// Whether a log did not open for want of space, as a new one on a full disk.
fn is_for_space(error: &activity::OpenError) -> bool {
    matches!(error, activity::OpenError::Log(engine::log::OpenError::Io(error)) if is_full(error))
}

/// Bytes of a record body in front of the sealed part: vault id 16, record id 16.
pub const BODY_HEAD_BYTES: usize = 32;

/// The record id in a body's clear head; zeros if the body is too short to have one.
fn record_id_of(body: &[u8]) -> [u8; 16] {
    let id = body.get(16..BODY_HEAD_BYTES).and_then(|id| id.try_into().ok());
    id.unwrap_or_default()
}
