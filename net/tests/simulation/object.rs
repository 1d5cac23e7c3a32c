//! An object of the small gateway: what stands at its slot, and which bytes it has to have.
//!
//! Nothing is sealed. Invariant: bytes follow from key, version and part alone, so whoever reads them knows whether they are right.

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::PackId;
use engine::slots::{Address, EntryKind};
use net::LaneRange;

use crate::world::SCOPE;

/// What an object's slot says.
#[derive(Debug, Clone)]
pub struct Object {
    pub version: u64,
    pub pack: PackId,
    pub parts: Vec<LaneRange>,
}

impl Object {
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.version);
        writer.fixed(&self.pack.0);
        writer.list_with(&self.parts, |writer, part| {
            writer.u8(part.lane);
            writer.u32(part.offset);
            writer.u32(part.bytes);
        });
        writer.into_vec()
    }

    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let (version, pack) = (reader.u64()?, PackId(reader.fixed()?));
        let parts = reader.list_with(64, |reader| {
            let (lane, offset, bytes) = (reader.u8()?, reader.u32()?, reader.u32()?);
            Ok::<_, DecodeError>(LaneRange { lane, offset, bytes })
        })?;
        Ok(Self { version, pack, parts })
    }
}

/// The bytes that a part of an object has to have.
pub fn content(key: u64, version: u64, part: usize, bytes: usize) -> Vec<u8> {
    let seed = (key << 48) ^ (version << 8) ^ part as u64;
    let words = (0..bytes.div_ceil(8) as u64)
        .map(|at| crate::random::mix(seed.wrapping_mul(0x9e37_79b9) ^ (at << 40)));
    let mut content: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    content.truncate(bytes);
    content
}

pub fn slot(key: u64) -> Address {
    Address {
        scope: SCOPE,
        kind: EntryKind::ObjectCurrent,
        slot: u128::from(key).to_le_bytes(),
    }
}
