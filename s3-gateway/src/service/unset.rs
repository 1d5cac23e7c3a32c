//! Settings that nothing here has: what S3 answers for a bucket or an object on which they were never made.
//!
//! Clients ask for some of these before they do anything; "never set" is true and keeps them going. Setting any of
//! them is not implemented.

use s3s::dto::*;
use s3s::{S3Request, S3Response};

use super::buckets::owner;
use super::{Answer, Asked, Halt, Operations};
use crate::errors::Refusal;

/// The table: what is asked for, and the answer once the bucket or the object is found to exist.
macro_rules! unset {
    ($($method:ident($input:ty) -> $output:ty: $answer:expr;)*) => {
        impl Operations {
            $(pub(super) async fn $method(&self, asked: Asked, _request: S3Request<$input>) -> Answer<$output> {
                let bucket = asked.bucket().await?;
                if let Some(key) = &asked.admitted.target.key {
                    asked.session.object(&bucket, key).await?;
                }
                let answer: fn(&Asked) -> Result<$output, Halt> = $answer;
                Ok(S3Response::new(answer(&asked)?))
            })*
        }
    };
}

unset! {
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput: |_| empty();
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput: |asked| Ok(GetBucketAclOutput {
        grants: Some(vec![all_to_owner(asked)]),
        owner: Some(owner(asked)),
    });
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput:
        |_| none("NoSuchCORSConfiguration", "The CORS configuration does not exist");
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput: |_| none(
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    );
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput:
        |_| none("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist");
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput: |_| empty();
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput: |_| empty();
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput:
        |_| none("OwnershipControlsNotFoundError", "The bucket ownership controls were not found");
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput:
        |_| none("NoSuchBucketPolicy", "The bucket policy does not exist");
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput:
        |_| none("ReplicationConfigurationNotFoundError", "The replication configuration was not found");
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput:
        |_| Ok(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) });
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput:
        |_| none("NoSuchTagSet", "The TagSet does not exist");
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput:
        |_| none("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration");
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput: |asked| Ok(GetObjectAclOutput {
        grants: Some(vec![all_to_owner(asked)]),
        owner: Some(owner(asked)),
        ..Default::default()
    });
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput: |_| none(
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    );
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput:
        |_| Ok(GetObjectTaggingOutput { tag_set: Vec::new(), ..Default::default() });
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput: |_| none(
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    );
}

/// Its absence is an empty document in S3.
fn empty<T: Default>() -> Result<T, Halt> {
    Ok(T::default())
}

/// Its absence is an error in S3.
fn none<T>(code: &'static str, message: &'static str) -> Result<T, Halt> {
    Err(Refusal::not_found(code, message).into())
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
