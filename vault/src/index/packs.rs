//! Packs in the index: their entries, what of them is alive, and who keeps it so.

use engine::codec::{DecodeError, Reader};
use engine::pack::{PackGeometry, PackId};
use engine::slots::{Address, Sequence};
use engine::view::prefix_end;
use scopes::ScopeId;

use super::rows::{self, SlotRow};
use super::{Index, IndexError};

/// A pack as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// The append that wrote the entry last.
    pub sequence: Sequence,
    /// The pack's scope.
    pub scope: ScopeId,
    /// The entry's value, as the cluster client decodes it.
    pub entry: Vec<u8>,
    /// Sealed bytes that entries refer to. Bytes that a copy shares count twice.
    pub live_bytes: u64,
    /// How many entries refer to it.
    pub references: u64,
    /// Bytes on its lanes, trailer included.
    pub total_bytes: u64,
}

/// A pack in a scan over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUse {
    /// The pack.
    pub id: PackId,
    /// Its scope.
    pub scope: ScopeId,
    /// The append that wrote its entry last.
    pub sequence: Sequence,
    /// The lease that it was written under.
    pub lease: u64,
    /// As in [`PackRow`].
    pub live_bytes: u64,
    /// As in [`PackRow`].
    pub references: u64,
    /// As in [`PackRow`].
    pub total_bytes: u64,
    /// Bytes of its trailer.
    pub trailer_bytes: u64,
    /// What its lanes could hold: k times the longest shard.
    pub capacity_bytes: u64,
}

impl Index {
    /// A pack's row.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn pack(&self, id: &PackId) -> Result<Option<PackRow>, IndexError> {
        let Some(row) = self.view.get(&rows::pack(id))? else {
            return Ok(None);
        };
        let (sequence, scope, entry) = read_row(&row)?;
        let (live_bytes, references) = rows::read_counters(self.view.get(&rows::pack_live(id))?.as_deref())?;
        let total_bytes = total_bytes(entry)?;
        Ok(Some(PackRow {
            sequence,
            scope,
            entry: entry.to_vec(),
            live_bytes,
            references,
            total_bytes,
        }))
    }

    /// The pack whose entry stands at an address, and its row.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn pack_at(&self, address: &Address) -> Result<Option<(PackId, PackRow)>, IndexError> {
        let Some(slot) = self.view.get(&rows::slot(address))? else {
            return Ok(None);
        };
        let row = SlotRow::decode(&slot)?.row;
        let Some(id) = row.strip_prefix(rows::PACKS).and_then(|id| id.try_into().ok()) else {
            return Ok(None);
        };
        let id = PackId(id);
        Ok(self.pack(&id)?.map(|found| (id, found)))
    }

    /// Which entries refer to a pack, with their sealed bytes in it; at most `limit`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn refs_of_pack(&self, id: &PackId, limit: usize) -> Result<Vec<(Address, u64)>, IndexError> {
        let prefix = rows::references(id);
        let mut found = Vec::new();
        self.each(&prefix, |row, value| {
            let mut reader = Reader::new(row.get(prefix.len()..).unwrap_or_default());
            found.push((Address::decode(&mut reader)?, Reader::new(value).u64()?));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Shows `visit` every pack, until it returns false.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn packs(&self, visit: &mut dyn FnMut(PackUse) -> bool) -> Result<(), IndexError> {
        self.each(rows::PACKS, |row, value| {
            let id = row.get(1..).and_then(|id| id.try_into().ok()).map(PackId);
            let id = id.ok_or(DecodeError::BadValue {
                what: "pack row",
                got: row.len() as u64,
            })?;
            let (sequence, scope, entry) = read_row(value)?;
            let (lease, geometry) = read_entry(entry)?;
            let live = self.view.get(&rows::pack_live(&id))?;
            let (live_bytes, references) = rows::read_counters(live.as_deref())?;
            Ok(visit(PackUse {
                id,
                scope,
                sequence,
                lease,
                live_bytes,
                references,
                total_bytes: geometry.data_bytes(),
                trailer_bytes: geometry.trailer.map_or(0, |trailer| u64::from(trailer.bytes)),
                capacity_bytes: geometry.code.data() as u64 * engine::pack::SHARD_BYTES_MAX as u64,
            }))
        })
    }

    /// Shows `visit` the rows under a prefix, in order, until it returns false or fails.
    pub(super) fn each(
        &self,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        self.each_from(prefix, prefix_end(prefix).as_deref(), visit)
    }

    /// As [`Self::each`], for the rows from `from` to before `to`.
    pub(super) fn each_from(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        let mut outcome = Ok(true);
        self.view.scan(from, to, false, &mut |row, value| {
            outcome = visit(row, value);
            matches!(outcome, Ok(true))
        })?;
        outcome.map(|_| ())
    }
}

/// Bytes on the lanes of the pack that an entry's value describes.
pub(super) fn total_bytes(entry: &[u8]) -> Result<u64, DecodeError> {
    Ok(read_entry(entry)?.1.data_bytes())
}

/// Lease and geometry of a pack entry's value (FORMAT.md section 6, kind 6). Hashes and drives are not read.
fn read_entry(entry: &[u8]) -> Result<(u64, PackGeometry), DecodeError> {
    let mut reader = Reader::new(entry);
    reader.version(1)?;
    reader.take(16 + 32)?;
    Ok((reader.u64()?, PackGeometry::decode(&mut reader)?))
}

fn read_row(row: &[u8]) -> Result<(Sequence, ScopeId, &[u8]), DecodeError> {
    let mut reader = Reader::new(row);
    Ok((Sequence(reader.u64()?), ScopeId(reader.fixed()?), reader.rest()))
}
