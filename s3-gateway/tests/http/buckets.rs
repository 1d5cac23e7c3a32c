//! Buckets through the whole gateway: rights, listings, multi-delete, multipart uploads.

use crate::client::{Ask, REGION};
use crate::rig::body;
use crate::shop::{Shop, get, post, put, refused};
use http::Method;
use scopes::{OperationSet, ScopeSet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_learns_nothing_of_what_exists() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"x").await;
    shop.credential("READSOTHER", ScopeSet::named(["other"]), OperationSet::all())
        .await;
    let with = |mut ask: Ask| {
        ask.key = "READSOTHER".into();
        ask
    };
    let asks = [
        get("/bkt/o"),
        get("/bkt/none"),
        get("/none/o"),
        get("/bkt"),
        put("/bkt/o", b"y"),
        get("/bkt").query("acl", ""),
    ];
    let mut answers = Vec::new();
    for ask in asks {
        let reply = shop.ask(with(ask)).await;
        assert_eq!(reply.outcome(), refused("AccessDenied", 403));
        answers.push(reply.all("Message"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(shop.ask(with(get("/"))).await.all("Name"), Vec::<String>::new());
    assert_eq!(shop.get("/").await.all("Name"), ["bkt"]);
    assert_eq!(shop.get("/bkt/o").await.text, "x");
    let unlisted = shop.ask(get("/bkt/o").query("torrent", "")).await;
    assert_eq!(unlisted.outcome(), refused("NotImplemented", 501));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_page_group_and_encode() {
    let shop = Shop::open().await;
    for key in ["a", "a%20b", "d%2Fx", "d%2Fy", "d-z", "e%01f", "z"] {
        assert_eq!(
            shop.put(&format!("/bkt/{}", key.replace("%2F", "/")), b"1")
                .await
                .status,
            200,
            "{key}"
        );
    }
    let two = || get("/bkt").query("list-type", "2").query("encoding-type", "url");
    let reply = shop.ask(two()).await;
    assert_eq!(
        reply.all("Key"),
        ["a", "a%20b", "d-z", "d/x", "d/y", "e%01f", "z"],
        "{}",
        reply.text
    );
    let reply = shop
        .ask(two().query("delimiter", "%2F").query("fetch-owner", "true"))
        .await;
    assert_eq!(reply.all("Key").len(), 5);
    assert!(
        reply
            .text
            .contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"),
        "{}",
        reply.text
    );
    assert!(reply.text.contains("<Owner>"));
    let mut keys = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut ask = two().query("max-keys", "2");
        if let Some(token) = &token {
            ask = ask.query("continuation-token", token);
        }
        let reply = shop.ask(ask).await;
        keys.extend(reply.all("Key"));
        token = reply.all("NextContinuationToken").pop();
        if token.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a", "a%20b", "d-z", "d/x", "d/y", "e%01f", "z"]);
    let reply = shop
        .ask(get("/bkt").query("marker", "d-z").query("max-keys", "1"))
        .await;
    assert_eq!(
        (reply.all("Key"), reply.all("IsTruncated")),
        (vec!["d/x".into()], vec!["true".into()])
    );
    assert_eq!(shop.ask(two().query("max-keys", "0")).await.all("Key").len(), 0);
    assert_eq!(
        shop.ask(two().query("max-keys", "-1")).await.outcome(),
        refused("InvalidArgument", 400)
    );
    let bad = shop.ask(two().query("continuation-token", "zz")).await;
    assert_eq!(bad.outcome(), refused("InvalidArgument", 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_delete_is_checked_limited_and_says_what_it_did() {
    let shop = Shop::open().await;
    shop.put("/bkt/a%26", b"1").await;
    let delete = |xml: &str| {
        use base64::Engine as _;
        use md5::Digest as _;
        let md5 = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(xml));
        post("/bkt", "delete", "", xml).set("content-md5", &md5)
    };
    let xml = "<Delete><Object><Key>a&amp;</Key></Object><Object><Key>none</Key></Object></Delete>";
    let bare = post("/bkt", "delete", "", xml);
    assert_eq!(shop.ask(bare).await.outcome(), refused("InvalidRequest", 400));
    let reply = shop.ask(delete(xml)).await;
    assert_eq!(
        (reply.status, reply.all("Deleted").len()),
        (200, 2),
        "{}",
        reply.text
    );
    assert_eq!(shop.get("/bkt/a%26").await.status, 404);
    let quiet = xml.replace("<Delete>", "<Delete><Quiet>true</Quiet>");
    assert_eq!(shop.ask(delete(&quiet)).await.all("Deleted").len(), 0);
    for bad in ["<Delete></Delete>", "<Delete><Object>", "no xml", &many(1001)] {
        assert_eq!(
            shop.ask(delete(bad)).await.outcome(),
            refused("MalformedXML", 400),
            "{:.30}",
            bad
        );
    }
    assert_eq!(shop.ask(delete(&many(1000))).await.all("Deleted").len(), 1000);
    let conditional = "<Delete><Object><Key>x</Key><ETag>\"00\"</ETag></Object></Delete>";
    shop.put("/bkt/x", b"1").await;
    assert_eq!(
        shop.ask(delete(conditional)).await.all("Code"),
        ["PreconditionFailed"]
    );
}

fn many(count: usize) -> String {
    let objects: String = (0..count)
        .map(|i| format!("<Object><Key>k{i}</Key></Object>"))
        .collect();
    format!("<Delete>{objects}</Delete>")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multipart_upload_goes_its_whole_way() {
    let shop = Shop::open().await;
    let part = body(7, 5 << 20);
    shop.put("/bkt/source", &part).await;
    let begun = shop
        .ask(post("/bkt/big", "uploads", "", "").set("x-amz-meta-k", "v"))
        .await;
    let id = begun.all("UploadId").pop().unwrap();
    let numbered = |n: &str, body: &[u8]| {
        put("/bkt/big", body)
            .query("partNumber", n)
            .query("uploadId", &id)
    };
    let one = shop.ask(numbered("1", &part)).await.header("etag").to_owned();
    let copied = numbered("2", b"").set("x-amz-copy-source", "/bkt/source");
    let two = shop
        .ask(copied.set("x-amz-copy-source-range", "bytes=0-99"))
        .await
        .all("ETag")
        .pop()
        .unwrap();
    assert_eq!(
        shop.ask(numbered("10001", b"x")).await.outcome(),
        refused("InvalidArgument", 400)
    );
    let foreign = put("/bkt/big", b"x")
        .query("partNumber", "1")
        .query("uploadId", "00");
    assert_eq!(shop.ask(foreign).await.outcome(), refused("NoSuchUpload", 404));
    let parts = shop.ask(get("/bkt/big").query("uploadId", &id)).await;
    assert_eq!(parts.all("PartNumber"), ["1", "2"], "{}", parts.text);
    assert_eq!(
        shop.ask(get("/bkt").query("uploads", "")).await.all("UploadId"),
        [id.as_str()]
    );
    let complete = |parts: &[(&str, &str)]| {
        let parts: String = parts
            .iter()
            .map(|(n, etag)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"))
            .collect();
        let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        post("/bkt/big", "uploadId", &id, &xml)
    };
    let two = two.replace("&quot;", "\"");
    let outcome = async |ask: Ask| shop.ask(ask).await.outcome();
    assert_eq!(
        outcome(complete(&[("2", &two), ("1", &one)])).await,
        refused("InvalidPartOrder", 400)
    );
    assert_eq!(
        outcome(complete(&[("1", &one), ("2", "\"00\"")])).await,
        refused("InvalidPart", 400)
    );
    assert_eq!(outcome(complete(&[])).await, refused("MalformedXML", 400));
    let done = shop.ask(complete(&[("1", &one), ("2", &two)])).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert!(done.all("ETag")[0].contains("-2"), "{}", done.text);
    let whole = shop.get("/bkt/big").await;
    assert_eq!(whole.body, [&part[..], &part[..100]].concat());
    assert_eq!(whole.header("x-amz-meta-k"), "v");
    let second = shop.ask(get("/bkt/big").query("partNumber", "2")).await;
    assert_eq!((second.status, second.header("x-amz-mp-parts-count")), (206, "2"));
    assert_eq!(second.body, part[..100]);
    let id = shop
        .ask(post("/bkt/gone", "uploads", "", ""))
        .await
        .all("UploadId")
        .pop()
        .unwrap();
    let abort = || Ask::new(Method::DELETE, "/bkt/gone").query("uploadId", &id);
    assert_eq!(shop.ask(abort()).await.status, 204);
    assert_eq!(outcome(abort()).await, refused("NoSuchUpload", 404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_answer_what_clients_ask_first() {
    let shop = Shop::open().await;
    assert_eq!(
        shop.put("/bkt", b"").await.status,
        200,
        "again, as us-east-1 answers"
    );
    let head = shop.ask(Ask::new(Method::HEAD, "/bkt")).await;
    assert_eq!((head.status, head.header("x-amz-bucket-region")), (200, REGION));
    assert_eq!(shop.ask(Ask::new(Method::HEAD, "/none")).await.status, 404);
    assert!(
        shop.ask(get("/bkt").query("location", ""))
            .await
            .text
            .contains("LocationConstraint")
    );
    assert_eq!(shop.ask(get("/bkt").query("versioning", "")).await.status, 200);
    for (query, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("cors", "NoSuchCORSConfiguration"),
        ("tagging", "NoSuchTagSet"),
    ] {
        assert_eq!(
            shop.ask(get("/bkt").query(query, "")).await.outcome(),
            refused(code, 404)
        );
    }
    let elsewhere = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                     </CreateBucketConfiguration>";
    assert_eq!(
        shop.put("/cpy", elsewhere.as_bytes()).await.code(),
        "InvalidLocationConstraint"
    );
    shop.put("/bkt/o", b"x").await;
    let delete = |path: &str| Ask::new(Method::DELETE, path);
    assert_eq!(
        shop.ask(delete("/bkt")).await.outcome(),
        refused("BucketNotEmpty", 409)
    );
    shop.ask(delete("/bkt/o")).await;
    assert_eq!(shop.ask(delete("/bkt")).await.status, 204);
    assert_eq!(
        shop.ask(delete("/bkt")).await.outcome(),
        refused("NoSuchBucket", 404)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_an_unversioned_bucket_are_listed_as_their_null_versions() {
    let shop = Shop::open().await;
    for key in ["a", "b/1", "b/2", "c"] {
        assert_eq!(shop.put(&format!("/bkt/{key}"), b"1").await.status, 200);
    }
    let versions = || get("/bkt").query("versions", "");
    let reply = shop
        .ask(versions().query("delimiter", "%2F").query("max-keys", "2"))
        .await;
    assert_eq!(reply.all("Key"), ["a"], "{}", reply.text);
    assert_eq!(reply.all("VersionId"), ["null"]);
    assert_eq!(reply.all("NextKeyMarker"), ["b/"]);
    let reply = shop
        .ask(versions().query("delimiter", "%2F").query("key-marker", "b%2F"))
        .await;
    assert_eq!(reply.all("Key"), ["c"], "{}", reply.text);
    let reply = shop.ask(versions().query("version-id-marker", "null")).await;
    assert_eq!(reply.outcome(), refused("InvalidArgument", 400));
}
