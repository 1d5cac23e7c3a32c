//! Sums over a multipart object from its parts' sums: the ETag, composite and full-object checksums.
//!
//! Pure. Source: the Amazon S3 User Guide, "Checking object integrity": a composite checksum is the algorithm over the parts'
//! checksum values one after another; a full-object CRC is linear, so it follows from the parts' CRCs and lengths.

use crc_fast::{CrcAlgorithm, checksum, checksum_combine};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use vault::object::{Checksum, ChecksumAlgorithm};

/// The MD5 in a multipart ETag: over the parts' MD5s.
pub(crate) fn md5_of_parts(parts: &[[u8; 16]]) -> [u8; 16] {
    let mut hasher = md5::Md5::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The checksum over the parts' checksum values.
pub(crate) fn composite_of(algorithm: ChecksumAlgorithm, parts: &[(&[u8], u64)]) -> Option<Checksum> {
    let all: Vec<u8> = parts
        .iter()
        .flat_map(|(value, _)| value.iter().copied())
        .collect();
    let value = match algorithm {
        ChecksumAlgorithm::Sha1 => Sha1::digest(&all).to_vec(),
        ChecksumAlgorithm::Sha256 => Sha256::digest(&all).to_vec(),
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c | ChecksumAlgorithm::Crc64nvme => {
            crc_bytes(algorithm, checksum(crc_of(algorithm)?, &all))?
        }
    };
    Checksum::new(algorithm, &value)
}

/// The checksum over the object's bytes, from the parts' checksums and lengths; none for the SHA family, which does not combine.
pub(crate) fn combine_parts(algorithm: ChecksumAlgorithm, parts: &[(&[u8], u64)]) -> Option<Checksum> {
    let crc = crc_of(algorithm)?;
    let mut all = checksum(crc, &[]);
    for (value, bytes) in parts {
        let part = value.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        all = checksum_combine(crc, all, part, *bytes);
    }
    Checksum::new(algorithm, &crc_bytes(algorithm, all)?)
}

const fn crc_of(algorithm: ChecksumAlgorithm) -> Option<CrcAlgorithm> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
        ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        ChecksumAlgorithm::Crc64nvme => Some(CrcAlgorithm::Crc64Nvme),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

/// A CRC's value as S3 writes it: big-endian, as long as the algorithm's.
fn crc_bytes(algorithm: ChecksumAlgorithm, crc: u64) -> Option<Vec<u8>> {
    let bytes = crc.to_be_bytes();
    bytes
        .get(bytes.len().checked_sub(algorithm.value_bytes())?..)
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Vec<u8> {
        crc_bytes(algorithm, checksum(crc_of(algorithm).unwrap(), bytes)).unwrap()
    }

    #[test]
    fn a_full_object_crc_from_parts_is_the_crc_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
        for algorithm in [
            ChecksumAlgorithm::Crc32,
            ChecksumAlgorithm::Crc32c,
            ChecksumAlgorithm::Crc64nvme,
        ] {
            for cut in [0, 1, 4_096, 99_999, 100_000] {
                let (a, b) = bytes.split_at(cut);
                let (sum_a, sum_b) = (of(algorithm, a), of(algorithm, b));
                let whole =
                    combine_parts(algorithm, &[(&sum_a, a.len() as u64), (&sum_b, b.len() as u64)]).unwrap();
                assert_eq!(whole.value(), of(algorithm, &bytes), "{algorithm:?} cut at {cut}");
            }
        }
        assert_eq!(combine_parts(ChecksumAlgorithm::Sha256, &[]), None);
    }

    #[test]
    fn a_composite_checksum_is_over_the_parts_values() {
        let parts = [[1u8; 32], [2u8; 32]];
        let pairs: Vec<(&[u8], u64)> = parts.iter().map(|part| (&part[..], 1)).collect();
        let composite = composite_of(ChecksumAlgorithm::Sha256, &pairs).unwrap();
        assert_eq!(composite.value(), Sha256::digest(parts.concat()).as_slice());
        // The CRC32 of "123456789" as parts of its digits' bytes is the check value of the catalogue.
        let check = composite_of(ChecksumAlgorithm::Crc32, &[(b"1234", 1), (b"56789", 1)]).unwrap();
        assert_eq!(check.value(), 0xcbf4_3926_u32.to_be_bytes());
    }
}
