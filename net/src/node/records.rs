//! What a node writes down of each shard operation: its half of the evidence, joined with the gateway's by the operation's id.
//!
//! A record says who called, for which operation, what was asked of which scope, and how many bytes were stored or handed to the
//! connection. It names scopes by id, and nothing else of a vault's: a node knows no name. Single records are not signed: the checkpoint that
//! is signed behind every flush covers each of them. Invariants: what was begun is written down however it ends; an answer that says
//! that something was done leaves after its record was appended; bytes of reads are counted as they are handed over.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use activity::{
    ActivityReader, Compute, Entry, OperationId, Purpose, Record, RecordId, ResultHash, Timestamp,
    commitment, vault_scope,
};
use engine::disk::Disk;
use engine::log::LogConfig;
use scopes::{ScopeId, VaultId};

use crate::drives::FreshLogId;
use crate::peer::{self, Context, PeerId, PeerKey, Refusal, Reply};
use crate::recorder::{BODY_HEAD_BYTES, OpenedLog, PreparedRecord, Recorder, RecorderError};

/// A shard was to be stored.
pub(super) const PUT_SHARD: &str = "PutShard";
/// A part of a shard was to be read.
pub(super) const GET_RANGE: &str = "GetRange";
/// A slice of a shard was to be proven.
pub(super) const PROVE_SHARD: &str = "ProveShard";
/// Shards were to be deleted, on a collector's order.
pub(super) const DELETE_SHARDS: &str = "DeleteShards";
/// A lost drive was to be brought back.
pub(super) const RESTORE_DRIVE: &str = "RestoreDrive";
/// After a crash: records may be missing.
const ACTIVITY_GAP: &str = "ActivityGap";

/// The names of a node's records, in their order.
pub const OPERATIONS: [&str; 6] = [
    ACTIVITY_GAP,
    DELETE_SHARDS,
    GET_RANGE,
    PROVE_SHARD,
    PUT_SHARD,
    RESTORE_DRIVE,
];

/// The caller went away, or would wait no longer: what it asked for may have been done.
const ABANDONED: &str = "Abandoned";
/// Fewer bytes were handed over than were asked for.
const CUT_SHORT: &str = "CutShort";
const BLIND_BYTES: usize = 32;
const CONTEXT: &str = "cairn v1 node record ids and blinds";
/// How long an operation waits for a log that does not take records.
const BEGIN_PATIENCE: Duration = Duration::from_millis(500);
/// How long until a gap that could not be written down is tried again.
const GAP_AGAIN: Duration = Duration::from_secs(2);

/// What a node's log is opened with.
#[derive(Clone)]
pub struct RecordsConfig {
    /// The node's cluster.
    pub cluster: [u8; 16],
    /// Random numbers, for the log and for what its records draw.
    pub fresh_log_id: FreshLogId,
    /// Milliseconds since 1970.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// A node's activity log.
pub struct NodeRecords {
    recorder: Recorder,
    /// Record ids and blinds, from a seed that the system drew: a question to the system for each would cost more than the record.
    drawn: Mutex<blake3::OutputReader>,
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    own: PeerId,
}

/// What is known of an operation when it begins.
pub(super) struct Note {
    pub(super) caller: PeerId,
    pub(super) context: Context,
    pub(super) operation: &'static str,
    /// The vault and the scope; of all scopes if none is named.
    pub(super) of: Option<([u8; 16], Option<[u8; 16]>)>,
    /// The hash of a shard that is stored.
    pub(super) result: Option<[u8; 32]>,
}

/// An operation under way: written down when it ends, and when it is dropped.
pub(super) struct Noted {
    records: Arc<NodeRecords>,
    note: Option<Note>,
}

impl NodeRecords {
    /// Opens the log in `dir`, or begins it, and starts its thread. It is signed with the peer's own key, so that the log's key is the
    /// peer's name.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read or written.
    pub async fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        key: &PeerKey,
        config: RecordsConfig,
    ) -> Result<Arc<Self>, RecorderError> {
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&(config.fresh_log_id)().to_be_bytes());
        }
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seed);
        let (origin, dir, signing) = (log_origin(&config.cluster, &key.id()), dir.to_owned(), key.seed());
        let fresh = (config.fresh_log_id)();
        let opening = crate::Offload::default()
            .run(move || OpenedLog::open(disk, &dir, &origin, &signing, (LogConfig::activity(), fresh)));
        let broke_off = |_| RecorderError::Open("it broke off".to_owned());
        let opened = opening.await.map_err(broke_off)??;
        let records = Arc::new(Self {
            recorder: Recorder::start(opened, None).await?,
            drawn: Mutex::new(hasher.finalize_xof()),
            now_ms: config.now_ms,
            own: key.id(),
        });
        if records.recorder.was_unclean() {
            tokio::spawn(Arc::clone(&records).note_gap());
        }
        Ok(records)
    }

    /// The log.
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Waits until the log takes records, then begins one. Deletions wait for nothing: they make the room that a full log wants.
    pub(super) async fn begin(self: &Arc<Self>, note: Note) -> Result<Noted, Refusal> {
        if note.operation != DELETE_SHARDS {
            // Not for long: whoever waits has a turn that the ledger's words and the questions after the drives need as well.
            let ready = tokio::time::timeout(BEGIN_PATIENCE, self.recorder.ready()).await;
            if !matches!(ready, Ok(Ok(()))) {
                tracing::warn!("a shard operation was refused: the activity log does not take its record");
                return Err(match note.operation {
                    // It is stored elsewhere then.
                    PUT_SHARD => Refusal::Full,
                    _ => Refusal::Busy,
                });
            }
        }
        Ok(Noted {
            records: Arc::clone(self),
            note: Some(note),
        })
    }

    /// Writes down that records may be missing; on a full disk as soon as there is space.
    async fn note_gap(self: Arc<Self>) {
        loop {
            let note = Note {
                caller: self.own,
                context: Context {
                    operation: self.draw(),
                    attempt: 0,
                    purpose: peer::Purpose::Repair,
                },
                operation: ACTIVITY_GAP,
                of: None,
                result: None,
            };
            let Some(record) = self.prepare(
                &note,
                "operations of the last second before this start may be missing",
                0,
            ) else {
                return;
            };
            match self.recorder.append(record).await {
                Err(RecorderError::Behind) => tokio::time::sleep(GAP_AGAIN).await,
                Ok(()) | Err(_) => return,
            }
        }
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.drawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(&mut bytes);
        bytes
    }

    /// None for a record that does not encode, which only a defect here makes.
    fn prepare(&self, note: &Note, status: &str, bytes: u64) -> Option<PreparedRecord> {
        let record_id = self.draw();
        let (vault, scope) = note.of.unwrap_or_default();
        let scope = scope.map_or_else(|| "*".to_owned(), |scope| ScopeId(scope).to_string());
        let record = Record {
            record_id: RecordId(record_id),
            agent: note.caller.to_string(),
            vault_scope: vault_scope(VaultId(vault), &scope),
            operation: note.operation.to_owned(),
            compute: Compute::default(),
            result_hash: note.result.map_or(ResultHash::None, ResultHash::Blake3),
            signatures: Vec::new(),
            grant_id: None,
            bytes,
            time: Timestamp::from_ms((self.now_ms)()),
            operation_id: OperationId(note.context.operation),
            attempt: u32::from(note.context.attempt) + 1,
            purpose: purpose(note.context.purpose, note.operation),
            status: status.to_owned(),
        };
        let canonical = record
            .canonical_bytes()
            .inspect_err(|error| tracing::error!(%error, "a record does not encode"))
            .ok()?;
        let blind: [u8; BLIND_BYTES] = self.draw();
        Some(PreparedRecord::new(
            &vault,
            record_id,
            commitment(&blind, &canonical),
            &[&blind, &canonical],
        ))
    }
}

impl Noted {
    /// Writes down how it ended, before anybody hears of it.
    pub(super) async fn ended(mut self, ended: Result<Reply, Refusal>, bytes: u64) -> Result<Reply, Refusal> {
        let (status, bytes) = match &ended {
            Ok(_) => (OK, bytes),
            Err(refusal) => (status(*refusal), 0),
        };
        let frees = self
            .note
            .as_ref()
            .is_some_and(|note| note.operation == DELETE_SHARDS);
        let Some(record) = self.take(status, bytes) else {
            return ended;
        };
        if frees && !self.records.recorder.takes() {
            self.records.recorder.append_lossy(record);
            return ended;
        }
        // No longer than a beginning waits, for the same reason. What was done is written down as soon as there is room.
        let appending = self.records.recorder.append_done(record);
        match tokio::time::timeout(BEGIN_PATIENCE, appending).await {
            Ok(Ok(())) => ended,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a shard operation is not in the activity log, and counts as refused");
                Err(Refusal::Busy)
            }
            Err(_) => {
                tracing::warn!("a shard operation waits for room in the activity log, and counts as refused");
                Err(Refusal::Busy)
            }
        }
    }

    /// Of which vault it is, as it turned out.
    pub(super) fn concerns(&mut self, vault: [u8; 16]) {
        if let Some(note) = &mut self.note {
            note.of = Some((vault, None));
        }
    }

    /// Writes down how much of the bytes that were asked for was handed over.
    pub(super) fn sent(mut self, asked: u64, sent: u64) {
        let status = if sent < asked { CUT_SHORT } else { OK };
        if let Some(record) = self.take(status, sent) {
            self.records.recorder.append_lossy(record);
        }
    }

    fn take(&mut self, status: &str, bytes: u64) -> Option<PreparedRecord> {
        let note = self.note.take()?;
        self.records.prepare(&note, status, bytes)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(record) = self.take(ABANDONED, 0) {
            self.records.recorder.append_lossy(record);
        }
    }
}

const OK: &str = "ok";

/// The name of a node's log: the cluster's, with the peer's key.
fn log_origin(cluster: &[u8; 16], peer: &PeerId) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let key = peer.public_key().as_bytes();
    format!("cairn.log/{}/{}", hex(cluster), hex(key))
}

/// Opens the body of an entry of a node's log; none if it does not open its commitment.
pub fn open_entry(entry: &Entry) -> Option<(Record, [u8; BLIND_BYTES])> {
    let opened = entry.body.get(BODY_HEAD_BYTES..)?;
    let (blind, bytes) = opened.split_first_chunk::<BLIND_BYTES>()?;
    let holds = commitment(blind, bytes) == entry.commitment;
    let record = Record::parse(bytes).ok().filter(|_| holds)?;
    Some((record, *blind))
}

/// The newest records of a node's log that `wanted` takes, at most so many, oldest first, with their places.
///
/// # Errors
/// What cannot be read, or does not open.
pub fn newest(
    reader: &ActivityReader,
    max: usize,
    since_ms: u64,
    wanted: &dyn Fn(&Record) -> bool,
) -> Result<Vec<(u64, Record)>, RecorderError> {
    let unreadable = |why: &dyn std::fmt::Display| RecorderError::Open(why.to_string());
    let (mut found, mut index) = (Vec::new(), reader.len());
    // Backwards, so that the log is read no further than needed.
    while index > 0 && found.len() < max {
        index -= 1;
        let entry = reader.entry(index).map_err(|error| unreadable(&error))?;
        let (record, _) = open_entry(&entry).ok_or_else(|| unreadable(&"a record does not open"))?;
        if record.time.ms() < since_ms {
            break;
        }
        if wanted(&record) {
            found.push((index, record));
        }
    }
    found.reverse();
    Ok(found)
}

/// What the activity records call it. A caller that says `ledger` of a shard says nothing.
const fn purpose(purpose: peer::Purpose, operation: &'static str) -> Purpose {
    match purpose {
        peer::Purpose::Read => Purpose::Read,
        peer::Purpose::Write => Purpose::Write,
        peer::Purpose::Hedge => Purpose::Hedge,
        peer::Purpose::Repair => Purpose::Repair,
        peer::Purpose::Collect => Purpose::Gc,
        peer::Purpose::Challenge => Purpose::Challenge,
        peer::Purpose::Ledger if matches!(operation.as_bytes(), b"PutShard") => Purpose::Write,
        peer::Purpose::Ledger => Purpose::Read,
    }
}

/// A refusal in one word.
const fn status(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAllowed => "NotAllowed",
        Refusal::NoDrive => "NoDrive",
        Refusal::Lost => "Lost",
        Refusal::Full => "Full",
        Refusal::LeaseEnded { .. } => "LeaseEnded",
        Refusal::Absent => "Absent",
        Refusal::Damaged => "Damaged",
        Refusal::WrongHash => "WrongHash",
        Refusal::Io => "Io",
        Refusal::Busy => "Busy",
        Refusal::Malformed => "Malformed",
        Refusal::BadOrder => "BadOrder",
        Refusal::CutOff => "CutOff",
    }
}

impl std::fmt::Debug for NodeRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeRecords")
            .field("records", &self.recorder.reader().len())
            .finish_non_exhaustive()
    }
}
