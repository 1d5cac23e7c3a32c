//! The headers with which a client brings a key of its own (SSE-C), taken out of a request before anything else sees them.
//!
//! It decides nothing about objects: whether a key is the right one says `session/customer.rs`. Invariant: behind this no
//! header, log or error holds the key; what an answer repeats is its MD5, which the client sent. Source: "Using server-side
//! encryption with customer-provided keys" of the S3 user guide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use md5::Digest as _;
use thiserror::Error;
use vault::customer::CustomerKey;
use zeroize::{Zeroize as _, Zeroizing};

#[cfg(test)]
mod tests;

/// How the names of the headers begin that are about what is asked for, and about the source of a copy.
const TARGET: &str = "x-amz-server-side-encryption-customer-";
const SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer-";

/// Operations that take a key for what they read or write.
const TAKE_TARGET: [&str; 10] = [
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "GetObject",
    "GetObjectAttributes",
    "HeadObject",
    "ListParts",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
];
/// Operations that take a key for the source of a copy.
const TAKE_SOURCE: [&str; 2] = ["CopyObject", "UploadPartCopy"];

/// Why a key cannot be taken as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SentKeyError {
    /// It came over a connection on which others can read it.
    #[error("a customer's key came over a connection that is not secure")]
    Insecure,
    /// No algorithm, or the header twice.
    #[error("a customer's key came without its algorithm")]
    AlgorithmMissing,
    /// Another algorithm than AES256.
    #[error("the algorithm of a customer's key is not AES256")]
    Algorithm,
    /// No key, or the header twice.
    #[error("the algorithm of a customer's key came without the key")]
    KeyMissing,
    /// Not 32 bytes in base64.
    #[error("a customer's key is not 32 bytes in base64")]
    Key,
    /// No MD5 of the key, or the header twice.
    #[error("a customer's key came without its MD5")]
    Md5Missing,
    /// The MD5 is that of another key, or none.
    #[error("the MD5 of a customer's key is not that of the key")]
    Md5,
}

/// A key as it was sent: whole, and with the right MD5.
#[derive(Debug, Clone)]
pub struct SentKey {
    /// The key.
    pub key: CustomerKey,
    /// Its MD5 in base64, as the answer repeats it.
    pub md5: String,
}

/// The keys of a request.
#[derive(Debug, Clone, Default)]
pub struct CustomerKeys {
    /// Of what is read or written.
    pub target: Option<SentKey>,
    /// Of the source of a copy.
    pub source: Option<SentKey>,
}

impl CustomerKeys {
    /// Takes the headers out of a request. Those that its operation has no use for are thrown away. `secure` says whether
    /// nobody on the way could read them.
    ///
    /// # Errors
    /// [`SentKeyError`].
    pub fn take(headers: &mut HeaderMap, operation: &str, secure: bool) -> Result<Self, SentKeyError> {
        let mut keys = Self::default();
        let wanted = [
            (TARGET, TAKE_TARGET.contains(&operation), &mut keys.target),
            (SOURCE, TAKE_SOURCE.contains(&operation), &mut keys.source),
        ];
        for (start, used, place) in wanted {
            if !headers.keys().any(|name| name.as_str().starts_with(start)) {
                continue;
            }
            let sent = Sent::take(headers, start);
            if used {
                *place = sent.read(secure)?;
            }
        }
        Ok(keys)
    }

    /// The key of what is read or written.
    pub fn target_key(&self) -> Option<&CustomerKey> {
        self.target.as_ref().map(|sent| &sent.key)
    }

    /// The key of the source of a copy.
    pub fn source_key(&self) -> Option<&CustomerKey> {
        self.source.as_ref().map(|sent| &sent.key)
    }
}

/// Whether a header holds a key.
pub fn is_secret(name: &str) -> bool {
    [TARGET, SOURCE]
        .iter()
        .any(|start| name.strip_prefix(start) == Some("key"))
}

/// The three headers of a key. One that was sent twice says nothing.
struct Sent {
    any: bool,
    algorithm: Option<Zeroizing<Vec<u8>>>,
    key: Option<Zeroizing<Vec<u8>>>,
    md5: Option<Zeroizing<Vec<u8>>>,
}

impl Sent {
    fn take(headers: &mut HeaderMap, start: &str) -> Self {
        let mut any = false;
        let mut one = |end: &str| {
            let name = format!("{start}{end}");
            let mut values = headers.get_all(&name).iter();
            let first = values
                .next()
                .map(|value| Zeroizing::new(value.as_bytes().to_vec()));
            let twice = values.next().is_some();
            headers.remove(&name);
            any |= first.is_some();
            first.filter(|_| !twice)
        };
        let (algorithm, key, md5) = (one("algorithm"), one("key"), one("key-md5"));
        Self {
            any,
            algorithm,
            key,
            md5,
        }
    }

    fn read(self, secure: bool) -> Result<Option<SentKey>, SentKeyError> {
        if !self.any {
            return Ok(None);
        }
        if !secure {
            return Err(SentKeyError::Insecure);
        }
        match self.algorithm.ok_or(SentKeyError::AlgorithmMissing)?.as_slice() {
            b"AES256" => {}
            _ => return Err(SentKeyError::Algorithm),
        }
        let text = self.key.ok_or(SentKeyError::KeyMissing)?;
        let decoded = STANDARD.decode(text.as_slice()).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| SentKeyError::Key)?;
        let mut bytes: [u8; 32] = decoded.as_slice().try_into().map_err(|_| SentKeyError::Key)?;
        let key = CustomerKey::from_bytes(bytes);
        let md5: [u8; 16] = md5::Md5::digest(bytes.as_slice()).into();
        bytes.zeroize();
        let said = self.md5.ok_or(SentKeyError::Md5Missing)?;
        if STANDARD.decode(said.as_slice()).ok().as_deref() != Some(&md5[..]) {
            return Err(SentKeyError::Md5);
        }
        let md5 = STANDARD.encode(md5);
        Ok(Some(SentKey { key, md5 }))
    }
}
