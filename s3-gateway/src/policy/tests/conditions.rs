//! When conditions hold.

use serde_json::{Value, json};

use super::super::{Verdict, Who};
use super::{Known, policy, statement};

/// Whether a condition holds for a request that has these values for `key`.
fn holds(condition: &Value, key: &'static str, values: Option<&[&'static str]>) -> bool {
    let mut one = statement("Allow", json!("*"), json!("s3:*"), json!("arn:aws:s3:::bkt/*"));
    one["Condition"] = condition.clone();
    let known = Known(values.map(|values| (key, values.to_vec())).into_iter().collect());
    let policy = policy(&[one]).unwrap();
    policy.judge(Who::Anonymous, "s3:GetObject", ("bkt", Some("k")), &known) == Verdict::Allowed
}

#[test]
fn conditions_hold_as_the_reference_says() {
    let ip = "aws:sourceip";
    #[rustfmt::skip]
    let cases: &[(Value, &'static str, Option<&[&'static str]>, bool)] = &[
        (json!({"StringEquals": {"s3:prefix": ["a", "b"]}}), "s3:prefix", Some(&["b"]), true),
        (json!({"StringEquals": {"s3:prefix": "a"}}), "s3:prefix", Some(&["A"]), false),
        (json!({"StringEquals": {"s3:prefix": "a"}}), "s3:prefix", None, false),
        (json!({"StringEqualsIfExists": {"s3:prefix": "a"}}), "s3:prefix", None, true),
        (json!({"StringEqualsIfExists": {"s3:prefix": "a"}}), "s3:prefix", Some(&["b"]), false),
        (json!({"StringNotEquals": {"s3:prefix": ["a", "b"]}}), "s3:prefix", Some(&["b"]), false),
        (json!({"StringNotEquals": {"s3:prefix": "a"}}), "s3:prefix", Some(&["b"]), true),
        (json!({"StringNotEquals": {"s3:prefix": "a"}}), "s3:prefix", None, true),
        (json!({"StringEqualsIgnoreCase": {"s3:prefix": "ä"}}), "s3:prefix", Some(&["Ä"]), true),
        (json!({"StringLike": {"AWS:Referer": "http://*.org/*"}}), "aws:referer", Some(&["http://a.org/x"]), true),
        (json!({"StringNotLike": {"aws:Referer": "http://*"}}), "aws:referer", Some(&["http://a"]), false),
        (json!({"Bool": {"aws:SecureTransport": false}}), "aws:securetransport", Some(&["false"]), true),
        (json!({"Bool": {"aws:SecureTransport": "true"}}), "aws:securetransport", Some(&["false"]), false),
        (json!({"Bool": {"aws:SecureTransport": "true"}}), "aws:securetransport", None, false),
        (json!({"Null": {"s3:x-amz-acl": "true"}}), "s3:x-amz-acl", None, true),
        (json!({"Null": {"s3:x-amz-acl": true}}), "s3:x-amz-acl", Some(&["private"]), false),
        (json!({"Null": {"s3:x-amz-acl": "false"}}), "s3:x-amz-acl", Some(&["private"]), true),
        (json!({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}), ip, Some(&["10.1.255.1"]), true),
        (json!({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}), ip, Some(&["10.2.0.1"]), false),
        (json!({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}), ip, Some(&["::ffff:10.1.2.3"]), true),
        (json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), ip, Some(&["::1"]), false),
        (json!({"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}), ip, Some(&["2001:db8:1::1"]), true),
        (json!({"NotIpAddress": {"aws:SourceIp": "10.1.2.3"}}), ip, Some(&["10.1.2.3"]), false),
        (json!({"NotIpAddress": {"aws:SourceIp": "10.1.2.3"}}), ip, Some(&["not an address"]), false),
        (json!({"NumericLessThanEquals": {"s3:max-keys": 10}}), "s3:max-keys", Some(&["10"]), true),
        (json!({"NumericLessThan": {"s3:max-keys": "10"}}), "s3:max-keys", Some(&["10"]), false),
        (json!({"NumericNotEquals": {"s3:max-keys": "10"}}), "s3:max-keys", Some(&["11"]), true),
        (json!({"NumericEquals": {"s3:max-keys": "10"}}), "s3:max-keys", Some(&["ten"]), false),
        (json!({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}), "aws:currenttime", Some(&["2026-01-02"]), true),
        (json!({"DateLessThan": {"aws:EpochTime": "2026-01-01"}}), "aws:epochtime", Some(&["1767225599"]), true),
        (json!({"DateLessThan": {"aws:EpochTime": "2026-01-01"}}), "aws:epochtime", Some(&["1767225600"]), false),
        (json!({"StringEquals": {"s3:ExistingObjectTag/Class": "x"}}), "s3:existingobjecttag/Class", Some(&["x"]), true),
        (json!({"StringEquals": {"s3:ExistingObjectTag/Class": "x"}}), "s3:existingobjecttag/class", Some(&["x"]), false),
        (json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}), "s3:requestobjecttagkeys", Some(&["a", "c"]), false),
        (json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}), "s3:requestobjecttagkeys", None, true),
        (json!({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}), "s3:requestobjecttagkeys", Some(&["c", "a"]), true),
        (json!({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}), "s3:requestobjecttagkeys", None, false),
        (json!({"StringEquals": {"s3:prefix": "a", "s3:delimiter": "/"}}), "s3:prefix", Some(&["a"]), false),
    ];
    for (condition, key, values, expected) in cases {
        assert_eq!(
            holds(condition, key, *values),
            *expected,
            "{condition} {values:?}"
        );
    }
}
