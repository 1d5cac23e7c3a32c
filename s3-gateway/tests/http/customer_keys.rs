//! Server-side encryption with keys of the client's (SSE-C): who gets what with which key, over which connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use s3_gateway::host::{Hosts, Peer};

use crate::client::{Ask, Bench, Reply, element};
use crate::rig::body;
use crate::shop::{Shop, get, post, put, refused};
use crate::upload::{Upload, base64};

const ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const KEY: &str = "x-amz-server-side-encryption-customer-key";
const KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";
const SSE: &str = "x-amz-server-side-encryption";
const FROM: &str = "x-amz-copy-source";

fn md5(seed: u8) -> String {
    STANDARD.encode(Md5::digest([seed; 32]))
}

/// With a key.
fn under(ask: Ask, seed: u8) -> Ask {
    ask.set(ALGORITHM, "AES256")
        .set(KEY, &STANDARD.encode([seed; 32]))
        .set(KEY_MD5, &md5(seed))
}

/// With the key of a copy's source.
fn from_under(ask: Ask, seed: u8) -> Ask {
    let name = |name: &str| name.replace("x-amz-", "x-amz-copy-source-");
    ask.set(&name(ALGORITHM), "AES256")
        .set(&name(KEY), &STANDARD.encode([seed; 32]))
        .set(&name(KEY_MD5), &md5(seed))
}

fn head(path: &str) -> Ask {
    Ask::new(http::Method::HEAD, path)
}

/// The headers of an answer about a key.
fn said(reply: &Reply) -> (u16, &str, &str, &str) {
    let header = |name| reply.header(name);
    (reply.status, header(ALGORITHM), header(KEY_MD5), header(SSE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_read_with_its_key_and_with_nothing_else() {
    let shop = Shop::open().await;
    let bytes = body(1, 300_000);
    let reply = shop.ask(under(put("/bkt/o", &bytes), 1)).await;
    let answer = (200, "AES256", md5(1));
    assert_eq!(said(&reply), (answer.0, answer.1, &*answer.2, ""));
    let etag = reply.header("etag").to_owned();
    assert_ne!(
        etag.trim_matches('"'),
        hex::encode(Md5::digest(&bytes)),
        "an MD5 tells"
    );
    let reply = shop.ask(under(get("/bkt/o"), 1)).await;
    assert_eq!(said(&reply), (answer.0, answer.1, &*answer.2, ""));
    assert!(reply.body == bytes && reply.header("etag") == etag);
    let reply = shop
        .ask(under(get("/bkt/o"), 1).set("range", "bytes=65519-131041"))
        .await;
    assert!(reply.status == 206 && reply.body == bytes[65_519..131_042]);
    assert_eq!(
        shop.ask(under(head("/bkt/o"), 1)).await.header("content-length"),
        "300000"
    );
    for ask in [get("/bkt/o"), get("/bkt/o").set("if-none-match", &etag)] {
        assert_eq!(
            shop.ask(ask.clone()).await.outcome(),
            refused("InvalidRequest", 400)
        );
        assert_eq!(
            shop.ask(under(ask, 2)).await.outcome(),
            refused("AccessDenied", 403)
        );
    }
    assert_eq!(shop.ask(head("/bkt/o")).await.status, 400);
    assert_eq!(shop.ask(under(head("/bkt/o"), 2)).await.status, 403);
    assert_eq!(shop.put("/bkt/plain", b"x").await.status, 200);
    let needless = shop.ask(under(get("/bkt/plain"), 1)).await;
    assert_eq!(needless.outcome(), refused("InvalidRequest", 400));
    // Conditions, tags and listings go by the ETag and need no key.
    assert_eq!(
        shop.ask(under(get("/bkt/o"), 1).set("if-none-match", &etag))
            .await
            .status,
        304
    );
    let replaced = under(put("/bkt/o", b"new"), 3).set("if-match", &etag);
    assert_eq!(shop.ask(replaced.clone()).await.status, 200);
    assert_eq!(shop.ask(replaced).await.status, 412);
    assert!(shop.get("/bkt").await.all("Size").contains(&"3".to_owned()));
    assert_eq!(shop.ask(get("/bkt/o").query("tagging", "")).await.status, 200);
    let gone = Ask::new(http::Method::DELETE, "/bkt/o");
    assert_eq!(shop.ask(gone).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digests_that_come_with_the_body_are_checked_and_kept() {
    let shop = Shop::open().await;
    let sum = base64(&sha2::Sha256::digest(b"meow"));
    let ask = under(put("/bkt/o", b"meow"), 1).set("x-amz-checksum-sha256", &sum);
    let good = ask
        .clone()
        .set("content-md5", &STANDARD.encode(Md5::digest(b"meow")));
    assert_eq!(shop.ask(good).await.status, 200);
    let reply = shop
        .ask(under(get("/bkt/o"), 1).set("x-amz-checksum-mode", "ENABLED"))
        .await;
    assert_eq!(
        (reply.text.as_str(), reply.header("x-amz-checksum-sha256")),
        ("meow", &*sum)
    );
    let attributes = get("/bkt/o")
        .query("attributes", "")
        .set("x-amz-object-attributes", "Checksum,ETag");
    assert_eq!(
        shop.ask(attributes.clone()).await.outcome(),
        refused("InvalidRequest", 400)
    );
    let reply = shop.ask(under(attributes, 1)).await;
    assert_eq!(
        (reply.status, element(&reply.text, "ChecksumSHA256")),
        (200, sum.clone())
    );
    for bad in [
        under(put("/bkt/p", b"moew"), 1).set("x-amz-checksum-sha256", &sum),
        under(put("/bkt/p", b"moew"), 1).set("content-md5", &STANDARD.encode(Md5::digest(b"meow"))),
    ] {
        assert_eq!(shop.ask(bad).await.outcome(), refused("BadDigest", 400));
    }
    assert_eq!(
        shop.ask(under(get("/bkt/p"), 1)).await.outcome(),
        refused("NoSuchKey", 404)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_make_no_key_are_refused_before_anything_is_written() {
    let shop = Shop::open().await;
    let whole = || under(put("/bkt/o", b"x"), 1);
    let without = |name: &str| {
        let mut ask = whole();
        ask.headers.retain(|(have, _)| have != name);
        ask
    };
    for (ask, code) in [
        (whole().set(KEY_MD5, &md5(2)), "InvalidArgument"),
        (whole().set(KEY, &STANDARD.encode([1; 16])), "InvalidArgument"),
        (
            whole().set(ALGORITHM, "AES192"),
            "InvalidEncryptionAlgorithmError",
        ),
        (without(ALGORITHM), "InvalidArgument"),
        (without(KEY), "InvalidArgument"),
        (without(KEY_MD5), "InvalidArgument"),
        (whole().set(SSE, "AES256"), "InvalidArgument"),
    ] {
        assert_eq!(shop.ask(ask).await.outcome(), refused(code, 400));
    }
    assert_eq!(shop.get("/bkt/o").await.outcome(), refused("NoSuchKey", 404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_taken_over_tls_from_this_machine_or_where_a_trusted_proxy_says_https() {
    let hosts = Hosts::new(&[], &["10.0.0.1".parse().unwrap()]);
    let shop = Shop::open_as(hosts, |_| {}).await;
    let ask = async |address: &str, tls: bool, forwarded: &[(&str, &str)]| {
        let mut ask = under(put("/bkt/o", b"x"), 1);
        for (name, value) in forwarded {
            ask.unsigned.push(((*name).into(), (*value).into()));
        }
        let address = address.parse().unwrap();
        let reply = shop.send_from(Peer { address, tls }, ask.signed()).await;
        (reply.status, reply.text)
    };
    let https = [("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.7")];
    assert_eq!(ask("127.0.0.1", false, &[]).await.0, 200);
    assert_eq!(ask("192.0.2.7", true, &[]).await.0, 200);
    assert_eq!(ask("10.0.0.1", false, &https).await.0, 200);
    for (address, forwarded) in [
        ("192.0.2.7", &[][..]),
        ("192.0.2.7", &https[..]),
        ("10.0.0.1", &[][..]),
        ("10.0.0.1", &[("x-forwarded-for", "127.0.0.1")][..]),
    ] {
        let (status, text) = ask(address, false, forwarded).await;
        assert!(
            status == 400 && text.contains("must be made over a secure connection"),
            "{address}: {text}"
        );
    }
}

#[tokio::test]
async fn behind_the_gate_no_header_and_no_query_has_the_key() {
    let bench = Bench::new();
    let key = STANDARD.encode([1; 32]);
    assert_eq!(
        bench.send(under(put("/bkt/o", b"x"), 1).signed()).await.status,
        200
    );
    let in_headers = bench.seen().unwrap();
    let encoded = |text: &str| text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    let ask = put("/bkt/o", b"x")
        .query(ALGORITHM, "AES256")
        .query("X-Amz-Server-Side-Encryption-Customer-Key", &encoded(&key))
        .query(KEY_MD5, &encoded(&md5(1)));
    let ask = bench.send(ask.presigned(60)).await;
    assert_eq!(ask.status, 200, "{}", ask.text);
    for seen in [in_headers, bench.seen().unwrap()] {
        assert!(!seen.uri.contains(key.trim_end_matches('=')), "{}", seen.uri);
        assert!(!format!("{:?}", seen.headers).contains(&key));
        assert_eq!(seen.headers.get(KEY_MD5), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_takes_the_sources_key_and_is_sealed_under_its_own() {
    let shop = Shop::open().await;
    assert_eq!(shop.put("/other", b"").await.status, 200);
    let bytes = body(3, 200_000);
    let sum = base64(&sha2::Sha256::digest(&bytes));
    let ask = under(put("/bkt/o", &bytes), 1).set("x-amz-checksum-sha256", &sum);
    let etag = shop
        .ask(ask.set("x-amz-meta-a", "b"))
        .await
        .header("etag")
        .to_owned();
    assert_eq!(shop.put("/bkt/plain", &bytes).await.status, 200);
    let copy = |to: &str| put(to, b"").set(FROM, "/bkt/o");
    assert_eq!(
        shop.ask(copy("/bkt/c")).await.outcome(),
        refused("InvalidRequest", 400)
    );
    let wrong = from_under(copy("/bkt/c"), 2);
    assert_eq!(shop.ask(wrong).await.outcome(), refused("AccessDenied", 403));
    let needless = from_under(put("/bkt/c", b"").set(FROM, "/bkt/plain"), 1);
    assert_eq!(shop.ask(needless).await.outcome(), refused("InvalidRequest", 400));
    // The same key in the same bucket: by its manifest. Another key, another bucket, or none: sealed anew.
    for (to, key) in [
        ("/bkt/same", Some(1)),
        ("/bkt/new", Some(2)),
        ("/bkt/none", None),
        ("/other/c", Some(1)),
    ] {
        let ask = from_under(copy(to), 1);
        let ask = key.map_or(ask.clone(), |key| under(ask, key));
        let reply = shop.ask(ask).await;
        let md5 = key.map(md5).unwrap_or_default();
        assert_eq!(
            (reply.status, reply.header(KEY_MD5)),
            (200, &*md5),
            "{to}: {}",
            reply.text
        );
        let copied = element(&reply.text, "ETag");
        assert_eq!(copied == etag, to == "/bkt/same", "{to}");
        let read = get(to).set("x-amz-checksum-mode", "ENABLED");
        let reply = shop.ask(key.map_or(read.clone(), |key| under(read, key))).await;
        assert!(reply.body == bytes, "{to}: {}", reply.text);
        assert_eq!(
            (
                reply.header("x-amz-meta-a"),
                reply.header("x-amz-checksum-sha256")
            ),
            ("b", &*sum),
            "{to}"
        );
    }
    let plain = hex::encode(Md5::digest(&bytes));
    assert_eq!(
        shop.get("/bkt/none").await.header("etag").trim_matches('"'),
        plain
    );
    // Onto itself under another key.
    let rekeyed = under(from_under(copy("/bkt/o"), 1), 7);
    assert_eq!(shop.ask(rekeyed).await.status, 200);
    assert!(shop.ask(under(get("/bkt/o"), 7)).await.body == bytes);
    assert_eq!(
        shop.ask(under(get("/bkt/o"), 1)).await.outcome(),
        refused("AccessDenied", 403)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_part_of_an_upload_comes_with_its_key() {
    let shop = Shop::open().await;
    let begun = shop.ask(under(post("/bkt/m", "uploads", "", ""), 1)).await;
    assert_eq!(said(&begun), (200, "AES256", &*md5(1), ""));
    let id = begun.all("UploadId").pop().unwrap();
    let upload = Upload::known(&shop, "/bkt/m", id);
    let bytes = body(4, 5 << 20);
    assert_eq!(
        shop.ask(upload.part(1, &bytes)).await.outcome(),
        refused("InvalidRequest", 400)
    );
    assert_eq!(
        shop.ask(under(upload.part(1, &bytes), 2)).await.outcome(),
        refused("InvalidRequest", 400)
    );
    let first = shop.ask(under(upload.part(1, &bytes), 1)).await;
    assert_eq!(said(&first), (200, "AES256", &*md5(1), ""));
    assert_ne!(
        first.header("etag").trim_matches('"'),
        hex::encode(Md5::digest(&bytes))
    );
    let source = body(5, 150_000);
    assert_eq!(shop.ask(under(put("/bkt/s", &source), 3)).await.status, 200);
    let part = || {
        upload
            .part(2, b"")
            .set(FROM, "/bkt/s")
            .set("x-amz-copy-source-range", "bytes=1-140000")
    };
    for bad in [part(), under(part(), 1), from_under(part(), 3)] {
        assert_eq!(shop.ask(bad).await.outcome(), refused("InvalidRequest", 400));
    }
    let second = shop.ask(from_under(under(part(), 1), 3)).await;
    assert_eq!(second.status, 200, "{}", second.text);
    let copied = element(&second.text, "ETag");
    let list = [(1, first.header("etag")), (2, copied.as_str())];
    let wrong = under(upload.complete(&list), 2);
    assert_eq!(shop.ask(wrong).await.outcome(), refused("InvalidRequest", 400));
    // Sent again, a completion is asked for what it was asked for at first.
    for _ in 0..2 {
        assert_eq!(shop.ask(upload.complete(&list)).await.status, 200);
        let wrong = under(upload.complete(&list), 2);
        assert_eq!(shop.ask(wrong).await.outcome(), refused("InvalidRequest", 400));
    }
    let whole = [&bytes[..], &source[1..140_001]].concat();
    let read = shop.ask(under(get("/bkt/m"), 1)).await;
    assert!(read.body == whole && read.header("etag").ends_with("-2\""));
    let read = shop.ask(under(get("/bkt/m").query("partNumber", "2"), 1)).await;
    assert!(read.status == 206 && read.body == source[1..140_001]);
    assert_eq!(shop.get("/bkt/m").await.outcome(), refused("InvalidRequest", 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_with_checksums_is_listed_and_completed_with_its_key_alone() {
    let shop = Shop::open().await;
    let begin = post("/bkt/m", "uploads", "", "").set("x-amz-checksum-algorithm", "CRC32");
    let id = shop.ask(under(begin, 1)).await.all("UploadId").pop().unwrap();
    let upload = Upload::known(&shop, "/bkt/m", id.clone());
    let part = shop.ask(under(upload.part(1, b"meow"), 1)).await;
    let sum = STANDARD.decode(part.header("x-amz-checksum-crc32")).unwrap();
    let listing = || get("/bkt/m").query("uploadId", &id);
    assert_eq!(
        shop.ask(listing()).await.outcome(),
        refused("InvalidRequest", 400)
    );
    assert_eq!(shop.ask(under(listing(), 1)).await.status, 200);
    let done = upload.complete_with(&[(1, part.header("etag"))], "CRC32", &[sum]);
    for _ in 0..2 {
        for bad in [done.clone(), under(done.clone(), 2)] {
            assert_eq!(shop.ask(bad).await.outcome(), refused("InvalidRequest", 400));
        }
        let reply = shop.ask(under(done.clone(), 1)).await;
        assert_eq!(said(&reply), (200, "AES256", &*md5(1), ""), "{}", reply.text);
    }
    assert_eq!(shop.ask(under(get("/bkt/m"), 1)).await.text, "meow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_show_no_checksum_without_their_key_though_none_was_announced() {
    let shop = Shop::open().await;
    let begun = shop.ask(under(post("/bkt/m", "uploads", "", ""), 1)).await;
    let upload = Upload::known(&shop, "/bkt/m", begun.all("UploadId").pop().unwrap());
    let sum = base64(&sha2::Sha256::digest(b"meow"));
    let part = upload.part(1, b"meow").set("x-amz-checksum-sha256", &sum);
    assert_eq!(shop.ask(under(part, 1)).await.status, 200);
    let listing = || get("/bkt/m").query("uploadId", &upload.id);
    let without = shop.ask(listing()).await;
    assert_eq!((without.status, without.all("ETag").len()), (200, 1));
    assert_eq!(
        without.all("ChecksumSHA256"),
        Vec::<String>::new(),
        "{}",
        without.text
    );
    let wrong = shop.ask(under(listing(), 2)).await;
    assert_eq!(wrong.outcome(), refused("InvalidRequest", 400));
    let with = shop.ask(under(listing(), 1)).await;
    assert_eq!(with.all("ChecksumSHA256"), [sum]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_parts_of_one_upload_have_other_etags_and_one_sent_again_has_its_own() {
    let shop = Shop::open().await;
    let begun = shop.ask(under(post("/bkt/m", "uploads", "", ""), 1)).await;
    let upload = Upload::known(&shop, "/bkt/m", begun.all("UploadId").pop().unwrap());
    let mut etags = Vec::new();
    for number in [1, 2, 1] {
        let reply = shop.ask(under(upload.part(number, b"meow"), 1)).await;
        etags.push(reply.header("etag").to_owned());
    }
    assert_ne!(etags[0], etags[1], "which parts are equal shows");
    assert_eq!(etags[0], etags[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_keeps_its_key_when_another_takes_its_place() {
    let shop = Shop::open().await;
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let versions = put("/bkt", on.as_bytes()).query("versioning", "");
    assert_eq!(shop.ask(versions).await.status, 200);
    let old = shop
        .ask(under(put("/bkt/o", b"old"), 1))
        .await
        .header("x-amz-version-id")
        .to_owned();
    assert_eq!(shop.put("/bkt/o", b"new").await.status, 200);
    let of_old = || get("/bkt/o").query("versionId", &old);
    assert_eq!(shop.ask(under(of_old(), 1)).await.text, "old");
    assert_eq!(shop.ask(of_old()).await.outcome(), refused("InvalidRequest", 400));
    assert_eq!(shop.get("/bkt/o").await.text, "new");
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let tagged = put("/bkt/o", tags.as_bytes())
        .query("tagging", "")
        .query("versionId", &old);
    assert_eq!(shop.ask(tagged).await.status, 200);
    let restored = put("/bkt/o", b"").set(FROM, &format!("/bkt/o?versionId={old}"));
    assert_eq!(shop.ask(under(from_under(restored, 1), 1)).await.status, 200);
    let read = shop.ask(under(get("/bkt/o"), 1)).await;
    assert_eq!(
        (read.text.as_str(), read.header("x-amz-tagging-count")),
        ("old", "1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_can_ask_for_keys_and_default_encryption_steps_back() {
    let shop = Shop::open().await;
    let rule = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
                </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    assert_eq!(
        shop.ask(put("/bkt", rule.as_bytes()).query("encryption", ""))
            .await
            .status,
        200
    );
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject",
        "Resource":"arn:aws:s3:::bkt/*","Condition":{"Null":{"s3:x-amz-server-side-encryption-customer-algorithm":"true"}}}]}"#;
    assert_eq!(
        shop.ask(put("/bkt", policy.as_bytes()).query("policy", ""))
            .await
            .status,
        204
    );
    assert_eq!(
        shop.put("/bkt/o", b"x").await.outcome(),
        refused("AccessDenied", 403)
    );
    let reply = shop.ask(under(put("/bkt/o", b"x"), 1)).await;
    assert_eq!(said(&reply), (200, "AES256", &*md5(1), ""));
    assert_eq!(
        said(&shop.ask(under(get("/bkt/o"), 1)).await),
        (200, "AES256", &*md5(1), "")
    );
}
