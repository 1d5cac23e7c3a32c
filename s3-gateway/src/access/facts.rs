//! What a request has for each condition key of a bucket policy.

use scopes::VaultId;
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::Place;
use crate::auth::canonical::Query;
use crate::copy_source;
use crate::gate::Question;
use crate::policy::{Facts, Values};
use crate::session::{Bucket, Session};

/// The facts of one question, about one bucket.
pub(super) struct Known<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) session: &'a Session,
    pub(super) bucket: &'a Bucket,
    /// The prefix, where listing stands for knowing whether an object is there.
    pub(super) prefix: Option<&'a str>,
}

impl Facts for Known<'_> {
    fn values(&self, key: &str) -> Values {
        let circumstances = self.question.circumstances;
        let vault = self.question.identity.map(|identity| identity.vault());
        match key {
            "aws:currenttime" => Values::Are(vec![moment(circumstances.now_ms)]),
            "aws:epochtime" => Values::Are(vec![(circumstances.now_ms / 1000).to_string()]),
            "aws:principalaccount" => one(vault.map(|vault| vault.to_string())),
            "aws:principalarn" => one(vault.map(arn)),
            "aws:principaltype" => one(Some(
                if vault.is_some() { "Account" } else { "Anonymous" }.to_owned(),
            )),
            "aws:securetransport" => one(Some(circumstances.tls.to_string())),
            "aws:sourceip" => one(Some(circumstances.address.to_string())),
            "aws:useragent" => self.header("user-agent"),
            "aws:referer" => self.header("referer"),
            "s3:authtype" => one(circumstances.place.map(|place| place_name(place).to_owned())),
            "s3:signatureversion" => one(circumstances.place.map(|_| "AWS4-HMAC-SHA256".to_owned())),
            "s3:prefix" => match self.prefix {
                Some(prefix) => one(Some(prefix.to_owned())),
                None => self.query("prefix"),
            },
            "s3:delimiter" | "s3:max-keys" => self.query(key.trim_start_matches("s3:")),
            "s3:versionid" => one(self.question.version.map(str::to_owned)),
            "s3:if-match" | "s3:if-none-match" => self.header(key.trim_start_matches("s3:")),
            "s3:x-amz-copy-source" => self.copy_source(),
            "s3:requestobjecttagkeys" => self.request_tags(None),
            _ => match key.split_once('/') {
                Some(("s3:existingobjecttag", tag)) => self.existing_tag(tag),
                Some(("s3:requestobjecttag", tag)) => self.request_tags(Some(tag)),
                _ => match key.strip_prefix("s3:x-amz-") {
                    Some(rest) => self.header(&format!("x-amz-{rest}")),
                    None => self.lock(key),
                },
            },
        }
    }
}

impl Known<'_> {
    fn header(&self, name: &str) -> Values {
        single(self.question.circumstances.header(name))
    }

    fn query(&self, name: &str) -> Values {
        single(self.question.circumstances.query(name))
    }

    /// The source of a copy as policies write it: bucket and key, decoded, without a slash before.
    fn copy_source(&self) -> Values {
        match self.header("x-amz-copy-source") {
            Values::Are(values) => match values.iter().map(|value| copy_source::named(value)).collect() {
                Some(values) => Values::Are(values),
                None => Values::Unknown,
            },
            other => other,
        }
    }

    /// The tag of this key that the request brings, or the keys of all of them.
    fn request_tags(&self, tag: Option<&str>) -> Values {
        let text = match self.header("x-amz-tagging") {
            Values::Are(values) => values.into_iter().next().unwrap_or_default(),
            // These come in the body.
            Values::Missing if self.question.operation == "PutObjectTagging" => return Values::Unknown,
            other => return other,
        };
        let Ok(tags) = Query::parse(Some(&text)) else {
            return Values::Unknown;
        };
        let found: Vec<String> = match tag {
            None => tags.pairs().map(|(key, _)| key.to_owned()).collect(),
            Some(tag) => {
                let of_key = tags.pairs().filter(|(key, _)| *key == tag);
                of_key.map(|(_, value)| value.to_owned()).collect()
            }
        };
        if found.is_empty() {
            Values::Missing
        } else {
            Values::Are(found)
        }
    }

    /// A tag of the object as it is.
    fn existing_tag(&self, tag: &str) -> Values {
        let Some(key) = &self.question.target.key else {
            return Values::Missing;
        };
        let looked = self
            .session
            .peek_object(self.bucket, key.as_str(), self.question.version);
        let Ok(object) = looked else {
            return Values::Unknown;
        };
        let found = object.and_then(|object| object.tags.into_iter().find(|(have, _)| have == tag));
        one(found.map(|(_, value)| value))
    }

    /// What object lock a write asks for; a request that sets it has it in its body.
    fn lock(&self, key: &str) -> Values {
        match (key, self.question.operation) {
            (
                "s3:object-lock-legal-hold" | "s3:object-lock-mode" | "s3:object-lock-retain-until-date",
                operation,
            ) if !matches!(operation, "PutObjectRetention" | "PutObjectLegalHold") => {
                self.header(&format!("x-amz-{}", key.trim_start_matches("s3:")))
            }
            _ => Values::Unknown,
        }
    }
}

fn one(value: Option<String>) -> Values {
    value.map_or(Values::Missing, |value| Values::Are(vec![value]))
}

/// What stands twice may be read in two ways.
fn single<'a>(mut values: impl Iterator<Item = &'a str>) -> Values {
    match (values.next(), values.next()) {
        (None, _) => Values::Missing,
        (Some(value), None) => Values::Are(vec![value.to_owned()]),
        (Some(_), Some(_)) => Values::Unknown,
    }
}

fn arn(vault: VaultId) -> String {
    format!("arn:aws:iam::{vault}:root")
}

const fn place_name(place: Place) -> &'static str {
    match place {
        Place::Header => "REST-HEADER",
        Place::Query => "REST-QUERY-STRING",
    }
}

fn moment(now_ms: u64) -> String {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let moment = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}
