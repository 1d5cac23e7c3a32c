//! Forgeries: logs whose frames all have good checksums, written by someone who holds the disk and not the log's key.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use activity::{ActivityLog, AuditError, Auditor, LogIdentity, NewEntry, OpenError, RecordId, audit};
use engine::disk::SimDisk;
use engine::log::{Frame, Log, LogConfig, Position};
use scopes::Wallet;

const DIR: &str = "/activity";
const ENTRIES: u64 = 30;
const ENTRY_KIND: u8 = 16;

fn identity() -> LogIdentity {
    LogIdentity::new("cairn.example/activity", Wallet::from_seed(&[8; 32])).unwrap()
}

fn new_entry(number: u8) -> NewEntry {
    let (record_id, commitment) = (RecordId([number; 16]), [number ^ 0x77; 32]);
    NewEntry {
        record_id,
        ledger_sequence: u64::from(number) + 1,
        commitment,
        body: vec![2; 90].into(),
    }
}

/// A log of 30 entries with a checkpoint after every ten, closed.
fn genuine() -> SimDisk {
    let disk = SimDisk::unrecorded(1);
    let mut log = ActivityLog::open(Arc::new(disk.clone()), Path::new(DIR), identity(), 77)
        .unwrap()
        .0;
    for number in 0..30 {
        log.append(&new_entry(number)).unwrap();
        if number % 10 == 9 {
            log.sync_and_checkpoint().unwrap();
        }
    }
    log.close().unwrap();
    disk
}

fn engine_log(disk: &SimDisk) -> Log {
    Log::open(
        Arc::new(disk.clone()),
        Path::new(DIR),
        LogConfig::activity(),
        78,
        &mut |_| {},
    )
    .unwrap()
    .0
}

fn frames(disk: &SimDisk) -> Vec<Frame> {
    engine_log(disk)
        .reader()
        .frames_with_payload(Position::default())
        .map(Result::unwrap)
        .collect()
}

/// A frame as a forger sees it: kind, tag, the rest of the payload.
#[derive(Clone)]
struct Forged(u8, Vec<u8>, Vec<u8>);

fn forge(change: impl FnOnce(&mut Vec<Forged>), renumber: bool) -> SimDisk {
    let mut forged: Vec<Forged> = frames(&genuine())
        .into_iter()
        .map(|f| {
            Forged(
                f.info.kind,
                f.info.tag.to_vec(),
                f.payload[f.info.tag.len()..].to_vec(),
            )
        })
        .collect();
    change(&mut forged);
    let disk = SimDisk::unrecorded(2);
    let mut log = engine_log(&disk);
    let mut index = 0_u64;
    for Forged(kind, mut tag, rest) in forged {
        if kind == ENTRY_KIND && renumber {
            tag[..8].copy_from_slice(&index.to_le_bytes());
            index += 1;
        }
        log.append(kind, &tag, &[&rest]).unwrap();
    }
    log.close().unwrap();
    disk
}

fn audited(disk: &SimDisk) -> Result<activity::AuditReport, AuditError> {
    let identity = identity();
    let mut auditor = Auditor::new(identity.key());
    for frame in frames(disk) {
        auditor.frame(&frame)?;
    }
    auditor.finish(ENTRIES)
}

fn opens(disk: &SimDisk) -> Result<(), OpenError> {
    ActivityLog::open(Arc::new(disk.clone()), Path::new(DIR), identity(), 79).map(|_| ())
}

fn is_found(what: &str, disk: &SimDisk) {
    let (found, refused) = (audited(disk), opens(disk));
    assert!(found.is_err(), "{what}: the audit found nothing");
    assert!(refused.is_err(), "{what}: it opened");
}

#[test]
fn an_untouched_copy_checks_out() {
    let disk = forge(|_| {}, true);
    let report = audited(&disk).unwrap();
    assert_eq!(
        (report.entries, report.checkpoints, report.uncovered),
        (ENTRIES, 4, 0)
    );
    assert!(opens(&disk).is_ok());
}

/// Frame 0 is the checkpoint of the empty tree, so entry n is frame n + 1 in the first ten.
#[test]
fn one_altered_dropped_reordered_or_inserted_entry_is_found() {
    for renumber in [false, true] {
        for at in [1, 5, 10, 12, 20, 32] {
            is_found("altered commitment", &forge(|f| f[at].1[40] ^= 1, renumber));
            is_found("dropped", &forge(|f| drop(f.remove(at)), renumber));
            is_found(
                "reordered",
                &forge(
                    |f| f.swap(at, if at % 11 == 10 { at - 1 } else { at + 1 }),
                    renumber,
                ),
            );
            let mut extra = Forged(ENTRY_KIND, vec![9; 64], vec![3; 100]);
            extra.1[..8].copy_from_slice(&u64::try_from(at).unwrap().to_le_bytes());
            is_found("inserted", &forge(|f| f.insert(at, extra), renumber));
            is_found("repeated", &forge(|f| f.insert(at, f[at].clone()), renumber));
        }
    }
}

#[test]
fn an_altered_or_foreign_checkpoint_is_found() {
    for at in [11, 22, 33] {
        let disk = forge(|f| *f[at].2.last_mut().unwrap() ^= 1, true);
        assert!(
            matches!(audited(&disk), Err(AuditError::Note { .. })),
            "note at {at}"
        );
        is_found("size in the tag", &forge(|f| f[at].1[0] ^= 1, true));
        is_found("root in the tag", &forge(|f| f[at].1[9] ^= 1, true));
    }
    // The forger's own key makes a consistent log of its own.
    let disk = forge(
        |f| {
            let forger = LogIdentity::new("cairn.example/activity", Wallet::from_seed(&[9; 32])).unwrap();
            let mut tree = activity::Tree::default();
            for frame in f {
                if frame.0 == ENTRY_KIND {
                    frame.1[40] ^= 1;
                    tree.push(activity::merkle::leaf_hash(&frame.1[32..]));
                } else {
                    let signed = forger.sign(tree.size(), tree.root());
                    frame.1 = [&tree.size().to_le_bytes()[..], &tree.root()].concat();
                    frame.2 = signed.note().into_bytes();
                }
            }
        },
        true,
    );
    assert!(matches!(audited(&disk), Err(AuditError::Note { .. })));
    assert!(matches!(opens(&disk), Err(OpenError::Note { .. })));
}

#[test]
fn a_log_cut_short_is_found_by_who_knows_its_head() {
    let disk = forge(|f| f.truncate(23), true);
    assert!(opens(&disk).is_ok(), "an older state of the log is a valid log");
    assert!(matches!(
        audited(&disk),
        Err(AuditError::Missing {
            entries: 20,
            published: ENTRIES
        })
    ));
}

/// Bits turned over under an open log: entries and checkpoints alike.
#[test]
fn a_flipped_bit_in_any_frame_is_found_by_an_audit_and_never_goes_into_a_proof() {
    let disk = SimDisk::unrecorded(3);
    let mut log = ActivityLog::open(Arc::new(disk.clone()), Path::new(DIR), identity(), 77)
        .unwrap()
        .0;
    for number in 0..=255 {
        log.append(&new_entry(number)).unwrap();
    }
    log.sync_and_checkpoint().unwrap();
    let (reader, path) = (log.reader(), PathBuf::from(DIR).join("00000000.seg"));
    assert!(audit(&reader).is_ok());
    let positions: Vec<Position> = frames(&disk).iter().map(|frame| frame.info.position).collect();
    assert_eq!(positions.len(), 256 + 2);
    for position in &positions {
        // Behind the header, byte 32 of the tag: an entry's commitment, a checkpoint's root.
        let offset = u64::from(position.offset()) + 64 + 32;
        assert!(disk.flip_bit(&path, offset));
        assert!(audit(&reader).is_err(), "{position}");
        assert!(disk.flip_bit(&path, offset));
    }
    assert!(reader.inclusion_proof(7, 256).is_ok());
    assert!(disk.flip_bit(&path, u64::from(positions[4].offset()) + 64 + 33));
    assert!(reader.inclusion_proof(7, 256).is_err());
    assert!(reader.tile(0, 0, 256).is_err());
}

#[test]
fn frames_are_the_golden_bytes() {
    let lines: Vec<String> = frames(&genuine())[..12]
        .iter()
        .map(|frame| {
            format!(
                "{} {} {}",
                frame.info.kind,
                frame.info.tag.len(),
                hex::encode(&frame.payload)
            )
        })
        .collect();
    assert_eq!(lines.join("\n"), include_str!("../golden/frames.txt").trim_end());
}
