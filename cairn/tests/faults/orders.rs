//! The checker of registers against one that tries every order: short histories by chance, most of which cannot have been.

use super::history::{self, Action, Operation, Version};
use super::random::Random;

const HISTORIES: u32 = 20_000;

fn after(action: Action, now: Version) -> Option<Version> {
    match action {
        Action::Read(seen) => (seen == now).then_some(now),
        Action::Differs(from) => (from != now).then_some(now),
        Action::Write(to) => Some(to),
        Action::Swap(from, to) => (from == now).then_some(to),
    }
}

/// Whether some order explains what is left.
fn has_order(left: &[Operation], now: Version) -> bool {
    if left.iter().all(|operation| operation.ended.is_none()) {
        return true;
    }
    (0..left.len()).any(|at| {
        let next = left[at];
        let comes_after = |other: &Operation| other.ended.is_some_and(|ended| ended < next.began);
        let rest = [&left[..at], &left[at + 1..]].concat();
        !rest.iter().any(comes_after) && after(next.action, now).is_some_and(|then| has_order(&rest, then))
    })
}

fn history(random: &mut Random) -> Vec<Operation> {
    let count = 3 + random.below(4);
    let moments = random.shuffled((0..2 * count).collect());
    let version = |random: &mut Random| Some(random.below(count + 1)).filter(|version| *version < count);
    let pairs = moments.chunks(2).zip(0..count);
    pairs
        .map(|(pair, number)| {
            // Half of them are short, so that something follows something.
            let began = match random.below(2) {
                0 => 100 * (2 * number + 1),
                _ => 100 * pair[0].min(pair[1]),
            } + number;
            let ended = (began + 50).max(100 * pair[0].max(pair[1]) + 10 + number);
            let ended = if random.below(2) == 0 { began + 50 } else { ended };
            let action = match random.below(10) {
                0..3 => Action::Read(version(random)),
                3 => Action::Differs(version(random)),
                4..7 => Action::Write(Some(number)),
                7 => Action::Write(None),
                _ => Action::Swap(version(random), Some(number)),
            };
            Operation {
                began,
                ended: (random.below(4) > 0).then_some(ended),
                action,
            }
        })
        .collect()
}

/// Says the first history on which the two differ.
pub(crate) fn self_test() -> Result<(), String> {
    let mut random = Random::new(1);
    let mut explained = 0;
    for _ in 0..HISTORIES {
        let history = history(&mut random);
        let has_order = has_order(&history, None);
        explained += u32::from(has_order);
        if history::check(history.clone()).is_ok() != has_order {
            return Err(format!(
                "has an order: {has_order}; the checker says otherwise: {history:?}"
            ));
        }
    }
    match explained {
        ..1_000 | 19_001.. => Err(format!(
            "{explained} of {HISTORIES} histories have an order: too one-sided"
        )),
        _ => Ok(()),
    }
}
