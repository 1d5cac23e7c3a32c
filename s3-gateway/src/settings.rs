//! The settings of a bucket that this room keeps: their names, and the forms of those that the access decision reads.
//!
//! A value is what the gateway wrote, never a client's text that was not parsed. Whatever cannot be read closes.

use std::fmt;

use crate::session::Bucket;

/// The bucket's access control list.
pub(crate) const ACL: &str = "acl";
/// The bucket's policy, as the client wrote it.
pub(crate) const POLICY: &str = "policy";
/// What is blocked of public access.
pub(crate) const PUBLIC_ACCESS: &str = "public-access-block";
/// Who owns objects, which says whether access control lists count.
pub(crate) const OWNERSHIP: &str = "ownership";

/// The rules for pages of other origins.
pub(crate) const CORS: &str = "cors";
/// The encryption that is noted of objects whose writes name none.
pub(crate) const ENCRYPTION: &str = "encryption";
/// Who pays for requests, as it is given back; nobody pays here.
pub(crate) const REQUEST_PAYMENT: &str = "request-payment";
/// The bucket's tags.
pub(crate) const TAGGING: &str = "tagging";
/// Object lock: `enabled`, and behind it the default's mode, unit and length.
pub(crate) const OBJECT_LOCK: &str = "object-lock";
/// Lifecycle rules.
pub(crate) const LIFECYCLE: &str = "lifecycle";
/// A website's configuration, as it is given back; no website is served.
pub(crate) const WEBSITE: &str = "website";

/// The value of [`OWNERSHIP`] with which no access control list counts.
pub(crate) const OWNER_ENFORCED: &str = "BucketOwnerEnforced";

/// What is blocked of public access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PublicAccess {
    /// Lists that open something to others are refused.
    pub(crate) block_acls: bool,
    /// Such lists count for nothing.
    pub(crate) ignore_acls: bool,
    /// Policies that open something to everyone are refused.
    pub(crate) block_policy: bool,
    /// Such policies open nothing.
    pub(crate) restrict_buckets: bool,
}

impl PublicAccess {
    /// What a bucket blocks.
    pub(crate) fn of(bucket: &Bucket) -> Self {
        let stored = bucket.settings.get(PUBLIC_ACCESS);
        stored.map_or_else(Self::default, |text| {
            Self::read(text).unwrap_or(Self {
                block_acls: true,
                ignore_acls: true,
                block_policy: true,
                restrict_buckets: true,
            })
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut read = Self::default();
        for word in text.split_terminator(',') {
            *read.named(word)? = true;
        }
        Some(read)
    }

    fn named(&mut self, word: &str) -> Option<&mut bool> {
        Some(match word {
            "BlockPublicAcls" => &mut self.block_acls,
            "IgnorePublicAcls" => &mut self.ignore_acls,
            "BlockPublicPolicy" => &mut self.block_policy,
            "RestrictPublicBuckets" => &mut self.restrict_buckets,
            _ => return None,
        })
    }
}

/// The stored form: the words of what is blocked.
impl fmt::Display for PublicAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.block_acls, "BlockPublicAcls"),
            (self.ignore_acls, "IgnorePublicAcls"),
            (self.block_policy, "BlockPublicPolicy"),
            (self.restrict_buckets, "RestrictPublicBuckets"),
        ];
        let mut set = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word);
        set.try_for_each(|word| write!(f, "{word},"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_blocked_reads_back() {
        for bits in 0..16u8 {
            let blocked = PublicAccess {
                block_acls: bits & 1 != 0,
                ignore_acls: bits & 2 != 0,
                block_policy: bits & 4 != 0,
                restrict_buckets: bits & 8 != 0,
            };
            assert_eq!(PublicAccess::read(&blocked.to_string()), Some(blocked));
        }
        assert_eq!(PublicAccess::read("BlockEverything"), None);
    }
}
