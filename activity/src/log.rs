//! The activity log: entries and signed checkpoints on the engine's append-only log, grown by one owner.
//!
//! Order of things: entries are appended; [`ActivityLog::sync_and_checkpoint`] signs the tree over them, writes the
//! checkpoint behind them, makes all of it durable with one flush, and only then shows it to readers. A crash in
//! between loses an unpublished head and nothing that anyone was told: recovery cuts a torn end off in log order, so
//! no checkpoint outlives an entry under it, and two published heads of one log never disagree.
//!
//! Opening replays the frames' tags, compares every checkpoint with the tree at its place and refuses a log in which
//! one disagrees: that is damage or tampering, never repaired by signing something else. Memory grows with the log:
//! 8 bytes for the position, 25 to 55 for the id and 0.2 for the tree per entry, about 60 MB per million.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use engine::disk::Disk;
use engine::log::{FrameInfo, Log, LogConfig, LogError, LogReader, Position, Recovery};

use crate::entry::{
    BODY_BYTES_MAX, CHECKPOINT_KIND, ENTRY_KIND, EntryTag, NewEntry, decode_checkpoint_tag,
    encode_checkpoint_tag, note_of,
};
use crate::merkle::leaf_hash;
use crate::note::{LogIdentity, LogKey, NoteError, SignedCheckpoint};
use crate::reader::ActivityReader;
use crate::record::RecordId;
use crate::tree::Tree;

/// Why an activity log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log under it.
    #[error(transparent)]
    Log(#[from] engine::log::OpenError),
    /// A frame that is not the entry or checkpoint that belongs there.
    #[error("the frame at {position} does not belong after entry {entries} of the activity log")]
    Frame {
        /// Where.
        position: Position,
        /// Entries before it.
        entries: u64,
    },
    /// A checkpoint that disagrees with the entries before it: something was changed, dropped, inserted or moved.
    #[error("the checkpoint of size {size} at {position} disagrees with the {entries} entries before it")]
    Disagrees {
        /// Where.
        position: Position,
        /// The size that it signs.
        size: u64,
        /// Entries before it.
        entries: u64,
    },
    /// The newest checkpoint is not one by this log's key.
    #[error("the checkpoint at {position}: {source}")]
    Note {
        /// Where.
        position: Position,
        /// What is wrong with it.
        source: NoteError,
    },
    /// The newest checkpoint could not be read.
    #[error(transparent)]
    Read(#[from] engine::log::ReadError),
    /// The entries behind the newest checkpoint could not be signed.
    #[error(transparent)]
    Checkpoint(#[from] LogError),
}

/// Why an entry was not appended. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log has a record of this id; a feeder that repeats itself after a crash goes on to the next.
    #[error("the record is already entry {index}")]
    RecordKnown {
        /// Where.
        index: u64,
    },
    /// The body is too long.
    #[error("a body of {bytes} bytes; the limit is {BODY_BYTES_MAX}")]
    BodyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The log under it.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What the log under it found. Unless it was `clean`, records of the last second may be missing: the owner
    /// writes a gap record.
    pub recovery: Recovery,
    /// Entries that no checkpoint had covered; they are covered now, unless the disk is full.
    pub uncovered: u64,
}

/// What readers share with the owner.
pub(crate) struct Shared {
    pub(crate) key: LogKey,
    pub(crate) log: LogReader,
    state: RwLock<State>,
}

/// The log's index in memory. Entries from `published` on are the owner's alone.
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) positions: Vec<Position>,
    pub(crate) by_record: HashMap<RecordId, u64>,
    pub(crate) sequence_through: u64,
    pub(crate) published: Arc<SignedCheckpoint>,
    pub(crate) published_through: u64,
}

impl Shared {
    // A panic while the lock was held cannot leave a half-made change that matters: entries are pushed whole.
    pub(crate) fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An activity log, held by its one owner.
pub struct ActivityLog {
    identity: LogIdentity,
    log: Log,
    shared: Arc<Shared>,
}

impl ActivityLog {
    /// Opens the log in `dir`, or makes one with the random `fresh_log_id`. Afterwards every entry is covered by a
    /// durable checkpoint; on a full disk the next [`Self::sync_and_checkpoint`] that finds space sees to that. That no
    /// other process has it open is the caller's lock to ensure.
    ///
    /// # Errors
    /// [`OpenError`]; a damaged log is named and left as it is.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: LogIdentity,
        fresh_log_id: u64,
    ) -> Result<(Self, Opened), OpenError> {
        Self::open_with(disk, dir, identity, fresh_log_id, LogConfig::activity())
    }

    /// As [`Self::open`], with other segment sizes.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: LogIdentity,
        fresh_log_id: u64,
        config: LogConfig,
    ) -> Result<(Self, Opened), OpenError> {
        let mut replay = Replay::default();
        let (log, recovery) = Log::open(disk, dir, config, fresh_log_id, &mut |frame| replay.visit(&frame))?;
        if let Some(refused) = replay.refused {
            return Err(refused);
        }
        let reader = log.reader();
        let found = replay
            .newest
            .map(|position| newest_checkpoint(&reader, position, identity.key()))
            .transpose()?;
        let covered = found
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.checkpoint().size);
        let uncovered = replay.tree.size() - covered;
        // A log without any checkpoint gets one of size 0 at once, so that readers always have a head.
        let is_new = found.is_none();
        let published = found.unwrap_or_else(|| identity.sign(0, Tree::default().root()));
        let state = State {
            tree: replay.tree,
            positions: replay.positions,
            by_record: replay.by_record,
            sequence_through: replay.sequence_through,
            published: Arc::new(published),
            published_through: replay.sequence_through,
        };
        let shared = Shared {
            key: identity.key().clone(),
            log: reader,
            state: RwLock::new(state),
        };
        let mut opened = Self {
            identity,
            log,
            shared: Arc::new(shared),
        };
        if is_new || uncovered > 0 {
            match opened.write_checkpoint() {
                // Readers have the head that is published, and the next sync tries again.
                Ok(_) | Err(LogError::Full { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((opened, Opened { recovery, uncovered }))
    }

    /// Appends an entry and returns its index. Readers see it, and it is durable, after the next
    /// [`Self::sync_and_checkpoint`].
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append(&mut self, entry: &NewEntry) -> Result<u64, AppendError> {
        if entry.body.len() > BODY_BYTES_MAX {
            return Err(AppendError::BodyTooLong {
                bytes: entry.body.len(),
            });
        }
        let index = {
            let state = self.shared.state();
            if let Some(&index) = state.by_record.get(&entry.record_id) {
                return Err(AppendError::RecordKnown { index });
            }
            state.tree.size()
        };
        let NewEntry {
            record_id,
            ledger_sequence,
            commitment,
            ..
        } = *entry;
        let tag = EntryTag {
            index,
            ledger_sequence,
            record_id,
            commitment,
        };
        let position = self.log.append(ENTRY_KIND, &tag.encode(), &[&entry.body])?;
        let mut state = self.shared.state_mut();
        let State {
            tree,
            positions,
            by_record,
            sequence_through,
            ..
        } = &mut *state;
        tree.push(leaf_hash(&commitment));
        positions.push(position);
        by_record.insert(record_id, index);
        if ledger_sequence != 0 {
            *sequence_through = ledger_sequence;
        }
        Ok(index)
    }

    /// Signs the tree over everything appended, makes entries and checkpoint durable with one flush, and publishes
    /// them. Without new entries it returns the head that is published.
    ///
    /// # Errors
    /// [`LogError`]. With [`LogError::Full`] nothing is published and it can be tried again; others are final.
    pub fn sync_and_checkpoint(&mut self) -> Result<Arc<SignedCheckpoint>, LogError> {
        {
            let state = self.shared.state();
            if state.published.checkpoint().size == state.tree.size() {
                return Ok(Arc::clone(&state.published));
            }
        }
        self.write_checkpoint()
    }

    fn write_checkpoint(&mut self) -> Result<Arc<SignedCheckpoint>, LogError> {
        let (size, root, through) = {
            let state = self.shared.state();
            (state.tree.size(), state.tree.root(), state.sequence_through)
        };
        let signed = Arc::new(self.identity.sign(size, root));
        let tag = encode_checkpoint_tag(signed.checkpoint());
        self.log
            .append(CHECKPOINT_KIND, &tag, &[signed.note().as_bytes()])?;
        self.log.sync_linked()?;
        let mut state = self.shared.state_mut();
        state.published = Arc::clone(&signed);
        state.published_through = through;
        Ok(signed)
    }

    /// Entries appended, published or not.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.state().tree.size()
    }

    /// Whether nothing was ever appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ledger sequence of the newest appended entry that has one: where a feeder goes on. After a ledger was
    /// rebuilt with lower sequences, the first entry of the new one moves this back.
    #[must_use]
    pub fn ledger_sequence_through(&self) -> u64 {
        self.shared.state().sequence_through
    }

    /// A reader, which any number of threads may use.
    #[must_use]
    pub fn reader(&self) -> ActivityReader {
        ActivityReader::new(Arc::clone(&self.shared))
    }

    /// Bytes on disk, reservations included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.log.allocated_bytes()
    }

    /// Bytes that entries may still take before an append does more than write into space that is reserved.
    #[must_use]
    pub fn reserved_room(&self) -> u64 {
        self.log.reserved_room()
    }

    /// Whether an earlier failure ended the log's life in this process.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.log.is_fenced()
    }

    /// After a second without appends: publishes what is left and writes the closing frame.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn idle(&mut self) -> Result<(), LogError> {
        self.sync_and_checkpoint()?;
        self.log.idle()
    }

    /// Publishes what is left and ends the log in an orderly way.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync_and_checkpoint()?;
        self.log.close()
    }
}

/// The state that grows while frames are shown to it.
#[derive(Default)]
struct Replay {
    tree: Tree,
    positions: Vec<Position>,
    by_record: HashMap<RecordId, u64>,
    sequence_through: u64,
    newest: Option<Position>,
    refused: Option<OpenError>,
}

impl Replay {
    fn visit(&mut self, frame: &FrameInfo) {
        if self.refused.is_none() {
            self.refused = self.take(frame).err();
        }
    }

    fn take(&mut self, frame: &FrameInfo) -> Result<(), OpenError> {
        let (position, entries) = (frame.position, self.tree.size());
        let misplaced = OpenError::Frame { position, entries };
        match frame.kind {
            ENTRY_KIND => {
                let tag = EntryTag::decode(&frame.tag).filter(|tag| tag.index == entries);
                let tag = tag.ok_or(misplaced)?;
                if self.by_record.insert(tag.record_id, tag.index).is_some() {
                    return Err(OpenError::Frame { position, entries });
                }
                self.tree.push(leaf_hash(&tag.commitment));
                self.positions.push(position);
                if tag.ledger_sequence != 0 {
                    self.sequence_through = tag.ledger_sequence;
                }
            }
            CHECKPOINT_KIND => {
                let checkpoint = decode_checkpoint_tag(&frame.tag).ok_or(misplaced)?;
                if checkpoint.size != entries || checkpoint.root != self.tree.root() {
                    return Err(OpenError::Disagrees {
                        position,
                        size: checkpoint.size,
                        entries,
                    });
                }
                self.newest = Some(position);
            }
            _ => return Err(misplaced),
        }
        Ok(())
    }
}

/// Reads the newest checkpoint whole: its note must be by this log's key and say what its tag says.
fn newest_checkpoint(
    log: &LogReader,
    position: Position,
    key: &LogKey,
) -> Result<SignedCheckpoint, OpenError> {
    let frame = log.read(position)?;
    let refused = |source| OpenError::Note { position, source };
    let note = note_of(&frame).ok_or(refused(NoteError::Form))?;
    let signed = SignedCheckpoint::parse(note, key).map_err(refused)?;
    if decode_checkpoint_tag(&frame.info.tag) != Some(signed.checkpoint()) {
        return Err(refused(NoteError::Form));
    }
    Ok(signed)
}
