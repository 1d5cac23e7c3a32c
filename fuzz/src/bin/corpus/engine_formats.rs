//! Segments and frames of a real log, shard headers, and what the ledger reads and writes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use engine::codec::Writer;
use engine::disk::{Disk, OpenMode, SimDisk, read_exact_at};
use engine::drive::{DriveIdentity, ShardHeader};
use engine::log::{HEADER_BYTES, Log, LogConfig, LogKind, OnDamage};
use engine::pack::{Code, PackGeometry, PackSummary, ShardHash, TrailerPlace};
use engine::slots::{
    Address, Append, Entry, EntryKind, Expectation, LeaseEntry, LeaseState, Outcome, RecordPart, Sequence,
    Write, lease_address,
};
use net::PackEntry;

use super::Seeds;

pub(super) fn log_frame() -> Seeds {
    let open = segment(3, |log| log.sync().map(drop))?;
    let closed = segment(3, Log::idle)?;
    let sealed = segment(5, Log::seal_current)?;
    let long = segment(40, Log::idle)?;
    let first_frame = open
        .get(FIRST_FRAME..FIRST_FRAME + HEADER_BYTES + FRAME_BYTES)
        .ok_or("no frame")?
        .to_vec();
    let head = open.get(..HEADER_BYTES + 8).ok_or("no head")?.to_vec();
    // The last 16 bytes: magic, offset of the footer frame, checksum.
    let offset = sealed
        .get(sealed.len() - 12..sealed.len() - 8)
        .and_then(|bytes| bytes.first_chunk());
    let footer = u32::from_le_bytes(*offset.ok_or("no footer")?) as usize;
    let payload_bytes = sealed
        .get(footer + 40..footer + 44)
        .and_then(|bytes| bytes.first_chunk());
    let payload_bytes = u32::from_le_bytes(*payload_bytes.ok_or("no footer")?) as usize;
    let footer = sealed
        .get(footer + HEADER_BYTES..footer + HEADER_BYTES + payload_bytes)
        .ok_or("no footer")?
        .to_vec();
    Ok(vec![
        ("segment-open", open),
        ("segment-closed", closed),
        ("segment-sealed", sealed),
        ("segment-long", long),
        ("frame", first_frame),
        ("frame-head", head),
        ("footer", footer),
    ])
}

/// After the segment head: header and 8 bytes.
const FIRST_FRAME: usize = HEADER_BYTES + 8;
const FRAME_BYTES: usize = 40;

fn segment(
    frames: u32,
    end: impl FnOnce(&mut Log) -> Result<(), engine::log::LogError>,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(0));
    let dir = Path::new("/log");
    let config = LogConfig {
        kind: LogKind::Ledger,
        segment_bytes: 64 << 10,
        preallocate_bytes: 4 << 10,
        on_damage: OnDamage::Refuse,
    };
    let (mut log, _) = Log::open(Arc::clone(&disk), dir, config, 0x1122_3344_5566_7788, &mut |_| {})?;
    for number in 0..frames {
        let tag = number.to_le_bytes();
        log.append(16 + (number % 3) as u8, &tag, &[&[number as u8; FRAME_BYTES - 4]])?;
        if number % 4 == 1 {
            log.sync()?;
        }
    }
    end(&mut log)?;
    let file = disk.open(&dir.join("00000000.seg"), OpenMode::Read)?;
    let mut content = vec![0; usize::try_from(file.len()?)?];
    read_exact_at(&*file, &mut content, 0)?;
    // Of the reserved rest a few zeros are enough.
    let used = content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    content.truncate(content.len().min(used.next_multiple_of(8) + 64));
    Ok(content)
}

pub(super) fn summaries() -> Result<Vec<(&'static str, PackSummary)>, Box<dyn std::error::Error>> {
    let geometry = |code: &str, lanes: &[u32], trailer| -> Result<_, Box<dyn std::error::Error>> {
        let code: Code = code.parse()?;
        let mut lane_bytes = lanes.to_vec();
        lane_bytes.resize(code.data(), 0);
        let shard_bytes = lanes.iter().copied().max().unwrap_or(0).max(1);
        Ok(PackGeometry {
            code,
            shard_bytes,
            lane_bytes,
            trailer,
        })
    };
    let trailer = |lane, offset, bytes| Some(TrailerPlace { lane, offset, bytes });
    let geometries = [
        ("small", geometry("4+2", &[4112, 0, 0, 0], None)?),
        ("full", geometry("4+2", &[2_097_152; 4], None)?),
        (
            "with-trailer",
            geometry("4+2", &[65_536, 65_536, 777, 0], trailer(2, 512, 265))?,
        ),
        (
            "claims-only",
            geometry("4+2", &[333, 0, 0, 0], trailer(0, 0, 333))?,
        ),
        ("narrow", geometry("1+2", &[17], None)?),
        ("wide", geometry("29+32", &[100; 29], None)?),
    ];
    let summary = |(name, geometry): (&'static str, PackGeometry)| {
        let hashes = (0..geometry.code.shards())
            .map(|index| ShardHash([index as u8 + 1; 32]))
            .collect();
        Ok((name, PackSummary::new(geometry, hashes)?))
    };
    geometries.into_iter().map(summary).collect()
}

pub(super) fn shard_frame() -> Seeds {
    let mut seeds = Vec::new();
    let names = [
        "frame-small",
        "frame-full",
        "frame-with-trailer",
        "frame-claims-only",
        "frame-narrow",
        "frame-wide",
    ];
    for ((index, (_, summary)), name) in summaries()?.into_iter().enumerate().zip(names) {
        let header = ShardHeader {
            summary,
            index: index as u8 % 3,
            lease: 9,
            vault: [1; 16],
            scope: [2; 16],
        };
        seeds.push((name, [header.encode_tag(), header.encode_clear()].concat()));
    }
    for (name, summary) in summaries()? {
        let mut writer = Writer::new();
        summary.encode(&mut writer);
        seeds.push((name, writer.into_vec()));
    }
    let identity = DriveIdentity {
        cluster: [0xc1; 16],
        drive: [0xd7; 16],
    };
    seeds.push(("identity", identity.to_json().into_bytes()));
    Ok(seeds)
}

fn address(kind: EntryKind, slot: u8) -> Address {
    Address {
        scope: [3; 16],
        kind,
        slot: [slot; 16],
    }
}

fn append() -> Append {
    let value = |bytes: usize| Some(Bytes::from(vec![0xab; bytes]));
    Append {
        operation: [7; 16],
        lease: 5,
        vault: [1; 16],
        expectations: vec![
            Expectation::Absent(address(EntryKind::Bucket, 1)),
            Expectation::At(address(EntryKind::ObjectCurrent, 2), Sequence(41)),
            Expectation::ScopeEmpty([3; 16]),
        ],
        writes: vec![
            Write {
                address: address(EntryKind::ObjectCurrent, 2),
                value: value(200),
            },
            Write {
                address: address(EntryKind::ObjectVersion, 3),
                value: value(0),
            },
            Write {
                address: address(EntryKind::Part, 4),
                value: None,
            },
        ],
        record: Some(RecordPart {
            commitment: [8; 32],
            body: Bytes::from_static(b"a sealed record"),
        }),
    }
}

pub(super) fn ledger_entry() -> Seeds {
    let written = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new();
        write(&mut writer);
        writer.into_vec()
    };
    let full = append();
    let bare = Append {
        expectations: Vec::new(),
        writes: Vec::new(),
        record: None,
        ..append()
    };
    let lease = LeaseEntry {
        state: LeaseState::Live,
        holder: "gateway at home".to_owned(),
        granted_ms: 1_781_079_242_000,
        progress: None,
    };
    let ended = LeaseEntry {
        state: LeaseState::Ended,
        ..lease.clone()
    };
    let entry = Entry {
        address: lease_address(5),
        sequence: Sequence(12),
        value: Bytes::from(lease.encode()),
    };
    let conflict = Outcome::Conflict {
        expectation: 1,
        current: Some(entry.clone()),
    };
    let absent = Outcome::Conflict {
        expectation: 0,
        current: None,
    };
    let mut seeds = vec![
        ("append", written(&|w| full.encode(w))),
        ("append-bare", written(&|w| bare.encode(w))),
        (
            "applied",
            written(&|w| drop(full.applied(Sequence(42)).encode(w))),
        ),
        (
            "applied-bare",
            written(&|w| drop(bare.applied(Sequence(1)).encode(w))),
        ),
        ("entry", written(&|w| entry.encode(w))),
        (
            "outcome-applied",
            written(&|w| {
                Outcome::Applied {
                    sequence: Sequence(42),
                }
                .encode(w)
            }),
        ),
        ("outcome-conflict", written(&|w| conflict.encode(w))),
        ("outcome-absent", written(&|w| absent.encode(w))),
        (
            "outcome-lease",
            written(&|w| Outcome::LeaseEnded { lowest_live: 6 }.encode(w)),
        ),
        ("lease-live", lease.encode()),
        ("lease-ended", ended.encode()),
    ];
    seeds.extend(pack_entries()?);
    Ok(seeds)
}

/// The ledger's entries of the sample packs.
fn pack_entries() -> Seeds {
    let mut seeds = Vec::new();
    for ((_, summary), name) in summaries()?
        .into_iter()
        .zip(["pack-small", "pack-full", "pack-with-trailer"])
    {
        let drives = (0..summary.geometry.code.shards())
            .map(|index| [index as u8 + 1; 16])
            .collect();
        seeds.push((
            name,
            PackEntry {
                summary,
                vault: [1; 16],
                lease: 5,
                drives,
            }
            .encode(),
        ));
    }
    Ok(seeds)
}
