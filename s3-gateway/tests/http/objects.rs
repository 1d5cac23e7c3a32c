//! Objects through the whole gateway: what is written, read, copied and deleted, and on which conditions.

use std::time::Duration;

use crate::client::Ask;
use crate::rig::body;
use crate::shop::{Shop, get, post, put, refused};
use futures::StreamExt as _;
use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use s3_gateway::body::RawBody;
use scopes::ScopeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_comes_back_with_everything_it_was_given() {
    let shop = Shop::open().await;
    for bytes in [0, 1, 70_000, 5_000_000] {
        let body = body(bytes as u64, bytes);
        let ask = put("/bkt/dir/o", &body)
            .set("x-amz-meta-mood", "fine  day")
            .set("content-type", "text/x");
        let reply = shop.ask(ask.set("cache-control", "no-store")).await;
        let etag = reply.header("etag").to_owned();
        assert_eq!((reply.status, etag.len()), (200, 34), "{}", reply.text);
        let reply = shop.get("/bkt/dir/o").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, body);
        let head = shop.ask(Ask::new(Method::HEAD, "/bkt/dir/o")).await;
        for reply in [&reply, &head] {
            assert_eq!(reply.header("x-amz-meta-mood"), "fine  day");
            assert_eq!(reply.header("content-type"), "text/x");
            assert_eq!(reply.header("cache-control"), "no-store");
            assert_eq!(reply.header("etag"), etag);
            assert_eq!(reply.header("content-length"), bytes.to_string());
            assert_eq!(reply.header("accept-ranges"), "bytes");
        }
        let changed = shop
            .ask(get("/bkt/dir/o").query("response-content-type", "a%2Fb"))
            .await;
        assert_eq!(changed.header("content-type"), "a/b");
    }
    assert_eq!(shop.get("/bkt/none").await.outcome(), refused("NoSuchKey", 404));
    assert_eq!(
        shop.get("/none/none").await.outcome(),
        refused("NoSuchBucket", 404)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_conditions_answer_as_rfc_9110_says() {
    let shop = Shop::open().await;
    let whole = body(1, 200_000);
    let ask = put("/bkt/o", &whole).set("x-amz-checksum-sha256", &sha256_base64(&whole));
    let etag = shop.ask(ask).await.header("etag").to_owned();
    let ranged = async |range: &str| shop.ask(get("/bkt/o").set("range", range)).await;
    let reply = ranged("bytes=65519-131041").await;
    assert_eq!(
        (reply.status, reply.header("content-range")),
        (206, "bytes 65519-131041/200000")
    );
    assert_eq!(reply.body, whole[65_519..131_042]);
    assert_eq!(ranged("bytes=-5").await.body, whole[199_995..]);
    assert_eq!(ranged("bytes=199999-").await.body, whole[199_999..]);
    assert_eq!(ranged("bytes=9-3").await.status, 200);
    let reply = ranged("bytes=200000-").await;
    assert_eq!(reply.outcome(), refused("InvalidRange", 416));
    assert_eq!(reply.header("content-range"), "bytes */200000");
    let head = shop
        .ask(Ask::new(Method::HEAD, "/bkt/o").set("range", "bytes=0-9"))
        .await;
    assert_eq!((head.status, head.header("content-length")), (206, "10"));
    let checked = shop
        .ask(get("/bkt/o").set("x-amz-checksum-mode", "ENABLED"))
        .await;
    assert_eq!(checked.header("x-amz-checksum-sha256"), sha256_base64(&whole));
    let part = shop
        .ask(
            get("/bkt/o")
                .set("x-amz-checksum-mode", "ENABLED")
                .set("range", "bytes=0-9"),
        )
        .await;
    assert_eq!(
        part.header("x-amz-checksum-sha256"),
        "",
        "a range never carries the object's checksum"
    );
    let reply = shop.ask(get("/bkt/o").set("if-none-match", &etag)).await;
    assert_eq!(
        (reply.status, reply.header("etag"), reply.body.len()),
        (304, etag.as_str(), 0)
    );
    assert_eq!(
        shop.ask(get("/bkt/o").set("if-match", "\"x\"")).await.outcome(),
        refused("PreconditionFailed", 412)
    );
    assert_eq!(shop.ask(get("/bkt/o").set("if-match", &etag)).await.status, 200);
}

fn sha256_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditional_writes_and_deletes_are_refused_unless_they_hold() {
    let shop = Shop::open().await;
    let absent = || put("/bkt/o", b"one").set("if-none-match", "*");
    let etag = shop.ask(absent()).await.header("etag").to_owned();
    assert_eq!(
        shop.ask(absent()).await.outcome(),
        refused("PreconditionFailed", 412)
    );
    assert_eq!(
        shop.ask(put("/bkt/o", b"two").set("if-match", "\"x\""))
            .await
            .status,
        412
    );
    assert_eq!(
        shop.ask(put("/bkt/o", b"two").set("if-match", &etag))
            .await
            .status,
        200
    );
    assert_eq!(
        shop.ask(put("/bkt/new", b"two").set("if-match", &etag))
            .await
            .status
            / 100,
        4
    );
    let copy = || {
        put("/bkt/o", b"")
            .set("x-amz-copy-source", "/bkt/o")
            .set("x-amz-metadata-directive", "REPLACE")
    };
    assert_eq!(shop.ask(copy().set("if-none-match", "*")).await.status, 412);
    let delete = || Ask::new(Method::DELETE, "/bkt/o");
    assert_eq!(shop.ask(delete().set("if-match", &etag)).await.status, 412);
    assert_eq!(shop.ask(delete()).await.status, 204);
    assert_eq!(shop.ask(delete()).await.status, 204);
    // An upload that breaks off leaves nothing.
    let mut short = put("/bkt/short", b"whole body").payload("UNSIGNED-PAYLOAD");
    short.body.truncate(3);
    assert_eq!(shop.ask(short).await.outcome(), refused("IncompleteBody", 400));
    assert_eq!(shop.get("/bkt/short").await.outcome(), refused("NoSuchKey", 404));
    for (name, value, code, status) in [
        ("x-amz-storage-class", "GLACIER", "InvalidStorageClass", 400),
        ("x-amz-acl", "public", "InvalidArgument", 400),
        (
            "x-amz-grant-read",
            "emailAddress=\"a@b.example\"",
            "NotImplemented",
            501,
        ),
    ] {
        assert_eq!(
            shop.ask(put("/bkt/x", b"").set(name, value)).await.outcome(),
            refused(code, status)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_keep_or_replace_metadata_and_read_only_what_may_be_read() {
    let shop = Shop::open().await;
    shop.put("/cpy", b"").await;
    shop.ask(put("/bkt/a%20%2B", b"meow").set("x-amz-meta-k", "v"))
        .await;
    let copy = |to: &str, from: &str| put(to, b"").set("x-amz-copy-source", from);
    let reply = shop.ask(copy("/cpy/o", "bkt/a%20%2B")).await;
    assert_eq!(
        (reply.status, reply.all("ETag").len()),
        (200, 1),
        "{}",
        reply.text
    );
    let got = shop.get("/cpy/o").await;
    assert_eq!((got.text.as_str(), got.header("x-amz-meta-k")), ("meow", "v"));
    let replaced = copy("/bkt/p", "/bkt/a%20%2B")
        .set("x-amz-metadata-directive", "REPLACE")
        .set("x-amz-meta-n", "w");
    assert_eq!(
        shop.ask(replaced.set("x-amz-checksum-algorithm", "CRC32C"))
            .await
            .all("ChecksumCRC32C")
            .len(),
        1
    );
    let got = shop.get("/bkt/p").await;
    assert_eq!(
        (got.header("x-amz-meta-k"), got.header("x-amz-meta-n")),
        ("", "w")
    );
    assert_eq!(
        shop.ask(copy("/bkt/p", "/bkt/p")).await.outcome(),
        refused("InvalidRequest", 400)
    );
    assert_eq!(
        shop.ask(copy("/bkt/q", "/bkt/none")).await.outcome(),
        refused("NoSuchKey", 404)
    );
    assert_eq!(
        shop.ask(copy("/bkt/q", "/bkt/p?versionId=1")).await.outcome(),
        refused("InvalidArgument", 400)
    );
    let unless = copy("/bkt/q", "/bkt/p").set("x-amz-copy-source-if-none-match", "*");
    assert_eq!(shop.ask(unless).await.status, 412);
    for empty in ["", "/", "b", "%00/%00", "bkt/"] {
        let status = shop.ask(copy("/bkt/q", empty)).await.status;
        assert!((400..500).contains(&status), "{empty:?}: {status}");
    }
    shop.credential("WRITERONLY", ScopeSet::All, "write".parse().unwrap())
        .await;
    let mut writer = copy("/bkt/q", "/bkt/p");
    writer.key = "WRITERONLY".into();
    assert_eq!(shop.ask(writer).await.outcome(), refused("AccessDenied", 403));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_too_long_to_be_kept_are_refused_and_harm_nothing_after_them() {
    let shop = Shop::open().await;
    shop.put("/bkt/source", b"meow").await;
    let copy = || {
        put("/bkt/o", b"")
            .set("x-amz-copy-source", "/bkt/source")
            .set("x-amz-metadata-directive", "REPLACE")
    };
    let begin = || post("/bkt/o", "uploads", "", "");
    for bytes in [2049, 66_000] {
        for ask in [put("/bkt/o", b"x"), copy(), begin()] {
            let reply = shop.ask(ask.set("cache-control", &"a".repeat(bytes))).await;
            assert_eq!(reply.outcome(), refused("MetadataTooLarge", 400), "{bytes}");
        }
    }
    let full = |ask: Ask| {
        let long = "a".repeat(2048);
        let names = ["cache-control", "content-disposition", "content-language"];
        names.iter().fold(ask, |ask, name| ask.set(name, &long))
    };
    assert_eq!(shop.ask(full(put("/bkt/o", b"x"))).await.status, 200);
    let over = full(put("/bkt/o", b"x")).set("expires", &"a".repeat(2048));
    assert_eq!(shop.ask(over).await.outcome(), refused("MetadataTooLarge", 400));
    assert_eq!(shop.ask(full(copy())).await.status, 200);
    assert_eq!(shop.get("/bkt/o").await.header("cache-control").len(), 2048);
}

/// Sends the body and then nothing more, although more was announced.
fn stalled(ask: Ask) -> http::Request<RawBody> {
    let announced = (ask.body.len() + 1).to_string();
    let request = ask.payload("UNSIGNED-PAYLOAD").set("content-length", &announced);
    request.signed().map(|body| {
        let silence = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, _>>();
        let all = http_body_util::BodyStream::new(body).chain(silence);
        StreamBody::new(all).boxed_unsync()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_sending_keep_no_room_from_others() {
    let shop = Shop::open_with(|options| options.upload_memory_bytes = 1).await;
    let half = body(1, 50 << 16);
    let stop = ["a", "b", "c"].map(|key| shop.send(stalled(put(&format!("/bkt/{key}"), &half))));
    let others = async {
        let full = 120 << 16;
        while shop.rig.session.upload_memory_bytes() < full {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(shop.put("/bkt/small", b"meow").await.status, 200);
        assert_eq!(shop.put("/bkt/large", &half).await.status, 200);
    };
    let limit = Duration::from_secs(8);
    tokio::select! {
        _ = futures::future::join_all(stop) => panic!("the stalled ones end later"),
        done = tokio::time::timeout(limit, others) => done.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_owner_than_was_expected_refuses_the_bucket_and_the_source() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"meow").await;
    let own = crate::rig::vault_id().to_string();
    let other = "0808080808080808080808080808080808".to_owned();
    for (owner, read, copied) in [(&own, 200, 200), (&other, 403, 403), (&String::new(), 403, 403)] {
        let ask = get("/bkt/o").set("x-amz-expected-bucket-owner", owner);
        assert_eq!(shop.ask(ask).await.status, read, "{owner}");
        let copy = put("/bkt/copy", b"").set("x-amz-copy-source", "/bkt/o");
        let reply = shop
            .ask(copy.set("x-amz-source-expected-bucket-owner", owner))
            .await;
        assert_eq!(reply.status, copied, "{owner}: {}", reply.text);
        let there = shop.ask(Ask::new(Method::DELETE, "/bkt/copy")).await.status;
        assert_eq!(there, 204);
    }
}
