//! Reading a published activity log: entries, proofs, tiles.
//!
//! A reader sees what a durable checkpoint covers and nothing beyond, so nothing it hands out can be taken back by a
//! crash. Leaf hashes of finished tiles are read from the log again and checked against the tile hash in memory
//! before they go into a proof: a proof that is given out holds. Source: c2sp.org/tlog-tiles.

use std::ops::Range;
use std::sync::Arc;

use engine::log::{FramesWithPayload, Position};

use crate::entry::{ENTRY_KIND, Entry, EntryTag};
use crate::log::Shared;
use crate::merkle::{Hash, leaf_hash};
use crate::note::{LogKey, SignedCheckpoint};
use crate::receipt::ReceiptError;
use crate::record::RecordId;
use crate::tree::{LeafTile, OutOfRange, TILE_WIDTH, fold};

/// Why something could not be read from the log.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not in the published log.
    #[error("entry {index} is not in the published log of {size} entries")]
    NoSuchEntry {
        /// What was asked for.
        index: u64,
        /// The published size.
        size: u64,
    },
    /// Not in the published tree.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The entries on disk no longer hash to the tile that was built from them.
    #[error("the entries of tile {number} are not those that were logged")]
    Damaged {
        /// Which level-0 tile.
        number: u64,
    },
    /// A frame that is not the entry that belongs there.
    #[error("the frame at {position} is not entry {index}")]
    Frame {
        /// Where.
        position: Position,
        /// The entry expected.
        index: u64,
    },
    /// The log under it.
    #[error(transparent)]
    Log(#[from] engine::log::ReadError),
    /// Record and blind do not make a receipt of that entry.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// A reader of a published log. Cheap to clone.
#[derive(Clone)]
pub struct ActivityReader {
    shared: Arc<Shared>,
}

impl ActivityReader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The log's key.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        &self.shared.key
    }

    /// The newest published tree head.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        Arc::clone(&self.shared.state().published)
    }

    /// Published entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.state().published.checkpoint().size
    }

    /// Whether nothing is published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ledger sequence of the newest published entry that has one: records up to it are durable here and may
    /// leave the ledger.
    #[must_use]
    pub fn ledger_sequence_through(&self) -> u64 {
        self.shared.state().published_through
    }

    /// The index of the record with this id.
    #[must_use]
    pub fn find(&self, record_id: &RecordId) -> Option<u64> {
        let state = self.shared.state();
        let size = state.published.checkpoint().size;
        state
            .by_record
            .get(record_id)
            .copied()
            .filter(|index| *index < size)
    }

    /// The entry at `index`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&self, index: u64) -> Result<Entry, ReadError> {
        let position = self.position(index)?;
        let frame = self.shared.log.read(position)?;
        let entry =
            Entry::decode(&frame).filter(|entry| frame.info.kind == ENTRY_KIND && entry.index == index);
        entry.ok_or(ReadError::Frame { position, index })
    }

    /// The entries of `range`, in order, as far as it is published. After an error the walk ends.
    pub fn entries(&self, range: Range<u64>) -> Entries {
        let end = range.end.min(self.len());
        let frames = self
            .position(range.start)
            .ok()
            .map(|from| self.shared.log.frames_with_payload(from));
        Entries {
            frames,
            next: range.start,
            end,
        }
    }

    /// The proof that entry `index` is in the tree of the first `size` entries, sibling first.
    ///
    /// # Errors
    /// [`ReadError`]; `size` must be published.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
        self.published(size)?;
        if index >= size {
            return Err(ReadError::NoSuchEntry { index, size });
        }
        let leaves = self.leaf_tiles(index, size)?;
        Ok(self.shared.state().tree.inclusion_proof(index, size, &leaves)?)
    }

    /// The proof that the tree of `old` entries is a prefix of that of `new` entries.
    ///
    /// # Errors
    /// [`ReadError`]; `new` must be published, `old` neither 0 nor above it.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ReadError> {
        self.published(new)?;
        if old > new {
            return Err(ReadError::NoSuchEntry {
                index: old,
                size: new,
            });
        }
        let leaves = self.leaf_tiles(old, new)?;
        Ok(self.shared.state().tree.consistency_proof(old, new, &leaves)?)
    }

    /// The bytes of tile `number` at `level`, of `width` hashes: what `tile/<level>/<number>[.p/<width>]` serves.
    ///
    /// # Errors
    /// [`ReadError`] when the published tree does not have so much of that tile.
    pub fn tile(&self, level: u32, number: u64, width: u64) -> Result<Vec<u8>, ReadError> {
        self.tile_is_published(level, number, width)?;
        if level > 0 {
            return Ok(self.shared.state().tree.tile(level, number, width)?.concat());
        }
        let mut hashes = self.leaf_tile(number)?.hashes;
        hashes.truncate(usize::try_from(width).unwrap_or(usize::MAX));
        Ok(hashes.concat())
    }

    /// The bytes of entry bundle `number`, of `width` entries: what `tile/entries/<number>[.p/<width>]` serves. An
    /// entry is its 32-byte commitment behind a big-endian u16 length.
    ///
    /// # Errors
    /// [`ReadError`] when the published log does not have so much of that bundle.
    pub fn entry_bundle(&self, number: u64, width: u64) -> Result<Vec<u8>, ReadError> {
        self.tile_is_published(0, number, width)?;
        let commitments = self.commitments(number, width)?;
        Ok(commitments
            .iter()
            .flat_map(|commitment| [0, 32].into_iter().chain(*commitment))
            .collect())
    }

    /// All frames of the log, payloads verified, for the audit.
    pub(crate) fn frames(&self) -> FramesWithPayload {
        self.shared.log.frames_with_payload(Position::default())
    }

    fn published(&self, size: u64) -> Result<(), ReadError> {
        let published = self.len();
        if size > published {
            Err(ReadError::NoSuchEntry {
                index: size,
                size: published,
            })
        } else {
            Ok(())
        }
    }

    fn position(&self, index: u64) -> Result<Position, ReadError> {
        let state = self.shared.state();
        let size = state.published.checkpoint().size;
        let place = usize::try_from(index).ok().filter(|_| index < size);
        place
            .and_then(|place| state.positions.get(place))
            .copied()
            .ok_or(ReadError::NoSuchEntry { index, size })
    }

    fn tile_is_published(&self, level: u32, number: u64, width: u64) -> Result<(), ReadError> {
        let size = self.len();
        let nodes = 8_u32
            .checked_mul(level)
            .and_then(|bits| size.checked_shr(bits))
            .unwrap_or(0);
        let end = number
            .checked_mul(TILE_WIDTH)
            .and_then(|first| first.checked_add(width));
        if (1..=TILE_WIDTH).contains(&width) && end.is_some_and(|end| end <= nodes) {
            Ok(())
        } else {
            Err(OutOfRange {
                level: level.saturating_mul(8),
                index: number,
                size,
            }
            .into())
        }
    }

    /// The level-0 tiles that a proof from `place` in the tree of `size` entries touches.
    fn leaf_tiles(&self, place: u64, size: u64) -> Result<Vec<LeafTile>, ReadError> {
        let numbers = self.shared.state().tree.leaf_tiles_touched(place, size);
        numbers.into_iter().map(|number| self.leaf_tile(number)).collect()
    }

    fn leaf_tile(&self, number: u64) -> Result<LeafTile, ReadError> {
        let root = {
            let state = self.shared.state();
            match state.tree.leaf_tile_root(number) {
                Some(root) => root,
                None => return Ok(state.tree.tail()),
            }
        };
        let hashes: Vec<Hash> = self
            .commitments(number, TILE_WIDTH)?
            .iter()
            .map(|c| leaf_hash(c))
            .collect();
        if fold(&hashes) == Some(root) {
            Ok(LeafTile { number, hashes })
        } else {
            Err(ReadError::Damaged { number })
        }
    }

    /// The commitments of the first `width` entries of level-0 tile `number`, from the frames' tags.
    fn commitments(&self, number: u64, width: u64) -> Result<Vec<Hash>, ReadError> {
        let mut index = number * TILE_WIDTH;
        let end = index + width;
        let from = {
            let state = self.shared.state();
            let place = usize::try_from(index)
                .ok()
                .and_then(|place| state.positions.get(place));
            *place.ok_or(ReadError::NoSuchEntry {
                index,
                size: state.tree.size(),
            })?
        };
        let mut commitments = Vec::new();
        for frame in self.shared.log.frames(from) {
            let frame = frame?;
            if frame.kind != ENTRY_KIND {
                continue;
            }
            let tag = EntryTag::decode(&frame.tag).filter(|tag| tag.index == index);
            commitments.push(
                tag.ok_or(ReadError::Frame {
                    position: frame.position,
                    index,
                })?
                .commitment,
            );
            index += 1;
            if index == end {
                return Ok(commitments);
            }
        }
        Err(ReadError::NoSuchEntry { index, size: index })
    }
}

/// See [`ActivityReader::entries`].
pub struct Entries {
    frames: Option<FramesWithPayload>,
    next: u64,
    end: u64,
}

impl Iterator for Entries {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end {
            let frame = match self.frames.as_mut()?.next()? {
                Ok(frame) if frame.info.kind != ENTRY_KIND => continue,
                Ok(frame) => frame,
                Err(error) => {
                    self.frames = None;
                    return Some(Err(error.into()));
                }
            };
            let index = self.next;
            self.next += 1;
            let entry = Entry::decode(&frame).filter(|entry| entry.index == index);
            if entry.is_none() {
                self.frames = None;
            }
            return Some(entry.ok_or(ReadError::Frame {
                position: frame.info.position,
                index,
            }));
        }
        None
    }
}
