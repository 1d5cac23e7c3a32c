//! From the log back to the state: at the start, and when an append that was decided could not be written.
//!
//! Invariant: the same log gives the same state, and a log that does not read is named, never guessed at.

use engine::codec::DecodeError;
use engine::log::{LogReader, OpenError, Position, ReadError};
use engine::slots::{ReplayError, Sequence};

use super::frames::{LedgerFrame, ValueAt};
use super::state::Table;
use super::tail::TailIndex;

/// Why a ledger does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerOpenError {
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The log does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A frame that checks is not of the ledger's format.
    #[error("the ledger's frame at {position} is not valid: {source}")]
    Frame {
        /// Where it begins.
        position: Position,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A frame does not follow from those before it.
    #[error("the ledger's frame at {position} does not follow: {source}")]
    Replay {
        /// Where it begins.
        position: Position,
        /// What is wrong.
        source: ReplayError,
    },
    /// The flusher thread could not be started.
    #[error("the ledger's flusher thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// Reads the whole log.
pub(super) fn replay(reader: &LogReader) -> Result<(Table, TailIndex), LedgerOpenError> {
    let mut table = Table::default();
    let mut tail = TailIndex::default();
    for frame in reader.frames_with_payload(Position(0)) {
        let frame = frame?;
        let position = frame.info.position;
        let decoded = LedgerFrame::decode(frame.info.kind, &frame.payload)
            .map_err(|source| LedgerOpenError::Frame { position, source })?;
        let applied = match decoded {
            LedgerFrame::Append(append, ranges) => {
                let applied = table.replay(position, &append, &ranges);
                tail.push(position, append);
                applied
            }
            LedgerFrame::Carried(entries) => entries
                .iter()
                .try_for_each(|(entry, range)| table.restore(entry, ValueAt::new(position, *range))),
            LedgerFrame::RecordsThrough(Sequence(through)) => {
                table.records_through = table.records_through.max(through);
                Ok(())
            }
            LedgerFrame::Mark(mark) => {
                // A ledger that has just begun has no append to tell.
                table.machine.raise_sequence(Sequence(mark.sequence));
                table.lineage = mark.lineage;
                table.mark = Some(mark);
                Ok(())
            }
        };
        applied.map_err(|source| LedgerOpenError::Replay { position, source })?;
    }
    Ok((table, tail))
}
