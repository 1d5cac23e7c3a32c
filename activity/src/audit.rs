//! The full audit: the whole tree again from the entries on disk, against every checkpoint that was ever written.
//!
//! It trusts nothing that opening the log computed. One entry altered, dropped, reordered or inserted before a
//! checkpoint changes the root that the checkpoint signed, so without the log's key it cannot be hidden. What it
//! cannot see: entries behind the newest checkpoint (it counts them), and a log rolled back whole to an earlier
//! checkpoint (compare with a head or a receipt kept elsewhere).
//!
//! The tree covers commitments; that the bodies still open them is checked by [`audit_with`], which asks the
//! log's owner to open each body.

use std::collections::HashSet;

use engine::log::{Frame, Position};

use crate::entry::{CHECKPOINT_KIND, ENTRY_KIND, Entry, decode_checkpoint_tag, note_of};
use crate::merkle::{Hash, leaf_hash};
use crate::note::{LogKey, NoteError, SignedCheckpoint};
use crate::reader::ActivityReader;
use crate::record::{RecordId, commitment};
use crate::tree::Tree;

/// What an audit found in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries in the log.
    pub entries: u64,
    /// Checkpoints, all of which agree with the entries before them.
    pub checkpoints: u64,
    /// Entries behind the newest checkpoint, which nothing signed yet.
    pub uncovered: u64,
    /// The root over all entries.
    pub root: Hash,
}

/// What an audit found wrong, the first of it.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] engine::log::ReadError),
    /// A frame that is not the entry or checkpoint that belongs there.
    #[error("the frame at {position} does not belong after entry {entries}")]
    Frame {
        /// Where.
        position: Position,
        /// Entries before it.
        entries: u64,
    },
    /// A second record of one id.
    #[error("entry {index} at {position} repeats a record id")]
    Repeated {
        /// Where.
        position: Position,
        /// Which entry.
        index: u64,
    },
    /// A checkpoint that is not by the log's key.
    #[error("the checkpoint at {position}: {source}")]
    Note {
        /// Where.
        position: Position,
        /// What is wrong with it.
        source: NoteError,
    },
    /// A checkpoint that disagrees with the entries before it.
    #[error("the checkpoint of size {size} at {position} disagrees with the {entries} entries before it")]
    Disagrees {
        /// Where.
        position: Position,
        /// The size that it signs.
        size: u64,
        /// Entries before it.
        entries: u64,
    },
    /// The log ends before what was published.
    #[error("{entries} entries under checkpoints were found, {published} were published")]
    Missing {
        /// Entries that checkpoints on disk cover.
        entries: u64,
        /// Entries of the published head.
        published: u64,
    },
    /// The body does not open the entry's commitment.
    #[error("the body of entry {index} at {position} does not open its commitment")]
    Body {
        /// Where.
        position: Position,
        /// Which entry.
        index: u64,
    },
}

/// What the body of an entry holds, unsealed by the log's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The blind of the commitment.
    pub blind: [u8; 32],
    /// The canonical record.
    pub record: Vec<u8>,
}

/// Checks frames of an activity log one by one, from the first.
pub struct Auditor<'a> {
    key: &'a LogKey,
    tree: Tree,
    seen: HashSet<RecordId>,
    checkpoints: u64,
    covered: u64,
}

impl<'a> Auditor<'a> {
    /// An audit of the log with this key.
    #[must_use]
    pub fn new(key: &'a LogKey) -> Self {
        Self {
            key,
            tree: Tree::default(),
            seen: HashSet::new(),
            checkpoints: 0,
            covered: 0,
        }
    }

    /// Takes the next frame; returns the entry if it is one.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn frame(&mut self, frame: &Frame) -> Result<Option<Entry>, AuditError> {
        let (position, entries) = (frame.info.position, self.tree.size());
        match frame.info.kind {
            ENTRY_KIND => {
                let entry = Entry::decode(frame).filter(|entry| entry.index == entries);
                let entry = entry.ok_or(AuditError::Frame { position, entries })?;
                if !self.seen.insert(entry.record_id) {
                    return Err(AuditError::Repeated {
                        position,
                        index: entries,
                    });
                }
                self.tree.push(leaf_hash(&entry.commitment));
                Ok(Some(entry))
            }
            CHECKPOINT_KIND => {
                let note = note_of(frame).ok_or(AuditError::Frame { position, entries })?;
                let signed = SignedCheckpoint::parse(note, self.key);
                let head = signed
                    .map_err(|source| AuditError::Note { position, source })?
                    .checkpoint();
                let tag_agrees = decode_checkpoint_tag(&frame.info.tag) == Some(head);
                if head.size != entries || head.root != self.tree.root() || !tag_agrees {
                    return Err(AuditError::Disagrees {
                        position,
                        size: head.size,
                        entries,
                    });
                }
                self.checkpoints += 1;
                self.covered = entries;
                Ok(None)
            }
            _ => Err(AuditError::Frame { position, entries }),
        }
    }

    /// Ends the audit of a log that published a head of `published` entries.
    ///
    /// # Errors
    /// [`AuditError::Missing`] when checkpoints cover less than that.
    pub fn finish(self, published: u64) -> Result<AuditReport, AuditError> {
        if self.covered < published {
            return Err(AuditError::Missing {
                entries: self.covered,
                published,
            });
        }
        let entries = self.tree.size();
        let uncovered = entries - self.covered;
        Ok(AuditReport {
            entries,
            checkpoints: self.checkpoints,
            uncovered,
            root: self.tree.root(),
        })
    }
}

/// Audits the whole log: entries, order, tree and every checkpoint.
///
/// # Errors
/// [`AuditError`], the first thing that is wrong.
pub fn audit(reader: &ActivityReader) -> Result<AuditReport, AuditError> {
    run(reader, None)
}

/// As [`audit`], and every entry must open: `open` unseals an entry's body to blind and canonical record,
/// or says `None`.
///
/// # Errors
/// [`AuditError`], the first thing that is wrong.
pub fn audit_with(
    reader: &ActivityReader,
    open: &mut dyn FnMut(&Entry) -> Option<Opening>,
) -> Result<AuditReport, AuditError> {
    run(reader, Some(open))
}

type OpenBody<'a> = &'a mut dyn FnMut(&Entry) -> Option<Opening>;

fn run(reader: &ActivityReader, mut open: Option<OpenBody<'_>>) -> Result<AuditReport, AuditError> {
    let published = reader.len();
    let mut auditor = Auditor::new(reader.key());
    for frame in reader.frames() {
        let frame = frame?;
        let (Some(entry), Some(open)) = (auditor.frame(&frame)?, open.as_mut()) else {
            continue;
        };
        let opens = open(&entry).is_some_and(|o| commitment(&o.blind, &o.record) == entry.commitment);
        if !opens {
            return Err(AuditError::Body {
                position: frame.info.position,
                index: entry.index,
            });
        }
    }
    auditor.finish(published)
}
