//! Which S3 operation a request is, from its method, its path, its query and one header.
//!
//! Decided at the gate, before a byte of the body is read; s3s routes by the same parts behind it, and where the two
//! differ the request is refused (`access.rs`). Stricter than s3s: a sub-resource that has no operation here is never
//! taken for the plain operation on the bucket or the object, which would delete or overwrite it. Source: the request
//! syntax of each action in the S3 API reference.

use http::Method;

use crate::auth::canonical::Query;
use crate::errors::Refusal;

/// A request of one operation, as far as it is routed by: for whoever sweeps all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// S3's name of the operation.
    pub operation: &'static str,
    /// GET, PUT, …
    pub method: &'static str,
    /// 0: the service, 1: a bucket, 2: an object.
    pub names: usize,
    /// The query, as pairs.
    pub query: &'static [(&'static str, &'static str)],
    /// Whether `x-amz-copy-source` is there.
    pub copies: bool,
}

/// A route for every operation that is served, by asking [`operation`] for each combination of what it looks at.
pub fn routes() -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        for (names, level) in [Level::Service, Level::Bucket, Level::Object]
            .into_iter()
            .enumerate()
        {
            for (query, copies) in QUERIES.iter().flat_map(|query| [(*query, false), (*query, true)]) {
                let text: Vec<String> = query
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                let parsed = Query::parse(Some(&text.join("&")));
                let (Ok(parsed), Ok(method_of)) = (parsed, Method::from_bytes(method.as_bytes())) else {
                    continue;
                };
                match operation(&method_of, level, &parsed, copies) {
                    Ok(operation) if routes.iter().all(|known| known.operation != operation) => {
                        routes.push(Route {
                            operation,
                            method,
                            names,
                            query,
                            copies,
                        });
                    }
                    _ => {}
                }
            }
        }
    }
    routes
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The service.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// The operation of a request, under the name that `access.rs` has for it.
pub(crate) fn operation(
    method: &Method,
    level: Level,
    query: &Query,
    copies: bool,
) -> Result<&'static str, Refusal> {
    let mut asked = SUB_RESOURCES.iter().filter(|name| query.has(name));
    let sub_resource = asked.next().copied();
    if asked.next().is_some() {
        return Err(Refusal::not_implemented(
            "A request for several sub-resources at once is not implemented",
        ));
    }
    match sub_resource {
        None => plain(method, level, query, copies),
        Some("uploadId") if *method == Method::PUT && level == Level::Object => {
            match (query.has("partNumber"), copies) {
                (true, false) => Ok("UploadPart"),
                (true, true) => Ok("UploadPartCopy"),
                (false, _) => Err(Refusal::invalid_argument(
                    "This operation does not accept an uploadId without a partNumber.",
                )),
            }
        }
        // One configuration of several, by its id.
        Some(sub_resource) if query.has("id") && *method == Method::GET && level == Level::Bucket => {
            let named = NAMED.iter().find(|(name, _)| *name == sub_resource);
            let row = || ROWS.iter().find(|(row, _)| *row == ("GET", level, sub_resource));
            let found = named
                .map(|(_, operation)| *operation)
                .or_else(|| row().map(|(_, operation)| *operation));
            found.ok_or_else(|| not_implemented(method, level, sub_resource))
        }
        Some(sub_resource) => ROWS
            .iter()
            .find(|(row, ..)| *row == (method.as_str(), level, sub_resource))
            .map(|(_, operation)| *operation)
            .ok_or_else(|| not_implemented(method, level, sub_resource)),
    }
}

/// Without a sub-resource.
fn plain(method: &Method, level: Level, query: &Query, copies: bool) -> Result<&'static str, Refusal> {
    let is = |name: &str, value: &str| query.pairs().any(|pair| pair == (name, value));
    match (method.as_str(), level) {
        ("GET", Level::Service) if is("x-id", "ListDirectoryBuckets") => Err(Refusal::not_implemented(
            "ListDirectoryBuckets is not implemented",
        )),
        ("GET", Level::Service) => Ok("ListBuckets"),
        ("GET", Level::Bucket) if is("list-type", "2") => Ok("ListObjectsV2"),
        ("GET", Level::Bucket) => Ok("ListObjects"),
        ("GET", Level::Object) => Ok("GetObject"),
        ("HEAD", Level::Bucket) => Ok("HeadBucket"),
        ("HEAD", Level::Object) => Ok("HeadObject"),
        ("PUT", Level::Bucket) => Ok("CreateBucket"),
        ("PUT", Level::Object) if query.has("partNumber") => Err(Refusal::invalid_argument(
            "This operation does not accept a partNumber without an uploadId.",
        )),
        ("PUT", Level::Object) => Ok(if copies { "CopyObject" } else { "PutObject" }),
        ("DELETE", Level::Bucket) => Ok("DeleteBucket"),
        ("DELETE", Level::Object) => Ok("DeleteObject"),
        _ => {
            let message = "The specified method is not allowed against this resource.";
            Err(Refusal::new(405, "MethodNotAllowed", message))
        }
    }
}

/// Names what was asked for: the sub-resource is one of the table's words, never the client's.
fn not_implemented(method: &Method, level: Level, sub_resource: &str) -> Refusal {
    let level = match level {
        Level::Service => "the service",
        Level::Bucket => "a bucket",
        Level::Object => "an object",
    };
    Refusal::not_implemented(format!("{method} ?{sub_resource} of {level} is not implemented"))
}

type Row = ((&'static str, Level, &'static str), &'static str);

/// Sub-resources with an operation here.
const ROWS: &[Row] = &[
    (("DELETE", Level::Bucket, "cors"), "DeleteBucketCors"),
    (("DELETE", Level::Bucket, "encryption"), "DeleteBucketEncryption"),
    (
        ("DELETE", Level::Bucket, "ownershipControls"),
        "DeleteBucketOwnershipControls",
    ),
    (("DELETE", Level::Bucket, "policy"), "DeleteBucketPolicy"),
    (
        ("DELETE", Level::Bucket, "publicAccessBlock"),
        "DeletePublicAccessBlock",
    ),
    (("DELETE", Level::Bucket, "lifecycle"), "DeleteBucketLifecycle"),
    (
        ("PUT", Level::Bucket, "lifecycle"),
        "PutBucketLifecycleConfiguration",
    ),
    (("DELETE", Level::Bucket, "tagging"), "DeleteBucketTagging"),
    (("DELETE", Level::Bucket, "website"), "DeleteBucketWebsite"),
    (("DELETE", Level::Object, "uploadId"), "AbortMultipartUpload"),
    (
        ("GET", Level::Bucket, "accelerate"),
        "GetBucketAccelerateConfiguration",
    ),
    (("GET", Level::Bucket, "acl"), "GetBucketAcl"),
    (
        ("GET", Level::Bucket, "analytics"),
        "ListBucketAnalyticsConfigurations",
    ),
    (("GET", Level::Bucket, "cors"), "GetBucketCors"),
    (("GET", Level::Bucket, "encryption"), "GetBucketEncryption"),
    (
        ("GET", Level::Bucket, "intelligent-tiering"),
        "ListBucketIntelligentTieringConfigurations",
    ),
    (
        ("GET", Level::Bucket, "inventory"),
        "ListBucketInventoryConfigurations",
    ),
    (
        ("GET", Level::Bucket, "lifecycle"),
        "GetBucketLifecycleConfiguration",
    ),
    (("GET", Level::Bucket, "location"), "GetBucketLocation"),
    (("GET", Level::Bucket, "logging"), "GetBucketLogging"),
    (
        ("GET", Level::Bucket, "metrics"),
        "ListBucketMetricsConfigurations",
    ),
    (
        ("GET", Level::Bucket, "notification"),
        "GetBucketNotificationConfiguration",
    ),
    (
        ("GET", Level::Bucket, "object-lock"),
        "GetObjectLockConfiguration",
    ),
    (
        ("GET", Level::Bucket, "ownershipControls"),
        "GetBucketOwnershipControls",
    ),
    (("GET", Level::Bucket, "policy"), "GetBucketPolicy"),
    (("GET", Level::Bucket, "policyStatus"), "GetBucketPolicyStatus"),
    (
        ("GET", Level::Bucket, "publicAccessBlock"),
        "GetPublicAccessBlock",
    ),
    (("GET", Level::Bucket, "replication"), "GetBucketReplication"),
    (
        ("GET", Level::Bucket, "requestPayment"),
        "GetBucketRequestPayment",
    ),
    (("GET", Level::Bucket, "tagging"), "GetBucketTagging"),
    (("GET", Level::Bucket, "uploads"), "ListMultipartUploads"),
    (("GET", Level::Bucket, "versioning"), "GetBucketVersioning"),
    (("GET", Level::Bucket, "versions"), "ListObjectVersions"),
    (("GET", Level::Bucket, "website"), "GetBucketWebsite"),
    (("GET", Level::Object, "acl"), "GetObjectAcl"),
    (("GET", Level::Object, "tagging"), "GetObjectTagging"),
    (("GET", Level::Object, "uploadId"), "ListParts"),
    (("DELETE", Level::Object, "tagging"), "DeleteObjectTagging"),
    (("GET", Level::Object, "attributes"), "GetObjectAttributes"),
    (("GET", Level::Object, "legal-hold"), "GetObjectLegalHold"),
    (("GET", Level::Object, "retention"), "GetObjectRetention"),
    (
        ("PUT", Level::Bucket, "object-lock"),
        "PutObjectLockConfiguration",
    ),
    (("PUT", Level::Object, "legal-hold"), "PutObjectLegalHold"),
    (("PUT", Level::Object, "retention"), "PutObjectRetention"),
    (("PUT", Level::Object, "tagging"), "PutObjectTagging"),
    (("POST", Level::Bucket, "delete"), "DeleteObjects"),
    (("POST", Level::Object, "uploadId"), "CompleteMultipartUpload"),
    (("POST", Level::Object, "uploads"), "CreateMultipartUpload"),
    (("PUT", Level::Bucket, "acl"), "PutBucketAcl"),
    (("PUT", Level::Bucket, "cors"), "PutBucketCors"),
    (("PUT", Level::Bucket, "encryption"), "PutBucketEncryption"),
    (
        ("PUT", Level::Bucket, "ownershipControls"),
        "PutBucketOwnershipControls",
    ),
    (("PUT", Level::Bucket, "policy"), "PutBucketPolicy"),
    (
        ("PUT", Level::Bucket, "publicAccessBlock"),
        "PutPublicAccessBlock",
    ),
    (
        ("PUT", Level::Bucket, "requestPayment"),
        "PutBucketRequestPayment",
    ),
    (("PUT", Level::Bucket, "tagging"), "PutBucketTagging"),
    (("PUT", Level::Bucket, "versioning"), "PutBucketVersioning"),
    (("PUT", Level::Bucket, "website"), "PutBucketWebsite"),
    (("PUT", Level::Object, "acl"), "PutObjectAcl"),
];

/// Sub-resources of which a bucket has several, each with an id.
const NAMED: &[(&str, &str)] = &[
    ("analytics", "GetBucketAnalyticsConfiguration"),
    ("intelligent-tiering", "GetBucketIntelligentTieringConfiguration"),
    ("inventory", "GetBucketInventoryConfiguration"),
    ("metrics", "GetBucketMetricsConfiguration"),
];

/// Every query parameter that makes a request another operation.
const SUB_RESOURCES: [&str; 39] = [
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// The queries of which one at least reaches each operation; a test holds them against the table.
const QUERIES: &[&[(&str, &str)]] = &[
    &[],
    &[("list-type", "2")],
    &[("uploadId", "1"), ("partNumber", "1")],
    &[("accelerate", "")],
    &[("acl", "")],
    &[("analytics", "")],
    &[("attributes", "")],
    &[("cors", "")],
    &[("delete", "")],
    &[("encryption", "")],
    &[("intelligent-tiering", "")],
    &[("inventory", "")],
    &[("legal-hold", "")],
    &[("lifecycle", "")],
    &[("location", "")],
    &[("logging", "")],
    &[("metrics", "")],
    &[("notification", "")],
    &[("object-lock", "")],
    &[("ownershipControls", "")],
    &[("policy", "")],
    &[("policyStatus", "")],
    &[("publicAccessBlock", "")],
    &[("replication", "")],
    &[("requestPayment", "")],
    &[("retention", "")],
    &[("tagging", "")],
    &[("uploadId", "1")],
    &[("uploads", "")],
    &[("versioning", "")],
    &[("versions", "")],
    &[("website", "")],
    &[("analytics", ""), ("id", "1")],
    &[("intelligent-tiering", ""), ("id", "1")],
    &[("inventory", ""), ("id", "1")],
    &[("metrics", ""), ("id", "1")],
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access::TABLE;

    fn of(method: &str, level: Level, query: &str) -> Result<&'static str, u16> {
        let query = Query::parse(Some(query)).unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        operation(&method, level, &query, false).map_err(|refusal| refusal.status)
    }

    #[test]
    fn every_operation_of_the_table_is_reached_and_no_other() {
        let mut reached: BTreeSet<&str> = routes().into_iter().map(|route| route.operation).collect();
        let known = reached.len();
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            for level in [Level::Service, Level::Bucket, Level::Object] {
                for query in SUB_RESOURCES
                    .iter()
                    .flat_map(|q| [(*q).to_owned(), format!("{q}&id=1")])
                {
                    let query = Query::parse(Some(&query)).unwrap();
                    let method = Method::from_bytes(method.as_bytes()).unwrap();
                    reached.extend(operation(&method, level, &query, false));
                    reached.extend(operation(&method, level, &query, true));
                }
            }
        }
        assert_eq!(reached.len(), known, "a route is missing");
        let table: BTreeSet<&str> = TABLE.iter().map(|(name, ..)| *name).collect();
        assert_eq!(reached, table);
    }

    #[test]
    fn an_unknown_sub_resource_never_touches_the_bucket_or_the_object() {
        for name in SUB_RESOURCES {
            for (method, level) in [
                ("PUT", Level::Bucket),
                ("PUT", Level::Object),
                ("DELETE", Level::Bucket),
                ("DELETE", Level::Object),
            ] {
                let plain = of(method, level, "").unwrap();
                assert_ne!(of(method, level, name), Ok(plain), "{method} ?{name}");
            }
        }
        let query = Query::parse(Some("abac")).unwrap();
        let refusal = operation(&Method::PUT, Level::Bucket, &query, false).unwrap_err();
        assert_eq!(refusal.message, "PUT ?abac of a bucket is not implemented");
        assert_eq!(of("PUT", Level::Object, "partNumber=1"), Err(400));
        assert_eq!(of("PUT", Level::Object, "uploadId=1"), Err(400));
        assert_eq!(of("DELETE", Level::Object, "uploadId=1&tagging"), Err(501));
        assert_eq!(of("POST", Level::Object, ""), Err(405));
        assert_eq!(of("HEAD", Level::Service, ""), Err(405));
        assert_eq!(of("PUT", Level::Object, "x-id=PutObject"), Ok("PutObject"));
    }
}
