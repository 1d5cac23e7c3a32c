//! The table of operations: what is served, the name that it is recorded under, what a credential needs for it, and the
//! action that bucket policies call it.

use scopes::Operation;

use super::Needs;

const ANY: Needs = Needs::AnyRight;
const CREATE_BUCKET: Needs = Needs::Right(Operation::CreateBucket);
const DELETE: Needs = Needs::Right(Operation::Delete);
const DELETE_BUCKET: Needs = Needs::Right(Operation::DeleteBucket);
const IN_FORCE: Needs = Needs::InForce;
const LIST: Needs = Needs::Right(Operation::List);
const READ: Needs = Needs::Right(Operation::Read);
const WRITE: Needs = Needs::Right(Operation::Write);

/// One row an operation, in the order of names. Changing a setting of a bucket takes the right to make buckets.
#[rustfmt::skip]
pub(crate) const TABLE: &[(&str, Needs, &str)] = &[
    ("AbortMultipartUpload", WRITE, "s3:AbortMultipartUpload"),
    ("CompleteMultipartUpload", WRITE, "s3:PutObject"),
    ("CopyObject", WRITE, "s3:PutObject"),
    ("CreateBucket", CREATE_BUCKET, "s3:CreateBucket"),
    ("CreateMultipartUpload", WRITE, "s3:PutObject"),
    ("DeleteBucket", DELETE_BUCKET, "s3:DeleteBucket"),
    ("DeleteBucketCors", CREATE_BUCKET, "s3:PutBucketCORS"),
    ("DeleteBucketEncryption", CREATE_BUCKET, "s3:PutEncryptionConfiguration"),
    ("DeleteBucketLifecycle", CREATE_BUCKET, "s3:PutLifecycleConfiguration"),
    ("DeleteBucketOwnershipControls", CREATE_BUCKET, "s3:PutBucketOwnershipControls"),
    ("DeleteBucketPolicy", CREATE_BUCKET, "s3:DeleteBucketPolicy"),
    ("DeleteBucketTagging", CREATE_BUCKET, "s3:PutBucketTagging"),
    ("DeleteBucketWebsite", CREATE_BUCKET, "s3:DeleteBucketWebsite"),
    ("DeleteObject", DELETE, "s3:DeleteObject"),
    ("DeleteObjectTagging", WRITE, "s3:DeleteObjectTagging"),
    ("DeleteObjects", DELETE, "s3:DeleteObject"),
    ("DeletePublicAccessBlock", CREATE_BUCKET, "s3:PutBucketPublicAccessBlock"),
    ("GetBucketAccelerateConfiguration", ANY, "s3:GetAccelerateConfiguration"),
    ("GetBucketAcl", ANY, "s3:GetBucketAcl"),
    ("GetBucketAnalyticsConfiguration", ANY, "s3:GetAnalyticsConfiguration"),
    ("GetBucketCors", ANY, "s3:GetBucketCORS"),
    ("GetBucketEncryption", ANY, "s3:GetEncryptionConfiguration"),
    ("GetBucketIntelligentTieringConfiguration", ANY, "s3:GetIntelligentTieringConfiguration"),
    ("GetBucketInventoryConfiguration", ANY, "s3:GetInventoryConfiguration"),
    ("GetBucketLifecycleConfiguration", ANY, "s3:GetLifecycleConfiguration"),
    ("GetBucketLocation", ANY, "s3:GetBucketLocation"),
    ("GetBucketLogging", ANY, "s3:GetBucketLogging"),
    ("GetBucketMetricsConfiguration", ANY, "s3:GetMetricsConfiguration"),
    ("GetBucketNotificationConfiguration", ANY, "s3:GetBucketNotification"),
    ("GetBucketOwnershipControls", ANY, "s3:GetBucketOwnershipControls"),
    ("GetBucketPolicy", ANY, "s3:GetBucketPolicy"),
    ("GetBucketPolicyStatus", ANY, "s3:GetBucketPolicyStatus"),
    ("GetBucketReplication", ANY, "s3:GetReplicationConfiguration"),
    ("GetBucketRequestPayment", ANY, "s3:GetBucketRequestPayment"),
    ("GetBucketTagging", ANY, "s3:GetBucketTagging"),
    ("GetBucketVersioning", ANY, "s3:GetBucketVersioning"),
    ("GetBucketWebsite", ANY, "s3:GetBucketWebsite"),
    ("GetObject", READ, "s3:GetObject"),
    ("GetObjectAcl", READ, "s3:GetObjectAcl"),
    ("GetObjectAttributes", READ, "s3:GetObjectAttributes"),
    ("GetObjectLegalHold", READ, "s3:GetObjectLegalHold"),
    ("GetObjectLockConfiguration", ANY, "s3:GetBucketObjectLockConfiguration"),
    ("GetObjectRetention", READ, "s3:GetObjectRetention"),
    ("GetObjectTagging", READ, "s3:GetObjectTagging"),
    ("GetPublicAccessBlock", ANY, "s3:GetBucketPublicAccessBlock"),
    ("HeadBucket", ANY, "s3:ListBucket"),
    ("HeadObject", READ, "s3:GetObject"),
    ("ListBucketAnalyticsConfigurations", ANY, "s3:GetAnalyticsConfiguration"),
    ("ListBucketIntelligentTieringConfigurations", ANY, "s3:GetIntelligentTieringConfiguration"),
    ("ListBucketInventoryConfigurations", ANY, "s3:GetInventoryConfiguration"),
    ("ListBucketMetricsConfigurations", ANY, "s3:GetMetricsConfiguration"),
    ("ListBuckets", IN_FORCE, "s3:ListAllMyBuckets"),
    ("ListMultipartUploads", LIST, "s3:ListBucketMultipartUploads"),
    ("ListObjectVersions", LIST, "s3:ListBucketVersions"),
    ("ListObjects", LIST, "s3:ListBucket"),
    ("ListObjectsV2", LIST, "s3:ListBucket"),
    ("ListParts", LIST, "s3:ListMultipartUploadParts"),
    ("PutBucketAcl", CREATE_BUCKET, "s3:PutBucketAcl"),
    ("PutBucketCors", CREATE_BUCKET, "s3:PutBucketCORS"),
    ("PutBucketEncryption", CREATE_BUCKET, "s3:PutEncryptionConfiguration"),
    ("PutBucketLifecycleConfiguration", CREATE_BUCKET, "s3:PutLifecycleConfiguration"),
    ("PutBucketOwnershipControls", CREATE_BUCKET, "s3:PutBucketOwnershipControls"),
    ("PutBucketPolicy", CREATE_BUCKET, "s3:PutBucketPolicy"),
    ("PutBucketRequestPayment", CREATE_BUCKET, "s3:PutBucketRequestPayment"),
    ("PutBucketTagging", CREATE_BUCKET, "s3:PutBucketTagging"),
    ("PutBucketVersioning", CREATE_BUCKET, "s3:PutBucketVersioning"),
    ("PutBucketWebsite", CREATE_BUCKET, "s3:PutBucketWebsite"),
    ("PutObject", WRITE, "s3:PutObject"),
    ("PutObjectAcl", WRITE, "s3:PutObjectAcl"),
    ("PutObjectLegalHold", WRITE, "s3:PutObjectLegalHold"),
    ("PutObjectLockConfiguration", CREATE_BUCKET, "s3:PutBucketObjectLockConfiguration"),
    ("PutObjectRetention", WRITE, "s3:PutObjectRetention"),
    ("PutObjectTagging", WRITE, "s3:PutObjectTagging"),
    ("PutPublicAccessBlock", CREATE_BUCKET, "s3:PutBucketPublicAccessBlock"),
    ("UploadPart", WRITE, "s3:PutObject"),
    ("UploadPartCopy", WRITE, "s3:PutObject"),
];
