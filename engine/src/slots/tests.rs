use bytes::Bytes;

use super::*;
use crate::codec::DecodeError;

mod model;

const VAULT: [u8; 16] = [9; 16];

fn address(scope: u8, kind: EntryKind, slot: u8) -> Address {
    Address {
        scope: [scope; 16],
        kind,
        slot: [slot; 16],
    }
}

fn write(address: Address, value: Option<u8>) -> Write {
    Write {
        address,
        value: value.map(|byte| Bytes::from(vec![byte; 3])),
    }
}

/// An append of lease 1. The operation id is the number.
fn append(operation: u64, expectations: Vec<Expectation>, writes: Vec<Write>) -> Append {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&operation.to_le_bytes());
    Append {
        operation: id,
        lease: 1,
        vault: VAULT,
        expectations,
        writes,
        record: None,
    }
}

/// A machine whose values are the bytes themselves, with lease 1 taken by append 1.
fn machine() -> SlotMachine<Bytes> {
    let mut machine = SlotMachine::new();
    let take = machine.lease_append(1, ("gateway a", 1000), [1; 16], |_| true);
    assert_eq!(
        run(&mut machine, &take),
        Outcome::Applied {
            sequence: Sequence(1)
        }
    );
    machine
}

fn outcome(decision: Decision<Bytes>) -> Outcome {
    decision.into_outcome(Ok::<_, DecodeError>).unwrap()
}

fn commit(machine: &mut SlotMachine<Bytes>, sequence: Sequence, append: &Append) {
    machine
        .commit(
            sequence,
            |index| append.writes[index].value.clone().unwrap(),
            |_| {},
        )
        .unwrap();
}

/// Decides and commits at once.
fn run(machine: &mut SlotMachine<Bytes>, append: &Append) -> Outcome {
    let decision = machine.decide(append).unwrap();
    if let Decision::Apply { sequence } = decision {
        commit(machine, sequence, append);
    }
    outcome(decision)
}

fn applied(sequence: u64) -> Outcome {
    Outcome::Applied {
        sequence: Sequence(sequence),
    }
}

fn applies(sequence: u64) -> Result<Decision<Bytes>, BadAppend> {
    Ok(Decision::Apply {
        sequence: Sequence(sequence),
    })
}

fn dump(machine: &SlotMachine<Bytes>) -> Vec<(Address, Sequence, Bytes)> {
    machine
        .entries_after(None)
        .map(|(address, sequence, value)| (address, sequence, value.clone()))
        .collect()
}

#[test]
fn appends_decided_in_one_batch_see_each_other_and_readers_see_none_before_commit() {
    let mut machine = machine();
    let place = address(5, EntryKind::ObjectCurrent, 1);
    let first = append(10, vec![Expectation::Absent(place)], vec![write(place, Some(1))]);
    let second = append(11, vec![Expectation::Absent(place)], vec![write(place, Some(2))]);
    let third = append(
        12,
        vec![Expectation::At(place, Sequence(2))],
        vec![write(place, None)],
    );
    let empty = append(13, vec![Expectation::ScopeEmpty([5; 16])], vec![]);

    assert_eq!(machine.decide(&first), applies(2));
    assert_eq!(
        outcome(machine.decide(&empty).unwrap()),
        Outcome::Conflict {
            expectation: 0,
            current: None
        }
    );
    let current = Entry {
        address: place,
        sequence: Sequence(2),
        value: Bytes::from(vec![1; 3]),
    };
    assert_eq!(
        outcome(machine.decide(&second).unwrap()),
        Outcome::Conflict {
            expectation: 0,
            current: Some(current)
        }
    );
    assert_eq!(
        machine.decide(&first),
        Ok(Decision::Repeated {
            sequence: Sequence(2)
        })
    );
    assert_eq!(machine.decide(&third), applies(3));
    assert_eq!(machine.decide(&empty), applies(4));

    assert_eq!(
        (machine.get(&place), machine.sequence(), machine.staged()),
        (None, Sequence(1), 3)
    );
    commit(&mut machine, Sequence(2), &first);
    assert_eq!(
        machine.get(&place).map(|(sequence, _)| sequence),
        Some(Sequence(2))
    );
    assert_eq!(machine.objects_in(&[5; 16]), 1);
    // Out of order: refused, and nothing changes.
    let wrong = machine.commit(Sequence(4), |_| Bytes::new(), |_| {});
    assert_eq!(wrong, Err(ReplayError::Order { last: 2, got: 4 }));
    let mut gone = Vec::new();
    machine
        .commit(
            Sequence(3),
            |_| Bytes::new(),
            |old| gone.push((old.address, old.sequence)),
        )
        .unwrap();
    assert_eq!(gone, [(place, Sequence(2))]);
    commit(&mut machine, Sequence(4), &empty);
    assert_eq!((machine.get(&place), machine.objects_in(&[5; 16])), (None, 0));
}

#[test]
fn an_ended_lease_writes_nothing_and_its_number_does_not_come_back() {
    let mut machine = machine();
    let place = address(5, EntryKind::Part, 1);
    assert_eq!(
        run(&mut machine, &append(2, vec![], vec![write(place, Some(1))])),
        applied(2)
    );
    let take = machine.lease_append(7, ("gateway b", 2000), [2; 16], |_| true);
    assert_eq!(run(&mut machine, &take), applied(3));
    assert_eq!(
        (machine.leases().lowest_live(), machine.leases().highest()),
        (7, 7)
    );
    assert_eq!(
        machine
            .leases()
            .live()
            .iter()
            .map(|(number, entry)| (*number, entry.granted_ms))
            .collect::<Vec<_>>(),
        [(7, 2000)]
    );
    let ended = machine.get(&lease_address(1)).unwrap().1;
    let ended = LeaseEntry::decode(ended).unwrap();
    assert_eq!(
        (ended.state, ended.holder.as_str()),
        (LeaseState::Ended, "gateway a")
    );

    let refused = Outcome::LeaseEnded { lowest_live: 7 };
    assert_eq!(
        run(&mut machine, &append(3, vec![], vec![write(place, Some(2))])),
        refused
    );
    // The retry of what it did while it was live still gets its answer.
    assert_eq!(
        run(&mut machine, &append(2, vec![], vec![write(place, Some(1))])),
        applied(2)
    );
    for number in [0, 1, 6] {
        let again = machine.lease_append(number, ("late", 3000), [3; 16], |_| true);
        assert_eq!(run(&mut machine, &again), refused, "lease {number}");
    }
    // With none live, the lowest live is the next.
    let entry = LeaseEntry {
        state: LeaseState::Ended,
        holder: String::new(),
        granted_ms: 0,
        progress: None,
    };
    let end = Write {
        address: lease_address(7),
        value: Some(entry.encode().into()),
    };
    let end = Append {
        lease: 7,
        ..append(4, vec![], vec![end])
    };
    assert_eq!(run(&mut machine, &end), applied(4));
    assert_eq!(
        (machine.leases().lowest_live(), machine.leases().highest()),
        (8, 7)
    );
}

#[test]
fn a_lease_ends_those_of_its_own_holder_and_goes_on_with_their_records() {
    let mut machine = machine();
    let of = |holder: &'static str| move |entry: &LeaseEntry| entry.holder_name() == holder;
    let take = |machine: &mut SlotMachine<Bytes>, number, holder: &'static str| {
        let name = holder.split(' ').next().unwrap();
        let take = machine.lease_append(number, (holder, 5), [number as u8; 16], of(name));
        run(machine, &take)
    };
    assert_eq!(take(&mut machine, 2, "b first"), applied(2));
    assert_eq!(take(&mut machine, 3, "c first"), applied(3));
    let live = |machine: &SlotMachine<Bytes>| machine.leases().live().keys().copied().collect::<Vec<_>>();
    assert_eq!(live(&machine), [1, 2, 3]);
    assert_eq!(run(&mut machine, &append(9, vec![], vec![])), applied(4));
    assert_eq!(take(&mut machine, 4, "b again"), applied(5));
    assert_eq!(live(&machine), [1, 3, 4]);
    let accepted = machine.leases().accepted();
    assert_eq!(accepted, AcceptedLeases::new(5, [1, 3, 4]));
    let again = &machine.leases().live()[&4];
    assert_eq!((again.horizon(), again.records()), (Sequence(4), Sequence(1)));
    // One that will not come back: its records wait until somebody has taken them.
    let lose = |state| {
        let entry = LeaseEntry {
            state,
            ..machine.leases().live()[&3].clone()
        };
        Write {
            address: lease_address(3),
            value: Some(entry.encode().into()),
        }
    };
    let (lost, ended) = (lose(LeaseState::Lost), lose(LeaseState::Ended));
    assert_eq!(run(&mut machine, &append(10, vec![], vec![lost])), applied(6));
    assert_eq!(live(&machine), [1, 4]);
    assert!(machine.leases().has_ended(3) && machine.leases().lost().contains_key(&3));
    assert_eq!(run(&mut machine, &append(11, vec![], vec![ended])), applied(7));
    assert!(machine.leases().lost().is_empty());
}

#[test]
fn no_more_leases_live_than_may() {
    let mut machine = machine();
    for number in 2..=LIVE_LEASES_MAX as u64 {
        let take = machine.lease_append(number, ("one", 5), [number as u8; 16], |_| false);
        assert_eq!(run(&mut machine, &take), applied(number));
    }
    let (live, next) = (LIVE_LEASES_MAX + 1, LIVE_LEASES_MAX as u64 + 1);
    let take = machine.lease_append(next, ("more", 5), [0xff; 16], |_| false);
    assert_eq!(machine.decide(&take), Err(BadAppend::LiveLeases { live }));
    let take = machine.lease_append(next, ("again", 5), [0xff; 16], |entry| {
        entry.holder_name() == "gateway"
    });
    assert_eq!(run(&mut machine, &take), applied(next));
}

#[test]
fn appends_that_no_state_could_apply_are_refused_and_change_nothing() {
    let mut machine = machine();
    let place = address(5, EntryKind::Part, 1);
    let twice = append(2, vec![], vec![write(place, Some(1)), write(place, None)]);
    assert_eq!(
        machine.decide(&twice),
        Err(BadAppend::DuplicateWrite { index: 1 })
    );
    let nonsense = append(3, vec![], vec![write(lease_address(3), Some(1))]);
    assert!(matches!(
        machine.decide(&nonsense),
        Err(BadAppend::Lease { index: 0, .. })
    ));
    let elsewhere = append(3, vec![], vec![write(address(5, EntryKind::Lease, 0), None)]);
    assert!(matches!(
        machine.decide(&elsewhere),
        Err(BadAppend::Lease { index: 0, .. })
    ));
    let remove = append(4, vec![], vec![write(lease_address(1), None)]);
    assert_eq!(machine.decide(&remove), Err(BadAppend::HighestLease { index: 0 }));
    let many = append(
        5,
        vec![Expectation::ScopeEmpty([1; 16]); EXPECTATIONS_MAX + 1],
        vec![],
    );
    let limit = AppendLimit::Expectations {
        got: EXPECTATIONS_MAX + 1,
    };
    assert_eq!(machine.decide(&many), Err(BadAppend::Limit(limit)));
    let big = Write {
        address: place,
        value: Some(vec![0; APPEND_BYTES_MAX].into()),
    };
    let big = append(6, vec![], vec![big]);
    assert!(matches!(
        machine.decide(&big),
        Err(BadAppend::Limit(AppendLimit::Bytes { .. }))
    ));
    assert_eq!(
        (machine.sequence(), machine.staged(), machine.len()),
        (Sequence(1), 0, 1)
    );
}

#[test]
fn an_operation_is_remembered_for_exactly_the_last_65_536_appends() {
    let mut machine = machine();
    let first = append(1, vec![], vec![]);
    assert_eq!(run(&mut machine, &first), applied(2));
    for operation in 2..=WINDOW_APPENDS {
        run(&mut machine, &append(operation, vec![], vec![]));
    }
    assert_eq!(machine.sequence(), Sequence(1 + WINDOW_APPENDS));
    assert_eq!(run(&mut machine, &first), applied(2));
    run(&mut machine, &append(0, vec![], vec![]));
    assert_eq!(run(&mut machine, &first), applied(3 + WINDOW_APPENDS));
    let mut window = window::Window::default();
    for sequence in 1..3 * WINDOW_APPENDS {
        window.insert(sequence_digest(sequence), sequence);
    }
    assert_eq!(window.len() as u64, WINDOW_APPENDS);
}

fn sequence_digest(sequence: u64) -> [u8; 16] {
    u128::from(sequence).to_le_bytes()
}

#[test]
fn the_same_operation_with_other_content_is_another_append() {
    let mut machine = machine();
    let place = address(5, EntryKind::Part, 1);
    assert_eq!(
        run(&mut machine, &append(2, vec![], vec![write(place, Some(1))])),
        applied(2)
    );
    assert_eq!(
        run(&mut machine, &append(2, vec![], vec![write(place, Some(2))])),
        applied(3)
    );
    // Expectations are not content: the retry gets the first result though they no longer hold.
    let retry = append(2, vec![Expectation::Absent(place)], vec![write(place, Some(1))]);
    assert_eq!(run(&mut machine, &retry), applied(2));
}

#[test]
fn carried_entries_yield_to_newer_ones_and_move_where_they_still_stand() {
    let mut machine = machine();
    let place = address(5, EntryKind::ObjectCurrent, 1);
    run(&mut machine, &append(2, vec![], vec![write(place, Some(1))]));
    let old = Entry {
        address: place,
        sequence: Sequence(1),
        value: Bytes::from_static(b"old"),
    };
    machine.restore(&old, old.value.clone(), |_| {}).unwrap();
    assert_eq!(machine.get(&place), Some((Sequence(2), &Bytes::from(vec![1; 3]))));
    assert_eq!(machine.relocate(&place, Sequence(1), Bytes::new()), None);
    assert_eq!(
        machine.relocate(&place, Sequence(2), Bytes::from_static(b"moved")),
        Some(Bytes::from(vec![1; 3]))
    );
    assert_eq!(
        machine.get(&place),
        Some((Sequence(2), &Bytes::from_static(b"moved")))
    );
    assert_eq!(machine.objects_in(&[5; 16]), 1);

    machine.raise_sequence(Sequence(40));
    assert_eq!(run(&mut machine, &append(3, vec![], vec![])), applied(41));
    let behind = append(4, vec![], vec![]).applied(Sequence(41));
    let refused = machine.replay(&behind, |_| Bytes::new(), |_| {});
    assert_eq!(refused, Err(ReplayError::Order { last: 41, got: 41 }));
}

#[test]
fn what_is_taken_back_leaves_the_machine_as_if_it_had_never_been_decided() {
    let mut machine = machine();
    let object = |slot| address(3, EntryKind::ObjectCurrent, slot);
    let first = append(1, vec![], vec![write(object(1), Some(1))]);
    run(&mut machine, &first);
    let changes = [
        append(2, vec![], vec![write(object(1), None), write(object(2), Some(2))]),
        append(3, vec![], vec![write(object(2), None)]),
        machine.lease_append(2, ("gateway b", 2000), [7; 16], |_| true),
    ];
    let decide = |machine: &mut SlotMachine<Bytes>| {
        let decide = |change| machine.decide(change).unwrap();
        changes.iter().map(decide).collect::<Vec<_>>()
    };
    let decided = decide(&mut machine);
    assert_eq!(machine.first_staged(), Some(Sequence(3)));
    let ended = outcome(machine.decide(&append(4, vec![], vec![])).unwrap());
    assert_eq!(ended, Outcome::LeaseEnded { lowest_live: 2 });
    machine.forget_staged();
    assert_eq!((machine.staged(), machine.first_staged()), (0, None));
    // A repeat of what was taken back is decided anew; of what stays it is a repeat still.
    assert_eq!(decide(&mut machine), decided);
    machine.forget_staged();
    let repeated = Decision::Repeated {
        sequence: Sequence(2),
    };
    assert_eq!(machine.decide(&first).unwrap(), repeated);
    let expectations = vec![
        Expectation::At(object(1), Sequence(2)),
        Expectation::Absent(object(2)),
    ];
    let next = append(5, expectations, vec![write(object(1), None)]);
    assert_eq!(
        run(&mut machine, &next),
        Outcome::Applied {
            sequence: Sequence(3)
        }
    );
    let empty = append(6, vec![Expectation::ScopeEmpty([3; 16])], vec![]);
    assert_eq!(
        run(&mut machine, &empty),
        Outcome::Applied {
            sequence: Sequence(4)
        }
    );
}
