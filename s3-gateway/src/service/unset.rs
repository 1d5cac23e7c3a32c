//! Settings that no bucket here has: what S3 answers for a bucket on which they were never made.
//!
//! Clients ask for some of these before they do anything; "never set" is true and keeps them going. Setting any of
//! them is not implemented.

use s3s::dto::*;
use s3s::{S3Request, S3Response};

use super::buckets::owner;
use super::{Answer, Asked, Operations};
use crate::errors::Refusal;

/// One method for each setting whose absence is an error in S3.
macro_rules! never_set {
    ($($method:ident($input:ty) -> $output:ty: $code:literal, $message:literal;)*) => {
        impl Operations {
            $(pub(super) async fn $method(&self, asked: Asked, _request: S3Request<$input>) -> Answer<$output> {
                asked.bucket().await?;
                Err(Refusal::not_found($code, $message).into())
            })*
        }
    };
}

never_set! {
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput:
        "NoSuchCORSConfiguration", "The CORS configuration does not exist";
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput:
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found";
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput:
        "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist";
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput:
        "OwnershipControlsNotFoundError", "The bucket ownership controls were not found";
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput:
        "NoSuchBucketPolicy", "The bucket policy does not exist";
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput:
        "ReplicationConfigurationNotFoundError", "The replication configuration was not found";
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput:
        "NoSuchTagSet", "The TagSet does not exist";
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput:
        "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration";
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput:
        "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket";
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput:
        "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found";
}

/// One method for each setting whose absence is an empty document in S3.
macro_rules! empty {
    ($($method:ident($input:ty) -> $output:ty;)*) => {
        impl Operations {
            $(pub(super) async fn $method(&self, asked: Asked, _request: S3Request<$input>) -> Answer<$output> {
                asked.bucket().await?;
                Ok(S3Response::new(<$output>::default()))
            })*
        }
    };
}

empty! {
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
}

impl Operations {
    pub(super) async fn get_bucket_request_payment(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketRequestPaymentInput>,
    ) -> Answer<GetBucketRequestPaymentOutput> {
        asked.bucket().await?;
        let payer = Some(Payer::from_static(Payer::BUCKET_OWNER));
        Ok(S3Response::new(GetBucketRequestPaymentOutput { payer }))
    }

    pub(super) async fn get_bucket_acl(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketAclInput>,
    ) -> Answer<GetBucketAclOutput> {
        asked.bucket().await?;
        let output = GetBucketAclOutput {
            grants: Some(vec![all_to_owner(&asked)]),
            owner: Some(owner(&asked)),
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn get_object_acl(
        &self,
        asked: Asked,
        _request: S3Request<GetObjectAclInput>,
    ) -> Answer<GetObjectAclOutput> {
        let bucket = asked.bucket().await?;
        asked.session.object(&bucket, asked.key()?).await?;
        let output = GetObjectAclOutput {
            grants: Some(vec![all_to_owner(&asked)]),
            owner: Some(owner(&asked)),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn get_object_tagging(
        &self,
        asked: Asked,
        _request: S3Request<GetObjectTaggingInput>,
    ) -> Answer<GetObjectTaggingOutput> {
        let bucket = asked.bucket().await?;
        asked.session.object(&bucket, asked.key()?).await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: Vec::new(),
            ..Default::default()
        }))
    }
}

/// Everything belongs to the vault's owner; rights of credentials are not S3's access lists.
fn all_to_owner(asked: &Asked) -> Grant {
    let Owner { display_name, id } = owner(asked);
    let grantee = Grantee {
        display_name,
        email_address: None,
        id,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    Grant {
        grantee: Some(grantee),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }
}
