//! What bad input gets: the error that AWS documents, and nothing written.

use http::{Method, Request};
use s3_gateway::body::RawBody;
use scopes::ScopeSet;

use crate::client::{Ask, signed_chunks};
use crate::rig::body;
use crate::shop::{Shop, get, post, put, refused};

type Case = (&'static str, Request<RawBody>, &'static str, u16);

/// A table of what is sent and what it gets.
macro_rules! cases {
    ($($what:literal: $ask:expr => $code:literal $status:literal;)*) => {
        vec![$(($what, $ask.into(), $code, $status)),*]
    };
}

impl From<Ask> for Request<RawBody> {
    fn from(ask: Ask) -> Self {
        ask.signed()
    }
}

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

fn with_md5(ask: Ask) -> Ask {
    use base64::Engine as _;
    use md5::Digest as _;
    let md5 = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(&ask.body));
    ask.set("content-md5", &md5)
}

fn delete_xml(xml: &str) -> Request<RawBody> {
    with_md5(post("/bkt", "delete", "", xml)).signed()
}

/// Everything that a client can see: objects with their ETags, uploads with their parts, buckets.
async fn seen(shop: &Shop, upload: &str) -> [Vec<String>; 5] {
    let objects = shop.get("/bkt").await;
    let parts = shop.ask(get("/bkt/open").query("uploadId", upload)).await;
    let uploads = shop.ask(get("/bkt").query("uploads", "")).await;
    [
        objects.all("Key"),
        objects.all("ETag"),
        parts.all("ETag"),
        uploads.all("UploadId"),
        shop.get("/").await.all("Name"),
    ]
}

/// Sends each, and looks that nothing was written by any.
async fn expect_refused(cases: impl AsyncFnOnce(&Shop, &str) -> Vec<Case>) {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"as it was").await;
    let upload = shop
        .ask(post("/bkt/open", "uploads", "", ""))
        .await
        .all("UploadId")
        .remove(0);
    let part = put("/bkt/open", b"part")
        .query("partNumber", "1")
        .query("uploadId", &upload);
    assert_eq!(shop.ask(part).await.status, 200);
    let before = seen(&shop, &upload).await;
    for (what, request, code, status) in cases(&shop, &upload).await {
        let to_head = request.method() == Method::HEAD;
        let reply = shop.send(request).await;
        let expected = if to_head { String::new() } else { code.to_owned() };
        assert_eq!(reply.outcome(), (status, expected), "{what}: {}", reply.text);
        assert_eq!(seen(&shop, &upload).await, before, "{what}");
    }
    assert_eq!(shop.get("/bkt/o").await.text, "as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_there_or_cannot_be() {
    expect_refused(async |_, _| {
        let long = format!("/bkt/{}", "k".repeat(1025));
        let wide = format!("/bkt/{}", "%C3%A9".repeat(513));
        let id = "00000000000000000000000000000000";
        let xml = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>\
                   </CompleteMultipartUpload>";
        cases! {
            "unknown bucket, read": get("/none/o") => "NoSuchBucket" 404;
            "unknown bucket, list": get("/none") => "NoSuchBucket" 404;
            "unknown bucket, write": put("/none/o", b"x") => "NoSuchBucket" 404;
            "unknown bucket, delete": delete("/none/o") => "NoSuchBucket" 404;
            "unknown bucket, upload": post("/none/o", "uploads", "", "") => "NoSuchBucket" 404;
            "unknown bucket, looked at": Ask::new(Method::HEAD, "/none") => "" 404;
            "unknown key": get("/bkt/none") => "NoSuchKey" 404;
            "unknown key, looked at": Ask::new(Method::HEAD, "/bkt/none") => "" 404;
            "unknown upload": put("/bkt/o", b"x").query("partNumber", "1").query("uploadId", id) => "NoSuchUpload" 404;
            "unknown upload, completed": post("/bkt/o", "uploadId", id, xml) => "NoSuchUpload" 404;
            "unknown upload, listed": get("/bkt/o").query("uploadId", "x") => "NoSuchUpload" 404;
            "unknown upload, aborted": delete("/bkt/o").query("uploadId", id) => "NoSuchUpload" 404;
            "a bucket's name in capitals": put("/Bucket", b"") => "InvalidBucketName" 400;
            "a bucket's name of two letters": put("/ab", b"") => "InvalidBucketName" 400;
            "a bucket named as an address": put("/192.168.0.1", b"") => "InvalidBucketName" 400;
            "a bucket that is a way up": put("/..", b"") => "InvalidBucketName" 400;
            "a key of 1,025 bytes": put(&long, b"x") => "KeyTooLongError" 400;
            "a key of 1,026 bytes in 513 letters": put(&wide, b"x") => "KeyTooLongError" 400;
            "NUL in a key": put("/bkt/a%00b", b"x") => "InvalidArgument" 400;
            "NUL in a copy's source": put("/bkt/c", b"").set("x-amz-copy-source", "/bkt/%00") => "InvalidArgument" 400;
            "half an escape": put("/bkt/a%2", b"x") => "InvalidURI" 400;
            "a key that is no text": put("/bkt/%FF%FE", b"x") => "InvalidURI" 400;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_look_like_paths_are_keys() {
    let shop = Shop::open().await;
    let longest = "k".repeat(1024);
    let keys = [
        "..",
        "../../etc/passwd",
        ".",
        "a//b",
        "a%5Cb",
        "a%5C..%5Cb",
        "/x",
        "con",
        "a%0D%0Ab",
        &longest,
    ];
    for key in keys {
        let path = format!("/bkt/{key}");
        assert_eq!(shop.put(&path, key.as_bytes()).await.status, 200, "{key}");
        assert_eq!(shop.get(&path).await.text, key);
    }
    let listed = shop.ask(get("/bkt").query("encoding-type", "url")).await;
    assert_eq!(listed.all("Key").len(), keys.len(), "{}", listed.text);
    for key in keys {
        assert_eq!(shop.ask(delete(&format!("/bkt/{key}"))).await.status, 204);
    }
    assert!(shop.get("/bkt").await.all("Key").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_malformed_or_too_long() {
    expect_refused(async |_, upload| {
        let complete = |xml: &str| post("/bkt/open", "uploadId", upload, xml).signed();
        let good = "<Delete><Object><Key>o</Key></Object></Delete>";
        let no_text = Ask::new(Method::POST, "/bkt").query("delete", "");
        let no_text = with_md5(no_text.body(b"<Delete>\xff</Delete>"));
        let copy = |body: &[u8]| put("/bkt/c", body).set("x-amz-copy-source", "/bkt/o");
        let nested = format!("<Delete>{}", "<Object>".repeat(200_000));
        let bomb =
            "<!DOCTYPE a [<!ENTITY b \"cccccccccc\">]><Delete><Object><Key>&b;</Key></Object></Delete>";
        let elsewhere = "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint>\
                         </CreateBucketConfiguration>";
        let part = |n: &str| {
            let xml = format!("<Part><PartNumber>{n}</PartNumber><ETag>x</ETag></Part>");
            complete(&format!(
                "<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>"
            ))
        };
        let long = " ".repeat((2 << 20) + 1);
        cases! {
            "no XML": delete_xml("{}") => "MalformedXML" 400;
            "nothing at all": delete_xml("") => "MissingRequestBodyError" 400;
            "an end too few": delete_xml("<Delete><Object><Key>o</Key></Object>") => "MalformedXML" 400;
            "another document": delete_xml("<Erase><Object><Key>o</Key></Object></Erase>") => "MalformedXML" 400;
            "no key": delete_xml("<Delete><Object></Object></Delete>") => "MalformedXML" 400;
            "deep nesting": delete_xml(&nested) => "MalformedXML" 400;
            "an entity": delete_xml(bomb) => "MalformedXML" 400;
            "no UTF-8": no_text => "MalformedXML" 400;
            "no digest": post("/bkt", "delete", "", good) => "InvalidRequest" 400;
            "a completion that is none": complete("<Complete/>") => "MalformedXML" 400;
            "a completion without parts": complete("<CompleteMultipartUpload/>") => "MalformedXML" 400;
            "a part that is no number": part("one") => "MalformedXML" 400;
            "a part that was never sent": part("2") => "InvalidPart" 400;
            "part 10,001": part("10001") => "InvalidArgument" 400;
            "a bucket's document that is none": put("/new", b"<CreateBucket") => "MalformedXML" 400;
            "a bucket elsewhere": put("/new", elsewhere.as_bytes()) => "InvalidLocationConstraint" 400;
            "a multi-delete beyond 2 MiB": delete_xml(&long) => "MaxMessageLengthExceeded" 400;
            "a completion beyond 2 MiB": complete(&long) => "MaxMessageLengthExceeded" 400;
            "a bucket's document beyond 64 KiB": put("/new", &[b' '; 65_537]) => "MaxMessageLengthExceeded" 400;
            "a copy with a long body": copy(&[b' '; 65_537]) => "MaxMessageLengthExceeded" 400;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_not_who_or_when_they_say() {
    expect_refused(async |shop, _| {
        shop.credential("READER", ScopeSet::All, "read".parse().unwrap())
            .await;
        let change = |change: &dyn Fn(&mut Ask)| {
            let mut ask = put("/bkt/o", b"altered");
            change(&mut ask);
            ask
        };
        let elsewhere = change(&|ask| ask.region = "mars".into());
        let late = change(&|ask| ask.skew_s = -960);
        let early = change(&|ask| ask.skew_s = 960);
        let expired = change(&|ask| ask.skew_s = -61);
        let ahead = change(&|ask| ask.skew_s = 1_000);
        let mut version_2 = put("/bkt/o", b"altered");
        version_2
            .unsigned
            .push(("authorization".into(), "AWS CAIRNTESTKEY:c2ln".into()));
        cases! {
            "wrong secret": change(&|ask| ask.secret = "guessed".into()) => "SignatureDoesNotMatch" 403;
            "unknown key id": change(&|ask| ask.key = "NOBODY".into()) => "InvalidAccessKeyId" 403;
            "nobody at all": put("/bkt/o", b"altered").build() => "AccessDenied" 403;
            "no right": change(&|ask| ask.key = "READER".into()) => "AccessDenied" 403;
            "version 2": version_2.build() => "InvalidRequest" 400;
            "wrong region": change(&|ask| ask.region = "mars".into()) => "AuthorizationHeaderMalformed" 400;
            "wrong region in a URL": elsewhere.presigned(60) => "AuthorizationQueryParametersError" 400;
            "a clock behind": late => "RequestTimeTooSkewed" 403;
            "a clock ahead": early => "RequestTimeTooSkewed" 403;
            "an expired URL": expired.presigned(60) => "AccessDenied" 403;
            "a URL of tomorrow": ahead.presigned(60) => "AccessDenied" 403;
            "a URL for eight days": put("/bkt/o", b"x").presigned(691_200) => "AuthorizationQueryParametersError" 400;
            "a session token": put("/bkt/o", b"x").set("x-amz-security-token", "t") => "InvalidToken" 400;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_what_was_announced() {
    expect_refused(async |_, upload| {
        let part = |body: &[u8]| {
            put("/bkt/open", body)
                .query("partNumber", "1")
                .query("uploadId", upload)
        };
        let altered = |mut ask: Ask| {
            ask.body = b"woof".to_vec();
            ask.signed()
        };
        let short = |mut ask: Ask| {
            ask = ask.payload("UNSIGNED-PAYLOAD");
            ask.body.truncate(2);
            ask.signed()
        };
        let huge = |ask: Ask| {
            ask.payload("UNSIGNED-PAYLOAD")
                .set("content-length", "5368709121")
                .signed()
        };
        let mut silent = put("/bkt/o", b"meow");
        silent.headers.retain(|(name, _)| name != "content-length");
        let large = body(1, 200_000);
        let chunked = put("/bkt/o", &large).payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        let chunked = chunked
            .set("x-amz-decoded-content-length", "200000")
            .signed_with(|signed, body| {
                let mut framed = signed_chunks(signed, body, 65_536, None);
                framed[150_000] ^= 1;
                framed
            });
        let zeros = "AAAAAAAAAAAAAAAAAAAAAA==";
        cases! {
            "another body": altered(put("/bkt/o", b"meow")) => "XAmzContentSHA256Mismatch" 400;
            "another part": altered(part(b"meow")) => "XAmzContentSHA256Mismatch" 400;
            "half a body": short(put("/bkt/o", b"meow")) => "IncompleteBody" 400;
            "half a part": short(part(b"meow")) => "IncompleteBody" 400;
            "an altered chunk": chunked => "SignatureDoesNotMatch" 403;
            "a wrong MD5": put("/bkt/o", b"meow").set("content-md5", zeros) => "BadDigest" 400;
            "an MD5 that is none": part(b"meow").set("content-md5", "meow") => "InvalidDigest" 400;
            "a wrong CRC": part(b"meow").set("x-amz-checksum-crc32", "AAAAAA==") => "BadDigest" 400;
            "a CRC that is none": put("/bkt/o", b"meow").set("x-amz-checksum-crc32", "A") => "InvalidRequest" 400;
            "an unknown checksum": part(b"x").set("x-amz-sdk-checksum-algorithm", "MD9") => "InvalidRequest" 400;
            "an object beyond 5 GiB": huge(put("/bkt/o", b"x")) => "EntityTooLarge" 400;
            "a part beyond 5 GiB": huge(part(b"x")) => "EntityTooLarge" 400;
            "no length": silent => "MissingContentLength" 411;
            "too much metadata": put("/bkt/o", b"x").set("x-amz-meta-a", &"v".repeat(2_048)) => "MetadataTooLarge" 400;
            "beyond the end": get("/bkt/o").set("range", "bytes=9-") => "InvalidRange" 416;
            "the last no bytes": get("/bkt/o").set("range", "bytes=-0") => "InvalidRange" 416;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_s3_that_are_not_here_touch_nothing() {
    expect_refused(async |_, upload| {
        let source = put("/bkt/o", b"").set("x-amz-rename-source", "/bkt/other");
        cases! {
            "a sub-resource of a bucket, deleted": delete("/bkt").query("metadataConfiguration", "") => "NotImplemented" 501;
            "an access list of an object, deleted": delete("/bkt/o").query("acl", "") => "NotImplemented" 501;
            "a renaming": source.query("renameObject", "") => "NotImplemented" 501;
            "an encryption of an object": put("/bkt/o", b"").query("encryption", "") => "NotImplemented" 501;
            "a policy that is none": put("/bkt", b"{}").query("policy", "") => "MalformedPolicy" 400;
            "two sub-resources": delete("/bkt/open").query("tagging", "").query("uploadId", upload) => "NotImplemented" 501;
            "a part of no upload": put("/bkt/o", b"x").query("partNumber", "1") => "InvalidArgument" 400;
            "an upload's part without number": put("/bkt/open", b"x").query("uploadId", upload) => "InvalidArgument" 400;
            "a POST to an object": Ask::new(Method::POST, "/bkt/o").body(b"") => "MethodNotAllowed" 405;
            "a PATCH": Ask::new(Method::PATCH, "/bkt/o").body(b"x") => "MethodNotAllowed" 405;
            "a look at the service": Ask::new(Method::HEAD, "/") => "" 405;
            "no version id": get("/bkt/o").query("versionId", "1") => "InvalidArgument" 400;
            "an old version": get("/bkt/o").query("versionId", &"0".repeat(32)) => "NoSuchVersion" 404;
            "a storage class": put("/bkt/o", b"x").set("x-amz-storage-class", "ICE") => "InvalidStorageClass" 400;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_so_before_a_document_is_read() {
    let shop = Shop::open().await;
    shop.credential("READER", ScopeSet::All, "read".parse().unwrap())
        .await;
    let silence = || {
        use http_body_util::BodyExt as _;
        let nothing = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, _>>();
        http_body_util::StreamBody::new(nothing).boxed_unsync()
    };
    for ask in [
        post("/bkt", "delete", "", "<Delete/>"),
        post("/bkt/o", "uploadId", "00", "<CompleteMultipartUpload/>"),
        put("/bkt/o", b"meow"),
        put("/new", b"<CreateBucketConfiguration/>"),
    ] {
        let mut request = Ask {
            key: "READER".into(),
            ..ask
        }
        .signed();
        *request.body_mut() = silence();
        let reply = tokio::time::timeout(std::time::Duration::from_secs(5), shop.send(request)).await;
        assert_eq!(reply.unwrap().outcome(), refused("AccessDenied", 403));
    }
}
