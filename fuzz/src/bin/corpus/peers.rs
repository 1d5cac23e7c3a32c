//! Calls and answers between peers.

use engine::drive::{ListedShard, ShardHeader, ShardKey};
use engine::log::Position;
use engine::pack::{PackId, PackSummary};
use net::peer::message::{
    Answer, Context, DriveReport, DriveStanding, Purpose, PutMode, Refusal, Request, encode_answer,
    encode_call,
};

use super::Seeds;
use super::engine_formats::summaries;

const DRIVE: [u8; 16] = [1; 16];
const KEY: ShardKey = ShardKey {
    pack: PackId([3; 32]),
    index: 4,
};

/// The length of the body, then the head.
fn behind(body_bytes: u32, head: &[u8]) -> Vec<u8> {
    [&body_bytes.to_le_bytes(), head].concat()
}

fn call(request: &Request, body_bytes: u32) -> Vec<u8> {
    let context = Context {
        operation: [9; 16],
        attempt: 2,
        purpose: Purpose::Repair,
    };
    behind(body_bytes, &encode_call(&context, request))
}

/// A put of the first lane of a pack.
fn put(summary: PackSummary) -> Vec<u8> {
    let body_bytes = summary.geometry.shard_bytes;
    let header = ShardHeader {
        summary,
        index: 0,
        lease: 3,
        vault: [7; 16],
        scope: [8; 16],
    };
    let request = Request::Put {
        drive: DRIVE,
        header: Box::new(header),
        mode: PutMode::Headroom,
    };
    call(&request, body_bytes)
}

pub(super) fn peer_message() -> Seeds {
    let (_, summary) = summaries()?.into_iter().next().ok_or("no sample pack")?;
    let list = Request::List {
        drive: DRIVE,
        vault: [2; 16],
        after: Some(KEY),
        max: 100,
    };
    let range = Request::Range {
        drive: DRIVE,
        key: KEY,
        offset: 5,
        bytes: 70_000,
    };
    let has = Request::Has {
        drive: DRIVE,
        keys: vec![KEY; 3],
    };
    let report = DriveReport {
        id: DRIVE,
        standing: DriveStanding::Present,
        default: true,
        shards: 1,
        live_bytes: 2,
        garbage_bytes: 5,
        allocated_bytes: 3,
        free_bytes: 4,
        highest_lease: 6,
        losses: 7,
        log_id: 8,
        flushed: 9,
    };
    let scrub = Request::Scrub {
        drive: DRIVE,
        after: None,
        max: 100,
    };
    let compact = Request::Compact {
        drive: DRIVE,
        min_garbage: 500,
        budget_bytes: 1 << 24,
    };
    let scrubbed = Answer::Scrubbed {
        shards: 1,
        bytes: 2,
        bad: vec![KEY],
        unread: 3,
        last: Some(KEY),
    };
    let listed = Answer::Listed {
        shards: vec![
            ListedShard {
                key: KEY,
                lease: 5,
                at: Position(77),
            };
            2
        ],
        more: true,
    };
    let ended = Answer::Refused(Refusal::LeaseEnded { lowest_live: 9 });
    let answer = |answer: Answer, body_bytes| behind(body_bytes, &encode_answer(&answer));
    Ok(vec![
        ("call-put", put(summary)),
        ("call-range", call(&range, 0)),
        ("call-has", call(&has, 0)),
        ("call-list", call(&list, 0)),
        ("call-delete", call(&Request::Delete, 700)),
        ("call-scrub", call(&scrub, 0)),
        ("call-compact", call(&compact, 0)),
        ("answer-scrubbed", answer(scrubbed, 0)),
        ("answer-drives", answer(Answer::Drives(vec![report; 2]), 0)),
        ("answer-bytes", answer(Answer::Bytes, 70_000)),
        ("answer-held", answer(Answer::Held(vec![true, false]), 0)),
        ("answer-listed", answer(listed, 0)),
        ("answer-lease-ended", answer(ended, 0)),
    ])
}
