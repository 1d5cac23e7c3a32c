//! The set workload: every key is put once, perhaps deleted once, and met by listings and reads. What was acknowledged stays.
//!
//! The check is exact for such a key: it is there from one moment within its put to one moment within its deletion, if there was one, and
//! each listing or read met it, or did not, at some moment of its own. Invariant: a deletion begins after its put was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::process::content;

/// Keys are spread over so many prefixes, each listed on its own.
pub(crate) const PREFIXES: u64 = 8;

/// A moment in a count that orders all of them; none: nobody knows whether it ever came to an end.
type Ended = Option<u64>;

#[derive(Debug, Clone)]
struct Member {
    put: (u64, Ended),
    deleted: Option<(u64, Ended)>,
    /// Beginning, end, and whether it was there.
    seen: Vec<(u64, u64, bool)>,
}

/// What was heard of each key.
#[derive(Default)]
pub(crate) struct Set {
    members: Mutex<BTreeMap<u64, Member>>,
    anomalies: Mutex<Vec<String>>,
}

pub(crate) fn prefix(number: u64) -> String {
    format!("set/{}/", number % PREFIXES)
}

pub(crate) fn name(number: u64) -> String {
    format!("{}{number}", prefix(number))
}

fn number(name: &str) -> Option<u64> {
    let found: u64 = name.rsplit('/').next()?.parse().ok()?;
    (self::name(found) == name).then_some(found)
}

/// The bytes of a key.
pub(crate) fn body(number: u64) -> Vec<u8> {
    let bytes = match number % 40 {
        0 => 100_000,
        1 => 0,
        other => 60 * (other as usize),
    };
    content(&name(number), bytes)
}

impl Member {
    /// What cannot have been.
    fn wrong(&self) -> Option<String> {
        let seen = |there: bool| self.seen.iter().filter(move |(.., was)| *was == there);
        // As late as it can have been put, and as early as it can have been deleted after that: so most of it is explained.
        let first_seen = seen(true).map(|(_, ended, _)| *ended).min();
        let last_seen = seen(true).map(|(began, ..)| *began).max();
        let put_by = first_seen.unwrap_or(u64::MAX).min(self.put.1.unwrap_or(u64::MAX));
        if put_by < self.put.0 {
            return Some("was there before anybody put it".to_owned());
        }
        let gone_from = self.deleted.map(|(began, _)| began.max(last_seen.unwrap_or(0)));
        if let (Some((_, Some(ended))), Some(gone_from)) = (self.deleted, gone_from)
            && gone_from > ended
        {
            return Some("came back after it was deleted".to_owned());
        }
        let unexplained = seen(false)
            .find(|(began, ended, _)| *began >= put_by && gone_from.is_none_or(|gone| *ended <= gone));
        unexplained.map(|(began, ended, _)| format!("was not there between {began} and {ended}"))
    }
}

fn one_of(members: &BTreeMap<u64, Member>, chance: u64) -> Option<u64> {
    let is_whole = |member: &Member| member.put.1.is_some() && member.deleted.is_none();
    let mut whole = members.iter().filter(|(_, member)| is_whole(member));
    let count = whole.clone().count() as u64;
    let at = usize::try_from(chance.checked_rem(count)?).ok()?;
    Some(*whole.nth(at)?.0)
}

impl Set {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Member>) -> T) -> T {
        act(&mut self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn anomaly(&self, what: String) {
        let mut anomalies = self.anomalies.lock().unwrap_or_else(PoisonError::into_inner);
        anomalies.push(what);
    }

    pub(crate) fn begin_put(&self, number: u64, began: u64) {
        let member = Member {
            put: (began, None),
            deleted: None,
            seen: Vec::new(),
        };
        self.with(|members| members.insert(number, member));
    }

    pub(crate) fn acknowledge_put(&self, number: u64, ended: u64) {
        self.with(|members| {
            if let Some(member) = members.get_mut(&number) {
                member.put.1 = Some(ended);
            }
        });
    }

    /// One of the keys that are acknowledged and that nobody deletes, as chance says.
    pub(crate) fn acknowledged(&self, chance: u64) -> Option<u64> {
        self.with(|members| one_of(members, chance))
    }

    /// The same, and from now on somebody deletes it.
    pub(crate) fn begin_deletion(&self, chance: u64, began: u64) -> Option<u64> {
        self.with(|members| {
            let number = one_of(members, chance)?;
            members.get_mut(&number)?.deleted = Some((began, None));
            Some(number)
        })
    }

    pub(crate) fn acknowledge_deletion(&self, number: u64, ended: u64) {
        self.with(|members| {
            if let Some((_, unknown)) = members
                .get_mut(&number)
                .and_then(|member| member.deleted.as_mut())
            {
                *unknown = Some(ended);
            }
        });
    }

    /// Takes down a listing of a prefix: names and sizes.
    pub(crate) fn note_listing(&self, prefix: &str, began: u64, ended: u64, listed: &BTreeMap<String, u64>) {
        let mut met = BTreeMap::new();
        for (name, bytes) in listed {
            match number(name) {
                Some(number) if name.starts_with(prefix) => drop(met.insert(number, *bytes)),
                _ => self.anomaly(format!("a listing of {prefix} has {name}")),
            }
        }
        self.with(|members| {
            for (number, member) in members.iter_mut() {
                if self::prefix(*number) == prefix {
                    let bytes = met.remove(number);
                    member.seen.push((began, ended, bytes.is_some()));
                    if bytes.is_some_and(|bytes| bytes != body(*number).len() as u64) {
                        self.anomaly(format!("{} is listed with {bytes:?} bytes", name(*number)));
                    }
                }
            }
        });
        for number in met.into_keys() {
            self.anomaly(format!("{} is listed and was never put", name(number)));
        }
    }

    /// Takes down a read of a key.
    pub(crate) fn note_read(&self, number: u64, began: u64, ended: u64, read: Option<&[u8]>) {
        if read.is_some_and(|read| read != body(number)) {
            self.anomaly(format!("{} was read with other bytes", name(number)));
        }
        self.with(|members| {
            if let Some(member) = members.get_mut(&number) {
                member.seen.push((began, ended, read.is_some()));
            }
        });
    }

    /// Every key that was ever put, acknowledged or not.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.with(|members| members.keys().copied().collect())
    }

    /// Everything that cannot have been.
    pub(crate) fn anomalies(&self) -> Vec<String> {
        let mut found = self
            .anomalies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let wrong = |(number, member): (&u64, &Member)| {
            let why = member.wrong()?;
            let (put, deleted) = (member.put, member.deleted);
            Some(format!(
                "{} {why}: put {put:?}, deleted {deleted:?}",
                name(*number)
            ))
        };
        self.with(|members| found.extend(members.iter().filter_map(wrong)));
        found
    }

    /// Every operation, for whoever looks for the cause.
    pub(crate) fn told(&self) -> String {
        let line = |(number, member): (&u64, &Member)| format!("{} {member:?}\n", name(*number));
        self.with(|members| members.iter().map(line).collect())
    }
}

/// The check against histories whose verdict is known.
pub(crate) fn self_test() -> Result<(), String> {
    const HERE: bool = true;
    const GONE: bool = false;
    type Seen<'a> = &'a [(u64, u64, bool)];
    type Case<'a> = ((u64, Ended), Option<(u64, Ended)>, Seen<'a>);
    let wrong = |put, deleted, seen: Seen<'_>| {
        let seen = seen.to_vec();
        Member { put, deleted, seen }.wrong().is_some()
    };
    let good: [Case<'_>; 6] = [
        ((1, Some(4)), None, &[(2, 3, GONE), (2, 3, HERE), (5, 6, HERE)]),
        // Never acknowledged: late, or never.
        ((1, None), None, &[(2, 3, GONE), (4, 5, GONE), (6, 7, HERE)]),
        ((1, None), None, &[(2, 3, GONE)]),
        (
            (1, Some(2)),
            Some((3, Some(6))),
            &[(4, 5, HERE), (4, 5, GONE), (7, 8, GONE)],
        ),
        // A deletion that nobody knows the outcome of.
        ((1, Some(2)), Some((3, None)), &[(4, 5, HERE), (6, 7, GONE)]),
        ((1, Some(2)), Some((3, None)), &[(4, 5, HERE), (6, 7, HERE)]),
    ];
    let bad: [Case<'_>; 6] = [
        // Acknowledged, and not there.
        ((1, Some(2)), None, &[(3, 4, GONE)]),
        // There, and not there any more.
        ((1, None), None, &[(2, 3, HERE), (4, 5, GONE)]),
        // Back again, after a deletion that was acknowledged and after one that was not.
        ((1, Some(2)), Some((3, Some(4))), &[(5, 6, HERE)]),
        ((1, Some(2)), Some((3, None)), &[(4, 5, GONE), (6, 7, HERE)]),
        // There before its put, and gone before its deletion.
        ((5, Some(6)), None, &[(1, 2, HERE)]),
        ((1, Some(2)), Some((6, Some(7))), &[(3, 4, GONE)]),
    ];
    if good
        .iter()
        .any(|(put, deleted, seen)| wrong(*put, *deleted, seen))
    {
        return Err("a set that is right is taken for wrong".to_owned());
    }
    if !bad.iter().all(|(put, deleted, seen)| wrong(*put, *deleted, seen)) {
        return Err("a set that is wrong is taken for right".to_owned());
    }
    let set = Set::default();
    set.begin_put(9, 1);
    set.acknowledge_put(9, 2);
    let listed = |name: String, bytes: u64| BTreeMap::from([(name, bytes)]);
    set.note_listing(&prefix(9), 3, 4, &listed(name(9), body(9).len() as u64));
    set.note_read(9, 5, 6, Some(&body(9)));
    if !set.anomalies().is_empty() {
        return Err("a set that was met as it is is taken for wrong".to_owned());
    }
    set.note_listing(&prefix(9), 3, 4, &listed(name(9), 1));
    set.note_listing(&prefix(9), 3, 4, &listed(name(17), 1_000));
    set.note_read(9, 7, 8, Some(b"other"));
    match set.anomalies().len() {
        // The size, the stranger, that 9 is not beside it, the bytes.
        4 => Ok(()),
        other => Err(format!("of four wrong answers of a set {other} are found")),
    }
}
