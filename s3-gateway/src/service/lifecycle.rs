//! Lifecycle rules as S3 speaks of them: set, given back, and foretold in the answers about an object.
//!
//! A rule that says something this store does not do (a transition to another class, all versions at once) is refused whole.

use std::collections::HashSet;

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Request, S3Response};
use vault::object::Object;

use super::lock::ms_of;
use super::object::{put_header, timestamp};
use super::{Answer, Asked, Halt, Operations, SessionBucket};
use crate::conditions::format_http_date;
use crate::errors::Refusal;
use crate::gate::now_ms;
use crate::lifecycle::{Clock, DAY_MS, Expire, Filter, Noncurrent, Rule, Rules, Subject, write};
use crate::session::SessionError;
use crate::settings::LIFECYCLE;

const RULES_MAX: usize = 1000;
const ID_CHARS_MAX: usize = 255;

impl Operations {
    pub(super) async fn put_bucket_lifecycle_configuration(
        &self,
        asked: Asked,
        request: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Answer<PutBucketLifecycleConfigurationOutput> {
        let wanted = request.input.lifecycle_configuration;
        let wanted = wanted.ok_or_else(Refusal::malformed_xml)?.rules;
        if wanted.is_empty() || wanted.len() > RULES_MAX {
            return Err(Refusal::malformed_xml().into());
        }
        let mut ids = HashSet::new();
        let mut rules = Vec::with_capacity(wanted.len());
        for (number, rule) in wanted.into_iter().enumerate() {
            let rule = checked(rule, number)?;
            if !ids.insert(rule.id.clone()) {
                return Err(Refusal::invalid_argument("Rule ID must be unique").into());
            }
            rules.push(rule);
        }
        let text = write(&rules).ok_or(SessionError::Internal {
            what: "lifecycle rules that cannot be written",
        })?;
        asked.set(LIFECYCLE, Some(text)).await?;
        Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_lifecycle_configuration(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Answer<GetBucketLifecycleConfigurationOutput> {
        let bucket = asked.bucket().await?;
        let Some(text) = bucket.settings.get(LIFECYCLE) else {
            let message = "The lifecycle configuration does not exist";
            return Err(Refusal::not_found("NoSuchLifecycleConfiguration", message).into());
        };
        let rules = Rules::read(text).ok_or(SessionError::Internal {
            what: "lifecycle rules that cannot be read",
        })?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(rules.into_iter().map(shown).collect()),
            ..Default::default()
        }))
    }

    pub(super) async fn delete_bucket_lifecycle(
        &self,
        asked: Asked,
        _request: S3Request<DeleteBucketLifecycleInput>,
    ) -> Answer<DeleteBucketLifecycleOutput> {
        asked.set(LIFECYCLE, None).await?;
        Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
    }
}

/// Tells in an answer about a current object when it will go.
pub(super) fn put_expiry(headers: &mut HeaderMap, bucket: &SessionBucket, object: &Object) {
    let Some(rules) = bucket.settings.get(LIFECYCLE).and_then(Rules::read) else {
        return;
    };
    let clock = Clock {
        now_ms: now_ms(),
        day_ms: DAY_MS,
    };
    let subject = Subject {
        key: &object.key,
        bytes: object.plaintext_bytes,
        modified_ms: object.modified_ms,
        tags: &object.tags,
    };
    if let Some((at_ms, id)) = Rules::in_force(rules).expiry(&subject, &clock) {
        let date = format_http_date(at_ms);
        let value = format!("expiry-date=\"{date}\", rule-id=\"{id}\"");
        put_header(headers, "x-amz-expiration", &value);
    }
}

/// A rule that can be kept.
pub(super) fn checked(rule: LifecycleRule, number: usize) -> Result<Rule, Halt> {
    if rule.transitions.is_some_and(|list| !list.is_empty())
        || rule
            .noncurrent_version_transitions
            .is_some_and(|list| !list.is_empty())
    {
        let message = "Transitions to other storage classes are not implemented: there is one class";
        return Err(Refusal::not_implemented(message).into());
    }
    let enabled = match rule.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        _ => return Err(Refusal::malformed_xml().into()),
    };
    let id = rule.id.filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| format!("rule-{}-{:x}", number + 1, now_ms()));
    if id.chars().count() > ID_CHARS_MAX {
        let message = "ID length should not exceed allowed limit of 255";
        return Err(Refusal::invalid_argument(message).into());
    }
    let old_prefix = rule.filter.is_none();
    let filter = match (rule.filter, rule.prefix) {
        (Some(_), Some(_)) => return Err(Refusal::malformed_xml().into()),
        (Some(filter), None) => wanted_filter(filter)?,
        (None, prefix) => Filter {
            prefix: Some(prefix.ok_or_else(Refusal::malformed_xml)?),
            ..Filter::default()
        },
    };
    let abort = rule.abort_incomplete_multipart_upload;
    let abort_days = abort.map(|abort| days(abort.days_after_initiation)).transpose()?;
    let checked = Rule {
        id,
        enabled,
        filter,
        old_prefix,
        expire: rule.expiration.map(wanted_expiration).transpose()?,
        noncurrent: rule
            .noncurrent_version_expiration
            .map(wanted_noncurrent)
            .transpose()?,
        abort_days,
    };
    if checked.expire.is_none() && checked.noncurrent.is_none() && checked.abort_days.is_none() {
        let message = "At least one action needs to be specified in a rule";
        return Err(Refusal::new(400, "InvalidRequest", message).into());
    }
    if checked.abort_days.is_some() && !checked.filter.tags.is_empty() {
        let message = "AbortIncompleteMultipartUpload cannot be specified with Tags";
        return Err(Refusal::invalid_request(message).into());
    }
    Ok(checked)
}

fn days(days: Option<i32>) -> Result<u32, Halt> {
    match days.map(u32::try_from) {
        Some(Ok(days)) if days > 0 => Ok(days),
        None => Err(Refusal::malformed_xml().into()),
        Some(_) => {
            let message = "'Days' for Expiration action must be a positive integer";
            Err(Refusal::invalid_argument(message).into())
        }
    }
}

fn wanted_expiration(wanted: LifecycleExpiration) -> Result<Expire, Halt> {
    match (wanted.days, wanted.date, wanted.expired_object_delete_marker) {
        (Some(number), None, None) => Ok(Expire::Days(days(Some(number))?)),
        (None, Some(date), None) => match ms_of(&date).filter(|at_ms| at_ms % DAY_MS == 0) {
            Some(at_ms) => Ok(Expire::Date(at_ms)),
            None => Err(Refusal::invalid_argument("'Date' must be at midnight GMT").into()),
        },
        (None, None, Some(true)) => Ok(Expire::LoneMarkers),
        _ => Err(Refusal::malformed_xml().into()),
    }
}

fn wanted_noncurrent(wanted: NoncurrentVersionExpiration) -> Result<Noncurrent, Halt> {
    let stay = match wanted.newer_noncurrent_versions.map(u32::try_from) {
        None => None,
        Some(Ok(stay)) if (1..=100).contains(&stay) => Some(stay),
        Some(_) => {
            let message = "'NewerNoncurrentVersions' must be between 1 and 100";
            return Err(Refusal::invalid_argument(message).into());
        }
    };
    Ok(Noncurrent {
        days: days(wanted.noncurrent_days)?,
        stay,
    })
}

fn wanted_filter(wanted: LifecycleRuleFilter) -> Result<Filter, Halt> {
    let given = [
        wanted.and.is_some(),
        wanted.prefix.is_some(),
        wanted.tag.is_some(),
        wanted.object_size_greater_than.is_some(),
        wanted.object_size_less_than.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Refusal::malformed_xml().into());
    }
    let and = wanted.and.unwrap_or_default();
    let tags: Vec<Tag> = wanted
        .tag
        .into_iter()
        .chain(and.tags.unwrap_or_default())
        .collect();
    let size = |bytes: Option<i64>| {
        let bytes = bytes.map(u64::try_from).transpose();
        bytes.map_err(|_| Halt::from(Refusal::invalid_argument("A size must not be negative")))
    };
    Ok(Filter {
        prefix: wanted.prefix.or(and.prefix),
        tags: super::tagging::checked(tags, super::tagging::OBJECT_TAGS_MAX)?,
        larger: size(wanted.object_size_greater_than.or(and.object_size_greater_than))?,
        smaller: size(wanted.object_size_less_than.or(and.object_size_less_than))?,
    })
}

/// A rule as S3 shows it.
pub(super) fn shown(rule: Rule) -> LifecycleRule {
    let (expire, noncurrent) = (rule.expire, rule.noncurrent);
    let days = |days: u32| i32::try_from(days).ok();
    LifecycleRule {
        abort_incomplete_multipart_upload: rule.abort_days.map(|number| AbortIncompleteMultipartUpload {
            days_after_initiation: days(number),
        }),
        expiration: expire.map(|expire| LifecycleExpiration {
            date: match expire {
                Expire::Date(at_ms) => Some(timestamp(at_ms)),
                _ => None,
            },
            days: match expire {
                Expire::Days(number) => days(number),
                _ => None,
            },
            expired_object_delete_marker: (expire == Expire::LoneMarkers).then_some(true),
        }),
        prefix: rule.filter.prefix.clone().filter(|_| rule.old_prefix),
        filter: (!rule.old_prefix).then(|| shown_filter(rule.filter)),
        id: Some(rule.id),
        noncurrent_version_expiration: noncurrent.map(|noncurrent| NoncurrentVersionExpiration {
            newer_noncurrent_versions: noncurrent.stay.and_then(days),
            noncurrent_days: days(noncurrent.days),
        }),
        noncurrent_version_transitions: None,
        status: ExpirationStatus::from_static(if rule.enabled {
            ExpirationStatus::ENABLED
        } else {
            ExpirationStatus::DISABLED
        }),
        transitions: None,
    }
}

/// A filter in the shape in which S3 wants it: one condition by itself, several under And.
fn shown_filter(filter: Filter) -> LifecycleRuleFilter {
    let size = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
    let (larger, smaller) = (size(filter.larger), size(filter.smaller));
    let tags: Vec<Tag> = filter.tags.iter().map(super::tagging::shown).collect();
    let conditions = usize::from(filter.prefix.is_some())
        + tags.len()
        + usize::from(larger.is_some())
        + usize::from(smaller.is_some());
    if conditions > 1 {
        return LifecycleRuleFilter {
            and: Some(LifecycleRuleAndOperator {
                object_size_greater_than: larger,
                object_size_less_than: smaller,
                prefix: filter.prefix,
                tags: (!tags.is_empty()).then_some(tags),
            }),
            ..Default::default()
        };
    }
    LifecycleRuleFilter {
        object_size_greater_than: larger,
        object_size_less_than: smaller,
        prefix: filter.prefix,
        tag: tags.into_iter().next(),
        ..Default::default()
    }
}
