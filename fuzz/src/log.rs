//! Log frames: the header, the footer, and recovery over a whole segment.
//!
//! Source: FORMAT.md section 1.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use engine::codec::{DecodeError, Reader, Writer};
use engine::disk::{Disk, OpenMode, SimDisk};
use engine::log::{
    FrameHeader, FrameInfo, HEADER_BYTES, HeaderFault, Log, LogConfig, LogKind, OnDamage, Position, Recovery,
    parse_footer,
};

/// The input as a frame header and its payload, as the payload of a footer, and as a whole segment file.
pub fn log_frame(input: &[u8]) -> bool {
    let mut taken = header(input) | footer(input);
    for on_damage in [OnDamage::Refuse, OnDamage::Skip] {
        taken |= recovery(input, on_damage);
    }
    taken
}

fn header(input: &[u8]) -> bool {
    let Some((head, payload)) = input.split_first_chunk::<HEADER_BYTES>() else {
        return false;
    };
    let Ok(header) = FrameHeader::decode(head) else {
        // No fuzzer guesses a checksum: what the fields say is tried with the right one.
        if let Ok(header) = header_of_fields(head) {
            assert_eq!(
                FrameHeader::decode(&header.encode()),
                Ok(header),
                "a header does not read back"
            );
        }
        return false;
    };
    assert_eq!(header.encode(), *head, "a header has two encodings");
    assert!(header.tag_bytes <= header.payload_bytes);
    assert_eq!(
        FrameHeader::decode_at(head, header.log_id, header.position),
        Ok(header)
    );
    assert!(FrameHeader::decode_at(head, !header.log_id, header.position).is_err());
    assert!(FrameHeader::decode_at(head, header.log_id, Position(!header.position.0)).is_err());
    let own = payload.get(..header.payload_bytes as usize);
    if let Some(own) = own.filter(|own| header.payload_matches(own)) {
        // XXH3 tells apart any two inputs that differ in one byte of so short a prefix.
        let mut altered = own.to_vec();
        if let Some(byte) = altered.first_mut() {
            *byte ^= 1;
            assert!(!header.payload_matches(&altered), "an altered payload passes");
        }
    }
    true
}

fn header_of_fields(head: &[u8]) -> Result<FrameHeader, DecodeError> {
    let mut reader = Reader::new(head);
    let [_, _, _, _, _, kind, tail_pages, _]: [u8; 8] = reader.fixed()?;
    let (log_id, run) = (reader.u64()?, reader.u64()?);
    let (position, durable_to) = (Position(reader.u64()?), Position(reader.u64()?));
    let (payload_bytes, tag_bytes) = (reader.u32()?, reader.u32()?);
    let mut header = FrameHeader {
        kind,
        log_id,
        run,
        position,
        durable_to,
        payload_bytes,
        tag_bytes: tag_bytes.min(payload_bytes),
        tail_pages,
        payload_checksum: reader.u64()?,
    };
    if let Err(HeaderFault::Tail(_)) = FrameHeader::decode(&header.encode()) {
        header.tail_pages = 0;
    }
    Ok(header)
}

fn footer(input: &[u8]) -> bool {
    let Some(frames) = parse_footer(&Bytes::copy_from_slice(input), SEGMENT, FOOTER_OFFSET) else {
        return false;
    };
    let mut writer = Writer::new();
    writer.u32(frames.len() as u32);
    let mut free_from = 0;
    for frame in &frames {
        assert_eq!(frame.position.segment(), SEGMENT);
        let start = u64::from(frame.position.offset());
        assert!(start >= free_from, "frames of a footer overlap");
        free_from = start + frame.frame_bytes();
        writer.u32(frame.position.offset());
        writer.u32(frame.payload_bytes);
        writer.u8(frame.kind);
        writer.u16(frame.tag.len() as u16);
        writer.fixed(&frame.tag);
    }
    assert!(
        free_from <= u64::from(FOOTER_OFFSET),
        "a frame of a footer reaches into it"
    );
    assert!(writer.as_slice() == input, "a footer has two encodings");
    true
}

/// A segment file with these bytes opens or is refused; what a first opening shows, a second one shows again, because
/// the first one has mended the tail.
fn recovery(input: &[u8], on_damage: OnDamage) -> bool {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(0));
    if put_segment(&*disk, input).is_err() {
        return false;
    }
    let Some((first, seen)) = open(&disk, on_damage) else {
        return false;
    };
    assert!(
        on_damage == OnDamage::Skip || first.damaged_count == 0,
        "damage was not refused"
    );
    let again = open(&disk, on_damage);
    let Some((second, seen_again)) = again else {
        panic!("a log that was recovered does not open again")
    };
    assert!(seen == seen_again, "recovery changed which frames there are");
    assert!(second.torn.is_none(), "the torn tail is still there");
    // With its head damaged and no frame left, a segment is taken for one that was never finished, and made anew.
    assert!(
        second.log_id == first.log_id || (seen.is_empty() && first.damaged_count > 0),
        "another log id"
    );
    // An opening that appends nothing leaves no trace of its run.
    assert!(second.run >= first.run, "the run number went back");
    !seen.is_empty()
}

fn put_segment(disk: &dyn Disk, content: &[u8]) -> std::io::Result<()> {
    let dir = Path::new(DIR);
    disk.create_dir_all(dir)?;
    let file = disk.open(&dir.join("00000000.seg"), OpenMode::CreateNew)?;
    file.write_all_at(&[content], 0)?;
    file.sync_data()?;
    disk.sync_dir(dir)
}

fn open(disk: &Arc<dyn Disk>, on_damage: OnDamage) -> Option<(Recovery, Vec<FrameInfo>)> {
    let config = LogConfig {
        kind: LogKind::Ledger,
        segment_bytes: 64 << 10,
        preallocate_bytes: 4 << 10,
        on_damage,
    };
    let mut seen = Vec::new();
    let opened = Log::open(Arc::clone(disk), Path::new(DIR), config, 1, &mut |frame| {
        seen.push(frame)
    });
    let (log, recovery) = opened.ok()?;
    let reader = log.reader();
    for frame in &seen {
        // A sealed segment's payloads are not read at opening, so one may turn out bad here; it must then be an error.
        if let Ok(read) = reader.read(frame.position) {
            assert_eq!(read.info, *frame, "a frame is not what recovery said");
            assert_eq!(read.payload.len(), frame.payload_bytes as usize);
        }
    }
    Some((recovery, seen))
}

const DIR: &str = "/log";
const SEGMENT: u32 = 7;
const FOOTER_OFFSET: u32 = 64 << 20;
