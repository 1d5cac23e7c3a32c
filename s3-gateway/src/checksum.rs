//! The checksums of S3 (CRC32, CRC32C, CRC64NVME, SHA1, SHA256) and what headers say of them.
//!
//! They find accidents between the client and this door; none of them is trusted for anything else. A body's are computed in
//! `digests.rs`. Values travel as base64 of the big-endian bytes. Source: "Checking object
//! integrity" of the S3 user guide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use vault::object::ChecksumAlgorithm;

/// One of S3's checksum algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CRC-32/ISO-HDLC, 4 bytes.
    Crc32,
    /// CRC-32/ISCSI, 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

/// A checksum: the algorithm and the value's bytes, big-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Which algorithm.
    pub algorithm: Algorithm,
    /// As many bytes as `algorithm.bytes()`.
    pub bytes: Vec<u8>,
}

/// Why checksum headers were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// Two checksums, or the same one twice.
    #[error("expecting a single x-amz-checksum- header")]
    Several,
    /// Not base64, or not of the algorithm's length.
    #[error("the value of {header} is not valid")]
    Malformed {
        /// The header's name.
        header: &'static str,
    },
    /// An algorithm that does not exist.
    #[error("the checksum algorithm is not supported")]
    UnknownAlgorithm,
    /// The declared algorithm and the header that came disagree.
    #[error("the declared algorithm and the checksum header disagree")]
    Disagree,
}

impl From<ChecksumAlgorithm> for Algorithm {
    fn from(stored: ChecksumAlgorithm) -> Self {
        match stored {
            ChecksumAlgorithm::Crc32 => Self::Crc32,
            ChecksumAlgorithm::Crc32c => Self::Crc32c,
            ChecksumAlgorithm::Crc64nvme => Self::Crc64Nvme,
            ChecksumAlgorithm::Sha1 => Self::Sha1,
            ChecksumAlgorithm::Sha256 => Self::Sha256,
        }
    }
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The header and trailer name, in lower case.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The name used in `x-amz-checksum-algorithm` and in XML.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The value's length in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// From `x-amz-checksum-algorithm`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(name.trim()))
    }

    /// From a header or trailer name, in any case.
    pub fn from_header(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|a| a.header().eq_ignore_ascii_case(name.trim()))
    }
}

impl Value {
    /// Decodes base64 of the right length.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Self, ChecksumError> {
        match STANDARD.decode(text.trim()) {
            Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(Self { algorithm, bytes }),
            _ => Err(ChecksumError::Malformed {
                header: algorithm.header(),
            }),
        }
    }

    /// The value as S3 writes it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }
}

/// A checksum under way.
pub struct Summer(Running);

// Boxed states would cost an allocation per request; the largest is a few hundred bytes.
enum Running {
    Crc(Algorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Summer {
    /// Starts a checksum.
    pub fn new(algorithm: Algorithm) -> Self {
        let crc = |kind| Running::Crc(algorithm, crc_fast::Digest::new(kind));
        Self(match algorithm {
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 => Running::Sha1(Sha1::new()),
            Algorithm::Sha256 => Running::Sha256(Sha256::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Running::Crc(_, digest) => digest.update(bytes),
            Running::Sha1(digest) => digest.update(bytes),
            Running::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The checksum of everything taken.
    pub fn finish(self) -> Value {
        match self.0 {
            Running::Crc(Algorithm::Crc64Nvme, digest) => Value {
                algorithm: Algorithm::Crc64Nvme,
                bytes: digest.finalize().to_be_bytes().to_vec(),
            },
            Running::Crc(algorithm, digest) => {
                // The upper half of a 32-bit CRC's state is zero.
                let value = u32::try_from(digest.finalize() & 0xffff_ffff).unwrap_or_default();
                Value {
                    algorithm,
                    bytes: value.to_be_bytes().to_vec(),
                }
            }
            Running::Sha1(digest) => Value {
                algorithm: Algorithm::Sha1,
                bytes: digest.finalize().to_vec(),
            },
            Running::Sha256(digest) => Value {
                algorithm: Algorithm::Sha256,
                bytes: digest.finalize().to_vec(),
            },
        }
    }
}

/// What a request's headers say of its body's digests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// An `x-amz-checksum-*` header.
    pub value: Option<Value>,
    /// The algorithm named by `x-amz-sdk-checksum-algorithm` or `x-amz-checksum-algorithm`.
    pub algorithm: Option<Algorithm>,
    /// The checksum that `x-amz-trailer` promises.
    pub trailer: Option<Algorithm>,
}

impl Declared {
    /// Reads the headers; refuses malformed values and more than one checksum.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ChecksumError> {
        let text = |name: &'static str| -> Result<Option<&str>, ChecksumError> {
            let mut all = headers.get_all(name).iter();
            let Some(first) = all.next() else { return Ok(None) };
            if all.next().is_some() {
                return Err(ChecksumError::Several);
            }
            first
                .to_str()
                .map(Some)
                .map_err(|_| ChecksumError::Malformed { header: name })
        };
        let mut declared = Self::default();
        if let Some(md5) = text("content-md5")? {
            let malformed = ChecksumError::Malformed {
                header: "content-md5",
            };
            let bytes = STANDARD.decode(md5.trim()).map_err(|_| malformed.clone())?;
            declared.md5 = Some(bytes.try_into().map_err(|_| malformed)?);
        }
        for algorithm in Algorithm::ALL {
            if let Some(value) = text(algorithm.header())? {
                if declared.value.is_some() {
                    return Err(ChecksumError::Several);
                }
                declared.value = Some(Value::parse(algorithm, value)?);
            }
        }
        if let Some(trailer) = text("x-amz-trailer")? {
            let mut names = trailer.split(',').filter(|n| !n.trim().is_empty());
            if let Some(name) = names.next() {
                declared.trailer = Some(Algorithm::from_header(name).ok_or(ChecksumError::UnknownAlgorithm)?);
            }
            if names.next().is_some() || (declared.trailer.is_some() && declared.value.is_some()) {
                return Err(ChecksumError::Several);
            }
        }
        for name in ["x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm"] {
            if let Some(algorithm) = text(name)? {
                declared.algorithm =
                    Some(Algorithm::from_name(algorithm).ok_or(ChecksumError::UnknownAlgorithm)?);
            }
        }
        Ok(declared)
    }

    /// The algorithm to compute while the body passes, if any.
    pub fn wanted(&self) -> Option<Algorithm> {
        self.value
            .as_ref()
            .map(|v| v.algorithm)
            .or(self.trailer)
            .or(self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, parts: &[&[u8]]) -> String {
        let mut summer = Summer::new(algorithm);
        parts.iter().for_each(|p| summer.update(p));
        summer.finish().to_base64()
    }

    #[test]
    fn check_values_are_those_of_the_catalogue() {
        // The check input "123456789" of the CRC catalogue, and FIPS 180 for the hashes.
        let hex = |algorithm| {
            let mut summer = Summer::new(algorithm);
            summer.update(b"1234");
            summer.update(b"56789");
            hex::encode(summer.finish().bytes)
        };
        assert_eq!(hex(Algorithm::Crc32), "cbf43926");
        assert_eq!(hex(Algorithm::Crc32c), "e3069283");
        assert_eq!(hex(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(hex(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            sum(Algorithm::Sha256, &[b""]),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }

    #[test]
    fn two_checksums_are_refused_and_malformed_ones_named() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-crc32", "y/Q5Jg==".parse().unwrap());
        assert_eq!(
            Declared::from_headers(&headers).unwrap().wanted(),
            Some(Algorithm::Crc32)
        );
        headers.insert(
            "x-amz-checksum-sha1",
            "2jmj7l5rSw0yVb/vlWAYkK/YBwk=".parse().unwrap(),
        );
        assert_eq!(Declared::from_headers(&headers), Err(ChecksumError::Several));
        headers.remove("x-amz-checksum-sha1");
        headers.insert("x-amz-checksum-crc32", "AAAA".parse().unwrap());
        let malformed = ChecksumError::Malformed {
            header: "x-amz-checksum-crc32",
        };
        assert_eq!(Declared::from_headers(&headers), Err(malformed));
        headers.clear();
        headers.insert("content-md5", "abc".parse().unwrap());
        let malformed = ChecksumError::Malformed {
            header: "content-md5",
        };
        assert_eq!(Declared::from_headers(&headers), Err(malformed));
        headers.clear();
        headers.insert("x-amz-trailer", "x-amz-checksum-md9".parse().unwrap());
        assert_eq!(
            Declared::from_headers(&headers),
            Err(ChecksumError::UnknownAlgorithm)
        );
    }
}
