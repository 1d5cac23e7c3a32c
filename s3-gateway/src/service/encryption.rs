//! Server-side encryption as S3's headers speak of it: `AES256`, and `aws:kms` with a key id.
//!
//! Everything is sealed under the vault's keys whatever a request asks for. The algorithm and the key id that it names
//! are noted with the object, under the names of the headers that give them back. Of a key of the client's only what the
//! answers say stands here: which bytes it seals is the session's business.

use http::HeaderMap;

use s3s::dto::{
    GetBucketEncryptionInput, GetBucketEncryptionOutput, PutBucketEncryptionInput, PutBucketEncryptionOutput,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule,
};
use s3s::{S3Request, S3Response};

use super::object::put_header;
use super::{Answer, Asked, Halt, Operations, SessionBucket};
use crate::customer_key::SentKey;
use crate::errors::Refusal;
use crate::session::SessionError;
use crate::settings::ENCRYPTION;

/// The header that names the algorithm.
const ALGORITHM: &str = "x-amz-server-side-encryption";
/// The header that names the key.
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// The header that asks for a bucket key; kept because clients compare.
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
/// The header that announces a key of the client's, and the one with the key's MD5.
const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const CUSTOMER_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";
/// The longest name of a key, in bytes: an ARN is shorter.
const KEY_ID_BYTES_MAX: usize = 2048;

/// What is said of an object's encryption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Encryption {
    /// What is noted with the object.
    noted: Vec<(String, String)>,
    /// The MD5 of the client's key in base64; nothing is noted then.
    customer_md5: Option<String>,
}

impl Encryption {
    /// What a write asks for.
    ///
    /// # Errors
    /// 400 where the headers contradict each other.
    pub(super) fn of_write(
        headers: &HeaderMap,
        bucket: &SessionBucket,
        key: Option<&SentKey>,
    ) -> Result<Self, Halt> {
        if let Some(key) = key {
            if headers.keys().any(|name| is_ours(name.as_str())) {
                let message = "Server Side Encryption with Customer provided key is incompatible with the \
                               encryption method specified";
                return Err(Refusal::invalid_argument(message).into());
            }
            return Ok(Self::of_answer(&[], Some(key)));
        }
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
            return Self::by_default(bucket);
        };
        Self::new(algorithm, key_id, bucket_key)
    }

    /// What the bucket says of writes that name nothing.
    fn by_default(bucket: &SessionBucket) -> Result<Self, Halt> {
        let Some(text) = bucket.settings.get(ENCRYPTION) else {
            return Ok(Self::default());
        };
        let unreadable = |_| {
            Halt::from(SessionError::Internal {
                what: "a setting does not read",
            })
        };
        Ok(Self {
            noted: serde_json::from_str(text).map_err(unreadable)?,
            customer_md5: None,
        })
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
        Ok(Self {
            noted: said,
            customer_md5: None,
        })
    }

    /// What an answer says of an object or an upload: what was noted of it, or the key that the request came with.
    pub(super) fn of_answer(system: &[(String, String)], key: Option<&SentKey>) -> Self {
        let ours = system.iter().filter(|(name, _)| is_ours(name));
        Self {
            noted: ours.filter(|_| key.is_none()).cloned().collect(),
            customer_md5: key.map(|key| key.md5.clone()),
        }
    }

    /// What the gateway notes of the object or the upload.
    pub(super) fn noted(&self) -> Vec<(String, String)> {
        self.noted.clone()
    }

    /// Whether something was asked for.
    pub(super) fn is_some(&self) -> bool {
        !self.noted.is_empty() || self.customer_md5.is_some()
    }

    /// Says so in an answer.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.noted {
            put_header(headers, name, value);
        }
        if let Some(md5) = &self.customer_md5 {
            put_header(headers, CUSTOMER_ALGORITHM, "AES256");
            put_header(headers, CUSTOMER_MD5, md5);
        }
    }
}

impl Operations {
    pub(super) async fn put_bucket_encryption(
        &self,
        asked: Asked,
        request: S3Request<PutBucketEncryptionInput>,
    ) -> Answer<PutBucketEncryptionOutput> {
        let [rule] = request
            .input
            .server_side_encryption_configuration
            .rules
            .as_slice()
        else {
            return Err(Refusal::malformed_xml().into());
        };
        let wanted = rule.apply_server_side_encryption_by_default.as_ref();
        let wanted = wanted.ok_or_else(Refusal::malformed_xml)?;
        let bucket_key = rule
            .bucket_key_enabled
            .map(|enabled| if enabled { "true" } else { "false" });
        let key_id = wanted.kms_master_key_id.as_deref();
        let encryption = Encryption::new(wanted.sse_algorithm.as_str(), key_id, bucket_key)?;
        let text = serde_json::to_string(&encryption.noted).map_err(|_| Refusal::malformed_xml())?;
        asked.set(ENCRYPTION, Some(text)).await?;
        Ok(S3Response::new(PutBucketEncryptionOutput::default()))
    }

    pub(super) async fn get_bucket_encryption(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketEncryptionInput>,
    ) -> Answer<GetBucketEncryptionOutput> {
        let encryption = Encryption::by_default(&asked.bucket().await?)?;
        let value = |name: &str| {
            let found = encryption.noted.iter().find(|(have, _)| have == name);
            found.map(|(_, value)| value.clone())
        };
        let Some(algorithm) = value(ALGORITHM) else {
            let message = "The server side encryption configuration was not found";
            let code = "ServerSideEncryptionConfigurationNotFoundError";
            return Err(Refusal::not_found(code, message).into());
        };
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(ServerSideEncryptionByDefault {
                kms_master_key_id: value(KEY_ID),
                sse_algorithm: ServerSideEncryption::from(algorithm),
            }),
            bucket_key_enabled: Some(value(BUCKET_KEY).is_some()),
        };
        Ok(S3Response::new(GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(ServerSideEncryptionConfiguration {
                rules: vec![rule],
            }),
        }))
    }
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
