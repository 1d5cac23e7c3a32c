//! Conditions and ranges of a request, parsed by RFC 9110 and not by s3s.
//!
//! A date that is not an HTTP date and a range that is not one range of bytes are ignored, as RFC 9110 asks; an
//! entity tag may come without quotes, as S3 clients send it. Source: RFC 9110 sections 13 and 14.

use std::ops::Range;

use http::{HeaderMap, HeaderName};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcDateTime};

/// The entity tags of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`.
    Any,
    /// A list, without quotes.
    List(Vec<String>),
}

impl Tags {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        if text == "*" {
            return Self::Any;
        }
        let bare = |tag: &str| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            tag.strip_prefix('"')
                .and_then(|t| t.strip_suffix('"'))
                .unwrap_or(tag)
                .to_owned()
        };
        Self::List(text.split(',').map(bare).filter(|t| !t.is_empty()).collect())
    }

    /// Whether the tag of an existing object is meant.
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// The conditions of a request, on its target or on its copy source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`.
    pub if_match: Option<Tags>,
    /// `If-None-Match`.
    pub if_none_match: Option<Tags>,
    /// `If-Modified-Since`, seconds since 1970.
    pub if_modified_since_s: Option<i64>,
    /// `If-Unmodified-Since`, seconds since 1970.
    pub if_unmodified_since_s: Option<i64>,
}

/// What the conditions of a read say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Hold,
    /// 304.
    NotModified,
    /// 412, and the header that failed.
    Failed(&'static str),
}

impl Preconditions {
    /// Takes the target's conditions out of the headers.
    pub fn take(headers: &mut HeaderMap) -> Self {
        Self::take_named(
            headers,
            [
                "if-match",
                "if-none-match",
                "if-modified-since",
                "if-unmodified-since",
            ],
        )
    }

    /// Takes the copy source's conditions out of the headers.
    pub fn take_copy_source(headers: &mut HeaderMap) -> Self {
        let names = [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ];
        Self::take_named(headers, names)
    }

    fn take_named(headers: &mut HeaderMap, names: [&'static str; 4]) -> Self {
        let [matching, none_match, since, until] = names.map(|name| take_text(headers, name));
        Self {
            if_match: matching.map(|text| Tags::parse(&text)),
            if_none_match: none_match.map(|text| Tags::parse(&text)),
            if_modified_since_s: since.and_then(|text| parse_http_date(&text)),
            if_unmodified_since_s: until.and_then(|text| parse_http_date(&text)),
        }
    }

    /// Judges an existing object, in the order of RFC 9110 section 13.2.2.
    pub fn judge(&self, etag: &str, modified_ms: u64) -> Verdict {
        // HTTP dates have whole seconds; so does what the client was told.
        let modified_s = i64::try_from(modified_ms / 1000).unwrap_or(i64::MAX);
        match (&self.if_match, self.if_unmodified_since_s) {
            (Some(tags), _) if !tags.matches(etag) => return Verdict::Failed("If-Match"),
            (None, Some(until)) if modified_s > until => return Verdict::Failed("If-Unmodified-Since"),
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since_s) {
            (Some(tags), _) if tags.matches(etag) => Verdict::NotModified,
            (None, Some(since)) if modified_s <= since => Verdict::NotModified,
            _ => Verdict::Hold,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One range of bytes, before the object's length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// From a byte to a byte, both included, or to the end.
    From {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: Option<u64>,
    },
    /// The last so many bytes.
    Suffix {
        /// How many.
        bytes: u64,
    },
}

impl RangeSpec {
    /// Parses one range; `None` for anything else, several ranges included.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |digits: &str| -> Option<u64> {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            // More digits than a u64 holds mean "beyond the end".
            plain.then(|| digits.parse().unwrap_or(u64::MAX))
        };
        match (first, last) {
            ("", last) => Some(Self::Suffix { bytes: number(last)? }),
            (first, "") => Some(Self::From {
                first: number(first)?,
                last: None,
            }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    /// The bytes meant in an object of this length; `None` when there are none.
    pub fn within(self, object_bytes: u64) -> Option<Range<u64>> {
        match self {
            Self::From { first, last } if first < object_bytes => {
                let end = last.map_or(object_bytes, |last| last.saturating_add(1).min(object_bytes));
                Some(first..end)
            }
            Self::Suffix { bytes } if bytes > 0 && object_bytes > 0 => {
                Some(object_bytes.saturating_sub(bytes)..object_bytes)
            }
            Self::From { .. } | Self::Suffix { .. } => None,
        }
    }
}

/// `Range` with the `If-Range` that guards it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranged {
    range: Option<RangeSpec>,
    if_range: Option<String>,
}

impl Ranged {
    /// Takes both out of the headers.
    pub fn take(headers: &mut HeaderMap) -> Self {
        let range = take_text(headers, "range").and_then(|text| RangeSpec::parse(&text));
        Self {
            range,
            if_range: take_text(headers, "if-range"),
        }
    }

    /// The range, if it is to be honoured for this object.
    pub fn for_object(&self, etag: &str, modified_ms: u64) -> Option<RangeSpec> {
        let Some(guard) = &self.if_range else {
            return self.range;
        };
        let fresh = match parse_http_date(guard) {
            Some(date) => i64::try_from(modified_ms / 1000) == Ok(date),
            None => !guard.trim().starts_with("W/") && Tags::parse(guard).matches(etag),
        };
        self.range.filter(|_| fresh)
    }
}

/// Parses the three forms of an HTTP date to seconds since 1970.
pub fn parse_http_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text
        .strip_suffix(" GMT")
        .or_else(|| text.strip_suffix(" UTC"))
        .unwrap_or(text);
    let fixdate =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second]");
    let asctime = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let civil = PrimitiveDateTime::parse(text, fixdate).or_else(|_| PrimitiveDateTime::parse(text, asctime));
    let iso = || OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    match civil {
        Ok(civil) => Some(civil.as_utc().unix_timestamp()),
        Err(_) => iso().ok().map(OffsetDateTime::unix_timestamp),
    }
}

/// Formats milliseconds since 1970 as an HTTP date.
pub fn format_http_date(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    let fixdate = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let time = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::UNIX_EPOCH);
    time.format(fixdate).unwrap_or_default()
}

fn take_text(headers: &mut HeaderMap, name: &'static str) -> Option<String> {
    let name = HeaderName::from_static(name);
    let joined: Vec<&str> = headers
        .get_all(&name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let text = (!joined.is_empty()).then(|| joined.join(","));
    headers.remove(&name);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAY_24: u64 = 1_369_353_600_000;

    #[test]
    fn dates_read_back_as_they_were_written() {
        assert_eq!(format_http_date(MAY_24), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(
            parse_http_date("Fri, 24 May 2013 00:00:00 GMT"),
            Some(1_369_353_600)
        );
        assert_eq!(parse_http_date("Fri May 24 00:00:00 2013"), Some(1_369_353_600));
        assert_eq!(parse_http_date("2013-05-24T00:00:00Z"), Some(1_369_353_600));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_rfc_9110() {
        let judge = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            let conditions = Preconditions::take(&mut headers);
            assert!(headers.is_empty());
            conditions.judge("abc", MAY_24 + 999)
        };
        let (at, before) = ("Fri, 24 May 2013 00:00:00 GMT", "Thu, 23 May 2013 00:00:00 GMT");
        assert_eq!(judge(&[("if-match", "\"abc\"")]), Verdict::Hold);
        assert_eq!(judge(&[("if-match", "x, W/\"abc\"")]), Verdict::Hold);
        assert_eq!(judge(&[("if-match", "x")]), Verdict::Failed("If-Match"));
        assert_eq!(
            judge(&[("if-unmodified-since", before)]),
            Verdict::Failed("If-Unmodified-Since")
        );
        assert_eq!(
            judge(&[("if-match", "abc"), ("if-unmodified-since", before)]),
            Verdict::Hold
        );
        assert_eq!(judge(&[("if-none-match", "*")]), Verdict::NotModified);
        assert_eq!(judge(&[("if-modified-since", at)]), Verdict::NotModified);
        assert_eq!(
            judge(&[("if-none-match", "x"), ("if-modified-since", at)]),
            Verdict::Hold
        );
        assert_eq!(
            judge(&[("if-match", "x"), ("if-none-match", "abc")]),
            Verdict::Failed("If-Match")
        );
        assert_eq!(judge(&[("if-modified-since", "not a date")]), Verdict::Hold);
    }

    #[test]
    fn ranges_are_cut_to_the_object_and_nonsense_is_ignored() {
        let within = |text: &str, bytes| RangeSpec::parse(text).map(|r| r.within(bytes));
        assert_eq!(within("bytes=0-9", 100), Some(Some(0..10)));
        assert_eq!(within("bytes=90-", 100), Some(Some(90..100)));
        assert_eq!(within("bytes=90-1000", 100), Some(Some(90..100)));
        assert_eq!(within("bytes=-10", 100), Some(Some(90..100)));
        assert_eq!(within("bytes=-1000", 100), Some(Some(0..100)));
        assert_eq!(within("bytes=100-", 100), Some(None));
        assert_eq!(within("bytes=-0", 100), Some(None));
        assert_eq!(within("bytes=0-", 0), Some(None));
        for nonsense in [
            "bytes=5-2",
            "bytes=0-1,3-4",
            "bytes=",
            "bytes=a-b",
            "lines=1-2",
            "bytes=--1",
            "",
        ] {
            assert_eq!(within(nonsense, 100), None, "{nonsense}");
        }
        assert_eq!(within("bytes=0-99999999999999999999", 100), Some(Some(0..100)));
    }
}
