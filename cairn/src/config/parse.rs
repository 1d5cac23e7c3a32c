//! What each setting of the configuration takes, one function each.
//!
//! It knows no source of settings. Invariant: what is refused is named with what it would take.

use std::net::{IpAddr, SocketAddr};

use engine::pack::Code;
use net::cluster::{CHALLENGES_PER_HOUR, CHALLENGES_PER_HOUR_MAX};

use super::ConfigError;

pub(super) fn setting(setting: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Setting {
        setting,
        value: value.to_owned(),
        expected,
    }
}

/// Parses `4+2`.
pub fn parse_code(text: &str) -> Result<Code, ConfigError> {
    text.parse().map_err(|_| {
        setting(
            "--code",
            text,
            "data+parity, 1 to 32 data and 2 to 32 parity shards, as 4+2",
        )
    })
}

pub(super) fn address(name: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        setting(
            name,
            text,
            "an IP address and a port, as 127.0.0.1:9000 or [::1]:9000",
        )
    })
}

pub(super) fn check_url(text: &str) -> Result<String, ConfigError> {
    let wrong = || {
        setting(
            "--public-url",
            text,
            "http:// or https://, a host and perhaps a port, without a path",
        )
    };
    let url = text.strip_suffix('/').unwrap_or(text);
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(wrong)?;
    let host_ok = !host.is_empty() && host.parse::<http::uri::Authority>().is_ok() && !host.contains('@');
    if host_ok { Ok(url.to_owned()) } else { Err(wrong()) }
}

pub(super) fn proxy(text: &str) -> Result<IpAddr, ConfigError> {
    text.parse()
        .map_err(|_| setting("--trusted-proxy", text, "one IP address"))
}

pub(super) fn domain(text: &str) -> Result<String, ConfigError> {
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 190 && text.split('.').all(label_ok) && text.parse::<IpAddr>().is_err() {
        return Ok(text.to_ascii_lowercase());
    }
    Err(setting(
        "--domain",
        text,
        "a domain name without a port, as s3.example.org",
    ))
}

pub(super) fn check_region(text: &str) -> Result<String, ConfigError> {
    let ok = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if ok {
        return Ok(text.to_owned());
    }
    Err(setting("--region", text, "1 to 64 of a-z, 0-9 and -"))
}

pub(super) fn ledger_members(text: Option<&str>) -> Result<Option<usize>, ConfigError> {
    match text {
        None => Ok(None),
        Some("5") => Ok(Some(5)),
        Some("3") => Ok(Some(3)),
        Some("1") => Ok(Some(1)),
        Some(text) => Err(setting(
            "--ledger-members",
            text,
            "1, 3 or 5: with an even number one more loss is survived by none of them",
        )),
    }
}

pub(super) fn challenges_per_hour(text: Option<&str>) -> Result<u32, ConfigError> {
    let Some(text) = text else {
        return Ok(CHALLENGES_PER_HOUR);
    };
    let given = text
        .parse()
        .ok()
        .filter(|given| *given <= CHALLENGES_PER_HOUR_MAX);
    given.ok_or_else(|| {
        setting(
            "--challenges-per-hour",
            text,
            "0 to 36000: for each, a drive reads one shard of up to 2 MiB",
        )
    })
}

pub(super) fn upload_memory(bytes: Option<u64>) -> Result<u64, ConfigError> {
    let bytes = bytes.unwrap_or(UPLOAD_MEMORY_DEFAULT);
    if bytes >= UPLOAD_MEMORY_MIN {
        return Ok(bytes);
    }
    Err(setting(
        "--upload-memory",
        &bytes.to_string(),
        "at least 32MiB: one pack has to fit, with its parity",
    ))
}

/// The whole process is to stay under 300 MB with eight big uploads under way.
const UPLOAD_MEMORY_DEFAULT: u64 = 96 << 20;
const UPLOAD_MEMORY_MIN: u64 = 32 << 20;
