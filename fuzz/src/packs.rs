//! Shard frames: tag and clear header, the geometry alone, and a drive's identity file.
//!
//! Source: FORMAT.md section 3.

use engine::codec::{Reader, Writer};
use engine::disk::DIRECT_ALIGN;
use engine::drive::{DriveIdentity, SHARD_TAG_BYTES, ShardHeader};
use engine::pack::{PackGeometry, PackSummary, SHARD_BYTES_MAX};

/// The input as what precedes a shard in its frame, as a pack's geometry, as its summary, and as a drive's identity.
pub fn shard_frame(input: &[u8]) -> bool {
    let mut taken = frame(input);
    let mut reader = Reader::new(input);
    if let Ok(geometry) = PackGeometry::decode(&mut reader) {
        check_geometry(&geometry);
        let mut writer = Writer::new();
        geometry.encode(&mut writer);
        let used = input.len() - reader.remaining();
        assert!(
            Some(writer.as_slice()) == input.get(..used),
            "a geometry has two encodings"
        );
        taken = true;
    }
    if let Ok(summary) = PackSummary::decode(&mut Reader::new(input)) {
        check_summary(summary);
        taken = true;
    }
    if let Ok(identity) = DriveIdentity::parse(input) {
        assert!(
            identity.to_json().as_bytes() == input,
            "a drive's identity has two encodings"
        );
        taken = true;
    }
    taken
}

fn frame(input: &[u8]) -> bool {
    // The header says how long the payload has to be; that length is tried, and one beside it.
    let Some(clear) = input.get(SHARD_TAG_BYTES..) else {
        return false;
    };
    let mut reader = Reader::new(clear);
    let Ok(summary) = PackSummary::decode(&mut reader) else {
        return false;
    };
    let header_bytes = input.len() - reader.remaining();
    let payload_bytes = header_bytes as u32 + summary.geometry.shard_bytes;
    let decoded = ShardHeader::decode(input, payload_bytes);
    let taken = decoded.is_ok();
    if let Ok(header) = decoded {
        let mut encoded = header.encode_tag();
        encoded.extend(header.encode_clear());
        assert!(
            Some(encoded.as_slice()) == input.get(..header_bytes),
            "a shard header has two encodings"
        );
        assert!(usize::from(header.index) < summary.geometry.code.shards());
        assert_eq!(header.key().pack, summary.id);
        // Zeros may lie before the shard, fewer than a page.
        for wrong in [payload_bytes - 1, payload_bytes + DIRECT_ALIGN as u32] {
            assert!(
                ShardHeader::decode(input, wrong).is_err(),
                "a shard of the wrong length passes"
            );
        }
        check_summary(header.summary);
    }
    taken
}

fn check_geometry(geometry: &PackGeometry) {
    assert_eq!(geometry.check(), Ok(()));
    assert!((1..=SHARD_BYTES_MAX).contains(&(geometry.shard_bytes as usize)));
    assert_eq!(geometry.lane_bytes.len(), geometry.code.data());
    let shards = geometry.code.shards() as u64;
    assert!(geometry.stored_bytes() <= shards * u64::from(geometry.shard_bytes));
    assert!(geometry.data_bytes() <= geometry.code.data() as u64 * u64::from(geometry.shard_bytes));
    assert_eq!(geometry.code.to_string().parse(), Ok(geometry.code));
}

fn check_summary(mut summary: PackSummary) {
    check_geometry(&summary.geometry);
    assert_eq!(summary.verify(), Ok(()));
    if let Some(hash) = summary.hashes.last_mut() {
        let [first, ..] = &mut hash.0;
        *first ^= 1;
        assert!(
            summary.verify().is_err(),
            "the pack id does not bind a shard hash"
        );
    }
}
