//! Applying one write of an append to the rows.
//!
//! Invariant: the counters (live bytes and references of packs, usage of scopes) are always the sums over the slot
//! rows, because a slot row is put and removed in one place, together with what it counts.

use std::collections::BTreeMap;

use engine::codec::{DecodeError, Reader};
use engine::pack::PackId;
use engine::slots::{Address, EntryKind, Sequence};
use engine::view::ViewError;
use scopes::{ScopeId, VaultId};
use zeroize::Zeroizing;

use super::batch::Batch;
use super::rows::{self, SlotRow};
use super::{IndexError, Resolved};
use crate::checkpoint::CheckpointPointer;
use crate::keys::{Keyring, pack_address};
use crate::object::{Bucket, Manifest, Object, Part, PartEntry, Upload};

pub(super) struct Applier<'a, 'v> {
    pub(super) keyring: &'a Keyring,
    pub(super) batch: &'a mut Batch<'v>,
    pub(super) resolved: &'a Resolved,
}

impl Applier<'_, '_> {
    /// Whether an entry is a pack of this vault. Repair may write it in any vault's name.
    pub(super) fn is_own_pack(&self, address: &Address, value: &[u8]) -> bool {
        address.kind == EntryKind::Pack
            && pack_head(value).is_ok_and(|(vault, _)| vault == self.keyring.vault())
    }

    /// Writes an entry of this vault.
    pub(super) fn put(
        &mut self,
        address: &Address,
        sequence: Sequence,
        value: &[u8],
    ) -> Result<(), IndexError> {
        let malformed = |source| IndexError::Malformed {
            address: *address,
            source,
        };
        let scope = ScopeId(address.scope);
        match address.kind {
            EntryKind::Bucket => {
                let plain = self.open(address, value)?;
                let bucket = Bucket::decode(&plain).map_err(malformed)?;
                let second = rows::scope(bucket.scope);
                self.batch.put(second.clone(), bucket.name.clone().into_bytes());
                let slot = SlotRow {
                    row: rows::bucket(&bucket.name),
                    second: Some(second),
                    ..SlotRow::default()
                };
                self.replace(address, slot, rows::sequenced(sequence, &plain))
            }
            EntryKind::ObjectCurrent | EntryKind::ObjectVersion => {
                let plain = self.open(address, value)?;
                let object = Object::decode(&plain).map_err(malformed)?;
                let slot = SlotRow {
                    row: object_row(address, &object),
                    second: None,
                    plaintext_bytes: object.plaintext_bytes,
                    packs: self.pack_bytes(address, &object)?,
                };
                self.replace(address, slot, rows::sequenced(sequence, &plain))
            }
            EntryKind::Upload => {
                let plain = self.open(address, value)?;
                let upload = Upload::decode(&plain).map_err(malformed)?;
                let row = rows::upload(scope, upload.key.as_bytes(), upload.id);
                let second = rows::upload_id(scope, upload.id);
                self.batch.put(second.clone(), row.clone());
                let slot = SlotRow {
                    row,
                    second: Some(second),
                    ..SlotRow::default()
                };
                self.replace(address, slot, rows::sequenced(sequence, &plain))
            }
            EntryKind::Part => {
                let plain = self.open(address, value)?;
                let entry = PartEntry::decode(&plain).map_err(malformed)?;
                if !rows::is_part_number(entry.part.number) {
                    let got = u64::from(entry.part.number);
                    return Err(malformed(DecodeError::BadValue {
                        what: "part number",
                        got,
                    }));
                }
                let mut packs = BTreeMap::new();
                entry.part.count_packs(&mut packs);
                let row = rows::part(scope, entry.upload, entry.part.number);
                let slot = SlotRow {
                    row,
                    second: None,
                    plaintext_bytes: entry.part.plaintext_bytes,
                    packs,
                };
                self.replace(address, slot, rows::sequenced(sequence, &plain))
            }
            EntryKind::Pack => self.put_pack(address, sequence, value),
            EntryKind::Statement => self.put_statement(address, sequence, value),
            EntryKind::Lease | EntryKind::Peer | EntryKind::Fence => Ok(()),
        }
    }

    /// Removes the entry at an address, if there is one of this vault.
    pub(super) fn remove(&mut self, address: &Address) -> Result<(), IndexError> {
        let key = rows::slot(address);
        let Some(held) = self.batch.get(&key)? else {
            return Ok(());
        };
        let held = SlotRow::decode(&held)?;
        self.uncount(address, &held)?;
        if address.kind == EntryKind::Bucket
            && let Some(scope) = held
                .second
                .as_deref()
                .and_then(|row| row.split_first_chunk::<1>())
        {
            for counted in rows::COUNTERS {
                self.batch.remove(rows::join(&[counted, scope.1]));
            }
        }
        self.batch.remove(held.row);
        if let Some(second) = held.second {
            self.batch.remove(second);
        }
        self.batch.remove(key);
        Ok(())
    }

    fn put_pack(&mut self, address: &Address, sequence: Sequence, value: &[u8]) -> Result<(), IndexError> {
        let malformed = |source| IndexError::Malformed {
            address: *address,
            source,
        };
        let id = check_pack(self.keyring.vault(), address, value).map_err(malformed)?;
        let slot = SlotRow {
            row: rows::pack(&id),
            ..SlotRow::default()
        };
        let row = rows::join(&[&rows::sequence(sequence), &address.scope, value]);
        self.replace(address, slot, row)
    }

    fn put_statement(
        &mut self,
        address: &Address,
        sequence: Sequence,
        value: &[u8],
    ) -> Result<(), IndexError> {
        let mut slot = SlotRow {
            row: rows::statement(address),
            ..SlotRow::default()
        };
        if *address == self.keyring.checkpoint_address() {
            let pointer =
                CheckpointPointer::open(self.keyring, value).map_err(|source| IndexError::Unopenable {
                    address: *address,
                    source,
                })?;
            pointer.stream.count_packs(&mut slot.packs);
        }
        self.replace(address, slot, rows::sequenced(sequence, value))
    }

    /// Puts the slot row and the row it names, in place of what stood at the address.
    fn replace(&mut self, address: &Address, slot: SlotRow, value: Vec<u8>) -> Result<(), IndexError> {
        let key = rows::slot(address);
        if let Some(held) = self.batch.get(&key)? {
            let held = SlotRow::decode(&held)?;
            self.uncount(address, &held)?;
            if held.row != slot.row {
                self.batch.remove(held.row);
            }
            if let Some(second) = held.second.filter(|second| Some(second) != slot.second.as_ref()) {
                self.batch.remove(second);
            }
        }
        self.count(address, &slot)?;
        self.batch.put(slot.row.clone(), value);
        self.batch.put(key, slot.encode());
        Ok(())
    }

    fn count(&mut self, address: &Address, slot: &SlotRow) -> Result<(), IndexError> {
        for (pack, bytes) in &slot.packs {
            self.batch
                .put(rows::reference(pack, address), bytes.to_le_bytes().to_vec());
            self.change(rows::pack_live(pack), |live, entries| {
                (live.saturating_add(*bytes), entries.saturating_add(1))
            })?;
        }
        let Some(counted) = counters_of(address, slot) else {
            return Ok(());
        };
        self.change(counted, |number, bytes| {
            (
                number.saturating_add(1),
                bytes.saturating_add(slot.plaintext_bytes),
            )
        })
    }

    fn uncount(&mut self, address: &Address, slot: &SlotRow) -> Result<(), IndexError> {
        for (pack, bytes) in &slot.packs {
            self.batch.remove(rows::reference(pack, address));
            self.change(rows::pack_live(pack), |live, entries| {
                (live.saturating_sub(*bytes), entries.saturating_sub(1))
            })?;
        }
        let Some(counted) = counters_of(address, slot) else {
            return Ok(());
        };
        self.change(counted, |number, bytes| {
            (
                number.saturating_sub(1),
                bytes.saturating_sub(slot.plaintext_bytes),
            )
        })
    }

    /// Changes a row of two counters; one that counts nothing is removed.
    fn change(&mut self, key: Vec<u8>, by: impl FnOnce(u64, u64) -> (u64, u64)) -> Result<(), IndexError> {
        let row = self.batch.get(&key)?;
        let (first, second) = rows::read_counters(row.as_deref())?;
        match by(first, second) {
            (0, 0) => self.batch.remove(key),
            (first, second) => self.batch.put(key, rows::counters(first, second)),
        }
        Ok(())
    }

    /// The bytes that an object keeps alive in each pack: its parts', and its manifest's own stream's.
    fn pack_bytes(&self, address: &Address, object: &Object) -> Result<BTreeMap<PackId, u64>, IndexError> {
        let Manifest::Indirect { parts, .. } = &object.manifest else {
            return Ok(object.manifest.pack_bytes());
        };
        let whole = self
            .resolved
            .get(address)
            .filter(|whole| matches!(whole, Manifest::Inline(list) if list.len() == *parts as usize));
        let Some(whole) = whole else {
            let get = |row: &[u8]| self.batch.get(row);
            let known = known_packs(self.keyring, &get, address, object)?;
            return known.ok_or(IndexError::Unresolved { address: *address });
        };
        let mut bytes = object.manifest.pack_bytes();
        for (pack, more) in whole.pack_bytes() {
            *bytes.entry(pack).or_default() += more;
        }
        Ok(bytes)
    }

    fn open(&self, address: &Address, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, IndexError> {
        open(self.keyring, address, value)
    }
}

fn open(keyring: &Keyring, address: &Address, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, IndexError> {
    keyring
        .open_value(address, value)
        .map_err(|source| IndexError::Unopenable {
            address: *address,
            source,
        })
}

/// How rows are read: from the view, or from a batch over it.
type Get<'g> = &'g dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, ViewError>;

/// What is known of the packs of a version that is written again, at its own place or at another: they are the same, and its
/// list of parts need not be read for it, which may be unreadable by now.
fn known_packs(
    keyring: &Keyring,
    get: Get<'_>,
    address: &Address,
    object: &Object,
) -> Result<Option<BTreeMap<PackId, u64>>, IndexError> {
    let scope = ScopeId(address.scope);
    let places = [
        keyring.object_address(scope, object.key.as_bytes()),
        keyring.kept_address(scope, object),
    ];
    for place in &places {
        let Some(slot) = get(&rows::slot(place))? else {
            continue;
        };
        let slot = SlotRow::decode(&slot)?;
        let Some(row) = get(&slot.row)? else { continue };
        let held = Object::decode(rows::read_sequenced(&row)?.1)?;
        if held.version == object.version && held.manifest == object.manifest {
            return Ok(Some(slot.packs));
        }
    }
    Ok(None)
}

/// The stream of an object's manifest, if it has one of its own that must be read.
pub(super) fn indirect(
    keyring: &Keyring,
    get: Option<Get<'_>>,
    address: &Address,
    value: &[u8],
) -> Result<Option<(Address, Part)>, IndexError> {
    if !address.kind.is_object() {
        return Ok(None);
    }
    let plain = open(keyring, address, value)?;
    let object = Object::decode(&plain).map_err(|source| IndexError::Malformed {
        address: *address,
        source,
    })?;
    if let (Manifest::Indirect { .. }, Some(get)) = (&object.manifest, get)
        && known_packs(keyring, get, address, &object)?.is_some()
    {
        return Ok(None);
    }
    Ok(match object.manifest {
        Manifest::Indirect { stream, .. } => Some((*address, *stream)),
        Manifest::Inline(_) => None,
    })
}

/// The pack of an entry's value, which must be of this vault and stand where it belongs.
pub(super) fn check_pack(vault: VaultId, address: &Address, value: &[u8]) -> Result<PackId, DecodeError> {
    let (of, id) = pack_head(value)?;
    if of != vault || pack_address(ScopeId(address.scope), &id) != *address {
        return Err(DecodeError::BadValue {
            what: "pack id or vault",
            got: 0,
        });
    }
    super::packs::total_bytes(value)?;
    Ok(id)
}

/// Vault and pack id of a pack entry's value.
pub(super) fn pack_head(value: &[u8]) -> Result<(VaultId, PackId), DecodeError> {
    let mut reader = Reader::new(value);
    reader.version(1)?;
    Ok((VaultId(reader.fixed()?), PackId(reader.fixed()?)))
}

/// The row of a version of an object: apart for current objects, for delete markers that are current, and for what is kept beside.
fn object_row(address: &Address, object: &Object) -> Vec<u8> {
    let (scope, key) = (ScopeId(address.scope), object.key.as_bytes());
    match (address.kind, object.delete_marker) {
        (EntryKind::ObjectVersion, _) => rows::kept(scope, key, object.superseded, object.version),
        (_, true) => rows::marker(scope, key),
        (_, false) => rows::object(scope, key),
    }
}

/// The row that counts the entries of an address's kind and their plaintext bytes.
fn counters_of(address: &Address, slot: &SlotRow) -> Option<Vec<u8>> {
    let scope = ScopeId(address.scope);
    match address.kind {
        EntryKind::ObjectCurrent if rows::is_object(&slot.row) => Some(rows::usage(scope)),
        EntryKind::ObjectCurrent | EntryKind::ObjectVersion => Some(rows::history(scope)),
        EntryKind::Part => Some(rows::open_parts(scope)),
        _ => None,
    }
}
