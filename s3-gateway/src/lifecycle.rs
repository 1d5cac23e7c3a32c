//! Lifecycle rules: what they are, what they match, and what of a bucket they say goes at a given time.
//!
//! Pure: it reads no bucket and deletes nothing; the session does. Invariant: what a rule does not clearly match stays, and
//! what cannot be read removes nothing.
//!
//! Source: "Managing the lifecycle of objects" in the Amazon S3 user guide.

use serde::{Deserialize, Serialize};

use vault::object::{Listed, VersionId, VersionRef};

#[cfg(test)]
mod tests;

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Which objects a rule is about. All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// The beginning of their keys.
    pub(crate) prefix: Option<String>,
    /// Tags that they have.
    pub(crate) tags: Vec<(String, String)>,
    /// They are longer than so many bytes.
    pub(crate) larger: Option<u64>,
    /// They are shorter than so many bytes.
    pub(crate) smaller: Option<u64>,
}

impl Filter {
    fn takes(&self, key: &str, bytes: u64) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
            && self.larger.is_none_or(|least| bytes > least)
            && self.smaller.is_none_or(|most| bytes < most)
    }

    fn takes_tags(&self, tags: &[(String, String)]) -> bool {
        self.tags.iter().all(|tag| tags.contains(tag))
    }
}

/// When current objects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expire {
    /// So many days after they were written.
    Days(u32),
    /// At this time, ms since 1970.
    Date(u64),
    /// Never; but a delete marker that hides nothing any more goes.
    LoneMarkers,
}

/// When versions beside the current one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noncurrent {
    /// So many days after another version took their place.
    pub(crate) days: u32,
    /// The newest so many of them stay.
    pub(crate) stay: Option<u32>,
}

/// One rule of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// Its id, unique in the bucket.
    pub(crate) id: String,
    /// Whether it is in force.
    pub(crate) enabled: bool,
    /// What it is about.
    pub(crate) filter: Filter,
    /// Whether the prefix was given in the old way, beside the filter.
    pub(crate) old_prefix: bool,
    /// What happens to current objects.
    pub(crate) expire: Option<Expire>,
    /// What happens to versions beside them.
    pub(crate) noncurrent: Option<Noncurrent>,
    /// After so many days an upload that was not completed is aborted.
    pub(crate) abort_days: Option<u32>,
}

/// What time it is, and how long a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Now, ms since 1970.
    pub(crate) now_ms: u64,
    /// A day, in ms. Days of another length than 24 hours are for tests.
    pub(crate) day_ms: u64,
}

impl Clock {
    /// When `days` have gone by since `from_ms`: with real days, at the midnight (UTC) after that.
    pub(crate) fn due_ms(&self, from_ms: u64, days: u32) -> u64 {
        let due = from_ms.saturating_add(u64::from(days).saturating_mul(self.day_ms));
        if self.day_ms == DAY_MS {
            due.saturating_add(1).next_multiple_of(DAY_MS)
        } else {
            due
        }
    }

    fn is_past(&self, from_ms: u64, days: u32) -> bool {
        self.due_ms(from_ms, days) <= self.now_ms
    }
}

/// What is to go, and what it was when that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doom {
    /// The current object of a key: for good where no versions are kept, under a delete marker otherwise.
    Current {
        key: String,
        /// Unique, also where S3 says `null`.
        id: VersionId,
    },
    /// A version, for good: one beside the current one, or a delete marker that hides nothing.
    Version {
        key: String,
        version: VersionRef,
        id: VersionId,
    },
}

/// The rules of a bucket, in force ones only.
#[derive(Debug, Clone)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// Reads what [`write`] wrote.
    pub(crate) fn read(text: &str) -> Option<Vec<Rule>> {
        serde_json::from_str(text).ok()
    }

    /// Those of these rules that are in force.
    pub(crate) fn in_force(rules: Vec<Rule>) -> Self {
        Self(rules.into_iter().filter(|rule| rule.enabled).collect())
    }

    /// Whether any of them looks at tags, which listings do not show.
    pub(crate) fn look_at_tags(&self) -> bool {
        self.0.iter().any(|rule| !rule.filter.tags.is_empty())
    }

    /// Whether an upload is to be aborted.
    pub(crate) fn abort(&self, key: &str, initiated_ms: u64, clock: &Clock) -> bool {
        self.0.iter().any(|rule| {
            let about_all = rule.filter.tags.is_empty() && rule.filter.takes(key, 0);
            about_all
                && rule
                    .abort_days
                    .is_some_and(|days| clock.is_past(initiated_ms, days))
        })
    }

    /// When a current object will go, and by which rule: the earliest.
    pub(crate) fn expiry<'a>(&'a self, object: &Subject<'_>, clock: &Clock) -> Option<(u64, &'a str)> {
        let of_rule = |rule: &'a Rule| {
            let at_ms = match rule.expire? {
                Expire::Days(days) => clock.due_ms(object.modified_ms, days),
                Expire::Date(at_ms) => at_ms,
                Expire::LoneMarkers => return None,
            };
            object.is_of(&rule.filter).then_some((at_ms, rule.id.as_str()))
        };
        self.0.iter().filter_map(of_rule).min_by_key(|(at_ms, _)| *at_ms)
    }

    fn takes_lone_marker(&self, marker: &Subject<'_>) -> bool {
        self.0
            .iter()
            .any(|rule| rule.expire == Some(Expire::LoneMarkers) && marker.is_of(&rule.filter))
    }

    /// Whether a version goes that another took the place of at `since_ms`, with so many newer ones beside the current one.
    fn takes_noncurrent(&self, version: &Subject<'_>, since_ms: u64, newer: u32, clock: &Clock) -> bool {
        self.0.iter().any(|rule| {
            rule.noncurrent.is_some_and(|noncurrent| {
                clock.is_past(since_ms, noncurrent.days)
                    && noncurrent.stay.is_none_or(|stay| newer >= stay)
                    && version.is_of(&rule.filter)
            })
        })
    }
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) key: &'a str,
    pub(crate) bytes: u64,
    pub(crate) modified_ms: u64,
    pub(crate) tags: &'a [(String, String)],
}

impl Subject<'_> {
    fn is_of(&self, filter: &Filter) -> bool {
        filter.takes(self.key, self.bytes) && filter.takes_tags(self.tags)
    }
}

/// Rules as the bucket's setting keeps them.
pub(crate) fn write(rules: &[Rule]) -> Option<String> {
    serde_json::to_string(rules).ok()
}

/// Walks a bucket's versions, by key and newest first, and says what goes. What it says of a delete marker depends on what comes
/// next, so it says so one version late.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    key: String,
    /// When the version before this one, which is newer, was written.
    newer_ms: u64,
    /// How many versions of the key beside the current one were seen.
    noncurrent: u32,
    /// The current delete marker of the key, if nothing else of the key was seen yet.
    lone: Option<Listed>,
}

impl Walk {
    /// The next version, and what of it, or of the marker before it, goes.
    pub(crate) fn step(
        &mut self,
        rules: &Rules,
        clock: &Clock,
        (listed, tags): (&Listed, &[(String, String)]),
        is_latest: bool,
    ) -> [Option<Doom>; 2] {
        let mut before = None;
        if listed.key != self.key {
            before = self.end(rules);
            self.key.clone_from(&listed.key);
            self.noncurrent = 0;
        }
        self.lone = None;
        let subject = Subject {
            key: &listed.key,
            bytes: listed.plaintext_bytes,
            modified_ms: listed.modified_ms,
            tags,
        };
        let (key, id) = (listed.key.clone(), listed.version);
        let version = VersionRef::named(listed.null_version, id);
        let now = if !is_latest {
            let goes = rules.takes_noncurrent(&subject, self.newer_ms, self.noncurrent, clock);
            self.noncurrent = self.noncurrent.saturating_add(1);
            goes.then_some(Doom::Version { key, version, id })
        } else if listed.delete_marker {
            self.lone = Some(listed.clone());
            None
        } else {
            let expiry = rules.expiry(&subject, clock);
            let goes = expiry.is_some_and(|(at_ms, _)| at_ms <= clock.now_ms);
            goes.then_some(Doom::Current { key, id })
        };
        self.newer_ms = listed.modified_ms;
        [before, now]
    }

    /// The end of a key or of the bucket: whether the last key was a delete marker and nothing else, and it goes.
    pub(crate) fn end(&mut self, rules: &Rules) -> Option<Doom> {
        let marker = self.lone.take()?;
        let subject = Subject {
            key: &marker.key,
            bytes: 0,
            modified_ms: marker.modified_ms,
            tags: &[],
        };
        rules.takes_lone_marker(&subject).then(|| Doom::Version {
            version: VersionRef::named(marker.null_version, marker.version),
            id: marker.version,
            key: marker.key.clone(),
        })
    }
}
