//! Receipts: a record, and the proof that it is in a signed log, in one offline text file.
//!
//! The format is c2sp.org/tlog-proof@v1; RECEIPT.md gives every byte of it and how to check one by hand. The extra
//! data, which that format leaves to the application, opens the log's entry: blind and record, and the log's key.
//! None of it is trusted for being there: record and blind must hash to the leaf, the key must have signed the
//! checkpoint.
//!
//! The invariant: a receipt has one byte form. [`Receipt::parse`] accepts what [`Receipt::build`] writes and nothing
//! else, so a receipt with any byte changed, added or taken out does not verify.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scopes::PublicKey;
use scopes::canonical::{self, CanonicalError, decimal_exact, hex_exact};
use serde::{Deserialize, Serialize};

use crate::merkle::{Hash, PROOF_HASHES_MAX, leaf_hash, root_from_inclusion};
use crate::note::{LogKey, NoteError, SignedCheckpoint, decode_hash};
use crate::reader::{ActivityReader, ReadError};
use crate::record::{Record, RecordError, commitment};

/// The longest receipt that is read, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 32_768;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Why a receipt does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// Longer than any receipt.
    #[error("a receipt of {bytes} bytes; the limit is {RECEIPT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a receipt, or not in its one form.
    #[error("not a receipt in its one form: {part}")]
    Form {
        /// Where it differs.
        part: &'static str,
    },
    /// The extra data is not canonical JSON of its shape.
    #[error("the receipt's extra data: {0}")]
    Extra(#[from] CanonicalError),
    /// The log's key or checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The log's key is not the pinned one.
    #[error("the receipt is of the log {found}, not of the pinned one")]
    OtherKey {
        /// The key in the receipt.
        found: LogKey,
    },
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Record and blind are not what stands at this index of the tree.
    #[error("the record is not entry {index} of the signed tree of {size} entries")]
    NotIncluded {
        /// The index that the receipt names.
        index: u64,
        /// The size of the signed tree.
        size: u64,
    },
}

/// The extra data: canonical JSON of this shape, in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    blind: String,
    log_key: String,
    record: serde_json::Value,
}

/// A receipt in its one form, not yet checked. It displays as that form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    text: String,
    record: Vec<u8>,
    blind: [u8; 32],
    log_key: LogKey,
    index: u64,
    proof: Vec<Hash>,
    note: String,
}

/// What a receipt proves, once it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The record.
    pub record: Record,
    /// The keys whose signatures the record carries, all of which hold.
    pub signers: Vec<PublicKey>,
    /// The log's key. Unless `pinned`, the receipt itself is the only one to say that it is anybody's.
    pub key: LogKey,
    /// Whether the caller gave the log's key; if not, say "key not pinned".
    pub pinned: bool,
    /// The entry's index in the log.
    pub index: u64,
    /// The size of the signed tree.
    pub tree_size: u64,
    /// The root of the signed tree.
    pub root: Hash,
}

impl Receipt {
    /// The receipt of entry `index` of a published log under its newest checkpoint. Record and blind come from the
    /// entry's body, opened by the log's owner.
    ///
    /// # Errors
    /// [`ReadError`] when the log does not have the entry, or record and blind are not what it commits to.
    pub fn build(
        reader: &ActivityReader,
        index: u64,
        record: &[u8],
        blind: &[u8; 32],
    ) -> Result<Self, ReadError> {
        let checkpoint = reader.checkpoint();
        let proof = reader.inclusion_proof(index, checkpoint.checkpoint().size)?;
        Ok(Self::assemble(record, blind, index, proof, &checkpoint)?)
    }

    /// Puts a receipt together. It is checked whole before it is returned, so no receipt that would be refused
    /// leaves a log.
    ///
    /// # Errors
    /// Whatever [`Self::parse`] and [`Self::verify`] would say.
    pub fn assemble(
        record: &[u8],
        blind: &[u8; 32],
        index: u64,
        proof: Vec<Hash>,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Self, ReceiptError> {
        let mut receipt = Self {
            text: String::new(),
            record: record.to_vec(),
            blind: *blind,
            log_key: checkpoint.key().clone(),
            index,
            proof,
            note: checkpoint.note(),
        };
        receipt.text = receipt.write()?;
        Self::parse(receipt.text.as_bytes())?.verify(Some(checkpoint.key()))?;
        Ok(receipt)
    }

    /// The receipt's one form.
    fn write(&self) -> Result<String, ReceiptError> {
        let extra = canonical::encode(&Extra {
            blind: hex::encode(self.blind),
            log_key: self.log_key.to_string(),
            record: serde_json::from_slice(&self.record).map_err(CanonicalError::from)?,
        })?;
        let mut text = format!(
            "{FIRST_LINE}\nextra {}\nindex {}\n",
            STANDARD.encode(extra),
            self.index
        );
        for hash in &self.proof {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        Ok(text)
    }

    /// Reads a receipt in its one form. Nothing in it is checked yet, and nothing in it can be read.
    ///
    /// # Errors
    /// [`ReceiptError`] of form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::TooLong { bytes: bytes.len() });
        }
        let form = |part| ReceiptError::Form { part };
        let text = std::str::from_utf8(bytes).map_err(|_| form("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(form("no empty line"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(form("first line"));
        }
        let extra = lines
            .next()
            .and_then(|line| line.strip_prefix("extra "))
            .ok_or(form("extra line"))?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .ok_or(form("index line"))?;
        let index = decimal_exact(index).ok_or(form("index line"))?;
        let proof: Vec<Hash> = lines
            .map(decode_hash)
            .collect::<Option<_>>()
            .ok_or(form("proof line"))?;
        if proof.len() > PROOF_HASHES_MAX {
            return Err(form("too many proof lines"));
        }
        let extra: Extra = canonical::decode(&STANDARD.decode(extra).map_err(|_| form("extra line"))?)?;
        let receipt = Self {
            text: text.to_owned(),
            record: canonical::encode(&extra.record)?,
            blind: hex_exact(&extra.blind).ok_or(form("blind"))?,
            log_key: extra.log_key.parse()?,
            index,
            proof,
            note: note.to_owned(),
        };
        if receipt.write()? != text {
            return Err(form("not as it would be written"));
        }
        Ok(receipt)
    }

    /// Checks everything: the checkpoint's signature, the inclusion of the commitment, the record's form and its
    /// signatures; with `pinned`, also that the log is the one expected.
    ///
    /// # Errors
    /// [`ReceiptError`], the first thing that does not hold.
    pub fn verify(&self, pinned: Option<&LogKey>) -> Result<Verified, ReceiptError> {
        if pinned.is_some_and(|key| *key != self.log_key) {
            return Err(ReceiptError::OtherKey {
                found: self.log_key.clone(),
            });
        }
        let checkpoint = SignedCheckpoint::parse(&self.note, &self.log_key)?.checkpoint();
        let leaf = leaf_hash(&commitment(&self.blind, &self.record));
        if root_from_inclusion(leaf, self.index, checkpoint.size, &self.proof) != Some(checkpoint.root) {
            return Err(ReceiptError::NotIncluded {
                index: self.index,
                size: checkpoint.size,
            });
        }
        let record = Record::parse(&self.record)?;
        Ok(Verified {
            signers: record.signers()?,
            record,
            key: self.log_key.clone(),
            pinned: pinned.is_some(),
            index: self.index,
            tree_size: checkpoint.size,
            root: checkpoint.root,
        })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
