//! Documents that are refused.

use serde_json::{Value, json};

use super::super::{Policy, PolicyError};
use super::{policy, statement};

#[test]
fn what_is_not_understood_is_refused_as_a_whole() {
    let good = || {
        statement(
            "Allow",
            json!("*"),
            json!("s3:GetObject"),
            json!("arn:aws:s3:::bkt/*"),
        )
    };
    assert!(policy(&[good()]).is_ok());
    let changed = |name: &str, value: Value| {
        let mut changed = good();
        changed[name] = value;
        policy(&[good(), changed]).map(|_| ())
    };
    #[rustfmt::skip]
    let cases = [
        ("Effect", json!("allow"), PolicyError::Effect),
        ("Principal", json!("v-1"), PolicyError::Principal),
        ("Principal", json!({}), PolicyError::Principal),
        ("Principal", json!({"Service": "logging.s3.amazonaws.com"}), PolicyError::Principal),
        ("Principal", json!({"AWS": "arn:aws:iam::v-1:user/bob"}), PolicyError::Principal),
        ("NotPrincipal", json!("*"), PolicyError::Principal),
        ("Action", json!("s3:Fly"), PolicyError::Action),
        ("Action", json!("iam:*"), PolicyError::Action),
        ("Action", json!([]), PolicyError::Action),
        ("Action", json!([["s3:GetObject"]]), PolicyError::Element),
        ("Action", json!(1), PolicyError::Element),
        ("NotAction", json!("s3:GetObject"), PolicyError::Element),
        ("Resource", json!("arn:aws:s3:::other/*"), PolicyError::Resource),
        ("Resource", json!("arn:aws:s3::tenant:bkt/*"), PolicyError::Resource),
        ("Resource", json!("*"), PolicyError::Resource),
        ("Resource", json!("arn:aws:s3:::bkt/${aws:username}"), PolicyError::Variable),
        ("Condition", json!({"StringMatches": {"s3:prefix": "a"}}), PolicyError::Condition),
        ("Condition", json!({"StringEquals": {"s3:weather": "a"}}), PolicyError::ConditionKey),
        ("Condition", json!({"StringEquals": {"s3:prefix/x": "a"}}), PolicyError::ConditionKey),
        ("Condition", json!({"StringEquals": {"s3:prefix": []}}), PolicyError::Condition),
        ("Condition", json!({"StringEquals": {"s3:prefix": "a*"}}), PolicyError::Condition),
        ("Condition", json!({"ForAllValues:StringEquals": {"s3:prefix": "a"}}), PolicyError::Condition),
        ("Condition", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}), PolicyError::Condition),
        ("Condition", json!({"Bool": {"aws:SecureTransport": "yes"}}), PolicyError::Condition),
        ("Condition", json!({"NumericEquals": {"s3:max-keys": "NaN"}}), PolicyError::Condition),
        ("Condition", json!({"NullIfExists": {"s3:prefix": "true"}}), PolicyError::Condition),
        ("Weather", json!("fine"), PolicyError::Element),
    ];
    for (name, value, error) in cases {
        assert_eq!(changed(name, value.clone()), Err(error), "{name} {value}");
    }
    let mut no_one = good();
    no_one.as_object_mut().unwrap().remove("Principal");
    assert_eq!(policy(&[no_one]).unwrap_err(), PolicyError::Principal);
    for (text, error) in [
        ("", PolicyError::Json),
        ("[]", PolicyError::Element),
        (r#"{"Version": "2012-10-17"}"#, PolicyError::Element),
        (
            r#"{"Version": "2026-01-01", "Statement": []}"#,
            PolicyError::Version,
        ),
        (r#"{"Statement": [], "Statement": []}"#, PolicyError::Json),
    ] {
        assert_eq!(Policy::parse(text, "bkt").unwrap_err(), error, "{text}");
    }
    let long = format!("{{{}}}", " ".repeat(20 << 10));
    assert_eq!(Policy::parse(&long, "bkt").unwrap_err(), PolicyError::TooLong);
}
