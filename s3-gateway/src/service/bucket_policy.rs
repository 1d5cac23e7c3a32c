//! PutBucketPolicy, GetBucketPolicy, GetBucketPolicyStatus, DeleteBucketPolicy.
//!
//! A policy is kept as the client wrote it once it has been parsed; who asks whether it allows something is `access.rs`.

use s3s::dto::{
    DeleteBucketPolicyInput, DeleteBucketPolicyOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
    GetBucketPolicyStatusInput, GetBucketPolicyStatusOutput, PolicyStatus, PutBucketPolicyInput,
    PutBucketPolicyOutput,
};
use s3s::{S3Request, S3Response};

use super::{Answer, Asked, Operations};
use crate::acl::Acl;
use crate::errors::Refusal;
use crate::policy::Policy;
use crate::settings::{ACL, OWNER_ENFORCED, OWNERSHIP, POLICY, PublicAccess};

impl Operations {
    pub(super) async fn put_bucket_policy(
        &self,
        asked: Asked,
        request: S3Request<PutBucketPolicyInput>,
    ) -> Answer<PutBucketPolicyOutput> {
        let (bucket, text) = (asked.bucket().await?, request.input.policy);
        let refused =
            |error: crate::policy::PolicyError| Refusal::new(400, "MalformedPolicy", error.to_string());
        let policy = Policy::parse(&text, &bucket.name).map_err(refused)?;
        if PublicAccess::of(&bucket).block_policy && policy.is_public() {
            return Err(Refusal::access_denied().into());
        }
        asked.set(POLICY, Some(text)).await?;
        Ok(S3Response::new(PutBucketPolicyOutput::default()))
    }

    pub(super) async fn get_bucket_policy(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketPolicyInput>,
    ) -> Answer<GetBucketPolicyOutput> {
        let bucket = asked.bucket().await?;
        let Some(policy) = bucket.settings.get(POLICY) else {
            return Err(Refusal::not_found("NoSuchBucketPolicy", "The bucket policy does not exist").into());
        };
        Ok(S3Response::new(GetBucketPolicyOutput {
            policy: Some(policy.to_owned()),
        }))
    }

    pub(super) async fn get_bucket_policy_status(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketPolicyStatusInput>,
    ) -> Answer<GetBucketPolicyStatusOutput> {
        let bucket = asked.bucket().await?;
        let public = PublicAccess::of(&bucket);
        // A policy that cannot be read denies everyone.
        let policy = bucket
            .settings
            .get(POLICY)
            .and_then(|text| Policy::parse(text, &bucket.name).ok());
        let by_policy = policy.is_some_and(|policy| policy.is_public()) && !public.restrict_buckets;
        let lists = bucket.settings.get(OWNERSHIP) != Some(OWNER_ENFORCED) && !public.ignore_acls;
        let by_list = lists
            && bucket
                .settings
                .get(ACL)
                .is_some_and(|acl| Acl::stored(acl).is_public());
        Ok(S3Response::new(GetBucketPolicyStatusOutput {
            policy_status: Some(PolicyStatus {
                is_public: Some(by_policy || by_list),
            }),
        }))
    }

    pub(super) async fn delete_bucket_policy(
        &self,
        asked: Asked,
        _request: S3Request<DeleteBucketPolicyInput>,
    ) -> Answer<DeleteBucketPolicyOutput> {
        asked.set(POLICY, None).await?;
        Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
    }
}
