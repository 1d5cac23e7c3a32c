//! A whole ledger from one machine to another: what a copy needs that is too far behind to follow.
//!
//! What travels are frames of the slot log: the live entries, then the newest appends (whose records are not let go, and by which
//! a repeated operation is known), then the mark. Invariant: what was received becomes a ledger only once all of it is there and
//! durable; until then the old one stays as it is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::codec::{DecodeError, Reader, Writer};
use engine::disk::Disk;
use engine::log::{Log, LogConfig};
use engine::slots::{Entry, Sequence, WINDOW_APPENDS};

use super::frames::{
    KIND_APPEND, KIND_CARRIED, KIND_MARK, KIND_RECORDS_THROUGH, LedgerFrame, Mark, encode_carried,
};
use super::{Ledger, LedgerError, LocalLedger, Snapshot, Tail};

/// Entries and appends of a page.
const PAGE_ITEMS: usize = 512;
/// A page ends after so many bytes.
const PAGE_BYTES: usize = 1 << 20;
/// Most frames of a page.
const FRAMES_MAX: usize = 2_048;
/// The longest frame.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// A frame of the slot log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Travelling {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

impl Travelling {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.kind);
        writer.bytes(&self.payload);
    }

    pub(super) fn decode_page(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        reader.list_with(FRAMES_MAX, |reader| {
            let (kind, payload) = (reader.u8()?, reader.bytes(FRAME_BYTES_MAX)?);
            // Whatever the slot log would not read back must not get there.
            LedgerFrame::decode(kind, payload)?;
            let payload = payload.to_vec();
            Ok::<_, DecodeError>(Self { kind, payload })
        })
    }
}

/// What the receiver does not have yet.
enum Stage {
    Entries,
    Appends(Sequence),
    End,
    Done,
}

/// A transfer on the side that has the ledger.
pub(super) struct Outgoing {
    ledger: LocalLedger,
    snapshot: Snapshot,
    mark: Option<Mark>,
    records_through: u64,
    /// Appends above this one travel as they are.
    above: Sequence,
    stage: Stage,
    /// Frames that did not fit into the last page.
    left: VecDeque<Travelling>,
}

impl Outgoing {
    /// Takes a snapshot of the ledger as it is now.
    pub(super) async fn begin(ledger: LocalLedger) -> Result<Self, LedgerError> {
        let taking = ledger.clone();
        let taken = ledger
            .offload()
            .run(move || taking.take_snapshot_with(|table| (table.mark.clone(), table.records_through)));
        let (snapshot, (mark, records_through)) = taken.await.map_err(|_| LedgerError::Closed)??;
        // While the snapshot lives no segment goes, so this holds until the end.
        let held = ledger.status().tail_above;
        let newest = snapshot.sequence().0;
        let wanted = records_through.min(newest.saturating_sub(WINDOW_APPENDS));
        Ok(Self {
            ledger,
            snapshot,
            mark,
            records_through,
            above: Sequence(wanted.max(held).min(newest)),
            stage: Stage::Entries,
            left: VecDeque::new(),
        })
    }

    /// The next frames, about [`PAGE_BYTES`] of them; empty at the end.
    pub(super) async fn page(&mut self) -> Result<Vec<Travelling>, LedgerError> {
        if self.left.is_empty() {
            self.left = self.more().await?.into();
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut fits = |frame: &mut Travelling| {
            let first = bytes == 0;
            bytes += frame.payload.len() + 8;
            first || bytes <= PAGE_BYTES
        };
        while let Some(frame) = self.left.pop_front_if(&mut fits) {
            page.push(frame);
        }
        Ok(page)
    }

    /// The next frames, however many bytes they have together.
    async fn more(&mut self) -> Result<Vec<Travelling>, LedgerError> {
        loop {
            match self.stage {
                Stage::Entries => {
                    let entries = self.snapshot.next(PAGE_ITEMS).await?;
                    if entries.is_empty() {
                        self.stage = Stage::Appends(self.above);
                        continue;
                    }
                    let old = |entry: &Entry| entry.sequence <= self.above;
                    let page = carried(entries.into_iter().filter(old).collect());
                    if !page.is_empty() {
                        return Ok(page);
                    }
                }
                Stage::Appends(from) => {
                    let newest = self.snapshot.sequence();
                    let Tail::Appends(appends) = self.ledger.tail(from, PAGE_ITEMS).await? else {
                        return Err(LedgerError::Closed);
                    };
                    let (mut page, mut bytes, mut last) = (Vec::new(), 0, from);
                    for append in appends {
                        if append.sequence > newest || bytes >= PAGE_BYTES {
                            break;
                        }
                        let mut writer = Writer::new();
                        append.encode(&mut writer);
                        (bytes, last) = (bytes + writer.len(), append.sequence);
                        page.push(Travelling {
                            kind: KIND_APPEND,
                            payload: writer.into_vec(),
                        });
                    }
                    self.stage = match page.is_empty() {
                        true => Stage::End,
                        false => Stage::Appends(last),
                    };
                    if !page.is_empty() {
                        return Ok(page);
                    }
                }
                Stage::End => {
                    self.stage = Stage::Done;
                    let through = Travelling {
                        kind: KIND_RECORDS_THROUGH,
                        payload: self.records_through.to_le_bytes().to_vec(),
                    };
                    let mark = self.mark.as_ref().map(|mark| Travelling {
                        kind: KIND_MARK,
                        payload: mark.encode(),
                    });
                    return Ok([through].into_iter().chain(mark).collect());
                }
                Stage::Done => return Ok(Vec::new()),
            }
        }
    }
}

/// Frames of entries, none of them much longer than a page.
fn carried(entries: Vec<Entry>) -> Vec<Travelling> {
    let mut page = Vec::new();
    let mut together: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    let mut end = |together: &mut Vec<Entry>| {
        if !together.is_empty() {
            let (payload, _) = encode_carried(together);
            together.clear();
            page.push(Travelling {
                kind: KIND_CARRIED,
                payload,
            });
        }
    };
    for entry in entries {
        bytes += entry.value.len();
        together.push(entry);
        if bytes >= CARRIED_BYTES {
            end(&mut together);
            bytes = 0;
        }
    }
    end(&mut together);
    page
}

/// Bytes of values in one frame of entries.
const CARRIED_BYTES: usize = 64 << 10;

/// A ledger that is being received into a directory of its own.
pub(super) struct Incoming {
    log: Log,
    dir: PathBuf,
    number: u64,
}

impl Incoming {
    /// Begins in `dir`, which is emptied first. Blocks.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        log: LogConfig,
        log_id: u64,
        number: u64,
    ) -> Result<Self, LedgerError> {
        remove_log(disk, dir)?;
        let opened = Log::open(Arc::clone(disk), dir, log, log_id, &mut |_| {});
        let (log, _) = opened.map_err(|error| {
            tracing::error!(%error, "a ledger cannot be received");
            LedgerError::Read(std::io::ErrorKind::Other)
        })?;
        let dir = dir.to_owned();
        Ok(Self { log, dir, number })
    }

    /// Writes frames. Blocks.
    pub(super) fn write(&mut self, frames: &[Travelling]) -> Result<(), LedgerError> {
        for frame in frames {
            let written = self.log.append(frame.kind, &[], &[&frame.payload]);
            written.map_err(|error| received(&error))?;
        }
        Ok(())
    }

    /// Makes all of it durable and returns its number and where it is. Blocks.
    pub(super) fn finish(self) -> Result<(u64, PathBuf), LedgerError> {
        self.log.close().map_err(|error| received(&error))?;
        Ok((self.number, self.dir))
    }
}

fn received(error: &engine::log::LogError) -> LedgerError {
    tracing::error!(%error, "a received ledger cannot be written");
    match error {
        engine::log::LogError::Full { .. } => LedgerError::Full,
        _ => LedgerError::Read(std::io::ErrorKind::Other),
    }
}

/// Removes the files of a log, if there is one.
fn remove_log(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Read(error.kind());
    let names = match disk.list_dir(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for name in names {
        disk.remove_file(&dir.join(name)).map_err(failed)?;
    }
    disk.sync_dir(dir).map_err(failed)
}
