//! The activity log on the engine's log: what readers see, what a crash leaves, what other software can check.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use activity::merkle::Hash;
use activity::{
    ActivityLog, ActivityReader, AppendError, BODY_BYTES_MAX, Compute, LogIdentity, NewEntry, OpenError,
    Opening, OperationId, Purpose, ReadError, Receipt, Record, RecordId, ResultHash, TILE_WIDTH, Timestamp,
    audit, audit_with, commitment, vault_scope,
};
use bytes::Bytes;
use engine::disk::{CrashChoice, RealDisk, SimDisk};
use scopes::{VaultId, Wallet};
use tlog_tiles::{Tile, TileHashReader, TileReader};

const DIR: &str = "/activity";

fn identity() -> LogIdentity {
    LogIdentity::new("cairn.example/activity", Wallet::from_seed(&[8; 32])).unwrap()
}

fn open(disk: &SimDisk) -> ActivityLog {
    ActivityLog::open(Arc::new(disk.clone()), Path::new(DIR), identity(), 77)
        .unwrap()
        .0
}

fn record_id(number: u64) -> RecordId {
    RecordId((u128::from(number) << 64 | 0x1234).to_be_bytes())
}

fn record(number: u64) -> Vec<u8> {
    let record = Record {
        record_id: record_id(number),
        agent: "credential:c4c4c4c4c4c4c4c4".into(),
        vault_scope: vault_scope(VaultId([0x7c; 16]), "calendar"),
        operation: "GetObject".into(),
        compute: Compute::default(),
        result_hash: ResultHash::None,
        signatures: Vec::new(),
        grant_id: None,
        bytes: number,
        time: Timestamp::from_ms(1_781_079_242_123),
        operation_id: OperationId([1; 16]),
        attempt: 1,
        purpose: Purpose::Read,
        status: "ok".into(),
    };
    record.canonical_bytes().unwrap()
}

fn blind(number: u64) -> [u8; 32] {
    [number.to_le_bytes()[0] ^ 0x55; 32]
}

/// An entry whose body is blind and record, "sealed" by turning their bits over, then `padding` bytes.
fn entry(number: u64, padding: usize) -> NewEntry {
    let mut body: Vec<u8> = blind(number)
        .into_iter()
        .chain(record(number))
        .map(|byte| !byte)
        .collect();
    body.resize(body.len() + padding, 0xff);
    let commitment = commitment(&blind(number), &record(number));
    NewEntry {
        record_id: record_id(number),
        ledger_sequence: number + 1,
        commitment,
        body: body.into(),
    }
}

fn unseal(body: &[u8]) -> Opening {
    let sealed = body
        .iter()
        .rposition(|byte| *byte != 0xff)
        .map_or(0, |last| last + 1);
    let plain: Vec<u8> = body[..sealed].iter().map(|byte| !byte).collect();
    let (blind, record) = plain.split_first_chunk().unwrap();
    Opening {
        blind: *blind,
        record: record.to_vec(),
    }
}

fn fill(log: &mut ActivityLog, count: u64, padding: usize) {
    let from = log.len();
    for number in from..from + count {
        assert_eq!(log.append(&entry(number, padding)).unwrap(), number);
    }
}

#[test]
fn readers_see_what_a_durable_checkpoint_covers_and_no_more() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    let reader = log.reader();
    assert!(reader.is_empty());
    assert_eq!(reader.checkpoint().checkpoint().size, 0);
    fill(&mut log, 3, 0);
    assert_eq!(
        (log.len(), reader.len(), log.ledger_sequence_through()),
        (3, 0, 3)
    );
    assert_eq!(
        (reader.find(&record_id(1)), reader.ledger_sequence_through()),
        (None, 0)
    );
    assert!(matches!(
        reader.entry(0),
        Err(ReadError::NoSuchEntry { index: 0, size: 0 })
    ));
    assert_eq!(reader.entries(0..9).count(), 0);
    log.sync_and_checkpoint().unwrap();
    assert_eq!((reader.len(), reader.ledger_sequence_through()), (3, 3));
    assert_eq!(reader.find(&record_id(1)), Some(1));
    assert_eq!(
        unseal(&reader.entry(2).unwrap().body),
        Opening {
            blind: blind(2),
            record: record(2)
        }
    );
    let head = reader.checkpoint();
    assert_eq!(
        log.sync_and_checkpoint().unwrap(),
        head,
        "no new entry, no new head"
    );
}

#[test]
fn everything_is_there_again_after_reopening() {
    let disk = SimDisk::unrecorded(2);
    let mut log = open(&disk);
    for _ in 0..4 {
        fill(&mut log, 150, 0);
        log.sync_and_checkpoint().unwrap();
    }
    let head = log.reader().checkpoint();
    log.close().unwrap();
    let (log, opened) = ActivityLog::open(Arc::new(disk), Path::new(DIR), identity(), 78).unwrap();
    assert!(opened.recovery.clean && opened.uncovered == 0);
    let reader = log.reader();
    assert_eq!(
        (reader.checkpoint(), reader.ledger_sequence_through()),
        (head, 600)
    );
    for (number, found) in (0..).zip(reader.entries(0..600)) {
        let found = found.unwrap();
        assert_eq!(
            (found.index, found.record_id, found.commitment),
            (number, record_id(number), entry(number, 0).commitment)
        );
    }
    assert_eq!(reader.entries(595..700).count(), 5);
    assert_eq!(audit(&reader).unwrap().checkpoints, 5);
}

#[test]
fn a_log_of_several_segments_opens_from_its_footers_and_checks_out() {
    let disk = SimDisk::unrecorded(3);
    let mut log = open(&disk);
    fill(&mut log, 700, 60_000);
    log.sync_and_checkpoint().unwrap();
    let head = log.reader().checkpoint();
    drop(log);
    let reader = open(&disk).reader();
    assert_eq!(reader.checkpoint(), head);
    assert_eq!(audit(&reader).unwrap().entries, 700);
    let receipt = Receipt::build(&reader, 3, &record(3), &blind(3)).unwrap();
    assert_eq!(receipt.verify(None).unwrap().tree_size, 700);
}

#[test]
fn a_receipt_is_made_for_the_entrys_own_record_only() {
    let disk = SimDisk::unrecorded(4);
    let mut log = open(&disk);
    fill(&mut log, 300, 0);
    log.sync_and_checkpoint().unwrap();
    let reader = log.reader();
    for index in [0, 255, 256, 299] {
        let text = Receipt::build(&reader, index, &record(index), &blind(index))
            .unwrap()
            .to_string();
        let verified = Receipt::parse(text.as_bytes())
            .unwrap()
            .verify(Some(reader.key()))
            .unwrap();
        assert_eq!((verified.index, verified.record.bytes), (index, index));
        assert!(text.len() < 4_096, "{} bytes", text.len());
    }
    assert!(matches!(
        Receipt::build(&reader, 1, &record(2), &blind(1)),
        Err(ReadError::Receipt(_))
    ));
    assert!(matches!(
        Receipt::build(&reader, 300, &record(300), &blind(300)),
        Err(ReadError::NoSuchEntry {
            index: 300,
            size: 300
        })
    ));
}

#[test]
fn a_record_is_logged_once_and_a_body_has_a_limit() {
    let disk = SimDisk::unrecorded(5);
    let mut log = open(&disk);
    fill(&mut log, 2, 0);
    assert!(matches!(
        log.append(&entry(1, 0)),
        Err(AppendError::RecordKnown { index: 1 })
    ));
    let long = NewEntry {
        body: Bytes::from(vec![0; BODY_BYTES_MAX + 1]),
        ..entry(2, 0)
    };
    assert!(
        matches!(log.append(&long), Err(AppendError::BodyTooLong { bytes }) if bytes == BODY_BYTES_MAX + 1)
    );
    let longest = NewEntry {
        body: Bytes::from(vec![0; BODY_BYTES_MAX]),
        ..entry(2, 0)
    };
    assert_eq!(log.append(&longest).unwrap(), 2);
    // An entry that did not come through the ledger leaves the feeder's place; a rebuilt ledger moves it back.
    log.append(&NewEntry {
        ledger_sequence: 0,
        ..entry(3, 0)
    })
    .unwrap();
    assert_eq!(log.ledger_sequence_through(), 2 + 1);
    log.append(&NewEntry {
        ledger_sequence: 1,
        ..entry(4, 0)
    })
    .unwrap();
    assert_eq!(log.ledger_sequence_through(), 1);
}

#[test]
fn a_failed_flush_publishes_nothing_and_is_final() {
    let disk = SimDisk::new(6);
    let mut log = open(&disk);
    let reader = log.reader();
    fill(&mut log, 2, 0);
    disk.fail_sync(Path::new(DIR));
    assert!(log.sync_and_checkpoint().is_err());
    disk.heal();
    assert!(log.sync_and_checkpoint().is_err() && log.is_fenced());
    assert!(log.append(&entry(2, 0)).is_err());
    assert_eq!((reader.len(), reader.ledger_sequence_through()), (0, 0));
}

#[test]
fn a_full_disk_publishes_nothing_and_passes() {
    let disk = SimDisk::unrecorded(7);
    let mut log = open(&disk);
    fill(&mut log, 2, 0);
    disk.fail_write_enospc(Path::new(DIR));
    let mut refused = 0;
    for number in 2..60 {
        refused += u32::from(log.append(&entry(number, 60_000)).is_err());
    }
    assert!(refused > 10, "{refused}");
    disk.heal();
    let (next, reader) = (log.len(), log.reader());
    fill(&mut log, 3, 0);
    log.sync_and_checkpoint().unwrap();
    assert_eq!(reader.len(), next + 3);
    assert!(audit(&reader).is_ok());
}

#[test]
fn another_logs_key_does_not_open_it() {
    let disk = SimDisk::unrecorded(8);
    let mut log = open(&disk);
    fill(&mut log, 1, 0);
    log.close().unwrap();
    let other_key = LogIdentity::new("cairn.example/activity", Wallet::from_seed(&[9; 32])).unwrap();
    let other_name = LogIdentity::new("cairn.example/other", Wallet::from_seed(&[8; 32])).unwrap();
    for other in [other_key, other_name] {
        let refused = ActivityLog::open(Arc::new(disk.clone()), Path::new(DIR), other, 1).map(|_| ());
        assert!(matches!(refused, Err(OpenError::Note { .. })), "{refused:?}");
    }
}

/// Every recorded operation as a crash point, three outcomes each: what was published is there, in order, under the
/// same root, and the log goes on.
#[test]
fn no_crash_takes_back_a_published_head() {
    let disk = SimDisk::new(9);
    let mut log = open(&disk);
    let mut heads = vec![log.reader().checkpoint().checkpoint()];
    disk.marker(0);
    for round in 1..=12 {
        fill(&mut log, round % 4 + 1, 40 * usize::try_from(round).unwrap());
        heads.push(log.sync_and_checkpoint().unwrap().checkpoint());
        disk.marker(round);
        if round % 5 == 0 {
            log.idle().unwrap();
        }
    }
    drop(log);
    let (mut states, mut uncovered) = (0, 0);
    for at in 0..=disk.ops() {
        let published = disk.markers_before(at).last().copied();
        for choice in [
            CrashChoice::KeepAll,
            CrashChoice::DropAll,
            CrashChoice::Seeded(1),
            CrashChoice::Seeded(2),
        ] {
            let crashed = disk.crash_state(at, choice);
            let opened = ActivityLog::open(Arc::new(crashed), Path::new(DIR), identity(), 77);
            let (mut log, opened) = opened.unwrap_or_else(|error| panic!("op {at} {choice:?}: {error}"));
            let reader = log.reader();
            if let Some(head) = published.map(|round| heads[usize::try_from(round).unwrap()]) {
                assert!(reader.len() >= head.size, "op {at} {choice:?}");
                assert!(reader.ledger_sequence_through() >= head.size);
                assert_eq!(root_at(&reader, head.size), head.root, "op {at} {choice:?}");
            }
            for (number, found) in (0..).zip(reader.entries(0..reader.len())) {
                assert_eq!(found.unwrap().record_id, record_id(number));
            }
            fill(&mut log, 1, 0);
            log.sync_and_checkpoint().unwrap();
            assert_eq!(audit(&reader).unwrap().uncovered, 0, "op {at} {choice:?}");
            states += 1;
            uncovered += opened.uncovered;
        }
    }
    println!("{states} states");
    assert!(
        states > 250 && uncovered > 0,
        "{states} states, {uncovered} entries recovered beyond a checkpoint"
    );
}

/// The root of the first `size` entries, computed by the reference from the entries' commitments.
fn root_at(reader: &ActivityReader, size: u64) -> Hash {
    let mut tree = activity::Tree::default();
    for found in reader.entries(0..size) {
        tree.push(tlog_tiles::record_hash(&found.unwrap().commitment).0);
    }
    tree.root()
}

/// Serves our tiles to the other implementation, which checks each against the root.
struct Tiles(ActivityReader);

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            self.0
                .tile(tile.level().into(), tile.level_index(), tile.width().into())
                .unwrap()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn other_software_proves_entries_and_history_from_our_tiles_and_bundles() {
    let disk = SimDisk::unrecorded(10);
    let mut log = open(&disk);
    fill(&mut log, 300, 0);
    let old = log.sync_and_checkpoint().unwrap().checkpoint();
    fill(&mut log, 500, 0);
    let new = log.sync_and_checkpoint().unwrap().checkpoint();
    fill(&mut log, 7, 0);
    let tiles = Tiles(log.reader());
    let (old_root, root) = (tlog_tiles::Hash(old.root), tlog_tiles::Hash(new.root));
    let hashes = TileHashReader::new(new.size, root, &tiles);
    for index in [0, 255, 256, 300, 511, 512, 799] {
        let bundle = tiles
            .0
            .entry_bundle(
                index / TILE_WIDTH,
                TILE_WIDTH.min(800 - index / TILE_WIDTH * TILE_WIDTH),
            )
            .unwrap();
        let place = usize::try_from(index % TILE_WIDTH).unwrap() * 34;
        assert_eq!(bundle[place..place + 2], [0, 32]);
        let leaf = tlog_tiles::record_hash(&bundle[place + 2..place + 34]);
        let theirs = tlog_tiles::prove_record(new.size, index, &hashes).unwrap();
        tlog_tiles::check_record(&theirs, new.size, root, index, leaf).unwrap();
        let ours = tiles.0.inclusion_proof(index, new.size).unwrap();
        assert_eq!(ours, theirs.iter().map(|hash| hash.0).collect::<Vec<_>>());
    }
    let proof = tiles
        .0
        .consistency_proof(old.size, new.size)
        .unwrap()
        .into_iter()
        .map(tlog_tiles::Hash)
        .collect();
    tlog_tiles::check_tree(&proof, new.size, root, old.size, old_root).unwrap();
    for (level, number, width) in [
        (0, 3, 33),
        (0, 4, 1),
        (1, 0, 4),
        (2, 0, 1),
        (0, 0, 0),
        (0, 0, 257),
        (9, 0, 1),
    ] {
        assert!(
            tiles.0.tile(level, number, width).is_err(),
            "{level} {number} {width}"
        );
    }
    assert!(tiles.0.tile(0, 3, 32).is_ok() && tiles.0.tile(1, 0, 3).is_ok());
    assert!(tiles.0.entry_bundle(3, 33).is_err());
    assert!(tiles.0.inclusion_proof(0, 801).is_err() && tiles.0.consistency_proof(0, 5).is_err());
}

#[test]
fn an_audit_with_the_owner_opens_every_body() {
    let disk = SimDisk::unrecorded(11);
    let mut log = open(&disk);
    fill(&mut log, 20, 0);
    log.append(&NewEntry {
        commitment: [7; 32],
        ..entry(20, 0)
    })
    .unwrap();
    log.sync_and_checkpoint().unwrap();
    assert!(
        audit(&log.reader()).is_ok(),
        "the tree alone cannot see a body of another record"
    );
    let mut opened = 0;
    let refused = audit_with(&log.reader(), &mut |entry| {
        opened += 1;
        Some(unseal(&entry.body))
    });
    assert!(
        matches!(refused, Err(activity::AuditError::Body { index: 20, .. })),
        "{refused:?}"
    );
    assert_eq!(opened, 21);
}

/// `CAIRN_LOG_ENTRIES` sets the number; a million of them take a gigabyte.
#[test]
fn a_log_of_many_entries_opens_in_seconds() {
    let entries = std::env::var("CAIRN_LOG_ENTRIES").map_or(2_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let real = || {
        ActivityLog::open(Arc::new(RealDisk), dir.path(), identity(), 7)
            .unwrap()
            .0
    };
    let mut log = real();
    let start = std::time::Instant::now();
    for number in 0..entries {
        log.append(&entry(number, 200)).unwrap();
        if number % 1_000 == 999 {
            log.sync_and_checkpoint().unwrap();
        }
    }
    println!("append: {:?}", start.elapsed());
    log.close().unwrap();
    let start = std::time::Instant::now();
    let log = real();
    println!("open: {:?}", start.elapsed());
    assert!(start.elapsed().as_secs() < 5);
    let start = std::time::Instant::now();
    let middle = entries / 2;
    Receipt::build(&log.reader(), middle, &record(middle), &blind(middle)).unwrap();
    println!("receipt: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    audit(&log.reader()).unwrap();
    println!("audit: {:?}", start.elapsed());
}
