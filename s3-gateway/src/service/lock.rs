//! Object lock as S3 speaks of it: a bucket's configuration, retention and legal hold of versions, and the headers of writes.
//!
//! What a lock keeps from happening is decided in the session. A configuration that cannot be read denies: the bucket counts as
//! locked and takes no write that would have a default.

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Request, S3Response};
use scopes::Operation;
use vault::object::{Lock, Retention, Settings, Versioning};

use super::object::timestamp;
use super::versions::{amend, find_version};
use super::{Answer, Asked, Halt, Operations, SessionBucket};
use crate::errors::Refusal;
use crate::gate::now_ms;
use crate::session::{COMPLIANCE, GOVERNANCE, SessionError, check_retention_change};
use crate::settings::OBJECT_LOCK;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The longest default, in days: a hundred years.
const DAYS_MAX: u64 = 36_500;

/// A bucket's default retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Default {
    mode: u8,
    /// How long, in days or years as it was given.
    length: u64,
    in_years: bool,
}

impl Default {
    fn retention(self, now_ms: u64) -> Retention {
        let days = if self.in_years {
            self.length * 365
        } else {
            self.length
        };
        Retention {
            mode: self.mode,
            until_ms: now_ms.saturating_add(days.saturating_mul(DAY_MS)),
        }
    }
}

/// Makes object lock part of a new bucket.
pub(super) fn enable(settings: &mut Settings) {
    settings.set(OBJECT_LOCK, "enabled".to_owned());
    settings.set_versioning(true);
}

/// Whether a bucket has object lock.
pub(super) fn is_enabled(settings: &Settings) -> bool {
    settings.get(OBJECT_LOCK).is_some()
}

/// A bucket's default retention, if it has one.
fn default_of(settings: &Settings) -> Result<Option<Default>, Halt> {
    let unreadable = || {
        let message = "The bucket's object lock configuration cannot be read";
        Halt::from(Refusal::new(409, "InvalidBucketState", message))
    };
    let words: Vec<&str> = settings
        .get(OBJECT_LOCK)
        .map(|text| text.split(' ').collect())
        .unwrap_or_default();
    match words.as_slice() {
        [] | ["enabled"] => Ok(None),
        ["enabled", mode, unit @ ("days" | "years"), length] => Ok(Some(Default {
            mode: mode_of(mode).ok_or_else(unreadable)?,
            length: length.parse().map_err(|_| unreadable())?,
            in_years: *unit == "years",
        })),
        _ => Err(unreadable()),
    }
}

fn mode_of(name: &str) -> Option<u8> {
    match name {
        ObjectLockRetentionMode::GOVERNANCE => Some(GOVERNANCE),
        ObjectLockRetentionMode::COMPLIANCE => Some(COMPLIANCE),
        _ => None,
    }
}

const fn mode_name(mode: u8) -> &'static str {
    if mode == COMPLIANCE {
        ObjectLockRetentionMode::COMPLIANCE
    } else {
        ObjectLockRetentionMode::GOVERNANCE
    }
}

impl Operations {
    pub(super) async fn put_object_lock_configuration(
        &self,
        asked: Asked,
        request: S3Request<PutObjectLockConfigurationInput>,
    ) -> Answer<PutObjectLockConfigurationOutput> {
        let wanted = request.input.object_lock_configuration;
        let wanted = wanted.ok_or_else(Refusal::malformed_xml)?;
        let enabled = wanted.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str);
        if enabled != Some(ObjectLockEnabled::ENABLED) {
            return Err(Refusal::malformed_xml().into());
        }
        let value = match wanted.rule {
            None => "enabled".to_owned(),
            Some(rule) => {
                let default = wanted_default(rule.default_retention)?;
                let unit = if default.in_years { "years" } else { "days" };
                format!("enabled {} {unit} {}", mode_name(default.mode), default.length)
            }
        };
        let bucket = asked.bucket().await?;
        if bucket.settings.versioning() != Versioning::Enabled {
            let message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
            return Err(Refusal::new(409, "InvalidBucketState", message).into());
        }
        let operation = "PutObjectLockConfiguration";
        let change = move |_: &SessionBucket, settings: &mut Settings| {
            if settings.versioning() != Versioning::Enabled {
                return Err(SessionError::Busy);
            }
            settings.set(OBJECT_LOCK, value.clone());
            Ok(())
        };
        asked
            .session
            .change_bucket(&asked.caller, &bucket.name, operation, change)
            .await?;
        Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
    }

    pub(super) async fn get_object_lock_configuration(
        &self,
        asked: Asked,
        _request: S3Request<GetObjectLockConfigurationInput>,
    ) -> Answer<GetObjectLockConfigurationOutput> {
        let bucket = asked.bucket().await?;
        if !is_enabled(&bucket.settings) {
            let message = "Object Lock configuration does not exist for this bucket";
            return Err(Refusal::not_found("ObjectLockConfigurationNotFoundError", message).into());
        }
        let rule = default_of(&bucket.settings)?.map(|default| {
            let length = i32::try_from(default.length).ok();
            ObjectLockRule {
                default_retention: Some(DefaultRetention {
                    days: length.filter(|_| !default.in_years),
                    mode: Some(ObjectLockRetentionMode::from_static(mode_name(default.mode))),
                    years: length.filter(|_| default.in_years),
                }),
            }
        });
        Ok(S3Response::new(GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(ObjectLockConfiguration {
                object_lock_enabled: Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED)),
                rule,
            }),
        }))
    }

    pub(super) async fn put_object_retention(
        &self,
        asked: Asked,
        request: S3Request<PutObjectRetentionInput>,
    ) -> Answer<PutObjectRetentionOutput> {
        let input = request.input;
        let wanted = input.retention.ok_or_else(Refusal::malformed_xml)?;
        let retention = wanted_retention(
            wanted.mode.as_ref().map(|mode| mode.as_str()),
            wanted.retain_until_date,
        )?;
        let bypass = may_bypass(&asked, input.bypass_governance_retention)?;
        let version = input.version_id.as_deref();
        change(&asked, version, move |lock| {
            check_retention_change(lock.retention, retention, now_ms(), bypass)?;
            lock.retention = retention;
            Ok(())
        })
        .await?;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    pub(super) async fn get_object_retention(
        &self,
        asked: Asked,
        request: S3Request<GetObjectRetentionInput>,
    ) -> Answer<GetObjectRetentionOutput> {
        let lock = lock_of(&asked, request.input.version_id.as_deref()).await?;
        let retention = lock.retention.ok_or_else(no_lock)?;
        Ok(S3Response::new(GetObjectRetentionOutput {
            retention: Some(ObjectLockRetention {
                mode: Some(ObjectLockRetentionMode::from_static(mode_name(retention.mode))),
                retain_until_date: Some(timestamp(retention.until_ms)),
            }),
        }))
    }

    pub(super) async fn put_object_legal_hold(
        &self,
        asked: Asked,
        request: S3Request<PutObjectLegalHoldInput>,
    ) -> Answer<PutObjectLegalHoldOutput> {
        let wanted = request.input.legal_hold.and_then(|hold| hold.status);
        let held = match wanted.as_ref().map(ObjectLockLegalHoldStatus::as_str) {
            Some(ObjectLockLegalHoldStatus::ON) => true,
            Some(ObjectLockLegalHoldStatus::OFF) => false,
            _ => return Err(Refusal::malformed_xml().into()),
        };
        if !held {
            check_configures(&asked)?;
        }
        let version = request.input.version_id.as_deref();
        change(&asked, version, move |lock| {
            lock.legal_hold = held;
            Ok(())
        })
        .await?;
        Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
    }

    pub(super) async fn get_object_legal_hold(
        &self,
        asked: Asked,
        request: S3Request<GetObjectLegalHoldInput>,
    ) -> Answer<GetObjectLegalHoldOutput> {
        let lock = lock_of(&asked, request.input.version_id.as_deref()).await?;
        let status = if lock.legal_hold { "ON" } else { "OFF" };
        Ok(S3Response::new(GetObjectLegalHoldOutput {
            legal_hold: Some(ObjectLockLegalHold {
                status: Some(ObjectLockLegalHoldStatus::from_static(status)),
            }),
        }))
    }
}

/// Changes the lock of a version.
async fn change(
    asked: &Asked,
    version: Option<&str>,
    change: impl Fn(&mut Lock) -> Result<(), SessionError> + Send + Sync + 'static,
) -> Result<(), Halt> {
    let (bucket, key) = (asked.bucket().await?, asked.key()?);
    check_enabled(&bucket)?;
    find_version(asked, &bucket, key, version).await?;
    amend(asked, (&bucket, key), version, move |amended| {
        change(&mut amended.lock)
    })
    .await?;
    Ok(())
}

async fn lock_of(asked: &Asked, version: Option<&str>) -> Result<Lock, Halt> {
    let bucket = asked.bucket().await?;
    check_enabled(&bucket)?;
    Ok(find_version(asked, &bucket, asked.key()?, version)
        .await?
        .object
        .lock)
}

fn no_lock() -> Halt {
    let message = "The specified object does not have a ObjectLock configuration";
    Refusal::not_found("NoSuchObjectLockConfiguration", message).into()
}

fn check_enabled(bucket: &SessionBucket) -> Result<(), Halt> {
    if is_enabled(&bucket.settings) {
        return Ok(());
    }
    Err(Refusal::invalid_request("Bucket is missing Object Lock Configuration").into())
}

/// Whether a request bypasses governance. It may if its credential may configure the bucket.
pub(super) fn may_bypass(asked: &Asked, wanted: Option<bool>) -> Result<bool, Halt> {
    if wanted != Some(true) {
        return Ok(false);
    }
    check_configures(asked)?;
    Ok(true)
}

/// That a request comes with a credential of the bucket's own vault that may configure the bucket.
pub(super) fn check_configures(asked: &Asked) -> Result<(), Halt> {
    let bucket = asked.bucket_name()?.as_str();
    let identity = &asked.admitted.identity;
    if !asked.is_of_the_vault() {
        return Err(Refusal::access_denied().into());
    }
    let allowed = identity.allows(Operation::CreateBucket, bucket, now_ms());
    Ok(allowed.map_err(|denied| Refusal::from(&denied))?)
}

fn wanted_default(wanted: Option<DefaultRetention>) -> Result<Default, Halt> {
    let wanted = wanted.ok_or_else(Refusal::malformed_xml)?;
    let mode = wanted.mode.as_ref().and_then(|mode| mode_of(mode.as_str()));
    let mode = mode.ok_or_else(Refusal::malformed_xml)?;
    let (length, in_years) = match (wanted.days, wanted.years) {
        (Some(days), None) => (days, false),
        (None, Some(years)) => (years, true),
        _ => return Err(Refusal::malformed_xml().into()),
    };
    let most = if in_years { DAYS_MAX / 365 } else { DAYS_MAX };
    match u64::try_from(length) {
        Ok(length) if (1..=most).contains(&length) => Ok(Default {
            mode,
            length,
            in_years,
        }),
        _ => {
            let message = format!("Default retention period must be between 1 and {most}");
            Err(Refusal::new(400, "InvalidRetentionPeriod", message).into())
        }
    }
}

/// The retention that a request names; neither mode nor date means none.
fn wanted_retention(mode: Option<&str>, until: Option<Timestamp>) -> Result<Option<Retention>, Halt> {
    let (mode, until) = match (mode, until) {
        (None, None) => return Ok(None),
        (Some(mode), Some(until)) => (mode, until),
        _ => return Err(Refusal::malformed_xml().into()),
    };
    let mode = mode_of(mode).ok_or_else(Refusal::malformed_xml)?;
    let until_ms = ms_of(&until).filter(|until_ms| *until_ms > now_ms());
    let until_ms =
        until_ms.ok_or_else(|| Refusal::invalid_argument("The retain until date must be in the future!"))?;
    Ok(Some(Retention { mode, until_ms }))
}

/// The lock of an object to be: what the headers of its write say, otherwise the bucket's default.
pub(super) fn of_write(headers: &HeaderMap, bucket: &SessionBucket) -> Result<Lock, Halt> {
    let text = |name: &str| match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Halt::from(Refusal::invalid_argument(format!(
            "{name} is not valid"
        )))),
    };
    let (mode, until, hold) = (
        text("x-amz-object-lock-mode")?,
        text("x-amz-object-lock-retain-until-date")?,
        text("x-amz-object-lock-legal-hold")?,
    );
    if mode.is_some() || until.is_some() || hold.is_some() {
        check_enabled(bucket)?;
    }
    let legal_hold = match hold {
        None | Some("OFF") => false,
        Some("ON") => true,
        Some(_) => {
            return Err(Refusal::invalid_argument("Legal Hold must be either of 'ON' or 'OFF'").into());
        }
    };
    let retention = match (mode, until) {
        (None, None) => default_of(&bucket.settings)?.map(|default| default.retention(now_ms())),
        (Some(mode), Some(until)) => {
            if mode_of(mode).is_none() {
                return Err(Refusal::invalid_argument("Unknown wormMode directive.").into());
            }
            let until = Timestamp::parse(TimestampFormat::DateTime, until).map_err(|_| {
                let message = "The retain until date must be provided in ISO 8601 format";
                Refusal::invalid_argument(message)
            })?;
            wanted_retention(Some(mode), Some(until))?
        }
        _ => {
            let message =
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
            return Err(Refusal::invalid_argument(message).into());
        }
    };
    Ok(Lock {
        retention,
        legal_hold,
    })
}

/// The headers in which an answer tells of a version's lock.
pub(super) fn put_headers(headers: &mut HeaderMap, lock: &Lock) {
    use super::object::put_header;
    if let Some(retention) = lock.retention {
        put_header(headers, "x-amz-object-lock-mode", mode_name(retention.mode));
        let mut text = Vec::new();
        let until = timestamp(retention.until_ms);
        if until.format(TimestampFormat::DateTime, &mut text).is_ok() {
            let text = String::from_utf8_lossy(&text);
            put_header(headers, "x-amz-object-lock-retain-until-date", &text);
        }
    }
    if lock.legal_hold {
        put_header(headers, "x-amz-object-lock-legal-hold", "ON");
    }
}

/// Milliseconds since 1970; nothing for a time before.
pub(super) fn ms_of(time: &Timestamp) -> Option<u64> {
    let mut text = Vec::new();
    time.format(TimestampFormat::EpochSeconds, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1000)?.checked_add(millis.parse().ok()?)
}
