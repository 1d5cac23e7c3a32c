//! Settings that nothing here has: what S3 answers for a bucket or an object on which they were never made.
//!
//! Clients ask for some of these before they do anything; "never set" is true and keeps them going. Setting any of
//! them is not implemented.

use s3s::dto::*;
use s3s::{S3Request, S3Response};

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
    get_bucket_analytics_configuration(GetBucketAnalyticsConfigurationInput)
        -> GetBucketAnalyticsConfigurationOutput: |_| no_such_configuration();
    get_bucket_intelligent_tiering_configuration(GetBucketIntelligentTieringConfigurationInput)
        -> GetBucketIntelligentTieringConfigurationOutput: |_| no_such_configuration();
    get_bucket_inventory_configuration(GetBucketInventoryConfigurationInput)
        -> GetBucketInventoryConfigurationOutput: |_| no_such_configuration();
    get_bucket_metrics_configuration(GetBucketMetricsConfigurationInput)
        -> GetBucketMetricsConfigurationOutput: |_| no_such_configuration();
    list_bucket_analytics_configurations(ListBucketAnalyticsConfigurationsInput)
        -> ListBucketAnalyticsConfigurationsOutput: |_| Ok(ListBucketAnalyticsConfigurationsOutput {
            is_truncated: Some(false),
            ..Default::default()
        });
    list_bucket_intelligent_tiering_configurations(ListBucketIntelligentTieringConfigurationsInput)
        -> ListBucketIntelligentTieringConfigurationsOutput: |_| Ok(ListBucketIntelligentTieringConfigurationsOutput {
            is_truncated: Some(false),
            ..Default::default()
        });
    list_bucket_inventory_configurations(ListBucketInventoryConfigurationsInput)
        -> ListBucketInventoryConfigurationsOutput: |_| Ok(ListBucketInventoryConfigurationsOutput {
            is_truncated: Some(false),
            ..Default::default()
        });
    list_bucket_metrics_configurations(ListBucketMetricsConfigurationsInput)
        -> ListBucketMetricsConfigurationsOutput: |_| Ok(ListBucketMetricsConfigurationsOutput {
            is_truncated: Some(false),
            ..Default::default()
        });
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput: |_| empty();
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput: |_| empty();
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput: |_| empty();
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput:
        |_| none("ReplicationConfigurationNotFoundError", "The replication configuration was not found");
}

/// Its absence is an empty document in S3.
fn empty<T: Default>() -> Result<T, Halt> {
    Ok(T::default())
}

/// Its absence is an error in S3.
fn none<T>(code: &'static str, message: &'static str) -> Result<T, Halt> {
    Err(Refusal::not_found(code, message).into())
}

/// A configuration is named by an id, and there is none of any.
fn no_such_configuration<T>() -> Result<T, Halt> {
    none(
        "NoSuchConfiguration",
        "The specified configuration does not exist.",
    )
}
