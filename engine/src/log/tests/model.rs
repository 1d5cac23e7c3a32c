//! The log against a list of frames.

use proptest::prelude::*;

use super::*;
use crate::disk::CrashChoice;

#[derive(Debug, Clone)]
enum Step {
    Append { tag: Vec<u8>, payload: Vec<u8> },
    Sync,
    Idle,
    Seal,
    Trim,
    Reopen,
    PowerCut(u64),
    RemoveOldest,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    prop_oneof![
        12 => (bytes(40), bytes(1500)).prop_map(|(tag, payload)| Step::Append { tag, payload }),
        4 => Just(Step::Sync),
        1 => Just(Step::Idle),
        1 => Just(Step::Seal),
        1 => Just(Step::Trim),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => Just(Step::RemoveOldest),
    ]
}

type Model = Vec<(Position, Vec<u8>, Vec<u8>)>;

fn compare(log: &Log, model: &Model) {
    let frames: Model = log
        .reader()
        .frames_with_payload(Position(0))
        .map(|frame| frame.unwrap())
        .map(|frame| {
            (
                frame.info.position,
                frame.info.tag.to_vec(),
                frame.payload.slice(frame.info.tag.len()..).to_vec(),
            )
        })
        .collect();
    assert_eq!(&frames, model);
    let listed: Vec<Position> = log
        .segments()
        .iter()
        .flat_map(|s| log.reader().segment_frames(s.number).unwrap())
        .map(|f| f.position)
        .collect();
    assert_eq!(
        listed,
        model.iter().map(|(position, ..)| *position).collect::<Vec<_>>()
    );
    for (position, tag, payload) in model {
        let frame = log.reader().read(*position).unwrap();
        assert_eq!(
            (frame.info.tag.as_ref(), &frame.payload[tag.len()..]),
            (&tag[..], &payload[..])
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_a_list_would(steps in proptest::collection::vec(step(), 1..60)) {
        let mut disk = SimDisk::new(1);
        let (mut log, ..) = open(&disk, small()).unwrap();
        let mut model: Model = Vec::new();
        let mut durable = 0;
        for step in steps {
            match step {
                Step::Append { tag, payload } => {
                    let position = log.append(16, &tag, &[&payload]).unwrap();
                    model.push((position, tag, payload));
                }
                Step::Sync => drop(log.sync().unwrap()),
                Step::Idle => log.idle().unwrap(),
                Step::Seal => log.seal_current().unwrap(),
                Step::Trim => log.trim().unwrap(),
                Step::Reopen => {
                    drop(log);
                    log = open(&disk, small()).unwrap().0;
                }
                Step::PowerCut(seed) => {
                    drop(log);
                    disk = disk.crash_state(disk.ops(), CrashChoice::Seeded(seed));
                    let (opened, _, seen) = open(&disk, small()).unwrap();
                    log = opened;
                    prop_assert!(seen.len() >= durable && seen.len() <= model.len());
                    model.truncate(seen.len());
                }
                Step::RemoveOldest => {
                    let oldest = log.segments()[0];
                    if oldest.sealed && log.segments().len() > 1 {
                        log.remove_segment(oldest.number).unwrap();
                        model.retain(|(position, ..)| position.segment() != oldest.number);
                    }
                }
            }
            durable = model.iter().filter(|(position, ..)| *position < log.durable_to()).count();
        }
        compare(&log, &model);
    }
}
