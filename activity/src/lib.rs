//! Evidence: records of operations, the Merkle log that holds them, and receipts that anyone can check offline.
//!
//! A record's public trace is a blinded commitment; tools that know the C2SP formats and nothing of this project can
//! prove that it is in the log, and a receipt opens it to the record. Bodies of log entries are opaque here: whoever
//! owns the log seals them.
//!
//! This room is pure but for the disk that is handed to [`ActivityLog::open`]: time and random bytes are passed in.
//! That one process keeps one log is the program's lock to enforce, not this room's.
//!
//! Sources: RFC 6962 section 2.1 (tree), RFC 8785 (records), c2sp.org/tlog-tiles, /tlog-checkpoint, /signed-note and
//! /tlog-proof; engine/FORMAT.md section 7; RECEIPT.md for the receipt's exact bytes.

mod audit;
mod entry;
mod log;
pub mod merkle;
mod note;
mod reader;
mod receipt;
mod record;
mod timestamp;
mod tree;

pub use audit::{AuditError, AuditReport, Auditor, Opening, audit, audit_with};
pub use entry::{BODY_BYTES_MAX, Entry, NewEntry};
pub use log::{ActivityLog, AppendError, OpenError, Opened};
pub use note::{Checkpoint, LogIdentity, LogKey, NoteError, ORIGIN_BYTES_MAX, SignedCheckpoint};
pub use reader::{ActivityReader, Entries, ReadError};
pub use receipt::{RECEIPT_BYTES_MAX, Receipt, ReceiptError, Verified};
pub use record::{
    Compute, OperationId, Purpose, RECORD_BYTES_MAX, Record, RecordError, RecordId, ResultHash, commitment,
    vault_scope,
};
pub use timestamp::Timestamp;
pub use tree::{LeafTile, OutOfRange, TILE_WIDTH, Tree};
