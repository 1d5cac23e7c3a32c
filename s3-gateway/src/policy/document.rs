//! The JSON of a policy, read strictly: nothing is skipped, nothing is repeated, nothing is unknown.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::condition::Condition;
use super::pattern::Pattern;
use super::{ARN, Listed, POLICY_BYTES_MAX, Principals, Statement};

/// Why a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    /// Too long.
    #[error("Policy exceeds the maximum allowed document size of {POLICY_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, or with a repeated name.
    #[error("Policies must be valid JSON")]
    Json,
    /// No policy of a known version.
    #[error("The policy must contain a valid version string")]
    Version,
    /// A name that is no element here, or an element of the wrong form.
    #[error("The policy has an element that is missing, unknown or not of its form")]
    Element,
    /// Neither Allow nor Deny.
    #[error("Invalid effect")]
    Effect,
    /// A form of principal that nobody here can be.
    #[error("Invalid principal in policy")]
    Principal,
    /// No action of S3.
    #[error("Policy has invalid action")]
    Action,
    /// Nothing in the bucket.
    #[error("Policy has invalid resource")]
    Resource,
    /// An unknown operator, or values that it cannot have.
    #[error("Policy has an invalid condition")]
    Condition,
    /// A condition key that is not known.
    #[error("Policy has an invalid condition key")]
    ConditionKey,
    /// A variable.
    #[error("Policy variables are not implemented")]
    Variable,
}

/// JSON without repeated names.
#[derive(Debug)]
enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON without repeated names")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((name, value)) = access.next_entry::<String, Json>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a repeated name"));
                    }
                }
                Ok(Json::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Json {
    fn into_map(self) -> Result<BTreeMap<String, Self>, PolicyError> {
        match self {
            Self::Map(map) => Ok(map),
            _ => Err(PolicyError::Element),
        }
    }

    /// A text, or a list of them; for conditions numbers and truth values count as their texts.
    fn into_texts(self) -> Result<Vec<String>, PolicyError> {
        match self {
            Self::Text(text) | Self::Number(text) => Ok(vec![text]),
            Self::Bool(value) => Ok(vec![value.to_string()]),
            Self::List(list) => {
                let nested = list.iter().any(|item| matches!(item, Self::List(_)));
                let texts = list
                    .into_iter()
                    .map(Self::into_texts)
                    .collect::<Result<Vec<_>, _>>()?;
                if nested {
                    return Err(PolicyError::Element);
                }
                Ok(texts.into_iter().flatten().collect())
            }
            Self::Null | Self::Map(_) => Err(PolicyError::Element),
        }
    }
}

/// The statements of a document.
pub(super) fn parse(text: &str, bucket: &str) -> Result<Vec<Statement>, PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLong);
    }
    let json: Json = serde_json::from_str(text).map_err(|_| PolicyError::Json)?;
    let mut map = json.into_map()?;
    match map.remove("Version") {
        None => {}
        Some(Json::Text(version)) if matches!(version.as_str(), "2008-10-17" | "2012-10-17") => {}
        Some(_) => return Err(PolicyError::Version),
    }
    if !matches!(map.remove("Id"), None | Some(Json::Text(_))) {
        return Err(PolicyError::Element);
    }
    let statements = match map.remove("Statement") {
        Some(Json::List(list)) if !list.is_empty() => list,
        Some(one @ Json::Map(_)) => vec![one],
        _ => return Err(PolicyError::Element),
    };
    if !map.is_empty() {
        return Err(PolicyError::Element);
    }
    statements.into_iter().map(|one| statement(one, bucket)).collect()
}

fn statement(json: Json, bucket: &str) -> Result<Statement, PolicyError> {
    let mut map = json.into_map()?;
    if !matches!(map.remove("Sid"), None | Some(Json::Text(_))) {
        return Err(PolicyError::Element);
    }
    let allows = match map.remove("Effect") {
        Some(Json::Text(effect)) if effect == "Allow" => true,
        Some(Json::Text(effect)) if effect == "Deny" => false,
        _ => return Err(PolicyError::Effect),
    };
    let principals = match (map.remove("Principal"), map.remove("NotPrincipal")) {
        (Some(only), None) => principals(only)?,
        // All but a few: nobody who allows that means it.
        (None, Some(except)) if !allows => match principals(except)? {
            Principals::Only(accounts) => Principals::Except(accounts),
            Principals::Everyone | Principals::Except(_) => return Err(PolicyError::Principal),
        },
        _ => return Err(PolicyError::Principal),
    };
    let actions = listed(&mut map, "Action", "NotAction")?;
    let resources = listed(&mut map, "Resource", "NotResource")?;
    let conditions = map.remove("Condition").map(conditions).transpose()?;
    if !map.is_empty() {
        return Err(PolicyError::Element);
    }
    Ok(Statement {
        allows,
        principals,
        actions: patterns(actions, PolicyError::Action, |text| {
            let text = text.to_ascii_lowercase();
            let pattern = Pattern::new(&text);
            let known = text == "*" || ACTIONS.iter().any(|a| pattern.matches(&a.to_ascii_lowercase()));
            known.then_some(pattern)
        })?,
        resources: patterns(resources, PolicyError::Resource, |text| {
            let name = Pattern::new(text.strip_prefix(ARN)?);
            name.reaches(bucket).then(|| Pattern::new(text))
        })?,
        conditions: conditions.unwrap_or_default(),
    })
}

/// One of an element and its negation.
fn listed(
    map: &mut BTreeMap<String, Json>,
    only: &str,
    except: &str,
) -> Result<(bool, Vec<String>), PolicyError> {
    let (except, json) = match (map.remove(only), map.remove(except)) {
        (Some(json), None) => (false, json),
        (None, Some(json)) => (true, json),
        _ => return Err(PolicyError::Element),
    };
    if matches!(json, Json::Number(_) | Json::Bool(_)) {
        return Err(PolicyError::Element);
    }
    Ok((except, json.into_texts()?))
}

fn patterns(
    (except, texts): (bool, Vec<String>),
    refused: PolicyError,
    pattern: impl Fn(&str) -> Option<Pattern>,
) -> Result<Listed, PolicyError> {
    if texts.is_empty() {
        return Err(refused);
    }
    let one = |text: &String| {
        if text.contains("${") {
            return Err(PolicyError::Variable);
        }
        pattern(text).ok_or(refused)
    };
    Ok(Listed {
        except,
        patterns: texts.iter().map(one).collect::<Result<_, _>>()?,
    })
}

/// `*`, `{"AWS": …}` or `{"CanonicalUser": …}`, whose accounts are vaults. There are no users, roles or services.
fn principals(json: Json) -> Result<Principals, PolicyError> {
    let refused = PolicyError::Principal;
    let map = match json {
        Json::Text(text) if text == "*" => return Ok(Principals::Everyone),
        Json::Map(map) if !map.is_empty() => map,
        _ => return Err(refused),
    };
    let mut accounts = Vec::new();
    for (kind, names) in map {
        for name in names.into_texts().map_err(|_| refused)? {
            match (kind.as_str(), name.as_str()) {
                ("AWS", "*") => return Ok(Principals::Everyone),
                ("AWS", name) => {
                    let account = match name.strip_prefix("arn:aws:iam::") {
                        Some(rest) => rest.strip_suffix(":root").ok_or(refused)?,
                        None => name,
                    };
                    accounts.push(account_of(account).ok_or(refused)?);
                }
                ("CanonicalUser", name) => accounts.push(account_of(name).ok_or(refused)?),
                _ => return Err(refused),
            }
        }
    }
    if accounts.is_empty() {
        return Err(refused);
    }
    Ok(Principals::Only(accounts))
}

fn account_of(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!text.is_empty() && text.bytes().all(plain)).then(|| text.to_owned())
}

fn conditions(json: Json) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in json.into_map()? {
        for (key, values) in keys.into_map()? {
            let values = values.into_texts().map_err(|_| PolicyError::Condition)?;
            if values.iter().any(|value| value.contains("${")) {
                return Err(PolicyError::Variable);
            }
            conditions.push(Condition::parse(&operator, &key, &values)?);
        }
    }
    Ok(conditions)
}

/// The actions of S3 that bucket policies may name. Source: "Actions, resources, and condition keys for Amazon S3".
pub(super) const ACTIONS: [&str; 75] = [
    "s3:AbortMultipartUpload",
    "s3:CreateBucket",
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:DeleteBucketWebsite",
    "s3:DeleteObject",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
    "s3:GetAccelerateConfiguration",
    "s3:GetAnalyticsConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketNotification",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetIntelligentTieringConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetMetricsConfiguration",
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:GetObjectAttributes",
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:GetObjectTagging",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionTagging",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:ListMultipartUploadParts",
    "s3:PutAccelerateConfiguration",
    "s3:PutAnalyticsConfiguration",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutBucketWebsite",
    "s3:PutEncryptionConfiguration",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutMetricsConfiguration",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
    "s3:PutReplicationConfiguration",
    "s3:RestoreObject",
    "s3:UpdateObjectEncryption",
];
