//! Sample values for tests: consistent ones of any shape.

use engine::pack::{CHUNK_BYTES_MAX, PackId};
use scopes::ScopeId;

use super::*;
use crate::customer::CustomerCheck;
use crate::seal::CHUNK_PLAIN_BYTES;

/// A part of `bytes` bytes whose chunks go round robin over k = 4 lanes, 8 chunks to a pack.
pub(crate) fn part(number: u16, bytes: u64, seed: u8) -> Part {
    let chunks = bytes.div_ceil(CHUNK_PLAIN_BYTES as u64);
    let mut extents = ExtentBuilder::new(4, 0);
    for index in 0..chunks {
        let pack = PackRef::Id(PackId([seed.wrapping_add((index / 8) as u8); 32]));
        let (lane, row) = (index % 8 % 4, index % 8 / 4);
        let last = bytes - (chunks - 1) * CHUNK_PLAIN_BYTES as u64 + 16;
        let sealed = if index + 1 == chunks {
            last as u32
        } else {
            CHUNK_BYTES_MAX as u32
        };
        extents.push(pack, lane as u8, row as u32 * CHUNK_BYTES_MAX as u32, sealed);
    }
    Part {
        number,
        plaintext_bytes: bytes,
        stream: StreamId([seed; 32]),
        epoch: 1,
        customer: false,
        md5: Some([seed; 16]),
        checksum: Checksum::new(ChecksumAlgorithm::Crc32c, &[seed; 4]),
        extents: extents.finish(),
    }
}

/// An object of these parts.
pub(crate) fn object(key: &str, parts: Vec<Part>) -> Object {
    Object {
        key: key.to_owned(),
        delete_marker: false,
        multipart: parts.len() > 1,
        version: VersionId([3; 16]),
        null_version: true,
        plaintext_bytes: parts.iter().map(|part| part.plaintext_bytes).sum(),
        modified_ms: 1_700_000_000_000,
        etag_md5: [0xe7; 16],
        parts: parts.len() as u32,
        checksum: Checksum::new(ChecksumAlgorithm::Sha256, &[9; 32]).map(|checksum| ObjectChecksum {
            checksum,
            kind: ChecksumKind::FullObject,
        }),
        metadata: vec![
            ("content-type".to_owned(), "text/plain".to_owned()),
            ("x-amz-meta-a".to_owned(), "ä".to_owned()),
        ],
        tags: vec![("tag".to_owned(), "value".to_owned())],
        lock: Lock {
            retention: Some(Retention { mode: 1, until_ms: 5 }),
            legal_hold: true,
        },
        system: vec![("encryption".to_owned(), "AES256".to_owned())],
        superseded: engine::slots::Sequence(0),
        amendments: 0,
        customer: None,
        manifest: Manifest::Inline(parts),
    }
}

/// The object that these parts make when they are sealed under a customer's key.
pub(crate) fn customer_object(key: &str, mut parts: Vec<Part>) -> Object {
    for part in &mut parts {
        (part.customer, part.md5) = (true, None);
    }
    Object {
        customer: Some(customer_check()),
        ..object(key, parts)
    }
}

pub(crate) fn customer_check() -> CustomerCheck {
    CustomerCheck {
        epoch: 1,
        salt: [0xc1; 16],
        value: [0xc2; 32],
    }
}

pub(crate) fn bucket(name: &str, scope: ScopeId) -> Bucket {
    Bucket {
        name: name.to_owned(),
        scope,
        epoch: 1,
        created_ms: 77,
        settings: [("region".to_owned(), "us-east-1".to_owned())]
            .into_iter()
            .collect(),
    }
}

pub(crate) fn upload(key: &str, id: u8) -> Upload {
    Upload {
        key: key.to_owned(),
        id: UploadId([id; 16]),
        initiated_ms: 5,
        epoch: 1,
        checksum_algorithm: Some(ChecksumAlgorithm::Crc64nvme),
        checksum_kind: ChecksumKind::Composite,
        metadata: Vec::new(),
        tags: Vec::new(),
        lock: Lock::default(),
        system: Vec::new(),
        initiator: "owner".to_owned(),
        customer: Some(customer_check()),
    }
}

pub(crate) fn part_entry(upload: u8, part: Part) -> PartEntry {
    PartEntry {
        upload: UploadId([upload; 16]),
        modified_ms: 6,
        etag_md5: [4; 16],
        part,
    }
}
