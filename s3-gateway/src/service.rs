//! The S3 operations, one file per family; s3s routes, parses and writes XML.
//!
//! Every operation takes the `Admitted` that the gate put into the request, finds the vault's session by it, and
//! answers in S3's words. Rights were decided in `access.rs` before any of this runs.

mod acl;
mod attributes;
mod bucket_cors;
mod bucket_policy;
mod bucket_settings;
mod buckets;
mod copy;
mod delete;
mod encryption;
mod get;
mod lifecycle;
mod list;
mod lock;
mod multipart;
mod object;
mod object_attributes;
pub mod parsers;
mod part_copy;
mod put;
mod tagging;
mod unset;
mod versions;

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::*;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::access::{Access, RECORDED};
use crate::answer::{AnswerBody, empty};
use crate::body::BodyError;
use crate::errors::Refusal;
use crate::gate::{Admitted, ForwardBody, Inner};
use crate::key::{BucketName as Name, NameError, ObjectKey as Key};
use crate::session::{Bucket as SessionBucket, Caller, Session, SessionError, Stored};
use crate::sessions::Sessions;
use vault::object::Upload;

/// The S3 operations over all open vaults, behind the gate.
pub struct Front {
    service: S3Service,
}

impl Front {
    /// Serves these vaults as this region.
    pub fn new(sessions: Sessions, region: String) -> Self {
        let operations = Operations {
            sessions: sessions.clone(),
            region,
        };
        let mut builder = S3ServiceBuilder::new(operations);
        builder.set_auth(NoAuth);
        builder.set_access(Access::new(sessions));
        builder.set_host(PathStyle);
        let mut config = S3Config::default();
        // The gate has smaller limits; these stand should something reach s3s past it.
        config.xml_max_body_size = 2 << 20;
        config.post_object_max_file_size = 0;
        config.form_max_fields_size = 0;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Self {
            service: builder.build(),
        }
    }
}

impl Inner for Front {
    fn answer(&self, request: Request<ForwardBody>) -> BoxFuture<'_, Response<AnswerBody>> {
        let request = request.map(|body| match body {
            ForwardBody::Whole(bytes) => s3s::Body::from(bytes),
            ForwardBody::Checked(body) => s3s::Body::http_body_unsync(*body),
        });
        let admitted = request.extensions().get::<Admitted>();
        let of_attributes = admitted.is_some_and(|admitted| admitted.operation == "GetObjectAttributes");
        Box::pin(async move {
            let response = match self.service.call(request).await {
                Ok(response) => response.map(http_body_util::BodyExt::boxed_unsync),
                Err(_) => {
                    let mut response = Response::new(empty());
                    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            };
            if of_attributes {
                object_attributes::unquoted(response).await
            } else {
                response
            }
        })
    }
}

/// s3s never authenticates: the gate has done so and taken the credentials away.
struct NoAuth;

#[async_trait::async_trait]
impl S3Auth for NoAuth {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Err(S3Error::new(S3ErrorCode::InvalidAccessKeyId))
    }
}

/// The gate has put every request into path style.
struct PathStyle;

impl S3Host for PathStyle {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(VirtualHost::new(host))
    }
}

/// Why an operation ended without its result, with headers for the answer.
#[derive(Debug)]
pub(crate) struct Halt {
    refusal: Refusal,
    headers: Option<Box<HeaderMap>>,
}

impl Halt {
    pub(crate) fn with_headers(refusal: Refusal, headers: HeaderMap) -> Self {
        Self {
            refusal,
            headers: Some(Box::new(headers)),
        }
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            headers: None,
        }
    }
}

impl From<SessionError> for Halt {
    fn from(error: SessionError) -> Self {
        if matches!(
            error,
            SessionError::Internal { .. } | SessionError::Unreadable { .. }
        ) {
            tracing::error!(target: "cairn::s3", %error, "an operation failed inside");
        }
        Refusal::from(&error).into()
    }
}

impl From<BodyError> for Halt {
    fn from(error: BodyError) -> Self {
        Refusal::from(&error).into()
    }
}

impl From<NameError> for Halt {
    fn from(error: NameError) -> Self {
        Refusal::from(&error).into()
    }
}

impl From<Halt> for S3Error {
    fn from(halt: Halt) -> Self {
        let Refusal {
            code,
            status,
            message,
            ..
        } = halt.refusal;
        let code: Result<S3ErrorCode, Infallible> = code.parse();
        let mut error = match code {
            Ok(code) => Self::with_message(code, message),
            Err(never) => match never {},
        };
        if let Ok(status) = http::StatusCode::from_u16(status) {
            error.set_status_code(status);
        }
        if let Some(headers) = halt.headers {
            error.set_headers(*headers);
        }
        error
    }
}

type Answer<T> = Result<S3Response<T>, Halt>;

/// The `S3` trait's implementation.
struct Operations {
    sessions: Sessions,
    region: String,
}

/// A request as an operation sees it.
struct Asked {
    admitted: Admitted,
    session: Session,
    caller: Caller,
}

impl Asked {
    /// The bucket of the request. No record is made.
    async fn bucket(&self) -> Result<SessionBucket, Halt> {
        let name = self.bucket_name()?;
        Ok(self.session.bucket(name.as_str()).await?)
    }

    /// Whether the request's customer key is the one that an object is read with.
    fn check_key(&self, bucket: &SessionBucket, stored: &Stored) -> Result<(), Halt> {
        let checked = self
            .session
            .check_key(bucket, stored, self.admitted.keys.target_key());
        Ok(checked.map_err(SessionError::from)?)
    }

    /// Whether the request's customer key is the one that an upload was begun with.
    fn check_upload_key(&self, bucket: &SessionBucket, upload: &Upload) -> Result<(), Halt> {
        let checked = self
            .session
            .check_upload_key(bucket, upload, self.admitted.keys.target_key());
        Ok(checked.map_err(SessionError::from)?)
    }

    /// The same for a request that shows the parts: S3 asks for the key where a checksum was announced.
    fn check_listing_key(&self, bucket: &SessionBucket, upload: &Upload) -> Result<(), Halt> {
        let announced = upload.checksum_algorithm.is_some();
        let given = self.admitted.keys.target_key();
        let checked = self
            .session
            .check_key_of_parts(bucket, &upload.customer, announced, given);
        Ok(checked.map_err(SessionError::from)?)
    }

    /// Whether the request has a credential of the bucket's own vault.
    fn is_of_the_vault(&self) -> bool {
        let asking = self.admitted.asking();
        asking.is_some_and(|identity| identity.vault() == self.admitted.vault)
    }

    fn bucket_name(&self) -> Result<&Name, Halt> {
        Ok(self
            .admitted
            .target
            .bucket
            .as_ref()
            .ok_or(NameError::BucketName)?)
    }

    fn key(&self) -> Result<&Key, Halt> {
        Ok(self.admitted.target.key.as_ref().ok_or(NameError::KeyEmpty)?)
    }
}

impl Operations {
    fn asked<T>(&self, request: &S3Request<T>) -> Result<Asked, Halt> {
        let admitted = request
            .extensions
            .get::<Admitted>()
            .cloned()
            .ok_or_else(Refusal::access_denied)?;
        let session = self
            .sessions
            .of(admitted.vault)
            .ok_or_else(Refusal::access_denied)?;
        let caller = Caller {
            identity: admitted.identity.clone(),
            operation_id: admitted.operation_id,
        };
        Ok(Asked {
            admitted,
            session,
            caller,
        })
    }

    /// Notes how an operation ended, for the gate: whether its record is made, and the refusal in full.
    fn settle<T>(admitted: Option<Admitted>, answer: Answer<T>) -> S3Result<S3Response<T>> {
        match answer {
            Ok(response) => {
                if let Some(admitted) = admitted
                    && RECORDED.contains(&admitted.operation)
                {
                    admitted.mark_recorded();
                }
                Ok(response)
            }
            Err(halt) => {
                if let Some(admitted) = admitted
                    && halt.refusal.status != 304
                {
                    admitted.refuse(halt.refusal.clone());
                }
                Err(halt.into())
            }
        }
    }
}

/// Writes one trait method for each operation: find who asks, do it, settle the outcome.
macro_rules! operations {
    ($($(#[$note:meta])* $method:ident($input:ty) -> $output:ty;)*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $($(#[$note])* async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                let admitted = request.extensions.get::<Admitted>().cloned();
                let answer = match self.asked(&request) {
                    Ok(asked) => self.$method(asked, request).await,
                    Err(halt) => Err(halt),
                };
                Self::settle(admitted, answer)
            })*
        }
    };
}

operations! {
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput;
    delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput;
    delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput) -> DeleteBucketOwnershipControlsOutput;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput;
    delete_bucket_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput;
    get_bucket_analytics_configuration(GetBucketAnalyticsConfigurationInput) -> GetBucketAnalyticsConfigurationOutput;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput;
    get_bucket_intelligent_tiering_configuration(GetBucketIntelligentTieringConfigurationInput) -> GetBucketIntelligentTieringConfigurationOutput;
    get_bucket_inventory_configuration(GetBucketInventoryConfigurationInput) -> GetBucketInventoryConfigurationOutput;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput;
    get_bucket_metrics_configuration(GetBucketMetricsConfigurationInput) -> GetBucketMetricsConfigurationOutput;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput;
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput;
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput;
    get_object(GetObjectInput) -> GetObjectOutput;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput;
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput;
    get_object_legal_hold(GetObjectLegalHoldInput) -> GetObjectLegalHoldOutput;
    get_object_retention(GetObjectRetentionInput) -> GetObjectRetentionOutput;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    list_bucket_analytics_configurations(ListBucketAnalyticsConfigurationsInput) -> ListBucketAnalyticsConfigurationsOutput;
    list_bucket_intelligent_tiering_configurations(ListBucketIntelligentTieringConfigurationsInput) -> ListBucketIntelligentTieringConfigurationsOutput;
    list_bucket_inventory_configurations(ListBucketInventoryConfigurationsInput) -> ListBucketInventoryConfigurationsOutput;
    list_bucket_metrics_configurations(ListBucketMetricsConfigurationsInput) -> ListBucketMetricsConfigurationsOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    list_parts(ListPartsInput) -> ListPartsOutput;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput;
    put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput;
    put_bucket_encryption(PutBucketEncryptionInput) -> PutBucketEncryptionOutput;
    put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput) -> PutBucketLifecycleConfigurationOutput;
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput;
    put_bucket_request_payment(PutBucketRequestPaymentInput) -> PutBucketRequestPaymentOutput;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput;
    put_bucket_website(PutBucketWebsiteInput) -> PutBucketWebsiteOutput;
    put_object(PutObjectInput) -> PutObjectOutput;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput;
    put_object_legal_hold(PutObjectLegalHoldInput) -> PutObjectLegalHoldOutput;
    put_object_lock_configuration(PutObjectLockConfigurationInput) -> PutObjectLockConfigurationOutput;
    put_object_retention(PutObjectRetentionInput) -> PutObjectRetentionOutput;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
}
