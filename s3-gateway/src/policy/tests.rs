//! Tables of documents and requests, and what must hold of all of them.

mod conditions;
mod refused;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::pattern::Pattern;
use super::{Facts, Policy, PolicyError, Values, Verdict, Who};

#[derive(Default)]
struct Known(BTreeMap<&'static str, Vec<&'static str>>);

impl Facts for Known {
    fn values(&self, key: &str) -> Values {
        match self.0.get(key) {
            None => Values::Missing,
            Some(values) if values == &["?"] => Values::Unknown,
            Some(values) => Values::Are(values.iter().map(|&value| value.to_owned()).collect()),
        }
    }
}

fn statement(effect: &str, principal: Value, action: Value, resource: Value) -> Value {
    json!({"Effect": effect, "Principal": principal, "Action": action, "Resource": resource})
}

fn policy(statements: &[Value]) -> Result<Policy, PolicyError> {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    Policy::parse(&text, "bkt")
}

fn judge(policy: &Policy, who: Who<'_>, action: &str, key: Option<&str>) -> Verdict {
    policy.judge(who, action, ("bkt", key), &Known::default())
}

const VAULT: Who<'_> = Who::Vault("v-1");
const OTHER: Who<'_> = Who::Vault("v-2");

#[test]
fn statements_speak_of_their_principals_actions_and_resources_only() {
    let all = json!("*");
    let objects = json!("arn:aws:s3:::bkt/*");
    let root = json!({"AWS": ["arn:aws:iam::v-1:root", "v-3"]});
    let canonical = json!({"CanonicalUser": "v-1"});
    let get = json!("s3:GetObject");
    #[rustfmt::skip]
    let cases = [
        (all.clone(), get.clone(), objects.clone(), Who::Anonymous, "s3:GetObject", Some("k"), true),
        (json!({"AWS": "*"}), get.clone(), objects.clone(), Who::Anonymous, "s3:GetObject", Some("k"), true),
        (root.clone(), get.clone(), objects.clone(), VAULT, "s3:GetObject", Some("k"), true),
        (root.clone(), get.clone(), objects.clone(), OTHER, "s3:GetObject", Some("k"), false),
        (root, get.clone(), objects.clone(), Who::Anonymous, "s3:GetObject", Some("k"), false),
        (canonical, get.clone(), objects.clone(), VAULT, "s3:GetObject", Some("k"), true),
        (all.clone(), get.clone(), objects.clone(), VAULT, "s3:PutObject", Some("k"), false),
        (all.clone(), json!(["s3:PutObject", "S3:get*"]), objects.clone(), VAULT, "s3:GetObject", Some("k"), true),
        (all.clone(), json!("*"), objects.clone(), VAULT, "s3:DeleteObject", Some("a/b"), true),
        (all.clone(), json!("s3:*"), objects, VAULT, "s3:ListBucket", None, false),
        (all.clone(), json!("s3:*"), json!("arn:aws:s3:::bkt"), VAULT, "s3:ListBucket", None, true),
        (all.clone(), json!("s3:*"), json!("arn:aws:s3:::b*t"), VAULT, "s3:ListBucket", None, true),
        (all.clone(), get.clone(), json!("arn:aws:s3:::bkt/a/?"), VAULT, "s3:GetObject", Some("a/b"), true),
        (all.clone(), get.clone(), json!("arn:aws:s3:::bkt/a/?"), VAULT, "s3:GetObject", Some("a/bc"), false),
        (all, get, json!("arn:aws:s3:::bkt/A"), VAULT, "s3:GetObject", Some("a"), false),
    ];
    for (principal, action, resource, who, asked, key, speaks) in cases {
        let said = format!("{principal} {action} {resource} {who:?} {asked} {key:?}");
        for (effect, verdict) in [("Allow", Verdict::Allowed), ("Deny", Verdict::Denied)] {
            let one = statement(effect, principal.clone(), action.clone(), resource.clone());
            let expected = if speaks { verdict } else { Verdict::Silent };
            assert_eq!(
                judge(&policy(&[one]).unwrap(), who, asked, key),
                expected,
                "{said}"
            );
        }
    }
}

#[test]
fn an_explicit_deny_wins_wherever_it_stands() {
    let allow = statement("Allow", json!("*"), json!("s3:*"), json!("arn:aws:s3:::bkt/*"));
    let deny = statement(
        "Deny",
        json!("*"),
        json!("s3:GetObject"),
        json!("arn:aws:s3:::bkt/secret/*"),
    );
    for order in [[&allow, &deny], [&deny, &allow]] {
        let policy = policy(&order.map(Clone::clone)).unwrap();
        assert_eq!(
            judge(&policy, Who::Anonymous, "s3:GetObject", Some("secret/x")),
            Verdict::Denied
        );
        assert_eq!(
            judge(&policy, Who::Anonymous, "s3:GetObject", Some("x")),
            Verdict::Allowed
        );
        assert_eq!(
            judge(&policy, Who::Anonymous, "s3:PutObject", Some("secret/x")),
            Verdict::Allowed
        );
        assert_eq!(
            judge(&policy, Who::Anonymous, "s3:ListBucket", None),
            Verdict::Silent
        );
    }
}

#[test]
fn a_condition_that_cannot_be_decided_denies() {
    let known = Known([("s3:prefix", vec!["?"])].into_iter().collect());
    for (effect, verdict) in [("Allow", Verdict::Silent), ("Deny", Verdict::Denied)] {
        for operator in ["StringEquals", "StringNotEquals", "StringEqualsIfExists"] {
            let mut one = statement(
                effect,
                json!("*"),
                json!("s3:ListBucket"),
                json!("arn:aws:s3:::bkt"),
            );
            one["Condition"] = json!({operator: {"s3:prefix": "a"}});
            let judged = policy(&[one])
                .unwrap()
                .judge(OTHER, "s3:ListBucket", ("bkt", None), &known);
            assert_eq!(judged, verdict, "{effect} {operator}");
        }
    }
}

#[test]
fn negations_speak_of_everything_else() {
    let all_but = json!({"Effect": "Deny", "NotPrincipal": {"AWS": "v-1"}, "NotAction": "s3:GetObject",
        "NotResource": "arn:aws:s3:::bkt/open/*"});
    let policy = policy(&[all_but]).unwrap();
    assert_eq!(judge(&policy, OTHER, "s3:PutObject", Some("k")), Verdict::Denied);
    assert_eq!(
        judge(&policy, Who::Anonymous, "s3:PutObject", Some("k")),
        Verdict::Denied
    );
    assert_eq!(judge(&policy, VAULT, "s3:PutObject", Some("k")), Verdict::Silent);
    assert_eq!(judge(&policy, OTHER, "s3:GetObject", Some("k")), Verdict::Silent);
    assert_eq!(
        judge(&policy, OTHER, "s3:PutObject", Some("open/k")),
        Verdict::Silent
    );
}

#[test]
fn a_policy_is_public_if_it_allows_everyone_without_naming_addresses_or_accounts() {
    let with = |effect: &str, principal: Value, condition: Value| {
        let mut one = statement(effect, principal, json!("s3:*"), json!("arn:aws:s3:::bkt/*"));
        one["Condition"] = condition;
        policy(&[one]).unwrap().is_public()
    };
    let all = || json!("*");
    assert!(with("Allow", all(), json!({})));
    assert!(!with("Deny", all(), json!({})));
    assert!(!with("Allow", json!({"AWS": "v-1"}), json!({})));
    assert!(!with(
        "Allow",
        all(),
        json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}})
    ));
    assert!(with(
        "Allow",
        all(),
        json!({"IpAddress": {"aws:SourceIp": ["10.0.0.0/32", "0.0.0.0/0"]}})
    ));
    assert!(with(
        "Allow",
        all(),
        json!({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/32"}})
    ));
    assert!(with(
        "Allow",
        all(),
        json!({"StringLike": {"aws:Referer": "http://x/*"}})
    ));
    assert!(!with(
        "Allow",
        all(),
        json!({"StringEquals": {"aws:PrincipalAccount": "v-1"}})
    ));
    assert!(with(
        "Allow",
        all(),
        json!({"StringLike": {"aws:PrincipalAccount": "v-*"}})
    ));
}

/// The matcher as one would write it without a thought for its time.
fn matches_slowly(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), None) => matches_slowly(rest, text),
        (Some(('*', rest)), Some((_, tail))) => matches_slowly(rest, text) || matches_slowly(pattern, tail),
        (Some((one, rest)), Some((character, tail))) => {
            (*one == '?' || one == character) && matches_slowly(rest, tail)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_the_slow_matcher_says(pattern in "[ab/*?]{0,8}", text in "[ab/]{0,10}") {
        let slow: (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        prop_assert_eq!(Pattern::new(&pattern).matches(&text), matches_slowly(&slow.0, &slow.1));
    }

    #[test]
    fn a_pattern_that_matches_something_in_the_bucket_reaches_it(pattern in "[bkt/*?a]{0,8}", key in "[abk/]{0,4}") {
        let pattern = Pattern::new(&pattern);
        if pattern.matches("bkt") || pattern.matches(&format!("bkt/{key}")) {
            prop_assert!(pattern.reaches("bkt"));
        }
    }

    #[test]
    fn no_document_breaks_the_parser(text in r#"(\{|\}|\[|\]|"Version"|"Statement"|"Effect"|"Allow"|"Principal"|"\*"|:|,|"Action"|"s3:\*"|1|null){0,24}"#) {
        let _ = Policy::parse(&text, "bkt");
    }

    #[test]
    fn another_deny_never_allows_more(allows in prop::collection::vec(any::<bool>(), 1..5), at in 0usize..5, key in "[ab]{1,3}") {
        let one = |allow: bool| statement(if allow { "Allow" } else { "Deny" }, json!("*"), json!("s3:GetObject"), json!("arn:aws:s3:::bkt/a*"));
        let mut list: Vec<Value> = allows.iter().map(|allow| one(*allow)).collect();
        let before = judge(&policy(&list).unwrap(), Who::Anonymous, "s3:GetObject", Some(&key));
        list.insert(at.min(list.len()), one(false));
        let after = judge(&policy(&list).unwrap(), Who::Anonymous, "s3:GetObject", Some(&key));
        prop_assert!(after == Verdict::Denied || (before == after && before == Verdict::Silent));
    }
}
