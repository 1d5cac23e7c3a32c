//! Lifecycle rules: what they are, what they match, and what of a bucket they say goes at a given time.
//!
//! Pure: it reads no bucket and deletes nothing; the session does. Invariant: what a rule does not clearly match stays, and
//! what cannot be read removes nothing.
//!
//! Source: "Managing the lifecycle of objects" in the Amazon S3 user guide.

use serde::{Deserialize, Serialize};

use engine::slots::Sequence;
use vault::index::ListedVersion;
use vault::object::{VersionId, VersionRef};

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

/// What is to go, and what it was when that was decided. It goes only while it is still that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doom {
    pub(crate) key: String,
    pub(crate) version: VersionRef,
    /// The version's own id, also where S3 says `null`.
    pub(crate) id: VersionId,
    /// The sequence of its entry.
    pub(crate) sequence: Sequence,
    pub(crate) fate: Fate,
}

/// How something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The current object of a key: for good where no versions are kept, under a delete marker otherwise.
    Expires,
    /// A version beside the current one, for good.
    Ends,
    /// A delete marker that hides nothing, for good.
    Uncovers,
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
/// next, so it says so one version late. A key may be walked anew from its current version.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    key: String,
    /// The version before this one, which is newer: its id, and when it was written.
    newer: Option<(VersionId, u64)>,
    /// How many versions of the key beside the current one were seen.
    noncurrent: u32,
    /// The current delete marker of the key, if nothing else of the key was seen yet.
    lone: Option<ListedVersion>,
}

impl Walk {
    /// The next version, and what of it, or of the marker before it, goes.
    pub(crate) fn step(
        &mut self,
        rules: &Rules,
        clock: &Clock,
        version: &ListedVersion,
        tags: &[(String, String)],
    ) -> [Option<Doom>; 2] {
        let listed = &version.object;
        let mut before = None;
        if listed.key != self.key || version.is_latest {
            before = self.end(rules);
            self.key.clone_from(&listed.key);
            (self.newer, self.noncurrent) = (None, 0);
        }
        self.lone = None;
        let subject = Subject {
            key: &listed.key,
            bytes: listed.plaintext_bytes,
            modified_ms: listed.modified_ms,
            tags,
        };
        let now = if !version.is_latest {
            // Nobody took its place before it was written; and one that is listed twice was replaced while the page was read.
            let since_ms = match self.newer {
                Some((id, newer_ms)) if id != listed.version => Some(newer_ms.max(listed.modified_ms)),
                _ => None,
            };
            let goes = since_ms
                .is_some_and(|since_ms| rules.takes_noncurrent(&subject, since_ms, self.noncurrent, clock));
            self.noncurrent = self.noncurrent.saturating_add(1);
            goes.then_some(Fate::Ends)
        } else if listed.delete_marker {
            self.lone = Some(version.clone());
            None
        } else {
            let expiry = rules.expiry(&subject, clock);
            let goes = expiry.is_some_and(|(at_ms, _)| at_ms <= clock.now_ms);
            goes.then_some(Fate::Expires)
        };
        self.newer = Some((listed.version, listed.modified_ms));
        [before, now.map(|fate| doom(version, fate))]
    }

    /// The end of a key or of the bucket: whether the last key was a delete marker and nothing else, and it goes.
    pub(crate) fn end(&mut self, rules: &Rules) -> Option<Doom> {
        let marker = self.lone.take()?;
        let subject = Subject {
            key: &marker.object.key,
            bytes: 0,
            modified_ms: marker.object.modified_ms,
            tags: &[],
        };
        rules
            .takes_lone_marker(&subject)
            .then(|| doom(&marker, Fate::Uncovers))
    }
}

fn doom(version: &ListedVersion, fate: Fate) -> Doom {
    let object = &version.object;
    Doom {
        key: object.key.clone(),
        version: VersionRef::named(object.null_version, object.version),
        id: object.version,
        sequence: version.sequence,
        fate,
    }
}
