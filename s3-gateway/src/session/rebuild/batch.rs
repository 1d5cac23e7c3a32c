//! The entries of a rebuilt vault on their way into the new ledger.

use super::super::{SessionError, fill_random};
use super::RebuildParts;
use bytes::Bytes;
use engine::slots::{Address, Append, Outcome, Write};
use vault::keys::FIRST_EPOCH;
use vault::object::Bucket;
use vault::rebuild::RebuiltEntry;
use vault::value::is_clear;

/// Entries written with one append.
const BATCH_ENTRIES: usize = 512;
/// Value bytes written with one append.
const BATCH_BYTES: usize = 1 << 20;

/// Entries on their way into the ledger, many to an append.
pub(super) struct Batch<'a> {
    parts: &'a RebuildParts,
    writes: Vec<Write>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    pub(super) const fn new(parts: &'a RebuildParts) -> Self {
        Self {
            parts,
            writes: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) async fn put_rebuilt(&mut self, entry: &RebuiltEntry) -> Result<(), SessionError> {
        let keyring = &self.parts.keyring;
        let value = if is_clear(entry.address.kind) {
            Bytes::copy_from_slice(&entry.value)
        } else {
            keyring
                .seal_value(&entry.address, entry.epoch, &entry.value, &mut fill_random)?
                .into()
        };
        self.put(entry.address, value).await
    }

    /// Puts a bucket's entry.
    pub(super) async fn put_bucket(&mut self, bucket: &Bucket) -> Result<(), SessionError> {
        let address = self.parts.keyring.bucket_address(&bucket.name);
        let sealed =
            self.parts
                .keyring
                .seal_value(&address, FIRST_EPOCH, &bucket.encode(), &mut fill_random)?;
        self.put(address, sealed.into()).await
    }

    pub(super) async fn put(&mut self, address: Address, value: Bytes) -> Result<(), SessionError> {
        self.bytes += value.len();
        self.writes.push(Write {
            address,
            value: Some(value),
        });
        if self.writes.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), SessionError> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let mut operation = [0; 16];
        fill_random(&mut operation);
        self.bytes = 0;
        let append = Append {
            operation,
            lease: self.parts.lease,
            vault: self.parts.keyring.vault().0,
            expectations: Vec::new(),
            writes: std::mem::take(&mut self.writes),
            record: None,
        };
        match self.parts.ledger.append(append).await? {
            Outcome::Applied { .. } => Ok(()),
            _ => Err(SessionError::Internal {
                what: "the new ledger refused an entry",
            }),
        }
    }
}
