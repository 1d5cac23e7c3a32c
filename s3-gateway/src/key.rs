//! Bucket names and object keys, parsed once at the door.
//!
//! An `ObjectKey` is a byte string of 1 to 1,024 bytes of UTF-8 without NUL, and nothing more: `..`, `//` and
//! backslashes are ordinary characters in it. It is never a path and never becomes one; everything below the
//! door finds an object by a keyed hash of these bytes. The door decides access on the same value that the
//! storage uses. Sources: "Bucket naming rules" and "Object key naming guidelines" of the S3 user guide.

use std::fmt;
use std::net::IpAddr;

/// The longest object key, in bytes of UTF-8.
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The bucket name breaks S3's rules.
    #[error("the bucket name breaks the naming rules")]
    BucketName,
    /// The object key has no byte.
    #[error("the object key is empty")]
    KeyEmpty,
    /// The object key is longer than 1,024 bytes.
    #[error("the object key has {bytes} bytes, at most 1024 are allowed")]
    KeyTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The object key contains a NUL byte.
    #[error("the object key contains NUL at byte {at}")]
    KeyNul {
        /// Where the first NUL stands.
        at: usize,
    },
}

/// A bucket name that keeps S3's rules for general purpose buckets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(Box<str>);

impl BucketName {
    /// Checks a name: 3 to 63 of `a-z 0-9 . -`, a letter or digit at both ends, no `..`, no IP address, none of
    /// the reserved prefixes and suffixes.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = name.as_bytes();
        let good = (3..=63).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
            && edge(bytes.first())
            && edge(bytes.last())
            && !name.contains("..")
            && name.parse::<IpAddr>().is_err()
            && !RESERVED_PREFIXES.iter().any(|p| name.starts_with(p))
            && !RESERVED_SUFFIXES.iter().any(|s| name.ends_with(s));
        if good {
            Ok(Self(name.into()))
        } else {
            Err(NameError::BucketName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object key: 1 to 1,024 bytes of UTF-8 without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// Checks a key that has already been percent-decoded.
    pub fn parse(key: &str) -> Result<Self, NameError> {
        if key.is_empty() {
            return Err(NameError::KeyEmpty);
        }
        if key.len() > OBJECT_KEY_BYTES_MAX {
            return Err(NameError::KeyTooLong { bytes: key.len() });
        }
        match memchr::memchr(0, key.as_bytes()) {
            Some(at) => Err(NameError::KeyNul { at }),
            None => Ok(Self(key.into())),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's bytes, which order a listing.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules() {
        for good in ["abc", "a-b.c", "0ab", &"a".repeat(63)] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "192.168.0.1",
            "xn--abc",
            "a/b",
            "ab\0c",
        ] {
            assert_eq!(BucketName::parse(bad), Err(NameError::BucketName), "{bad}");
        }
    }

    #[test]
    fn keys_keep_every_character_but_nul() {
        for good in [
            "a",
            "../../etc/passwd",
            "a//b",
            "/a",
            "a\\b",
            ".",
            "..",
            "\u{7f}\r\n",
            "ключ",
        ] {
            assert_eq!(ObjectKey::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(ObjectKey::parse(""), Err(NameError::KeyEmpty));
        assert_eq!(ObjectKey::parse("a\0b"), Err(NameError::KeyNul { at: 1 }));
    }

    #[test]
    fn a_key_has_at_most_1024_bytes() {
        assert!(ObjectKey::parse(&"k".repeat(1024)).is_ok());
        assert_eq!(
            ObjectKey::parse(&"k".repeat(1025)),
            Err(NameError::KeyTooLong { bytes: 1025 })
        );
        assert_eq!(
            ObjectKey::parse(&"é".repeat(513)),
            Err(NameError::KeyTooLong { bytes: 1026 })
        );
    }
}
