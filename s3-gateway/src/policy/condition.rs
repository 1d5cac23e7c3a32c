//! Conditions of a statement: an operator, a key, the values that satisfy it.
//!
//! A key that the request lacks fails an operator and satisfies a negated one, and `…IfExists` is satisfied by its lack, as
//! the IAM reference has it. Values are parsed with the document, so that evaluation has nothing left to refuse.

use std::net::IpAddr;

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, macros::format_description};

use super::pattern::Pattern;
use super::{Facts, PolicyError, Values};

#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// The key, lower case but for what follows a `/`.
    key: String,
    quantifier: Quantifier,
    if_exists: bool,
    test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    One,
    ForAll,
    ForAny,
}

#[derive(Debug, Clone)]
enum Test {
    /// `Null`: whether the key is to be missing.
    Missing(bool),
    Text {
        not: bool,
        fold: bool,
        patterns: Vec<Pattern>,
    },
    Bool(Vec<bool>),
    Address {
        not: bool,
        nets: Vec<Net>,
    },
    Order {
        relation: Relation,
        dates: bool,
        bounds: Vec<f64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equals,
    NotEquals,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Net {
    address: IpAddr,
    bits: u8,
}

impl Condition {
    /// One key of one operator.
    pub(super) fn parse(operator: &str, key: &str, values: &[String]) -> Result<Self, PolicyError> {
        let (quantifier, operator) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::ForAll, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::ForAny, rest),
            Some(_) => return Err(PolicyError::Condition),
            None => (Quantifier::One, operator),
        };
        let (operator, if_exists) = match operator.strip_suffix("IfExists") {
            Some(operator) => (operator, true),
            None => (operator, false),
        };
        let key = known_key(key)?;
        if values.is_empty() || (quantifier != Quantifier::One && !MANY_VALUED.contains(&key.as_str())) {
            return Err(PolicyError::Condition);
        }
        if operator == "Null" && if_exists {
            return Err(PolicyError::Condition);
        }
        Ok(Self {
            key,
            quantifier,
            if_exists,
            test: Test::parse(operator, values)?,
        })
    }

    /// Whether a request satisfies it; `None` if that cannot be said.
    pub(super) fn holds(&self, facts: &dyn Facts) -> Option<bool> {
        match facts.values(&self.key) {
            Values::Unknown => None,
            Values::Missing => Some(self.holds_for(None)),
            Values::Are(values) => Some(self.holds_for(Some(&values))),
        }
    }

    fn holds_for(&self, values: Option<&[String]>) -> bool {
        if let Test::Missing(missing) = self.test {
            return values.is_none() == missing;
        }
        let Some(values) = values else {
            let lacking_one = self.quantifier == Quantifier::One && self.test.is_negated();
            return self.if_exists || self.quantifier == Quantifier::ForAll || lacking_one;
        };
        match self.quantifier {
            Quantifier::ForAll => values.iter().all(|value| self.test.accepts(value)),
            // A negated operator asks for a key none of whose values match.
            Quantifier::One if self.test.is_negated() => values.iter().all(|value| self.test.accepts(value)),
            Quantifier::One | Quantifier::ForAny => values.iter().any(|value| self.test.accepts(value)),
        }
    }

    /// Whether it ties a statement to addresses or accounts, so that it is not public.
    pub(super) fn narrows(&self) -> bool {
        if self.if_exists || self.quantifier != Quantifier::One {
            return false;
        }
        match &self.test {
            Test::Address { not: false, nets } => nets.iter().all(|net| net.bits >= net.least_bits()),
            Test::Text {
                not: false, patterns, ..
            } => {
                matches!(self.key.as_str(), "aws:principalaccount" | "aws:principalarn")
                    && patterns.iter().all(Pattern::is_fixed)
            }
            _ => false,
        }
    }
}

impl Test {
    fn parse(operator: &str, values: &[String]) -> Result<Self, PolicyError> {
        let text = |not, fold, literal: bool| {
            let patterns = values.iter().map(|value| {
                let value = if fold { value.to_lowercase() } else { value.clone() };
                (!literal || !value.contains(['*', '?']))
                    .then(|| Pattern::new(&value))
                    .ok_or(PolicyError::Condition)
            });
            Ok(Self::Text {
                not,
                fold,
                patterns: patterns.collect::<Result<_, _>>()?,
            })
        };
        let bools = || {
            let parsed = values.iter().map(|value| match value.as_str() {
                "true" | "True" => Ok(true),
                "false" | "False" => Ok(false),
                _ => Err(PolicyError::Condition),
            });
            parsed.collect::<Result<Vec<bool>, _>>()
        };
        let order = |relation, dates| {
            let parse = if dates { date } else { number };
            let bounds = values
                .iter()
                .map(|value| parse(value).ok_or(PolicyError::Condition));
            Ok(Self::Order {
                relation,
                dates,
                bounds: bounds.collect::<Result<_, _>>()?,
            })
        };
        let nets = |not| {
            let nets = values
                .iter()
                .map(|value| Net::parse(value).ok_or(PolicyError::Condition));
            Ok(Self::Address {
                not,
                nets: nets.collect::<Result<_, _>>()?,
            })
        };
        match operator {
            "StringEquals" => text(false, false, true),
            "StringNotEquals" => text(true, false, true),
            "StringEqualsIgnoreCase" => text(false, true, true),
            "StringNotEqualsIgnoreCase" => text(true, true, true),
            "StringLike" | "ArnLike" | "ArnEquals" => text(false, false, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => text(true, false, false),
            "Bool" => Ok(Self::Bool(bools()?)),
            "Null" => match bools()?.as_slice() {
                [missing] => Ok(Self::Missing(*missing)),
                _ => Err(PolicyError::Condition),
            },
            "IpAddress" => nets(false),
            "NotIpAddress" => nets(true),
            _ => {
                let (dates, relation) = match operator.strip_prefix("Numeric") {
                    Some(relation) => (false, relation),
                    None => (true, operator.strip_prefix("Date").ok_or(PolicyError::Condition)?),
                };
                order(Relation::parse(relation)?, dates)
            }
        }
    }

    const fn is_negated(&self) -> bool {
        match self {
            Self::Text { not, .. } | Self::Address { not, .. } => *not,
            Self::Order { relation, .. } => matches!(relation, Relation::NotEquals),
            Self::Missing(_) | Self::Bool(_) => false,
        }
    }

    fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Missing(missing) => !missing,
            Self::Text { not, fold, patterns } => {
                let value = if *fold {
                    value.to_lowercase()
                } else {
                    value.to_owned()
                };
                patterns.iter().any(|pattern| pattern.matches(&value)) != *not
            }
            Self::Bool(wanted) => wanted
                .iter()
                .any(|wanted| value.eq_ignore_ascii_case(&wanted.to_string())),
            Self::Address { not, nets } => {
                // Neither "inside" nor "outside" can be said of what is no address.
                let address = value.parse::<IpAddr>().map(|address| address.to_canonical());
                address.is_ok_and(|address| nets.iter().any(|net| net.has(address)) != *not)
            }
            Self::Order {
                relation,
                dates,
                bounds,
            } => {
                let parsed = if *dates { date(value) } else { number(value) };
                let Some(value) = parsed else { return false };
                match relation {
                    Relation::NotEquals => !bounds.contains(&value),
                    relation => bounds.iter().any(|bound| relation.holds(value, *bound)),
                }
            }
        }
    }
}

impl Relation {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        Ok(match text {
            "Equals" => Self::Equals,
            "NotEquals" => Self::NotEquals,
            "LessThan" => Self::Less,
            "LessThanEquals" => Self::LessOrEqual,
            "GreaterThan" => Self::Greater,
            "GreaterThanEquals" => Self::GreaterOrEqual,
            _ => return Err(PolicyError::Condition),
        })
    }

    fn holds(self, value: f64, bound: f64) -> bool {
        let order = value.total_cmp(&bound);
        match self {
            Self::Equals => order.is_eq(),
            Self::NotEquals => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Net {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                net.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                net.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }

    /// A wider range than this counts as everyone.
    const fn least_bits(&self) -> u8 {
        if self.address.is_ipv4() { 8 } else { 32 }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Seconds since 1970 of an RFC 3339 time, a date, or such a number.
fn date(text: &str) -> Option<f64> {
    let seconds = |time: OffsetDateTime| time.unix_timestamp_nanos() as f64 / 1e9;
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(seconds(time));
    }
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(day) => Some(seconds(day.midnight().assume_utc())),
        Err(_) => number(text),
    }
}

/// A key that conditions may name, in lower case but for the name of a tag.
fn known_key(key: &str) -> Result<String, PolicyError> {
    let (name, tag) = match key.split_once('/') {
        Some((name, tag)) => (name.to_ascii_lowercase(), Some(tag)),
        None => (key.to_ascii_lowercase(), None),
    };
    match tag {
        Some(tag) if TAG_KEYS.contains(&name.as_str()) && !tag.is_empty() => Ok(format!("{name}/{tag}")),
        None if KEYS.contains(&name.as_str()) => Ok(name),
        _ => Err(PolicyError::ConditionKey),
    }
}

/// Keys that name a tag after a slash.
const TAG_KEYS: [&str; 2] = ["s3:existingobjecttag", "s3:requestobjecttag"];
/// Keys with more than one value.
const MANY_VALUED: [&str; 1] = ["s3:requestobjecttagkeys"];
/// Keys that requests are asked for; `access.rs` knows the value of each.
const KEYS: [&str; 35] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principaltype",
    "aws:referer",
    "aws:securetransport",
    "aws:sourceip",
    "aws:useragent",
    "s3:authtype",
    "s3:delimiter",
    "s3:if-match",
    "s3:if-none-match",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-retain-until-date",
    "s3:objectcreationoperation",
    "s3:prefix",
    "s3:requestobjecttagkeys",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
];
