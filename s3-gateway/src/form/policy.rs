//! The policy of a form: until when, and what each field must be.
//!
//! Invariant: a form passes only if every condition holds and every field is named by one, but for those that cannot be.
//! Source: "Creating an HTML form" and "Calculating a signature for POST" of the S3 API reference.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why a policy does not let a form pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostError {
    /// The document is no policy.
    #[error("Invalid Policy: {0}")]
    Document(&'static str),
    /// Its time is over.
    #[error("Invalid according to Policy: Policy expired.")]
    Expired,
    /// A condition does not hold.
    #[error("Invalid according to Policy: Policy Condition failed: {0}")]
    Condition(String),
    /// A field that no condition names.
    #[error("Invalid according to Policy: Extra input fields: {0}")]
    Extra(String),
}

/// Fields that a policy need not name.
const FREE: [&str; 3] = ["file", "policy", "x-amz-signature"];

/// Checks the fields of a form, with the bucket among them; returns the bounds of the file's length.
pub(crate) fn check(
    document: &[u8],
    fields: &[(String, String)],
    bucket: &str,
    now_ms: u64,
) -> Result<(u64, u64), PostError> {
    let invalid = PostError::Document;
    let document: Value = serde_json::from_slice(document).map_err(|_| invalid("Invalid JSON."))?;
    let expiration = document.get("expiration").and_then(Value::as_str);
    let expiration = expiration.ok_or(invalid("Policy missing expiration."))?;
    let expiration =
        OffsetDateTime::parse(expiration, &Rfc3339).map_err(|_| invalid("Invalid 'expiration' value."))?;
    let conditions = document.get("conditions").and_then(Value::as_array);
    let conditions = conditions.ok_or(invalid("Policy missing conditions."))?;
    if expiration.unix_timestamp_nanos() <= i128::from(now_ms) * 1_000_000 {
        return Err(PostError::Expired);
    }
    let value = |name: &str| {
        if name == "bucket" {
            return Some(bucket);
        }
        let found = fields.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    };
    let (mut bounds, mut named) = ((0, u64::MAX), Vec::new());
    for condition in conditions {
        let rule = Rule::of(condition).ok_or(invalid("Invalid Condition."))?;
        let holds = match &rule {
            Rule::Length(least, most) => {
                bounds = (bounds.0.max(*least), bounds.1.min(*most));
                true
            }
            Rule::Equals(name, wanted) => value(name) == Some(wanted),
            Rule::StartsWith(name, start) => value(name).is_some_and(|value| value.starts_with(start)),
        };
        if !holds {
            return Err(PostError::Condition(condition.to_string()));
        }
        if let Rule::Equals(name, _) | Rule::StartsWith(name, _) = rule {
            named.push(name);
        }
    }
    let extra = fields.iter().find(|(name, _)| {
        !FREE.contains(&name.as_str()) && !name.starts_with("x-ignore-") && !named.contains(name)
    });
    match extra {
        Some((name, _)) => Err(PostError::Extra(name.clone())),
        None => Ok(bounds),
    }
}

enum Rule {
    Equals(String, String),
    StartsWith(String, String),
    Length(u64, u64),
}

impl Rule {
    /// `{"field": "value"}`, `["eq", "$field", "value"]`, `["starts-with", "$field", "start"]` or
    /// `["content-length-range", least, most]`.
    fn of(condition: &Value) -> Option<Self> {
        match condition {
            Value::Object(map) => {
                let (name, value) = map.iter().next().filter(|_| map.len() == 1)?;
                Some(Self::Equals(
                    name.to_ascii_lowercase(),
                    value.as_str()?.to_owned(),
                ))
            }
            Value::Array(list) => {
                let [operator, first, second] = list.as_slice() else {
                    return None;
                };
                let field = || Some(first.as_str()?.strip_prefix('$')?.to_ascii_lowercase());
                match operator.as_str()?.to_ascii_lowercase().as_str() {
                    "eq" => Some(Self::Equals(field()?, second.as_str()?.to_owned())),
                    "starts-with" => Some(Self::StartsWith(field()?, second.as_str()?.to_owned())),
                    "content-length-range" => {
                        let (least, most) = (number(first)?, number(second)?);
                        (least <= most).then_some(Self::Length(least, most))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// A number, or one in quotes as some clients write it.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
