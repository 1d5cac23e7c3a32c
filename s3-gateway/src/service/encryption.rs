//! Server-side encryption as S3's headers speak of it: `AES256`, and `aws:kms` with a key id.
//!
//! Everything is sealed under the vault's keys whatever a request asks for. The algorithm and the key id that it names
//! are noted with the object, under the names of the headers that give them back. It is not encryption with a key of the client's.

use http::HeaderMap;

use super::object::put_header;
use super::{Halt, SessionBucket};
use crate::errors::Refusal;

/// The header that names the algorithm.
const ALGORITHM: &str = "x-amz-server-side-encryption";
/// The header that names the key.
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// The header that asks for a bucket key; kept because clients compare.
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
/// The header that announces a key of the client's.
const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
/// The longest name of a key, in bytes: an ARN is shorter.
const KEY_ID_BYTES_MAX: usize = 2048;

/// What is said of an object's encryption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Encryption(Vec<(String, String)>);

impl Encryption {
    /// What a write asks for.
    ///
    /// # Errors
    /// 400 where the headers contradict each other.
    pub(super) fn of_write(headers: &HeaderMap, _bucket: &SessionBucket) -> Result<Self, Halt> {
        let text = |name: &str| match headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(Halt::from(Refusal::invalid_argument(format!(
                "{name} is not valid"
            )))),
        };
        let (algorithm, key_id, bucket_key) = (text(ALGORITHM)?, text(KEY_ID)?, text(BUCKET_KEY)?);
        let Some(algorithm) = algorithm else {
            if key_id.is_some() || bucket_key.is_some() {
                let message = format!("{KEY_ID} and {BUCKET_KEY} need {ALGORITHM}: aws:kms");
                return Err(Refusal::invalid_argument(message).into());
            }
            return Ok(Self::default());
        };
        Self::new(algorithm, key_id, bucket_key)
    }

    /// An algorithm, and for KMS a key.
    fn new(algorithm: &str, key_id: Option<&str>, bucket_key: Option<&str>) -> Result<Self, Halt> {
        let refused = |message: &'static str| Err(Halt::from(Refusal::invalid_argument(message)));
        let kms = matches!(algorithm, "aws:kms" | "aws:kms:dsse");
        if !kms && algorithm != "AES256" {
            return refused("The encryption method specified is not supported");
        }
        if !kms && key_id.is_some() {
            return refused("Server Side Encryption with AES256 cannot be combined with a KMS key id");
        }
        if key_id.is_some_and(|id| id.is_empty() || id.len() > KEY_ID_BYTES_MAX) {
            return refused("The KMS key id is not valid");
        }
        let mut said = vec![(ALGORITHM.to_owned(), algorithm.to_owned())];
        said.extend(key_id.map(|id| (KEY_ID.to_owned(), id.to_owned())));
        match bucket_key {
            None | Some("false") => {}
            Some("true") => said.push((BUCKET_KEY.to_owned(), "true".to_owned())),
            Some(_) => return refused("The bucket key option is neither true nor false"),
        }
        Ok(Self(said))
    }

    /// What was noted of an object or an upload.
    pub(super) fn of_noted(system: &[(String, String)]) -> Self {
        let ours = system.iter().filter(|(name, _)| is_ours(name));
        Self(ours.cloned().collect())
    }

    /// What the gateway notes of the object or the upload.
    pub(super) fn noted(&self) -> Vec<(String, String)> {
        self.0.clone()
    }

    /// Whether something was asked for.
    pub(super) fn is_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// Says so in an answer.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            put_header(headers, name, value);
        }
    }
}

/// Keys of the client's and of the store exclude each other.
pub(super) fn check_write(headers: &HeaderMap) -> Result<(), Halt> {
    if headers.contains_key(ALGORITHM) && headers.contains_key(CUSTOMER_ALGORITHM) {
        let message =
            "Server side encryption with a customer key and with a key of the store exclude each other";
        return Err(Refusal::invalid_argument(message).into());
    }
    Ok(())
}

/// A read may not name how it was encrypted.
pub(super) fn check_read(headers: &HeaderMap) -> Result<(), Halt> {
    if headers.contains_key(ALGORITHM) || headers.contains_key(KEY_ID) {
        let message = "x-amz-server-side-encryption header is not supported for this operation.";
        return Err(Refusal::invalid_argument(message).into());
    }
    Ok(())
}

/// Whether a header names the algorithm or the key of encryption by the store.
pub(super) fn is_ours(name: &str) -> bool {
    [ALGORITHM, KEY_ID, BUCKET_KEY].contains(&name)
}
