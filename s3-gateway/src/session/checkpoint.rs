//! Sealing index checkpoints into ordinary packs, so that the drives and the root key alone give the vault back.
//!
//! Invariant: a checkpoint is named in the ledger only once its whole stream is durable, and goes `through` a sequence below
//! which every claim's append was answered or given up, at each gateway, before the entries were read.

use super::claims::{CLAIM_HEAD_BYTES, ClaimHead};
use super::commit::{Submitted, Urgency, detached, written};
use super::packer::Submission;
use super::record::Note;
use super::{Bucket, Inner, Session, SessionError, StreamWriter, fill_random, now_ms};
use crate::operations;
use activity::Purpose;
use bytes::Bytes;
use engine::slots::{Address, Sequence};
use net::cluster::Cause;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use vault::checkpoint::{CheckpointEntry, CheckpointPointer, CheckpointWriter};
use vault::claim::ClaimValue;
use vault::commit::Commit;
use vault::keys::FIRST_EPOCH;

/// Entries read from the ledger in one go.
const PAGE_ENTRIES: usize = 512;

impl Session {
    /// Writes an index checkpoint. Returns the sequence it goes through.
    ///
    /// # Errors
    /// What the drives or the ledger refuse.
    pub async fn checkpoint(&self) -> Result<Sequence, SessionError> {
        let inner = Arc::clone(&self.inner);
        detached(async move { inner.write_checkpoint().await }).await
    }
}

impl Inner {
    /// The vault-wide scope in the shape that streams and packers take; no bucket has its name.
    pub(crate) fn vault_wide_bucket(&self) -> Bucket {
        Bucket {
            name: super::buckets::VAULT_WIDE_NAME.to_owned(),
            scope: self.vault_scope(),
            epoch: FIRST_EPOCH,
            created_ms: 0,
            sequence: Sequence(0),
            settings: vault::object::Settings::default(),
        }
    }

    pub(crate) async fn write_checkpoint(self: &Arc<Self>) -> Result<Sequence, SessionError> {
        let _one_at_a_time = self.checkpointing.lock().await;
        let through = {
            let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            claims.settled_below(self.applied())
        };
        // Nor does it settle what another gateway may be about to append.
        let through = self
            .gateways
            .lowest_horizon()
            .map_or(through, |others| through.min(others));
        let previous = self.index.checkpoint()?;
        if let Some(row) = &previous
            && self.gateways.lowest_horizon().is_some()
            && through <= row.value.through
        {
            return Ok(row.value.through);
        }
        let objects = self.objects()?;
        let place = self.vault_wide_bucket();
        let (mut pointer, tail) = self.stream_entries(&place, through).await?;
        let mut operation = [0; 16];
        fill_random(&mut operation);
        let (head, _guard) = ClaimHead::new(self, operation, self.keyring.checkpoint_address(), FIRST_EPOCH);
        let mut claimed = pointer.clone();
        let submission = Submission {
            runs: tail.run,
            claim_bytes_max: CLAIM_HEAD_BYTES + pointer.encode().len() + 56 * tail.chunks,
            claim: Some(Box::new(move |extents| {
                claimed.stream.extents.extend(extents.iter().flatten().cloned());
                head.claim(ClaimValue::Checkpoint(claimed))
            })),
            room: tail.room,
            cause: Cause::upkeep(),
        };
        let packed = self
            .packer(place.scope, &place.name, place.epoch)
            .submit(submission)
            .await?;
        pointer
            .stream
            .extents
            .extend(packed.extents.into_iter().flatten());
        let mut pins = tail.pins;
        pins.push(packed.pin);
        let note = Note {
            bytes: pointer.stream.plaintext_bytes,
            ..Note::of(operations::INDEX_CHECKPOINT, None, Purpose::Gc)
        };
        let append = Commit::new(&self.keyring, operation, self.lease)
            .with_record(self.own_record_part(note)?)
            .checkpoint(
                &pointer,
                previous.map(|row| row.sequence),
                &written(place.scope, &pins),
                &mut fill_random,
            )?;
        match self.submit(append, &pins, Urgency::Frees).await? {
            Submitted::Applied(_) => {
                self.checkpoint_objects.store(objects, Ordering::Relaxed);
                Ok(through)
            }
            Submitted::Conflict => Err(SessionError::Conflict { attempts: 1 }),
        }
    }

    /// Streams every entry of this vault, opened, into the vault-wide scope.
    async fn stream_entries(
        self: &Arc<Self>,
        place: &Bucket,
        through: Sequence,
    ) -> Result<(CheckpointPointer, Tail), SessionError> {
        let mut scopes: HashSet<[u8; 16]> = self
            .index
            .buckets()?
            .iter()
            .map(|row| row.value.scope.0)
            .collect();
        scopes.insert(self.vault_scope().0);
        let own = |address: &Address| scopes.contains(&address.scope) && !address.kind.is_of_cluster();
        let mut snapshot = self.ledger.snapshot().await?;
        let entries = snapshot.addresses().filter(|address| own(address)).count() as u64;
        let mut buffer = Vec::new();
        let mut writer = CheckpointWriter::start(through, entries, &mut buffer);
        let mut stream = StreamWriter::new(self, place, None, None)?;
        loop {
            let page = snapshot.next(PAGE_ENTRIES).await?;
            if page.is_empty() {
                break;
            }
            for entry in page.iter().filter(|entry| own(&entry.address)) {
                let opened =
                    CheckpointEntry::open(&self.keyring, entry).map_err(|_| SessionError::Internal {
                        what: "a ledger entry that does not open",
                    })?;
                writer.entry(&opened, &mut buffer).map_err(|_| MISCOUNTED)?;
            }
            stream.write(Bytes::from(std::mem::take(&mut buffer))).await?;
        }
        stream.write(Bytes::from(buffer)).await?;
        writer.finish().map_err(|_| MISCOUNTED)?;
        let body = stream.finish().await?;
        let pointer = CheckpointPointer {
            through,
            written_ms: now_ms(),
            stream: body.part(0, None, None),
        };
        let chunks = body.tail.chunks.len();
        let run = if chunks == 0 { Vec::new() } else { vec![body.tail] };
        Ok((
            pointer,
            Tail {
                run,
                chunks,
                room: body.room,
                pins: body.pins,
            },
        ))
    }
}

const MISCOUNTED: SessionError = SessionError::Internal {
    what: "a snapshot that changed while it was read",
};

/// What of a checkpoint's stream still needs a pack.
struct Tail {
    run: Vec<super::packer::Run>,
    chunks: usize,
    room: super::budget::Room,
    pins: Vec<super::pins::Pin>,
}
