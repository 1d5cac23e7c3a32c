use engine::drive::{ListedShard, ShardHeader};
use engine::log::Position;
use engine::pack::{Code, PackGeometry, PackSummary, ShardHash};
use engine::slots::AcceptedLeases;
use proptest::prelude::*;

use super::*;
use crate::peer::message::{
    DriveReport, DriveStanding, HEADERS_MAX, KEYS_MAX, PutMode, RestoreMode, Restored, decode_answer,
    decode_call, encode_answer, encode_call,
};
use crate::peer::{HEAD_BYTES_MAX, Refusal};

const SHARD_BYTES: u32 = 100;

fn header() -> ShardHeader {
    let geometry = PackGeometry {
        code: Code::DEFAULT,
        shard_bytes: SHARD_BYTES,
        lane_bytes: vec![100, 40, 0, 0],
        trailer: None,
    };
    let hashes = (0..6u8).map(|index| ShardHash([index; 32])).collect();
    ShardHeader {
        summary: PackSummary::new(geometry, hashes).unwrap(),
        index: 1,
        lease: 3,
        vault: [7; 16],
        scope: [8; 16],
    }
}

/// Every request, and the bytes of a body that goes with it.
fn requests() -> Vec<(Request, usize)> {
    let (drive, keys) = ([1; 16], vec![key(); 3]);
    let put = |mode| Request::Put {
        drive,
        header: Box::new(header()),
        mode,
    };
    let list = |after| Request::List {
        drive,
        vault: [2; 16],
        after,
        max: 1_024,
    };
    let challenge = Request::Challenge {
        drive,
        key: key(),
        offset: 1_024,
        bytes: 1,
    };
    let scrub = Request::Scrub {
        drive,
        after: Some(key()),
        max: 1,
    };
    let compact = Request::Compact {
        drive,
        min_garbage: 1_000,
        budget_bytes: u64::MAX,
    };
    let restore = Request::Restore {
        drive,
        mode: RestoreMode::Wipe,
    };
    let headers = Request::Headers {
        drive,
        keys: keys.clone(),
    };
    vec![
        (Request::Drives, 0),
        (put(PutMode::Free), SHARD_BYTES as usize),
        (put(PutMode::Headroom), SHARD_BYTES as usize),
        (put(PutMode::Replace), SHARD_BYTES as usize),
        (put(PutMode::Anew), SHARD_BYTES as usize),
        (range(5, 2_097_147).request, 0),
        (Request::Has { drive, keys }, 0),
        (list(None), 0),
        (list(Some(key())), 0),
        (Request::Delete, 1),
        (Request::Delegate, 1),
        (headers, 0),
        (Request::EndLeases { lowest: 9 }, 0),
        (
            Request::Leases {
                accepted: AcceptedLeases::new(9, [3, 8]),
            },
            0,
        ),
        (scrub, 0),
        (compact, 0),
        (Request::Trim { drive }, 0),
        (restore, 0),
        (challenge, 0),
    ]
}

fn listed_shard((lease, at): (u64, u64)) -> ListedShard {
    ListedShard {
        key: key(),
        lease,
        at: Position(at),
    }
}

fn answers() -> Vec<Answer> {
    let report = DriveReport {
        id: [1; 16],
        standing: DriveStanding::Full,
        default: true,
        shards: 1,
        live_bytes: 2,
        garbage_bytes: 5,
        allocated_bytes: 3,
        free_bytes: u64::MAX,
        highest_lease: 4,
        losses: 6,
        log_id: 7,
        flushed: 8,
    };
    let plain = [
        Refusal::NotAllowed,
        Refusal::NoDrive,
        Refusal::Lost,
        Refusal::Full,
        Refusal::Absent,
        Refusal::Damaged,
        Refusal::WrongHash,
        Refusal::Io,
        Refusal::Busy,
        Refusal::Malformed,
        Refusal::BadOrder,
        Refusal::LeaseEnded { lowest_live: 77 },
    ];
    let listed = Answer::Listed {
        shards: [(1, 7), (2, 8)].map(listed_shard).to_vec(),
        more: true,
    };
    let deleted = Answer::Deleted {
        shards: 1,
        refused: 2,
        failed: 3,
    };
    let scrubbed = Answer::Scrubbed {
        shards: 1,
        bytes: 2,
        bad: vec![key()],
        unread: 3,
        last: Some(key()),
    };
    let compacted = Answer::Compacted {
        copied_bytes: 1,
        freed_bytes: 2,
        more: true,
        damaged: false,
    };
    let mut answers = vec![
        scrubbed,
        compacted,
        Answer::Restored(Restored::StillLost),
        Answer::Headers(vec![Some(header()), None]),
        Answer::Done,
        Answer::Drives(vec![report; 2]),
        Answer::Bytes,
        Answer::Held(vec![true, false, true]),
        listed,
        deleted,
    ];
    answers.extend(plain.map(Answer::Refused));
    answers
}

#[test]
fn every_message_reads_back_and_every_cut_or_longer_one_is_refused() {
    let context = range(0, 1).context;
    for (request, body_bytes) in requests() {
        let head = encode_call(&context, &request);
        assert_eq!(decode_call(&head, body_bytes), Ok((context, request.clone())));
        for end in 0..head.len() {
            assert!(
                decode_call(&head[..end], body_bytes).is_err(),
                "{request:?} cut at {end}"
            );
        }
        assert!(decode_call(&[&head[..], &[0]].concat(), body_bytes).is_err());
        assert!(
            decode_call(&head, body_bytes + (1 << 20)).is_err(),
            "{request:?} with another body"
        );
    }
    for answer in answers() {
        let head = encode_answer(&answer);
        assert_eq!(decode_answer(&head, 0), Ok(answer.clone()));
        for end in 0..head.len() {
            assert!(decode_answer(&head[..end], 0).is_err(), "{answer:?} cut at {end}");
        }
        assert!(decode_answer(&[&head[..], &[0]].concat(), 0).is_err());
        assert_eq!(decode_answer(&head, 1).is_ok(), answer == Answer::Bytes);
    }
}

#[test]
fn a_put_names_a_shard_that_is_stored_and_a_range_lies_in_a_shard() {
    let context = range(0, 1).context;
    let refused = |request: Request, body_bytes| {
        let head = encode_call(&context, &request);
        assert!(decode_call(&head, body_bytes).is_err(), "{request:?}");
    };
    for index in [2, 3, 6, 255] {
        let header = Box::new(ShardHeader { index, ..header() });
        let put = Request::Put {
            drive: [1; 16],
            header,
            mode: PutMode::Free,
        };
        refused(put, SHARD_BYTES as usize);
    }
    for (offset, bytes) in [(0, 0), (2_097_152, 1), (u32::MAX, u32::MAX)] {
        refused(range(offset, bytes).request, 0);
    }
    for max in [0, KEYS_MAX as u16 + 1] {
        let list = Request::List {
            drive: [1; 16],
            vault: [2; 16],
            after: None,
            max,
        };
        refused(list, 0);
    }
    let keys = vec![key(); KEYS_MAX + 1];
    refused(Request::Has { drive: [1; 16], keys }, 0);
    let keys = vec![key(); HEADERS_MAX + 1];
    refused(Request::Headers { drive: [1; 16], keys }, 0);
    let compact = Request::Compact {
        drive: [1; 16],
        min_garbage: 1_001,
        budget_bytes: 0,
    };
    refused(compact, 0);
}

#[test]
fn a_message_of_the_most_and_longest_headers_fits_into_a_head() {
    let code = Code::new(32, 32).unwrap();
    let geometry = PackGeometry {
        code,
        shard_bytes: SHARD_BYTES,
        lane_bytes: vec![SHARD_BYTES; 32],
        trailer: None,
    };
    let hashes = (0..64u8).map(|index| ShardHash([index; 32])).collect();
    let longest = ShardHeader {
        summary: PackSummary::new(geometry, hashes).unwrap(),
        ..header()
    };
    let head = encode_answer(&Answer::Headers(vec![Some(longest); HEADERS_MAX]));
    assert!(head.len() <= HEAD_BYTES_MAX, "{} bytes", head.len());
    assert!(decode_answer(&head, 0).is_ok());
}

proptest! {
    #[test]
    fn what_reads_at_all_has_one_form(head in proptest::collection::vec(any::<u8>(), 0..200), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        if let Ok((context, request)) = decode_call(&head, 0) {
            prop_assert_eq!(encode_call(&context, &request), head);
        }
        let (request, body_bytes) = { let mut all = requests(); let which = which.index(all.len()); all.swap_remove(which) };
        let mut head = encode_call(&range(0, 1).context, &request);
        let at = at.index(head.len());
        head[at] = byte;
        if let Ok((context, request)) = decode_call(&head, body_bytes) {
            prop_assert_eq!(encode_call(&context, &request), head);
        }
    }
}
