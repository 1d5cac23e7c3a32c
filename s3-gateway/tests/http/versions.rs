//! Versions through the whole gateway: kept, listed, read, restored and deleted, and what suspending does.

use http::Method;

use crate::client::{Ask, Reply, element};
use crate::shop::{Shop, get, post, put, refused};

async fn switch(shop: &Shop, status: &str) {
    let xml = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    let reply = shop
        .ask(put("/bkt", xml.as_bytes()).query("versioning", ""))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = shop.ask(get("/bkt").query("versioning", "")).await;
    assert_eq!(element(&reply.text, "Status"), status);
}

async fn put_version(shop: &Shop, path: &str, body: &[u8]) -> String {
    let reply = shop.put(path, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.header("x-amz-version-id").to_owned()
}

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

fn of_version(ask: Ask, id: &str) -> Ask {
    ask.query("versionId", id)
}

/// (key, version id, whether it is the latest, whether it is a delete marker) of a listing.
async fn versions(shop: &Shop) -> Vec<(String, String, bool, bool)> {
    let reply = shop.ask(get("/bkt").query("versions", "")).await;
    let mut all = Vec::new();
    for (tag, marker) in [("Version", false), ("DeleteMarker", true)] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let items = reply.text.split(open.as_str()).skip(1);
        all.extend(
            items
                .filter_map(|item| item.split(close.as_str()).next())
                .map(|item| {
                    let text = |name| element(item, name).to_owned();
                    (text("Key"), text("VersionId"), text("IsLatest") == "true", marker)
                }),
        );
    }
    all
}

fn marker_of(reply: &Reply) -> String {
    assert_eq!(reply.header("x-amz-delete-marker"), "true", "{}", reply.text);
    reply.header("x-amz-version-id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_is_kept_read_and_deleted_by_its_id() {
    let shop = Shop::open().await;
    assert_eq!(put_version(&shop, "/bkt/o", b"zero").await, "");
    switch(&shop, "Enabled").await;
    let one = put_version(&shop, "/bkt/o", b"one").await;
    let two = put_version(&shop, "/bkt/o", b"two").await;
    assert_ne!(one, two);
    for (id, body) in [("null", "zero"), (&one, "one"), (&two, "two")] {
        let reply = shop.ask(of_version(get("/bkt/o"), id)).await;
        assert_eq!(
            (reply.text.as_str(), reply.header("x-amz-version-id")),
            (body, id)
        );
    }
    assert_eq!(shop.get("/bkt/o").await.text, "two");
    let marker = marker_of(&shop.ask(delete("/bkt/o")).await);
    let gone = shop.get("/bkt/o").await;
    assert_eq!(gone.outcome(), refused("NoSuchKey", 404));
    assert_eq!(marker_of(&gone), marker);
    let named = shop.ask(of_version(get("/bkt/o"), &marker)).await;
    assert_eq!(named.outcome(), refused("MethodNotAllowed", 405));
    let key = || "o".to_owned();
    let expected = [
        (key(), two.clone(), false, false),
        (key(), one.clone(), false, false),
        (key(), "null".to_owned(), false, false),
        (key(), marker.clone(), true, true),
    ];
    assert_eq!(versions(&shop).await, expected);
    let list = shop.get("/bkt").await;
    assert!(!list.text.contains("<Contents>"), "{}", list.text);
    assert_eq!(
        shop.ask(delete("/bkt")).await.outcome(),
        refused("BucketNotEmpty", 409)
    );
    // Without its marker the object is back, and without its newest version the one before it.
    assert_eq!(
        marker_of(&shop.ask(of_version(delete("/bkt/o"), &marker)).await),
        marker
    );
    assert_eq!(shop.get("/bkt/o").await.text, "two");
    assert_eq!(shop.ask(of_version(delete("/bkt/o"), &two)).await.status, 204);
    assert_eq!(shop.get("/bkt/o").await.text, "one");
    assert_eq!(
        shop.ask(of_version(get("/bkt/o"), &two)).await.outcome(),
        refused("NoSuchVersion", 404)
    );
    assert_eq!(shop.ask(of_version(delete("/bkt/o"), "null")).await.status, 204);
    assert_eq!(shop.ask(of_version(delete("/bkt/o"), &one)).await.status, 204);
    assert_eq!(versions(&shop).await, []);
    assert_eq!(shop.ask(delete("/bkt")).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_bucket_writes_over_its_null_version_and_keeps_the_others() {
    let shop = Shop::open().await;
    switch(&shop, "Enabled").await;
    let one = put_version(&shop, "/bkt/o", b"one").await;
    switch(&shop, "Suspended").await;
    // The null version has no id of its own to tell.
    assert_eq!(put_version(&shop, "/bkt/o", b"two").await, "");
    assert_eq!(put_version(&shop, "/bkt/o", b"three").await, "");
    assert_eq!(versions(&shop).await.len(), 2);
    assert_eq!(marker_of(&shop.ask(delete("/bkt/o")).await), "null");
    let key = || "o".to_owned();
    let null = || "null".to_owned();
    assert_eq!(
        versions(&shop).await,
        [(key(), one.clone(), false, false), (key(), null(), true, true)]
    );
    switch(&shop, "Enabled").await;
    let four = put_version(&shop, "/bkt/o", b"four").await;
    switch(&shop, "Suspended").await;
    // The null version that is kept beside the current one goes when there is a new null version.
    assert_eq!(put_version(&shop, "/bkt/o", b"five").await, "");
    let expected = [
        (key(), null(), true, false),
        (key(), four, false, false),
        (key(), one, false, false),
    ];
    assert_eq!(versions(&shop).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_is_copied_back_and_conditions_go_by_the_current_one() {
    let shop = Shop::open().await;
    switch(&shop, "Enabled").await;
    let one = put_version(&shop, "/bkt/o", b"one").await;
    put_version(&shop, "/bkt/o", b"two").await;
    let source = format!("/bkt/o?versionId={one}");
    let copied = shop
        .ask(put("/bkt/o", b"").set("x-amz-copy-source", &source))
        .await;
    assert_eq!(copied.status, 200, "{}", copied.text);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), one);
    assert_ne!(copied.header("x-amz-version-id"), one);
    assert_eq!(shop.get("/bkt/o").await.text, "one");
    assert_eq!(versions(&shop).await.len(), 3);
    let marker = marker_of(&shop.ask(delete("/bkt/o")).await);
    // A delete marker is no object: it can be written over where there must be none, and is not copied.
    let source = format!("/bkt/o?versionId={marker}");
    let refusal = shop
        .ask(put("/bkt/p", b"").set("x-amz-copy-source", &source))
        .await;
    assert_eq!(refusal.outcome(), refused("InvalidRequest", 400));
    let only_new = |body: &'static [u8]| put("/bkt/o", body).set("if-none-match", "*");
    assert_eq!(shop.ask(only_new(b"again")).await.status, 200);
    assert_eq!(
        shop.ask(only_new(b"not again")).await.outcome(),
        refused("PreconditionFailed", 412)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_delete_names_versions_and_the_markers_it_makes() {
    use base64::Engine as _;
    use md5::Digest as _;
    let shop = Shop::open().await;
    switch(&shop, "Enabled").await;
    let one = put_version(&shop, "/bkt/o", b"one").await;
    put_version(&shop, "/bkt/p", b"two").await;
    let xml = format!(
        "<Delete><Object><Key>o</Key><VersionId>{one}</VersionId></Object><Object><Key>p</Key></Object></Delete>"
    );
    let md5 = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(&xml));
    let reply = shop
        .ask(post("/bkt", "delete", "", &xml).set("content-md5", &md5))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let marker = element(&reply.text, "DeleteMarkerVersionId").to_owned();
    let listed = versions(&shop).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1], ("p".to_owned(), marker, true, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_versions_go_on_where_the_one_before_ended() {
    let shop = Shop::open().await;
    switch(&shop, "Enabled").await;
    for key in ["a", "b", "b", "c/1", "c/2"] {
        put_version(&shop, &format!("/bkt/{key}"), b"x").await;
    }
    let (mut key, mut version, mut seen) = (String::new(), String::new(), Vec::new());
    loop {
        let mut ask = get("/bkt")
            .query("versions", "")
            .query("max-keys", "1")
            .query("delimiter", "%2F");
        if !key.is_empty() {
            ask = ask.query("key-marker", &key.replace('/', "%2F"));
            if !version.is_empty() {
                ask = ask.query("version-id-marker", &version);
            }
        }
        let reply = shop.ask(ask).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        seen.extend(
            reply
                .text
                .matches("<Version>")
                .map(|_| element(&reply.text, "Key").to_owned()),
        );
        seen.extend(reply.text.matches("<CommonPrefixes>").map(|_| "c/".to_owned()));
        if element(&reply.text, "IsTruncated") == "false" {
            break;
        }
        key = element(&reply.text, "NextKeyMarker").to_owned();
        version = element(&reply.text, "NextVersionIdMarker").to_owned();
    }
    assert_eq!(seen, ["a", "b", "b", "c/"]);
    let alone = shop
        .ask(
            get("/bkt")
                .query("versions", "")
                .query("version-id-marker", &"0".repeat(32)),
        )
        .await;
    assert_eq!(alone.outcome(), refused("InvalidArgument", 400));
}
