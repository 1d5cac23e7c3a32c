//! S3 checksums as they are stored. Computing and comparing them with requests is `s3-gateway`.

use engine::codec::{DecodeError, Reader, Writer};

/// The algorithm of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32 = 1,
    /// CRC-32C (Castagnoli), 4 bytes.
    Crc32c = 2,
    /// CRC-64/NVME, 8 bytes.
    Crc64nvme = 3,
    /// SHA-1, 20 bytes.
    Sha1 = 4,
    /// SHA-256, 32 bytes.
    Sha256 = 5,
}

impl ChecksumAlgorithm {
    /// Length of the value, in bytes.
    pub const fn value_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Crc32),
            2 => Ok(Self::Crc32c),
            3 => Ok(Self::Crc64nvme),
            4 => Ok(Self::Sha1),
            5 => Ok(Self::Sha256),
            got => Err(DecodeError::BadValue {
                what: "checksum algorithm",
                got: u64::from(got),
            }),
        }
    }
}

/// Whether a checksum is over the whole object or over its parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChecksumKind {
    /// Over the object's bytes.
    FullObject = 0,
    /// Over the parts' checksums, one after another.
    Composite = 1,
}

impl ChecksumKind {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(if reader.bool("checksum kind")? {
            Self::Composite
        } else {
            Self::FullObject
        })
    }
}

/// A checksum: as many value bytes as its algorithm has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    value: Vec<u8>,
}

impl Checksum {
    /// The checksum of this value, if the length is the algorithm's.
    pub fn new(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Self> {
        (value.len() == algorithm.value_bytes()).then(|| Self {
            algorithm,
            value: value.to_vec(),
        })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The value, big-endian for the CRCs, as S3 writes it before base64.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.algorithm as u8);
        writer.fixed(&self.value);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let algorithm = ChecksumAlgorithm::decode(reader)?;
        let value = reader.take(algorithm.value_bytes())?.to_vec();
        Ok(Self { algorithm, value })
    }
}

/// An object's checksum and what it is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectChecksum {
    /// The checksum.
    pub checksum: Checksum,
    /// What it is over.
    pub kind: ChecksumKind,
}

impl ObjectChecksum {
    pub(super) fn encode(&self, writer: &mut Writer) {
        self.checksum.encode(writer);
        writer.u8(self.kind as u8);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            checksum: Checksum::decode(reader)?,
            kind: ChecksumKind::decode(reader)?,
        })
    }
}
