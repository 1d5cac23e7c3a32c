//! What a pack is made of, in the clear: its code, lane lengths, shard hashes and id.
//!
//! It holds no shard bytes. Invariant: whatever [`PackGeometry::decode`] returns satisfies every rule of FORMAT.md
//! section 3, and re-encodes to the same bytes.

use std::fmt;
use std::str::FromStr;

use super::SHARD_BYTES_MAX;
use crate::codec::{DecodeError, Reader, Writer};

const VERSION: u8 = 1;
const DATA_MAX: u8 = 32;
const PARITY_MIN: u8 = 2;
const PARITY_MAX: u8 = 32;
/// The trailer lane byte of a pack without a trailer.
const NO_TRAILER: u8 = 255;
const ID_CONTEXT: &str = "cairn v1 pack id";

/// The longest clear header (geometry and hashes, code 32+32), in bytes.
pub const CLEAR_HEADER_BYTES_MAX: usize =
    8 + 4 * DATA_MAX as usize + 12 + 32 * (DATA_MAX as usize + PARITY_MAX as usize);

/// The id of a pack: a hash over its geometry and its shard hashes. Displayed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 32]);

/// The BLAKE3 hash of a shard's bytes. Displayed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardHash(pub [u8; 32]);

impl PackId {
    /// The first half of the id: the slot of the pack's ledger entry.
    pub fn slot(&self) -> [u8; 16] {
        let mut slot = [0; 16];
        slot.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        slot
    }

    /// The least id with this slot: those that have it stand behind it in order.
    pub fn least_at(slot: &[u8; 16]) -> Self {
        let mut id = [0; 32];
        id.iter_mut().zip(slot).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl ShardHash {
    /// The hash of a shard's bytes.
    pub fn of(shard: &[u8]) -> Self {
        Self(*blake3::hash(shard).as_bytes())
    }

    /// The hash of an implied shard: of `shard_bytes` zero bytes.
    pub fn of_zeros(shard_bytes: u32) -> Self {
        const ZEROS: [u8; 16_384] = [0; 16_384];
        let mut hasher = blake3::Hasher::new();
        let mut left = shard_bytes as usize;
        while left > 0 {
            let step = left.min(ZEROS.len());
            hasher.update(ZEROS.get(..step).unwrap_or(&ZEROS));
            left -= step;
        }
        Self(*hasher.finalize().as_bytes())
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for ShardHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for ShardHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// An erasure code: `data` + `parity` shards, any `data` of which restore the rest. 1 to 32 data, 2 to 32 parity.
/// Written `4+2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    data: u8,
    parity: u8,
}

/// A code that is out of range or not written like `4+2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a code is written K+M, like 4+2, with K from 1 to {DATA_MAX} and M from {PARITY_MIN} to {PARITY_MAX}"
)]
pub struct BadCode;

impl Code {
    /// The default, 4+2: six drives, any two of which may be lost.
    pub const DEFAULT: Self = Self { data: 4, parity: 2 };

    /// A code, if it is in range.
    pub const fn new(data: u8, parity: u8) -> Result<Self, BadCode> {
        if data >= 1 && data <= DATA_MAX && parity >= PARITY_MIN && parity <= PARITY_MAX {
            Ok(Self { data, parity })
        } else {
            Err(BadCode)
        }
    }

    /// How many data shards (k).
    pub const fn data(self) -> usize {
        self.data as usize
    }

    /// How many parity shards (m).
    pub const fn parity(self) -> usize {
        self.parity as usize
    }

    /// How many shards in all (k + m).
    pub const fn shards(self) -> usize {
        self.data() + self.parity()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Code {
    type Err = BadCode;

    fn from_str(text: &str) -> Result<Self, BadCode> {
        let (data, parity) = text.split_once('+').ok_or(BadCode)?;
        // u8's own parser takes a leading plus sign; a code has one way to be written.
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
            if plain {
                digits.parse().map_err(|_| BadCode)
            } else {
                Err(BadCode)
            }
        };
        Self::new(number(data)?, number(parity)?)
    }
}

/// Where a pack's sealed trailer lies: at the end of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailerPlace {
    /// The lane.
    pub lane: u8,
    /// Byte offset in the lane.
    pub offset: u32,
    /// Length in bytes, at least 1.
    pub bytes: u32,
}

/// The lengths of a pack. All in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackGeometry {
    /// The erasure code.
    pub code: Code,
    /// Length of every shard: the longest lane, at least 1, at most [`SHARD_BYTES_MAX`].
    pub shard_bytes: u32,
    /// Bytes in use on each of the k lanes; a lane of none is an implied shard.
    pub lane_bytes: Vec<u32>,
    /// Where the trailer lies, if there is one.
    pub trailer: Option<TrailerPlace>,
}

/// A geometry or summary that breaks a rule of FORMAT.md section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadGeometry {
    /// Not one length per lane.
    #[error("{got} lane lengths for {need} lanes")]
    Lanes {
        /// Lanes of the code.
        need: usize,
        /// Lengths given.
        got: usize,
    },
    /// The shard length is not the longest lane (at least 1), or is over the limit.
    #[error("a shard length of {got} bytes, where the longest lane has {longest}")]
    ShardBytes {
        /// The longest lane.
        longest: u32,
        /// The shard length given.
        got: u32,
    },
    /// The trailer does not end its lane.
    #[error("a trailer of {bytes} bytes at {offset} does not end lane {lane}")]
    Trailer {
        /// The lane.
        lane: u8,
        /// The offset given.
        offset: u32,
        /// The length given.
        bytes: u32,
    },
    /// Not one hash per shard.
    #[error("{got} hashes for {need} shards")]
    Hashes {
        /// Shards of the code.
        need: usize,
        /// Hashes given.
        got: usize,
    },
    /// The id is not the hash of the geometry and the shard hashes.
    #[error("the pack id is not that of its geometry and hashes")]
    Id,
}

impl From<BadGeometry> for DecodeError {
    fn from(error: BadGeometry) -> Self {
        let (what, got) = match error {
            BadGeometry::Lanes { got, .. } => ("number of lanes", got as u64),
            BadGeometry::ShardBytes { got, .. } => ("shard length", u64::from(got)),
            BadGeometry::Trailer { offset, .. } => ("trailer offset", u64::from(offset)),
            BadGeometry::Hashes { got, .. } => ("number of shard hashes", got as u64),
            BadGeometry::Id => ("pack id", 0),
        };
        Self::BadValue { what, got }
    }
}

impl PackGeometry {
    /// Checks every rule of FORMAT.md section 3.
    pub fn check(&self) -> Result<(), BadGeometry> {
        if self.lane_bytes.len() != self.code.data() {
            return Err(BadGeometry::Lanes {
                need: self.code.data(),
                got: self.lane_bytes.len(),
            });
        }
        let longest = self.lane_bytes.iter().copied().max().unwrap_or(0);
        if self.shard_bytes != longest.max(1) || self.shard_bytes as usize > SHARD_BYTES_MAX {
            return Err(BadGeometry::ShardBytes {
                longest,
                got: self.shard_bytes,
            });
        }
        if let Some(TrailerPlace { lane, offset, bytes }) = self.trailer {
            let end = offset.checked_add(bytes);
            if bytes == 0 || end.is_none() || end != self.lane_bytes.get(usize::from(lane)).copied() {
                return Err(BadGeometry::Trailer { lane, offset, bytes });
            }
        }
        Ok(())
    }

    /// Whether shard `index` is all zeros and not stored: a lane without bytes.
    pub fn is_implied(&self, index: usize) -> bool {
        self.lane_bytes.get(index) == Some(&0)
    }

    /// Bytes that the pack's shards take on drives: the shard length for each shard that is not implied.
    pub fn stored_bytes(&self) -> u64 {
        let stored = (0..self.code.shards())
            .filter(|index| !self.is_implied(*index))
            .count();
        stored as u64 * u64::from(self.shard_bytes)
    }

    /// Bytes of chunks and trailer, padding not counted.
    pub fn data_bytes(&self) -> u64 {
        self.lane_bytes.iter().map(|bytes| u64::from(*bytes)).sum()
    }

    /// Writes the geometry.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.u8(self.code.data);
        writer.u8(self.code.parity);
        writer.u8(0);
        writer.u32(self.shard_bytes);
        for bytes in &self.lane_bytes {
            writer.u32(*bytes);
        }
        let place = self.trailer.unwrap_or(TrailerPlace {
            lane: NO_TRAILER,
            offset: 0,
            bytes: 0,
        });
        writer.u8(place.lane);
        writer.zeros(3);
        writer.u32(place.offset);
        writer.u32(place.bytes);
    }

    /// Reads a geometry and checks it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.version(VERSION)?;
        let (data, parity) = (reader.u8()?, reader.u8()?);
        let bad_code = |_| DecodeError::BadValue {
            what: "code",
            got: u64::from(u16::from_be_bytes([data, parity])),
        };
        let code = Code::new(data, parity).map_err(bad_code)?;
        reader.zeros(1, "geometry padding")?;
        let shard_bytes = reader.u32()?;
        let lane_bytes = (0..code.data())
            .map(|_| reader.u32())
            .collect::<Result<Vec<_>, _>>()?;
        let lane = reader.u8()?;
        reader.zeros(3, "geometry padding")?;
        let (offset, bytes) = (reader.u32()?, reader.u32()?);
        let trailer = match (lane, offset, bytes) {
            (NO_TRAILER, 0, 0) => None,
            _ => Some(TrailerPlace { lane, offset, bytes }),
        };
        let geometry = Self {
            code,
            shard_bytes,
            lane_bytes,
            trailer,
        };
        geometry.check()?;
        Ok(geometry)
    }
}

/// What identifies a pack and verifies its shards: id, geometry and shard hashes in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackSummary {
    /// The pack's id.
    pub id: PackId,
    /// The pack's lengths.
    pub geometry: PackGeometry,
    /// One hash per shard, data lanes first; implied shards included.
    pub hashes: Vec<ShardHash>,
}

impl PackSummary {
    /// The summary of a pack with this geometry and these shard hashes.
    pub fn new(geometry: PackGeometry, hashes: Vec<ShardHash>) -> Result<Self, BadGeometry> {
        geometry.check()?;
        if hashes.len() != geometry.code.shards() {
            return Err(BadGeometry::Hashes {
                need: geometry.code.shards(),
                got: hashes.len(),
            });
        }
        Ok(Self::of_checked(geometry, hashes))
    }

    /// The summary of a geometry and hashes that the caller has just made by the rules.
    pub(super) fn of_checked(geometry: PackGeometry, hashes: Vec<ShardHash>) -> Self {
        let id = pack_id(&geometry, &hashes);
        Self { id, geometry, hashes }
    }

    /// Checks the geometry, the number of hashes and that the id is theirs.
    pub fn verify(&self) -> Result<(), BadGeometry> {
        self.geometry.check()?;
        if self.hashes.len() != self.geometry.code.shards() {
            return Err(BadGeometry::Hashes {
                need: self.geometry.code.shards(),
                got: self.hashes.len(),
            });
        }
        if pack_id(&self.geometry, &self.hashes) == self.id {
            Ok(())
        } else {
            Err(BadGeometry::Id)
        }
    }

    /// The hash of shard `index`, if the pack has so many.
    pub fn hash(&self, index: usize) -> Option<ShardHash> {
        self.hashes.get(index).copied()
    }

    /// Writes the clear header: geometry and hashes. The id follows from them and is not written.
    pub fn encode(&self, writer: &mut Writer) {
        self.geometry.encode(writer);
        for hash in &self.hashes {
            writer.fixed(&hash.0);
        }
    }

    /// Reads a clear header and computes the id. The caller compares it with the id that it expects.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let geometry = PackGeometry::decode(reader)?;
        let hashes = (0..geometry.code.shards())
            .map(|_| reader.fixed().map(ShardHash))
            .collect::<Result<Vec<_>, _>>()?;
        let id = pack_id(&geometry, &hashes);
        Ok(Self { id, geometry, hashes })
    }
}

fn pack_id(geometry: &PackGeometry, hashes: &[ShardHash]) -> PackId {
    let mut writer = Writer::with_capacity(32 + 4 * geometry.lane_bytes.len());
    geometry.encode(&mut writer);
    let mut hasher = blake3::Hasher::new_derive_key(ID_CONTEXT);
    hasher.update(writer.as_slice());
    for hash in hashes {
        hasher.update(&hash.0);
    }
    PackId(*hasher.finalize().as_bytes())
}
