//! Frames with a hashed tail: read back, checked byte by byte, told from torn ones.

use super::*;
use crate::disk::{CrashChoice, DIRECT_ALIGN};

/// Room for a few long frames in a segment.
fn roomy(on_damage: OnDamage) -> LogConfig {
    config(1 << 20, on_damage)
}

fn long_tail(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 % 253) as u8).collect()
}

/// Writes a frame of 10 tag bytes, a part of 100 bytes and a tail with the hash of `hashed`.
fn append_tail(log: &mut Log, tail: &[u8], hashed: &[u8]) -> (Position, u32) {
    let hash = *blake3::hash(hashed).as_bytes();
    let tail = Tail { bytes: tail, hash };
    log.append_with_tail(16, &[b't'; 10], &[&[b'p'; 100]], tail)
        .unwrap()
}

#[test]
fn a_header_with_a_hashed_tail_has_its_golden_bytes_and_checks_payloads_by_the_tails_hash() {
    let (before, tail) = ([7; 4096 - 72 - HEADER_BYTES], [9; 5]);
    let hash = blake3::hash(&tail);
    let header = FrameHeader {
        kind: 16,
        log_id: 0x0102_0304_0506_0708,
        run: 3,
        position: Position::new(2, 72),
        durable_to: Position::new(2, 64),
        payload_bytes: (before.len() + tail.len()) as u32,
        tag_bytes: 2,
        tail_pages: 1,
        payload_checksum: frame::checksum_parts(0x0102_0304_0506_0708, &before, &[hash.as_bytes()]),
    };
    let bytes = header.encode();
    let golden: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        golden,
        include_str!("../../../golden/frame-header-tail.hex").trim()
    );
    assert_eq!(FrameHeader::decode(&bytes), Ok(header));
    let payload = [&before[..], &tail].concat();
    assert!(header.payload_matches(&payload));
    for at in 0..payload.len() {
        let mut altered = payload.clone();
        altered[at] ^= 1;
        assert!(!header.payload_matches(&altered), "byte {at}");
    }
    for (pages, tag_bytes) in [(2, 2), (1, before.len() as u32 + 1)] {
        let outside = FrameHeader {
            tail_pages: pages,
            tag_bytes,
            ..header
        };
        assert_eq!(
            FrameHeader::decode(&outside.encode()),
            Err(HeaderFault::Tail(pages))
        );
    }
}

#[test]
fn a_long_tail_is_hashed_at_a_multiple_of_the_direct_alignment_and_a_short_one_is_not() {
    for (bytes, pages) in [((256 << 10) - 1, 0), (256 << 10, 1), ((256 << 10) + 17, 1)] {
        let disk = SimDisk::new(1);
        let (mut log, ..) = open(&disk, roomy(OnDamage::Refuse)).unwrap();
        append(&mut log, 5).unwrap();
        let tail = long_tail(bytes);
        let (position, payload_bytes) = append_tail(&mut log, &tail, &tail);
        log.sync().unwrap();
        let frame = log.reader().read_sized(position, payload_bytes).unwrap();
        assert!(frame.payload.ends_with(&tail));
        assert_eq!(&frame.payload[..110], [&[b't'; 10][..], &[b'p'; 100]].concat());
        let mut header = [0; HEADER_BYTES];
        let file = disk
            .open(&segment_path(position.segment()), crate::disk::OpenMode::Read)
            .unwrap();
        file.read_at(&mut header, u64::from(position.offset())).unwrap();
        assert_eq!(header[6], pages, "{bytes}");
        let begins = position.offset() as usize + HEADER_BYTES + payload_bytes as usize - bytes;
        assert_eq!(begins.is_multiple_of(DIRECT_ALIGN), pages > 0, "{bytes}");
        drop(log);
        let (log, recovery, seen) = open(&disk, roomy(OnDamage::Refuse)).unwrap();
        assert!(recovery.damaged.is_empty());
        assert_eq!(seen.len(), 2);
        assert!(log.reader().read_sized(position, payload_bytes).is_ok());
    }
}

#[test]
fn a_flipped_bit_in_a_hashed_tail_is_found_when_it_is_read_and_when_the_log_is_opened() {
    for flipped in [0_u64, 100_000, (300 << 10) - 1] {
        let disk = SimDisk::new(1);
        let (mut log, ..) = open(&disk, roomy(OnDamage::Refuse)).unwrap();
        let tail = long_tail(300 << 10);
        let (position, payload_bytes) = append_tail(&mut log, &tail, &tail);
        log.sync().unwrap();
        append(&mut log, 1).unwrap();
        log.sync().unwrap();
        let end = u64::from(position.offset()) + HEADER_BYTES as u64 + u64::from(payload_bytes);
        let at = end - tail.len() as u64 + flipped;
        assert!(disk.flip_bit(&segment_path(0), at));
        let read = log.reader().read_sized(position, payload_bytes);
        assert!(matches!(read, Err(ReadError::BadPayload { .. })), "{flipped}");
        drop(log);
        let refused = open(&disk, roomy(OnDamage::Refuse)).map(|_| ());
        let Err(OpenError::Damaged { offset, .. }) = refused else {
            panic!("byte {flipped} of the tail");
        };
        assert_eq!(offset, position.offset());
        let (_, recovery, seen) = open(&disk, roomy(OnDamage::Skip)).unwrap();
        assert_eq!((recovery.damaged.len(), seen.len()), (1, 1));
    }
}

#[test]
fn a_tail_of_which_a_part_reached_the_disk_is_a_torn_one() {
    let tail = long_tail(300 << 10);
    for seed in 0..24 {
        let disk = SimDisk::new(seed);
        let (mut log, ..) = open(&disk, roomy(OnDamage::Refuse)).unwrap();
        append(&mut log, 0).unwrap();
        log.sync().unwrap();
        let (position, payload_bytes) = append_tail(&mut log, &tail, &tail);
        let state = disk.crash_state(disk.ops(), CrashChoice::Seeded(seed));
        let (log, recovery, seen) = open(&state, roomy(OnDamage::Refuse)).unwrap();
        assert!(recovery.damaged.is_empty(), "seed {seed}");
        match seen.len() {
            1 => assert!(log.reader().read_sized(position, payload_bytes).is_err()),
            2 => assert!(
                log.reader()
                    .read_sized(position, payload_bytes)
                    .unwrap()
                    .payload
                    .ends_with(&tail)
            ),
            other => panic!("seed {seed}: {other} frames"),
        }
    }
}

#[test]
fn a_frame_with_the_hash_of_other_bytes_is_a_damaged_one_to_its_reader() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, roomy(OnDamage::Refuse)).unwrap();
    let tail = long_tail(300 << 10);
    let (position, payload_bytes) = append_tail(&mut log, &tail, b"something else");
    log.sync().unwrap();
    let read = log.reader().read_sized(position, payload_bytes);
    assert!(matches!(read, Err(ReadError::BadPayload { .. })));
}
