//! What is said reads back, and what reads was said so: from whole messages, from cut ones, and from altered ones.

use bytes::Bytes;
use engine::slots::{Address, EntryKind, Expectation, RecordPart, Write};
use proptest::prelude::*;

use super::*;
use crate::cluster::Standing;
use crate::membership::Role;
use crate::peer::PeerKey;

fn peer(seed: u8) -> PeerId {
    PeerKey::from_seed(&[seed; 32]).id()
}

fn entry() -> PeerEntry {
    PeerEntry {
        peer: peer(1),
        role: Role::Node,
        standing: Standing::Active,
        domain: "here".to_owned(),
        addresses: vec!["127.0.0.1:7400".parse().unwrap()],
        drives: vec![[3; 16]],
    }
}

fn append() -> Append {
    let address = Address {
        scope: [1; 16],
        kind: EntryKind::ObjectCurrent,
        slot: [2; 16],
    };
    Append {
        operation: [4; 16],
        lease: 5,
        vault: [6; 16],
        expectations: vec![
            Expectation::At(address, Sequence(9)),
            Expectation::ScopeEmpty([1; 16]),
        ],
        writes: vec![Write {
            address,
            value: Some(Bytes::from_static(b"sealed")),
        }],
        record: Some(RecordPart {
            commitment: [7; 32],
            body: Bytes::from_static(b"record"),
        }),
    }
}

fn calls() -> Vec<LedgerCall> {
    vec![
        LedgerCall::Append {
            urgent: true,
            appends: vec![append(), append()],
        },
        LedgerCall::ReadIndex,
        LedgerCall::Tail {
            lineage: [1; 16],
            from: Sequence(7),
            max: 1_024,
            wait_ms: 500,
        },
        LedgerCall::OpenTransfer,
        LedgerCall::TransferPage { transfer: 3, page: 4 },
        LedgerCall::RecordsThrough(Sequence(8)),
        LedgerCall::TakeLease {
            holder: "a gateway".to_owned(),
            now_ms: 5,
            above: 6,
        },
        LedgerCall::Begin {
            lineage: [2; 16],
            after: Sequence(9),
        },
        LedgerCall::Members { as_known: false },
        LedgerCall::Members { as_known: true },
        LedgerCall::SetMembers(vec![peer(1), peer(2)]),
        LedgerCall::SetPeer(Box::new(entry())),
        LedgerCall::Peers,
        LedgerCall::Introduce(vec![entry()]),
        LedgerCall::Join(Box::new(entry())),
        LedgerCall::Describe,
    ]
}

fn replies() -> Vec<LedgerReply> {
    let decided = |outcome| AppendReply::Decided(outcome);
    vec![
        LedgerReply::Done,
        LedgerReply::Outcomes(vec![
            decided(Outcome::Applied {
                sequence: Sequence(1),
            }),
            decided(Outcome::LeaseEnded { lowest_live: 3 }),
            AppendReply::Bad,
            AppendReply::Full,
        ]),
        LedgerReply::Index {
            lineage: [1; 16],
            sequence: Sequence(4),
        },
        LedgerReply::Tail {
            records_through: Sequence(2),
            appends: vec![append().applied(Sequence(3))],
        },
        LedgerReply::Compacted,
        LedgerReply::Transfer(9),
        LedgerReply::Page(Page(vec![Travelling {
            kind: 18,
            payload: 7u64.to_le_bytes().to_vec(),
        }])),
        LedgerReply::Lease {
            number: 4,
            other_holder: true,
        },
        LedgerReply::Members {
            leader: Some(peer(1)),
            voters: vec![peer(1)],
            learners: vec![peer(2)],
            since: 12,
        },
        LedgerReply::Peers(vec![entry()]),
        LedgerReply::Refused(LedgerRefusal::NotLeader {
            leader: Some(peer(3)),
        }),
        LedgerReply::Refused(LedgerRefusal::Malformed),
    ]
}

/// Whole it reads back; cut it does not; altered it is refused, or is what it says.
fn holds<T: PartialEq + std::fmt::Debug>(
    said: &T,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
    write: impl Fn(&T) -> Vec<u8>,
) {
    assert_eq!(read(bytes).as_ref(), Some(said));
    for at in 0..bytes.len() {
        assert!(read(&bytes[..at]).is_none(), "{said:?} cut at {at}");
        let mut altered = bytes.to_vec();
        altered[at] ^= 0x11;
        if let Some(other) = read(&altered) {
            assert_eq!(write(&other), altered, "{said:?} altered at {at}");
        }
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(read(&longer).is_none(), "{said:?} with a byte behind");
}

#[test]
fn calls_and_replies_have_one_form_each() {
    for call in calls() {
        let asked = ([9; 16], call);
        holds(
            &asked,
            &asked.1.encode(&asked.0),
            |b| LedgerCall::decode(b).ok(),
            |(of, call)| call.encode(of),
        );
    }
    for reply in replies() {
        holds(
            &reply,
            &reply.encode(),
            |b| LedgerReply::decode(b).ok(),
            LedgerReply::encode,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_bytes_are_refused_or_read_back_the_same(
        kind in 0u8..16,
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes: Vec<u8> = [kind].into_iter().chain(rest).collect();
        let asked = [&[9; 16], &bytes[..]].concat();
        if let Ok((of, call)) = LedgerCall::decode(&asked) {
            prop_assert_eq!(call.encode(&of), asked);
        }
        if let Ok(reply) = LedgerReply::decode(&bytes) {
            prop_assert_eq!(reply.encode(), bytes);
        }
    }
}
