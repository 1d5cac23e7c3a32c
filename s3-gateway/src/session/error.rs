//! What an operation on an open vault may answer instead of its result.
//!
//! Not S3 codes: `errors.rs` of this crate is the one table that turns these into codes, statuses and messages.

use super::customer::CustomerKeyError;
use thiserror::Error;
use vault::object::ChecksumAlgorithm;

/// Why an operation on a vault was not carried out. Nothing of the operation is visible after any of these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The vault has no scope of this name.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// A scope of this name exists in this vault already.
    #[error("the bucket exists already")]
    BucketExists,
    /// The scope still holds objects.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// No current object has this object key.
    #[error("there is no such object key")]
    NoSuchKey,
    /// The object key has no version of this id.
    #[error("there is no such version")]
    NoSuchVersion,
    /// The version is under retention or a legal hold.
    #[error("the version is under object lock")]
    Locked,
    /// No upload of this id is open for this object key.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// A part named in a completion was never stored, or its ETag or checksum differs.
    #[error("part {number} is missing or differs from what was stored")]
    InvalidPart {
        /// The part's number, 1 to 10,000.
        number: u16,
    },
    /// A completion repeats no checksum for a part of an upload whose checksum is over its parts' checksums.
    #[error("part {number} comes without the {algorithm:?} checksum that the upload announced")]
    PartChecksumMissing {
        /// The part's number.
        number: u16,
        /// What the upload announced.
        algorithm: ChecksumAlgorithm,
    },
    /// A completion names its parts in another order than ascending.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is under 5 MiB.
    #[error("part {number} has {bytes} bytes, and only the last part may have under {least}")]
    PartTooSmall {
        /// The part's number.
        number: u16,
        /// Its plaintext bytes.
        bytes: u64,
        /// The least a part that is not the last may have.
        least: u64,
    },
    /// The object's state does not meet the request's condition.
    #[error("the object does not meet the condition {condition}")]
    PreconditionFailed {
        /// The header that failed.
        condition: &'static str,
    },
    /// A customer's key is missing, needless or wrong.
    #[error(transparent)]
    CustomerKey(#[from] CustomerKeyError),
    /// A checksum over the whole object or the parts is not what the client expects.
    #[error("the checksum of the assembled object is not the expected one")]
    ChecksumDiffers,
    /// The assembled object is not as long as the client expects.
    #[error("the parts make {bytes} bytes, and {expected} were expected")]
    SizeDiffers {
        /// Bytes expected.
        expected: u64,
        /// Bytes of the parts.
        bytes: u64,
    },
    /// The slot was contended for longer than this gateway retries.
    #[error("the object was changed by others {attempts} times in a row")]
    Conflict {
        /// How often the append was tried.
        attempts: u32,
    },
    /// Too few drives are present to store anything safely.
    #[error(
        "{have} of the {need} drives that a write needs are present; `cairn status` shows which are missing and why; `cairn repair` brings back those whose storage peers run"
    )]
    NotWritable {
        /// Drives present.
        have: usize,
        /// Drives needed.
        need: usize,
    },
    /// Enough drives are present, but too many of them fail together.
    #[error(
        "{have} drives are present, but the loss of one failure domain would leave {left} shards of what is written now, and {need} are \
         needed to read it; `cairn status` shows which storage peers are missing"
    )]
    TooClose {
        /// Drives present.
        have: usize,
        /// Shards that would be left.
        left: usize,
        /// Shards that have to be left.
        need: usize,
    },
    /// The members of the ledger do not answer.
    #[error(
        "the ledger does not answer: more than half of its members must run; `cairn status` shows who does not, and what to do if they are lost"
    )]
    LedgerAway,
    /// The drives or the ledger have no room.
    #[error("the storage is full; reads, deletes and `cairn gc` still work")]
    DiskFull,
    /// The vault would grow beyond its quota.
    #[error("the vault may hold {quota_bytes} bytes and would hold {used_bytes}")]
    QuotaExceeded {
        /// The quota, plaintext bytes.
        quota_bytes: u64,
        /// Plaintext bytes in use.
        used_bytes: u64,
    },
    /// Too many stored shards are missing or bad to rebuild what was asked for.
    #[error("the object cannot be read: {have} of the {need} stored shards it needs are readable")]
    Unreadable {
        /// Stored shards that could be read. Implied ones are not counted: they are there without any drive.
        have: usize,
        /// Stored shards that are needed: the code's k less the implied ones.
        need: usize,
    },
    /// The ledger or the activity log has failed and takes no more writes; the process is about to end.
    #[error("the ledger or the activity log has failed; the gateway is going down")]
    Fenced,
    /// The activity log is more than ten seconds behind.
    #[error("the activity log has not kept up; try again")]
    Behind,
    /// The gateway has more to do than its bounds allow.
    #[error("the gateway is busy; try again")]
    Busy,
    /// The request is larger than a limit of the format.
    #[error("{what} is limited to {limit}, and {got} were asked for")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The most there may be.
        limit: u64,
        /// What was asked for.
        got: u64,
    },
    /// Something that should not happen did; the log of the gateway says more.
    #[error("internal error: {what}")]
    Internal {
        /// What went wrong, without any name or secret.
        what: &'static str,
    },
}
