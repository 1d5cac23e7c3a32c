//! Settings of a bucket that are checked, kept and given back: tags, ownership controls, public access block, default encryption,
//! who pays, a website's configuration. Which of them have an effect is said where the effect is.

use s3s::dto::*;
use s3s::{S3Request, S3Response, xml};
use serde::de::DeserializeOwned;

use super::{Answer, Asked, Halt, Operations, acl, tagging};
use crate::acl::Acl;
use crate::errors::Refusal;
use crate::session::SessionError;
use crate::settings::{
    ACL, ENCRYPTION, OWNER_ENFORCED, OWNERSHIP, PUBLIC_ACCESS, PublicAccess, REQUEST_PAYMENT, TAGGING,
    WEBSITE,
};

/// The most tags of a bucket.
const TAGS_MAX: usize = 50;

impl Asked {
    /// Sets one setting of the bucket, or removes it; the record is made with it.
    pub(super) async fn set(&self, name: &'static str, value: Option<String>) -> Result<(), Halt> {
        let operation = self.admitted.operation;
        let bucket = self.bucket_name()?.as_str();
        self.session
            .change_bucket(&self.caller, bucket, operation, move |_, settings| {
                match &value {
                    Some(value) => settings.set(name, value.clone()),
                    None => settings.remove(name),
                }
                Ok::<(), SessionError>(())
            })
            .await?;
        self.admitted.mark_recorded();
        Ok(())
    }

    /// The text of a setting, or the error that S3 has for its absence.
    async fn setting(&self, name: &str, code: &'static str, message: &'static str) -> Result<String, Halt> {
        let bucket = self.bucket().await?;
        let found = bucket.settings.get(name).map(str::to_owned);
        found.ok_or_else(|| Refusal::not_found(code, message).into())
    }
}

/// What was stored as JSON; it was written here, so it reads.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Halt> {
    serde_json::from_str(text).map_err(|_| {
        Halt::from(SessionError::Internal {
            what: "a setting does not read",
        })
    })
}

fn write<T: serde::Serialize>(value: &T) -> Result<String, Halt> {
    serde_json::to_string(value).map_err(|_| {
        Halt::from(SessionError::Internal {
            what: "a setting does not write",
        })
    })
}

/// Writes the methods that remove a setting.
macro_rules! removals {
    ($($method:ident($input:ty) -> $output:ident: $name:expr;)*) => {
        impl Operations {
            $(pub(super) async fn $method(&self, asked: Asked, _request: S3Request<$input>) -> Answer<$output> {
                asked.set($name, None).await?;
                Ok(S3Response::new($output::default()))
            })*
        }
    };
}

removals! {
    delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput: ENCRYPTION;
    delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput)
        -> DeleteBucketOwnershipControlsOutput: OWNERSHIP;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput: TAGGING;
    delete_bucket_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput: WEBSITE;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput: PUBLIC_ACCESS;
}

impl Operations {
    pub(super) async fn put_bucket_tagging(
        &self,
        asked: Asked,
        request: S3Request<PutBucketTaggingInput>,
    ) -> Answer<PutBucketTaggingOutput> {
        let tags = tagging::checked(request.input.tagging.tag_set, TAGS_MAX)?;
        asked.set(TAGGING, Some(write(&tags)?)).await?;
        Ok(S3Response::new(PutBucketTaggingOutput::default()))
    }

    pub(super) async fn get_bucket_tagging(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketTaggingInput>,
    ) -> Answer<GetBucketTaggingOutput> {
        let text = asked
            .setting(TAGGING, "NoSuchTagSet", "The TagSet does not exist")
            .await?;
        let tags: Vec<(String, String)> = read(&text)?;
        let one = |(key, value)| Tag {
            key: Some(key),
            value: Some(value),
        };
        Ok(S3Response::new(GetBucketTaggingOutput {
            tag_set: tags.into_iter().map(one).collect(),
        }))
    }

    pub(super) async fn put_bucket_ownership_controls(
        &self,
        asked: Asked,
        request: S3Request<PutBucketOwnershipControlsInput>,
    ) -> Answer<PutBucketOwnershipControlsOutput> {
        let [rule] = request.input.ownership_controls.rules.as_slice() else {
            return Err(Refusal::malformed_xml().into());
        };
        let ownership = checked_ownership(&rule.object_ownership)?;
        let bucket = asked.bucket().await?;
        let opened = bucket
            .settings
            .get(ACL)
            .is_some_and(|acl| Acl::stored(acl).is_public());
        if ownership == OWNER_ENFORCED && opened {
            return Err(acl::conflict().into());
        }
        asked.set(OWNERSHIP, Some(ownership)).await?;
        Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
    }

    pub(super) async fn get_bucket_ownership_controls(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketOwnershipControlsInput>,
    ) -> Answer<GetBucketOwnershipControlsOutput> {
        let message = "The bucket ownership controls were not found";
        let text = asked
            .setting(OWNERSHIP, "OwnershipControlsNotFoundError", message)
            .await?;
        let rule = OwnershipControlsRule {
            object_ownership: ObjectOwnership::from(text),
        };
        Ok(S3Response::new(GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
        }))
    }

    pub(super) async fn put_public_access_block(
        &self,
        asked: Asked,
        request: S3Request<PutPublicAccessBlockInput>,
    ) -> Answer<PutPublicAccessBlockOutput> {
        let wanted = request.input.public_access_block_configuration;
        let blocked = PublicAccess {
            block_acls: wanted.block_public_acls.unwrap_or(false),
            ignore_acls: wanted.ignore_public_acls.unwrap_or(false),
            block_policy: wanted.block_public_policy.unwrap_or(false),
            restrict_buckets: wanted.restrict_public_buckets.unwrap_or(false),
        };
        asked.set(PUBLIC_ACCESS, Some(blocked.to_string())).await?;
        Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
    }

    pub(super) async fn get_public_access_block(
        &self,
        asked: Asked,
        _request: S3Request<GetPublicAccessBlockInput>,
    ) -> Answer<GetPublicAccessBlockOutput> {
        let (code, message) = (
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        );
        asked.setting(PUBLIC_ACCESS, code, message).await?;
        let blocked = PublicAccess::of(&asked.bucket().await?);
        Ok(S3Response::new(GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(PublicAccessBlockConfiguration {
                block_public_acls: Some(blocked.block_acls),
                block_public_policy: Some(blocked.block_policy),
                ignore_public_acls: Some(blocked.ignore_acls),
                restrict_public_buckets: Some(blocked.restrict_buckets),
            }),
        }))
    }

    pub(super) async fn put_bucket_request_payment(
        &self,
        asked: Asked,
        request: S3Request<PutBucketRequestPaymentInput>,
    ) -> Answer<PutBucketRequestPaymentOutput> {
        let payer = request.input.request_payment_configuration.payer;
        if !matches!(payer.as_str(), Payer::BUCKET_OWNER | Payer::REQUESTER) {
            return Err(Refusal::malformed_xml().into());
        }
        asked
            .set(REQUEST_PAYMENT, Some(payer.as_str().to_owned()))
            .await?;
        Ok(S3Response::new(PutBucketRequestPaymentOutput::default()))
    }

    pub(super) async fn get_bucket_request_payment(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketRequestPaymentInput>,
    ) -> Answer<GetBucketRequestPaymentOutput> {
        let bucket = asked.bucket().await?;
        let payer = bucket
            .settings
            .get(REQUEST_PAYMENT)
            .unwrap_or(Payer::BUCKET_OWNER);
        Ok(S3Response::new(GetBucketRequestPaymentOutput {
            payer: Some(Payer::from(payer.to_owned())),
        }))
    }

    pub(super) async fn put_bucket_website(
        &self,
        asked: Asked,
        request: S3Request<PutBucketWebsiteInput>,
    ) -> Answer<PutBucketWebsiteOutput> {
        let website = request.input.website_configuration;
        let redirects = website.redirect_all_requests_to.is_some();
        let pages = website.index_document.is_some()
            || website.error_document.is_some()
            || website.routing_rules.is_some();
        if redirects == pages || (!redirects && website.index_document.is_none()) {
            let message = "A website has an index document, or redirects all requests and has nothing else";
            return Err(Refusal::invalid_argument(message).into());
        }
        let mut text = Vec::new();
        let written = xml::Serializer::new(&mut text).content(WEBSITE_ROOT, &website);
        let text = written.ok().and_then(|()| String::from_utf8(text).ok());
        asked
            .set(WEBSITE, Some(text.ok_or_else(Refusal::malformed_xml)?))
            .await?;
        Ok(S3Response::new(PutBucketWebsiteOutput::default()))
    }

    pub(super) async fn get_bucket_website(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketWebsiteInput>,
    ) -> Answer<GetBucketWebsiteOutput> {
        let message = "The specified bucket does not have a website configuration";
        let text = asked
            .setting(WEBSITE, "NoSuchWebsiteConfiguration", message)
            .await?;
        let read = xml::Deserializer::new(text.as_bytes())
            .named_element(WEBSITE_ROOT, |d| d.content::<WebsiteConfiguration>());
        let website = read.map_err(|_| {
            Halt::from(SessionError::Internal {
                what: "a setting does not read",
            })
        })?;
        Ok(S3Response::new(GetBucketWebsiteOutput {
            error_document: website.error_document,
            index_document: website.index_document,
            redirect_all_requests_to: website.redirect_all_requests_to,
            routing_rules: website.routing_rules,
        }))
    }
}

/// The element that a stored website configuration stands in.
const WEBSITE_ROOT: &str = "WebsiteConfiguration";

/// A value of the ownership controls.
pub(super) fn checked_ownership(ownership: &ObjectOwnership) -> Result<String, Halt> {
    let known = [
        ObjectOwnership::BUCKET_OWNER_ENFORCED,
        ObjectOwnership::BUCKET_OWNER_PREFERRED,
        ObjectOwnership::OBJECT_WRITER,
    ];
    if known.contains(&ownership.as_str()) {
        Ok(ownership.as_str().to_owned())
    } else {
        Err(Refusal::malformed_xml().into())
    }
}
