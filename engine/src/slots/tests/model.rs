//! The state machine against a naive model, and the encodings against themselves.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::Writer as Encoder;

/// The rules of FORMAT.md section 6 in the plainest form: one append after another.
#[derive(Default)]
struct Model {
    live: BTreeMap<Address, (u64, Bytes)>,
    sequence: u64,
    seen: HashMap<Vec<u8>, u64>,
}

impl Model {
    fn run(&mut self, append: &Append) -> Outcome {
        let content = encoded_applied(&append.applied(Sequence(0)));
        if let Some(sequence) = self.seen.get(&content) {
            return applied(*sequence);
        }
        for (expectation, expected) in append.expectations.iter().enumerate() {
            let at = |place: &Address| self.live.get(place);
            let (holds, place) = match expected {
                Expectation::Absent(place) => (at(place).is_none(), Some(place)),
                Expectation::At(place, sequence) => {
                    (at(place).is_some_and(|(s, _)| *s == sequence.0), Some(place))
                }
                Expectation::ScopeEmpty(scope) => (
                    !self
                        .live
                        .keys()
                        .any(|place| place.scope == *scope && place.kind.is_object()),
                    None,
                ),
            };
            if !holds {
                let current = place.and_then(|place| {
                    let (sequence, value) = at(place)?.clone();
                    Some(Entry {
                        address: *place,
                        sequence: Sequence(sequence),
                        value,
                    })
                });
                return Outcome::Conflict { expectation, current };
            }
        }
        self.sequence += 1;
        for Write { address, value } in &append.writes {
            match value {
                Some(value) => self.live.insert(*address, (self.sequence, value.clone())),
                None => self.live.remove(address),
            };
        }
        self.seen.insert(content, self.sequence);
        applied(self.sequence)
    }
}

fn encoded_applied(append: &AppliedAppend) -> Vec<u8> {
    let mut writer = Encoder::new();
    append.encode(&mut writer);
    writer.into_vec()
}

fn any_address() -> impl Strategy<Value = Address> {
    let kinds = [
        EntryKind::ObjectCurrent,
        EntryKind::ObjectVersion,
        EntryKind::Part,
    ];
    (1u8..3, prop::sample::select(kinds.to_vec()), 0u8..3).prop_map(|(s, k, n)| address(s, k, n))
}

fn any_append() -> impl Strategy<Value = Append> {
    let expectation = prop_oneof![
        any_address().prop_map(Expectation::Absent),
        (any_address(), 1u64..20).prop_map(|(place, sequence)| Expectation::At(place, Sequence(sequence))),
        (1u8..3).prop_map(|scope| Expectation::ScopeEmpty([scope; 16])),
    ];
    let writes =
        proptest::collection::btree_map(any_address(), proptest::option::weighted(0.6, 0u8..3), 0..4);
    (0u64..6, proptest::collection::vec(expectation, 0..2), writes).prop_map(
        |(operation, expectations, writes)| {
            append(
                operation,
                expectations,
                writes
                    .into_iter()
                    .map(|(place, value)| write(place, value))
                    .collect(),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_give_what_one_append_after_another_gives_and_replay_gives_it_again(
        batches in proptest::collection::vec(proptest::collection::vec(any_append(), 1..6), 1..12),
    ) {
        let mut machine = machine();
        let take = SlotMachine::<Bytes>::new().lease_append(1, ("gateway a", 1000), [1; 16], |_| true);
        let mut model = Model::default();
        model.run(&take);
        let mut log = vec![take.applied(Sequence(1))];
        for batch in &batches {
            let mut staged = Vec::new();
            for append in batch {
                let decision = machine.decide(append).unwrap();
                if let Decision::Apply { sequence } = decision {
                    staged.push((sequence, append));
                    log.push(append.applied(sequence));
                }
                prop_assert_eq!(outcome(decision), model.run(append));
            }
            for (sequence, append) in staged {
                commit(&mut machine, sequence, append);
            }
            let expected: Vec<_> =
                model.live.iter().map(|(place, (s, value))| (*place, Sequence(*s), value.clone())).collect();
            prop_assert_eq!(dump(&machine), expected);
            for scope in [[1; 16], [2; 16]] {
                let objects = model.live.keys().filter(|place| place.scope == scope && place.kind.is_object());
                prop_assert_eq!(machine.objects_in(&scope), objects.count() as u64);
            }
        }
        let mut again = SlotMachine::new();
        for applied in &log {
            let applied = AppliedAppend::decode(&encoded_applied(applied)).unwrap();
            again.replay(&applied, |index| applied.writes[index].value.clone().unwrap(), |_| {}).unwrap();
        }
        prop_assert_eq!(dump(&again), dump(&machine));
        prop_assert_eq!(again.sequence(), machine.sequence());
        prop_assert_eq!(again.leases().lowest_live(), 1);
        // Both know each append of the log as done, under its number, and so decide nothing and stage nothing.
        for done in &log {
            let AppliedAppend { sequence, operation, lease, vault, writes, record } = done.clone();
            let asked = Append { operation, lease, vault, expectations: vec![], writes, record };
            prop_assert_eq!(again.decide(&asked), Ok(Decision::Repeated { sequence }));
            prop_assert_eq!(machine.decide(&asked), Ok(Decision::Repeated { sequence }));
        }
        prop_assert_eq!((again.staged(), machine.staged()), (0, 0));
        // Pages of two are the whole.
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page: Vec<_> = machine.entries_after(after.as_ref()).take(2).map(|(place, s, v)| (place, s, v.clone())).collect();
            let Some((last, _, _)) = page.last() else { break };
            after = Some(*last);
            paged.extend(page);
        }
        prop_assert_eq!(paged, dump(&machine));
    }

    #[test]
    fn appends_and_outcomes_read_back_and_values_lie_where_they_are_said_to(
        asked in any_append(), sequence: u64, record in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        let record = record.map(|body| RecordPart { commitment: [3; 32], body: body.into() });
        let asked = Append { record, ..asked };
        let mut writer = Encoder::new();
        asked.encode(&mut writer);
        prop_assert_eq!(Append::decode(writer.as_slice()), Ok(asked.clone()));
        let stored = asked.applied(Sequence(sequence));
        let mut writer = Encoder::new();
        writer.u32(7);
        let ranges = stored.encode(&mut writer);
        let payload = &writer.as_slice()[4..];
        let read = AppliedAppend::decode_with_ranges(payload);
        prop_assert_eq!(read, Ok((stored.clone(), ranges.clone())));
        for (write, range) in stored.writes.iter().zip(ranges) {
            let value = range.map(|range| &payload[range.offset as usize..(range.offset + range.bytes) as usize]);
            prop_assert_eq!(value, write.value.as_deref());
        }
        for cut in 0..payload.len() {
            prop_assert!(AppliedAppend::decode(&payload[..cut]).is_err());
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_back_the_same(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(append) = Append::decode(&input) {
            let mut writer = Encoder::new();
            append.encode(&mut writer);
            prop_assert_eq!(writer.as_slice(), &input[..]);
        }
        if let Ok(outcome) = Outcome::decode(&input) {
            let mut writer = Encoder::new();
            outcome.encode(&mut writer);
            prop_assert_eq!(writer.as_slice(), &input[..]);
        }
        if let Ok(lease) = LeaseEntry::decode(&input) {
            prop_assert_eq!(lease.encode(), input);
        }
    }
}
