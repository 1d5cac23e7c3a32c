mod crash;
mod damage;
mod model;
mod tail;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, SimDisk};

const DIR: &str = "/log";

fn config(segment_bytes: u32, on_damage: OnDamage) -> LogConfig {
    LogConfig {
        kind: LogKind::Ledger,
        segment_bytes,
        preallocate_bytes: segment_bytes / 4,
        on_damage,
    }
}

fn small() -> LogConfig {
    config(4096, OnDamage::Refuse)
}

fn arc(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn open(disk: &SimDisk, config: LogConfig) -> Result<(Log, Recovery, Vec<FrameInfo>), OpenError> {
    let mut seen = Vec::new();
    let (log, recovery) = Log::open(
        arc(disk),
        Path::new(DIR),
        config,
        0x1122_3344_5566_7788,
        &mut |frame| seen.push(frame),
    )?;
    Ok((log, recovery, seen))
}

fn segment_path(number: u32) -> std::path::PathBuf {
    Path::new(DIR).join(format!("{number:08x}.seg"))
}

/// A payload that says which frame it is and has a length of its own.
fn payload(number: u64) -> Vec<u8> {
    let bytes = 8 + usize::try_from(number * 37 % 700).unwrap();
    number.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn append(log: &mut Log, number: u64) -> Result<Position, LogError> {
    log.append(16, &number.to_le_bytes(), &[&payload(number)])
}

fn number_of(frame: &FrameInfo) -> u64 {
    u64::from_le_bytes(frame.tag.as_ref().try_into().unwrap())
}

/// What the log holds, every payload compared.
fn numbers(log: &Log) -> Vec<u64> {
    log.reader()
        .frames_with_payload(Position(0))
        .map(|frame| {
            let frame = frame.unwrap();
            let number = number_of(&frame.info);
            assert_eq!(frame.payload.get(8..), Some(&payload(number)[..]));
            number
        })
        .collect()
}

#[test]
fn the_frame_header_has_its_golden_bytes() {
    let header = FrameHeader {
        kind: 16,
        log_id: 0x0102_0304_0506_0708,
        run: 3,
        position: Position::new(2, 72),
        durable_to: Position::new(2, 64),
        payload_bytes: 5,
        tag_bytes: 2,
        tail_pages: 0,
        payload_checksum: frame::checksum_parts(0x0102_0304_0506_0708, b"he", &[b"l", b"lo"]),
    };
    let bytes = header.encode();
    let golden: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(golden, include_str!("../../golden/frame-header.hex").trim());
    assert_eq!(FrameHeader::decode(&bytes), Ok(header));
    assert!(header.payload_matches(b"hello"));
    for at in 0..HEADER_BYTES * 8 {
        let mut flipped = bytes;
        flipped[at / 8] ^= 1 << (at % 8);
        assert!(FrameHeader::decode(&flipped).is_err(), "bit {at}");
    }
}

#[test]
fn the_footer_has_its_golden_bytes_and_refuses_every_cut() {
    let mut builder = footer::FooterBuilder::new();
    builder.push(72, 10, 16, b"abc");
    builder.push(152, 0, 17, b"");
    let tail = footer::encode_tail(216, 7);
    let golden: String = builder
        .payload()
        .iter()
        .chain(&tail)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(golden, include_str!("../../golden/footer.hex").trim());
    let payload = Bytes::copy_from_slice(builder.payload());
    assert_eq!(parse_footer(&payload, 1, 216).unwrap().len(), 2);
    assert!(
        parse_footer(&payload, 1, 208).is_none(),
        "a frame may not reach into the footer"
    );
    for cut in 0..payload.len() {
        assert!(
            parse_footer(&payload.slice(..cut), 1, 216).is_none(),
            "cut at {cut}"
        );
    }
    assert_eq!(footer::decode_tail(&tail, 7), Some(216));
    assert_eq!(footer::decode_tail(&tail, 8), None);
}

#[test]
fn footer_room_is_exactly_what_the_footer_takes() {
    let mut builder = footer::FooterBuilder::new();
    for tag in [0_usize, 1, 80, 300] {
        let promised = builder.bytes_with(Some(tag));
        builder.push(72, 1000, 16, &vec![1; tag]);
        assert_eq!(builder.bytes_with(None), promised);
        assert!(promised >= 64 + builder.payload().len() as u64 + 16);
    }
}

#[test]
fn large_and_gathered_frames_read_back_alike_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(crate::disk::RealDisk);
    let (mut log, recovery) = Log::open(
        Arc::clone(&disk),
        &dir.path().join("a/log"),
        LogConfig::drive(),
        9,
        &mut |_| {},
    )
    .unwrap();
    assert!(recovery.created);
    let large: Vec<u8> = (0..2_097_152_u32).map(|n| (n * 31 % 251) as u8).collect();
    let mut places = Vec::new();
    for _ in 0..40 {
        places.push((log.append(16, b"tag", &[b"head", &large]).unwrap(), large.len()));
        places.push((log.append(17, b"tag", &[b"head", &large[..100]]).unwrap(), 100));
        log.sync().unwrap();
    }
    log.sync().unwrap();
    assert!(log.is_linked().unwrap());
    assert!(log.segments().len() > 1, "80 MiB need a second segment of 64 MiB");
    for (position, bytes) in &places {
        let frame = log.reader().read(*position).unwrap();
        assert_eq!(&frame.payload[..7], b"taghead");
        assert_eq!(&frame.payload[7..], &large[..*bytes]);
        assert_eq!(
            &log.reader().read_range(*position, 7, 50).unwrap()[..],
            &large[..50]
        );
    }
    log.trim().unwrap();
    let allocated = log.allocated_bytes();
    log.close().unwrap();
    let mut again = Vec::new();
    let (log, recovery) = Log::open(
        disk,
        &dir.path().join("a/log"),
        LogConfig::drive(),
        9,
        &mut |frame| {
            again.push((frame.position, frame.payload_bytes as usize - 7));
        },
    )
    .unwrap();
    assert_eq!(again, places);
    assert!(recovery.clean && recovery.run == 2);
    assert!(
        log.allocated_bytes() <= allocated + 4096 + (4 << 20),
        "a closing frame may reserve one step"
    );
}

#[test]
fn a_frame_that_no_segment_can_hold_is_refused_with_the_limit() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    let Err(LogError::FrameTooLarge { limit, .. }) = log.append(16, &[], &[&[0; 4096]]) else {
        panic!()
    };
    let fits = usize::try_from(limit).unwrap() - HEADER_BYTES;
    log.append(16, &[], &[&vec![1; fits]]).unwrap();
    assert!(matches!(
        log.append(3, &[], &[]),
        Err(LogError::ReservedKind { kind: 3 })
    ));
    log.seal_current().unwrap();
    assert_eq!(
        disk.open(&segment_path(0), crate::disk::OpenMode::Read)
            .unwrap()
            .len()
            .unwrap(),
        4096
    );
}

#[test]
fn readers_keep_few_files_open() {
    let disk = SimDisk::unrecorded(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    let places: Vec<Position> = (0..1500)
        .map(|number| append(&mut log, number).unwrap())
        .collect();
    assert!(log.segments().len() > 100);
    let reader = log.reader();
    for (number, place) in places.iter().enumerate() {
        assert_eq!(number_of(&reader.read(*place).unwrap().info), number as u64);
    }
    assert!(disk.open_handles() <= 65, "{}", disk.open_handles());
}

#[test]
fn a_reader_follows_the_writer_from_another_thread() {
    let disk = SimDisk::unrecorded(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    let reader = log.reader();
    let following = std::thread::spawn(move || {
        let mut seen = 0;
        while seen < 500 {
            let now = reader
                .frames_with_payload(Position(0))
                .map(|frame| number_of(&frame.unwrap().info));
            let now: Vec<u64> = now.collect();
            assert!(now.iter().copied().eq(0..now.len() as u64));
            assert!(now.len() >= seen);
            seen = now.len();
        }
    });
    for number in 0..500 {
        append(&mut log, number).unwrap();
    }
    following.join().unwrap();
}

#[test]
fn large_frames_leave_the_page_cache_once_they_are_synced_and_small_ones_stay() {
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let (mut log, _) = Log::open(disk, Path::new("/log"), LogConfig::drive(), 9, &mut |_| {}).unwrap();
    let large = vec![7; 300 << 10];
    for _ in 0..2 {
        log.append(16, b"tag", &[&large]).unwrap();
        log.append(16, b"tag", &[&large[..100 << 10]]).unwrap();
    }
    assert_eq!(sim.dropped_bytes(), 0, "nothing was synced");
    log.sync().unwrap();
    let dropped = sim.dropped_bytes();
    assert!((600 << 10..601 << 10).contains(&dropped), "{dropped}");
    log.append(16, b"tag", &[&large]).unwrap();
    log.seal_current().unwrap();
    assert!(sim.dropped_bytes() - dropped >= 300 << 10);
}
