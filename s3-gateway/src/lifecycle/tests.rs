use vault::object::{Listed, VersionId};

use super::*;

const CLOCK: Clock = Clock {
    now_ms: 100 * DAY_MS,
    day_ms: DAY_MS,
};

fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule {
        id: "r".to_owned(),
        enabled: true,
        filter: Filter::default(),
        old_prefix: false,
        expire: None,
        noncurrent: None,
        abort_days: None,
    };
    change(&mut rule);
    rule
}

fn version(key: &str, id: u8, modified_day: u64, delete_marker: bool) -> Listed {
    Listed {
        key: key.to_owned(),
        delete_marker,
        multipart: false,
        version: VersionId([id; 16]),
        null_version: false,
        plaintext_bytes: 100,
        modified_ms: modified_day * DAY_MS,
        etag_md5: [0; 16],
        parts: 1,
        checksum: None,
    }
}

/// The keys and versions that go, of versions given by key and newest first.
fn doomed(rules: Vec<Rule>, versions: &[(Listed, bool)]) -> Vec<(String, u8, bool)> {
    let rules = Rules::in_force(rules);
    let mut walk = Walk::default();
    let mut all = Vec::new();
    for (listed, is_latest) in versions {
        let version = ListedVersion {
            sequence: Sequence(1),
            is_latest: *is_latest,
            object: listed.clone(),
        };
        all.extend(walk.step(&rules, &CLOCK, &version, &[]).into_iter().flatten());
    }
    all.extend(walk.end(&rules));
    all.into_iter()
        .map(|doom| (doom.key, doom.id.0[0], doom.fate == Fate::Expires))
        .collect()
}

#[test]
fn a_day_ends_at_the_midnight_after_it_and_a_shortened_one_at_once() {
    assert_eq!(CLOCK.due_ms(5 * DAY_MS + 1, 1), 7 * DAY_MS);
    assert_eq!(CLOCK.due_ms(5 * DAY_MS, 1), 7 * DAY_MS);
    let short = Clock {
        day_ms: 1000,
        ..CLOCK
    };
    assert_eq!(short.due_ms(5, 2), 2005);
}

#[test]
fn current_objects_go_by_age_date_prefix_and_size_and_disabled_rules_remove_nothing() {
    let by_age = |days| rule(|rule| rule.expire = Some(Expire::Days(days)));
    let objects = [
        (version("a/old", 1, 10, false), true),
        (version("a/young", 2, 99, false), true),
        (version("b/old", 3, 10, false), true),
    ];
    let old = |key: &str, id| (key.to_owned(), id, true);
    assert_eq!(
        doomed(vec![by_age(30)], &objects),
        [old("a/old", 1), old("b/old", 3)]
    );
    let mut of_prefix = by_age(30);
    of_prefix.filter.prefix = Some("a/".to_owned());
    assert_eq!(doomed(vec![of_prefix], &objects), [old("a/old", 1)]);
    for (larger, smaller) in [(Some(100), None), (None, Some(100))] {
        let mut of_size = by_age(30);
        (of_size.filter.larger, of_size.filter.smaller) = (larger, smaller);
        assert_eq!(doomed(vec![of_size], &objects), []);
    }
    let mut of_tag = by_age(30);
    of_tag.filter.tags = vec![("k".to_owned(), "v".to_owned())];
    assert_eq!(doomed(vec![of_tag], &objects), []);
    let mut off = by_age(30);
    off.enabled = false;
    assert_eq!(doomed(vec![off], &objects), []);
    let at = |day| rule(|rule| rule.expire = Some(Expire::Date(day * DAY_MS)));
    assert_eq!(doomed(vec![at(101)], &objects), []);
    assert_eq!(doomed(vec![at(100)], &objects).len(), 3);
}

#[test]
fn noncurrent_versions_go_by_when_they_were_replaced_and_the_newest_may_stay() {
    let history = [
        (version("k", 4, 99, false), true),
        (version("k", 3, 50, false), false),
        (version("k", 2, 40, false), false),
        (version("k", 1, 30, false), false),
    ];
    let after = |days, stay| rule(|rule| rule.noncurrent = Some(Noncurrent { days, stay }));
    let gone = |id| ("k".to_owned(), id, false);
    // Version 3 was replaced yesterday, however old it is.
    assert_eq!(doomed(vec![after(10, None)], &history), [gone(2), gone(1)]);
    assert_eq!(doomed(vec![after(10, Some(2))], &history), [gone(1)]);
    assert_eq!(doomed(vec![after(10, Some(3))], &history), []);
}

#[test]
fn a_delete_marker_goes_only_once_it_hides_nothing() {
    let rules = || vec![rule(|rule| rule.expire = Some(Expire::LoneMarkers))];
    let lone = (version("a", 1, 10, true), true);
    let hiding = [
        (version("b", 3, 20, true), true),
        (version("b", 2, 10, false), false),
    ];
    let end = (version("c", 4, 10, true), true);
    let mut all = vec![lone.clone()];
    all.extend(hiding);
    assert_eq!(doomed(rules(), &all), [("a".to_owned(), 1, false)]);
    all.push(end);
    assert_eq!(doomed(rules(), &all).len(), 2);
    let by_age = vec![rule(|rule| rule.expire = Some(Expire::Days(1)))];
    assert_eq!(doomed(by_age, &[lone]), []);
}

#[test]
fn an_upload_is_aborted_after_its_days() {
    let rules = Rules::in_force(vec![rule(|rule| {
        rule.abort_days = Some(7);
        rule.filter.prefix = Some("in/".to_owned());
    })]);
    assert!(rules.abort("in/x", 90 * DAY_MS, &CLOCK));
    assert!(!rules.abort("in/x", 95 * DAY_MS, &CLOCK));
    assert!(!rules.abort("x", 90 * DAY_MS, &CLOCK));
}

#[test]
fn rules_read_back_as_they_were_written() {
    let rules = vec![rule(|rule| {
        rule.expire = Some(Expire::Date(5));
        rule.noncurrent = Some(Noncurrent {
            days: 1,
            stay: Some(2),
        });
        rule.filter.tags = vec![("a".to_owned(), "\u{e4}".to_owned())];
    })];
    assert_eq!(Rules::read(&write(&rules).unwrap()), Some(rules));
    assert_eq!(Rules::read("[{}]"), None);
}

#[test]
fn what_was_replaced_while_a_page_was_read_and_a_key_that_is_walked_again_lose_nothing() {
    let after = |days, stay| vec![rule(|rule| rule.noncurrent = Some(Noncurrent { days, stay }))];
    // Read as current, then again beside its successor that nobody read.
    let twice = [
        (version("k", 1, 10, false), true),
        (version("k", 1, 10, false), false),
    ];
    assert_eq!(doomed(after(1, None), &twice), []);
    // Replaced twice meanwhile: the one between is as young as its successor.
    let between = [
        (version("k", 1, 10, false), true),
        (version("k", 2, 100, false), false),
        (version("k", 1, 10, false), false),
    ];
    assert_eq!(doomed(after(1, None), &between), []);
    // The marker of a page was deleted, so the key begins again: what stays is counted anew.
    let again = [
        (version("k", 4, 50, false), true),
        (version("k", 3, 40, false), false),
        (version("k", 2, 30, false), false),
        (version("k", 4, 50, false), true),
        (version("k", 3, 40, false), false),
        (version("k", 2, 30, false), false),
    ];
    assert_eq!(doomed(after(1, Some(2)), &again), []);
}
