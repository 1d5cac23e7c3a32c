//! A record for every answer: whatever is asked, the activity log gets exactly one record of it, which names the
//! operation, the scope, how it ended and the bytes that moved.

use std::time::Duration;

use http::Method;
use s3_gateway::session::ActivityQuery;
use scopes::ScopeSet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Ask, element};
use crate::rig::body;
use crate::shop::{Shop, get, post, put};
use crate::wire::wire;

/// What a record says: operation, scope, status, bytes.
type Line = (String, String, String, u64);

/// Looks at what is new in the log.
struct Log<'a> {
    shop: &'a Shop,
    next: u64,
}

impl<'a> Log<'a> {
    async fn new(shop: &'a Shop) -> Self {
        let mut log = Self { shop, next: 0 };
        log.news().await;
        log
    }

    async fn news(&mut self) -> Vec<Line> {
        let records = self
            .shop
            .rig
            .session
            .activity(&ActivityQuery::default())
            .await
            .unwrap();
        let from = self.next;
        self.next = records.last().map_or(from, |last| last.index + 1);
        let new = records.into_iter().filter(|record| record.index >= from);
        new.map(|new| {
            let record = new.record;
            let scope = record.vault_scope.rsplit('/').next().unwrap().trim().to_owned();
            (record.operation, scope, record.status, record.bytes)
        })
        .collect()
    }

    /// What is new once there is something.
    async fn awaited(&mut self) -> Vec<Line> {
        let some = async {
            loop {
                let news = self.news().await;
                if !news.is_empty() {
                    return news;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), some).await.unwrap()
    }

    /// Sends a request; its record is the only new one.
    async fn expect(&mut self, ask: Ask, operation: &str, scope: &str, status: &str, bytes: u64) -> String {
        let what = format!("{} {} {:?}", ask.method, ask.path, ask.query);
        let reply = self.shop.ask(ask).await;
        let answered = match reply.status {
            200..400 => "ok".to_owned(),
            _ if reply.text.is_empty() => status.to_owned(),
            _ => reply.code(),
        };
        assert_eq!(answered, status, "{what}: {} {}", reply.status, reply.text);
        let line = (operation.to_owned(), scope.to_owned(), status.to_owned(), bytes);
        assert_eq!(self.news().await, [line], "{what}");
        reply.text
    }

    async fn ok(&mut self, ask: Ask, operation: &str, bytes: u64) -> String {
        self.expect(ask, operation, "bkt", "ok", bytes).await
    }

    async fn refused(&mut self, ask: Ask, operation: &str, code: &str) {
        self.expect(ask, operation, "bkt", code, 0).await;
    }
}

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

fn head(path: &str) -> Ask {
    Ask::new(Method::HEAD, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_on_objects_and_buckets_leaves_one_record() {
    let shop = Shop::open().await;
    let mut log = Log::new(&shop).await;
    let large = body(1, 300_000);
    for (ask, operation, bytes) in [
        (put("/bkt/o", &large), "PutObject", 300_000),
        (put("/bkt/empty", b""), "PutObject", 0),
        (get("/bkt/o"), "GetObject", 300_000),
        (get("/bkt/o").set("range", "bytes=10-109"), "GetObject", 100),
        (get("/bkt/empty"), "GetObject", 0),
        (get("/bkt/o").set("if-none-match", "*"), "GetObject", 0),
        (head("/bkt/o"), "HeadObject", 0),
        (
            put("/bkt/c", b"").set("x-amz-copy-source", "/bkt/o"),
            "CopyObject",
            300_000,
        ),
        (get("/bkt"), "ListObjects", 0),
        (get("/bkt").query("list-type", "2"), "ListObjectsV2", 0),
        (delete("/bkt/c"), "DeleteObject", 0),
        (delete("/bkt/c"), "DeleteObject", 0),
        (head("/bkt"), "HeadBucket", 0),
        (put("/bkt", b""), "CreateBucket", 0),
    ] {
        log.ok(ask, operation, bytes).await;
    }
    log.expect(get("/"), "ListBuckets", "*", "ok", 0).await;
    log.expect(put("/new", b""), "CreateBucket", "new", "ok", 0).await;
    log.expect(delete("/new"), "DeleteBucket", "new", "ok", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_that_fails_leaves_one_record_with_its_code() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"x").await;
    let mut log = Log::new(&shop).await;
    for (ask, operation, code) in [
        (delete("/bkt"), "DeleteBucket", "BucketNotEmpty"),
        (get("/bkt/none"), "GetObject", "NoSuchKey"),
        (head("/bkt/none"), "HeadObject", "NoSuchKey"),
        (
            get("/bkt/o").set("range", "bytes=1-"),
            "GetObject",
            "InvalidRange",
        ),
        (
            get("/bkt/o").set("if-match", "x"),
            "GetObject",
            "PreconditionFailed",
        ),
        (
            put("/bkt/o", b"x").set("if-none-match", "*"),
            "PutObject",
            "PreconditionFailed",
        ),
        (
            put("/bkt/o", b"x").set("x-amz-acl", "public"),
            "PutObject",
            "InvalidArgument",
        ),
        (
            put("/bkt/c", b"").set("x-amz-copy-source", "/bkt/none"),
            "CopyObject",
            "NoSuchKey",
        ),
    ] {
        log.refused(ask, operation, code).await;
    }
    log.expect(get("/none/o"), "GetObject", "none", "NoSuchBucket", 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_after_a_setting_leaves_one_record() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"x").await;
    let mut log = Log::new(&shop).await;
    for (query, operation, code) in [
        ("accelerate", "GetBucketAccelerateConfiguration", "ok"),
        ("acl", "GetBucketAcl", "ok"),
        ("cors", "GetBucketCors", "NoSuchCORSConfiguration"),
        (
            "encryption",
            "GetBucketEncryption",
            "ServerSideEncryptionConfigurationNotFoundError",
        ),
        (
            "lifecycle",
            "GetBucketLifecycleConfiguration",
            "NoSuchLifecycleConfiguration",
        ),
        ("location", "GetBucketLocation", "ok"),
        ("logging", "GetBucketLogging", "ok"),
        ("notification", "GetBucketNotificationConfiguration", "ok"),
        (
            "object-lock",
            "GetObjectLockConfiguration",
            "ObjectLockConfigurationNotFoundError",
        ),
        (
            "ownershipControls",
            "GetBucketOwnershipControls",
            "OwnershipControlsNotFoundError",
        ),
        ("policy", "GetBucketPolicy", "NoSuchBucketPolicy"),
        (
            "publicAccessBlock",
            "GetPublicAccessBlock",
            "NoSuchPublicAccessBlockConfiguration",
        ),
        (
            "replication",
            "GetBucketReplication",
            "ReplicationConfigurationNotFoundError",
        ),
        ("requestPayment", "GetBucketRequestPayment", "ok"),
        ("tagging", "GetBucketTagging", "NoSuchTagSet"),
        ("versioning", "GetBucketVersioning", "ok"),
        ("website", "GetBucketWebsite", "NoSuchWebsiteConfiguration"),
        ("policyStatus", "GetBucketPolicyStatus", "ok"),
        ("abac", "Unknown", "NotImplemented"),
    ] {
        log.expect(get("/bkt").query(query, ""), operation, "bkt", code, 0)
            .await;
    }
    log.ok(get("/bkt/o").query("acl", ""), "GetObjectAcl", 0).await;
    log.ok(get("/bkt/o").query("tagging", ""), "GetObjectTagging", 0)
        .await;
    log.refused(
        get("/bkt/none").query("tagging", ""),
        "GetObjectTagging",
        "NoSuchKey",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_of_an_upload_leaves_one_record() {
    let shop = Shop::open().await;
    let mut log = Log::new(&shop).await;
    log.ok(put("/bkt/s", &body(1, 70_000)), "PutObject", 70_000).await;
    let begun = log
        .ok(post("/bkt/o", "uploads", "", ""), "CreateMultipartUpload", 0)
        .await;
    let id = element(&begun, "UploadId");
    let of = |ask: Ask| ask.query("uploadId", &id);
    let part = |n: &str, body: &[u8]| of(put("/bkt/o", body).query("partNumber", n));
    let large = body(2, 5 << 20);
    log.ok(part("1", &large), "UploadPart", 5 << 20).await;
    let copied = part("2", b"").set("x-amz-copy-source", "/bkt/s");
    let copied = copied.set("x-amz-copy-source-range", "bytes=0-99");
    let two = element(&log.ok(copied, "UploadPartCopy", 100).await, "ETag");
    let listed = log.ok(of(get("/bkt/o")), "ListParts", 0).await;
    log.ok(get("/bkt").query("uploads", ""), "ListMultipartUploads", 0)
        .await;
    log.refused(part("0", b"x"), "UploadPart", "InvalidArgument")
        .await;
    let complete = |etag: &str| {
        let xml = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>{two}</ETag></Part></CompleteMultipartUpload>"
        );
        post("/bkt/o", "uploadId", &id, &xml)
    };
    log.refused(complete("\"00\""), "CompleteMultipartUpload", "InvalidPart")
        .await;
    let one = element(&listed, "ETag");
    let whole = (5 << 20) + 100;
    log.ok(complete(&one), "CompleteMultipartUpload", whole).await;
    log.ok(complete(&one), "CompleteMultipartUpload", 0).await;
    log.ok(get("/bkt/o").query("partNumber", "2"), "GetObject", 100)
        .await;
    log.refused(of(delete("/bkt/o")), "AbortMultipartUpload", "NoSuchUpload")
        .await;
    let begun = log
        .ok(post("/bkt/p", "uploads", "", ""), "CreateMultipartUpload", 0)
        .await;
    let id = element(&begun, "UploadId");
    log.ok(delete("/bkt/p").query("uploadId", &id), "AbortMultipartUpload", 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_delete_leaves_a_record_for_each_key() {
    let shop = Shop::open().await;
    shop.put("/bkt/a", b"1").await;
    let mut log = Log::new(&shop).await;
    let delete = |xml: &str| {
        use base64::Engine as _;
        use md5::Digest as _;
        let md5 = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(xml));
        post("/bkt", "delete", "", xml).set("content-md5", &md5)
    };
    let xml = "<Delete><Object><Key>a</Key></Object><Object><Key>gone</Key></Object><Object><Key>a</Key>\
               <VersionId>1</VersionId></Object></Delete>";
    assert_eq!(shop.ask(delete(xml)).await.status, 200);
    let mut news = log.news().await;
    news.sort();
    let line = |status: &str| ("DeleteObject".to_owned(), "bkt".to_owned(), status.to_owned(), 0);
    assert_eq!(news, [line("InvalidArgument"), line("ok"), line("ok")]);
    log.refused(delete("<Delete></Delete>"), "DeleteObjects", "MalformedXML")
        .await;
    log.refused(delete("<Delete>"), "DeleteObjects", "MalformedXML")
        .await;
    log.refused(post("/bkt", "delete", "", xml), "DeleteObjects", "InvalidRequest")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_leaves_one_record_whoever_asked() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"x").await;
    shop.credential("READER", ScopeSet::named(["bkt"]), "read".parse().unwrap())
        .await;
    shop.credential("WRITER", ScopeSet::All, "write".parse().unwrap())
        .await;
    let mut log = Log::new(&shop).await;
    let reader = |mut ask: Ask| {
        ask.key = "READER".into();
        ask
    };
    for (ask, operation) in [
        (put("/bkt/o", b"y"), "PutObject"),
        (delete("/bkt/o"), "DeleteObject"),
        (get("/bkt"), "ListObjects"),
        (post("/bkt", "delete", "", "no xml"), "DeleteObjects"),
        (
            put("/bkt/c", b"").set("x-amz-copy-source", "/bkt/o"),
            "CopyObject",
        ),
    ] {
        log.refused(reader(ask), operation, "AccessDenied").await;
    }
    log.expect(reader(get("/other/o")), "GetObject", "other", "AccessDenied", 0)
        .await;
    let mut copy = put("/bkt/c", b"").set("x-amz-copy-source", "/secret/o");
    copy.key = "WRITER".into();
    log.expect(copy, "CopyObject", "secret", "AccessDenied", 0).await;
    let mut short = put("/bkt/short", b"whole body").payload("UNSIGNED-PAYLOAD");
    short.body.truncate(3);
    log.refused(short, "PutObject", "IncompleteBody").await;
    let mut forged = get("/bkt/o");
    forged.secret = "guessed".into();
    log.expect(forged, "Refused", "*", "SignatureDoesNotMatch", 0)
        .await;
    let mut unknown = get("/bkt/o");
    unknown.key = "NOBODY".into();
    log.expect(unknown, "Refused", "*", "InvalidAccessKeyId", 0).await;
    log.expect(
        put("/No_Bucket", b""),
        "CreateBucket",
        "*",
        "InvalidBucketName",
        0,
    )
    .await;
    let long = format!("/bkt/{}", "k".repeat(1025));
    let part = put("/bkt/o", b"x").query("uploadId", "00");
    for (ask, operation, code) in [
        (put(&long, b""), "PutObject", "KeyTooLongError"),
        (
            put("/bkt/o", b"x").set("content-md5", "AAAA"),
            "PutObject",
            "InvalidDigest",
        ),
        (part.query("partNumber", "1"), "UploadPart", "NoSuchUpload"),
    ] {
        log.refused(ask, operation, code).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_its_client_leaves_has_one_record_of_what_was_released() {
    let shop = Shop::open().await;
    let whole = 40 << 20;
    assert_eq!(shop.put("/bkt/o", &body(1, whole)).await.status, 200);
    let port = shop.listen(None).await;
    let mut log = Log::new(&shop).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream
        .write_all(&wire(get("/bkt/o").signed()).await)
        .await
        .unwrap();
    stream.read_exact(&mut [0; 100_000]).await.unwrap();
    drop(stream);
    let news = log.awaited().await;
    let [(operation, scope, status, bytes)] = news.as_slice() else {
        panic!("{news:?}");
    };
    assert_eq!((operation.as_str(), scope.as_str()), ("GetObject", "bkt"));
    assert_ne!(status, "ok");
    assert!((100_000..whole as u64).contains(bytes), "{bytes}");
    assert_eq!(log.news().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_its_client_leaves_has_one_record() {
    let shop = Shop::open().await;
    let port = shop.listen(None).await;
    let mut log = Log::new(&shop).await;
    let bytes = wire(put("/bkt/o", &body(1, 1 << 20)).signed()).await;
    for polite in [true, false] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
        if polite {
            stream.shutdown().await.unwrap();
        }
        drop(stream);
        let line = |name: &str| ("PutObject".to_owned(), "bkt".to_owned(), name.to_owned(), 0);
        assert_eq!(log.awaited().await, [line("IncompleteBody")]);
    }
    assert_eq!(log.news().await, []);
}
