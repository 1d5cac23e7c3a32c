//! Tags and locks of objects through the whole gateway.

use std::time::{Duration, SystemTime};

use http::Method;
use scopes::ScopeSet;

use crate::client::{Ask, element};
use crate::shop::{Shop, get, put, refused};

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

/// A time from now, in the form of S3's headers and documents.
fn in_seconds(seconds: u64) -> String {
    use s3s::dto::{Timestamp, TimestampFormat};
    let time = Timestamp::from(SystemTime::now() + Duration::from_secs(seconds));
    let mut text = Vec::new();
    time.format(TimestampFormat::DateTime, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

async fn locked_bucket(shop: &Shop) {
    let ask = put("/locked", b"").set("x-amz-bucket-object-lock-enabled", "true");
    assert_eq!(shop.ask(ask).await.status, 200);
}

fn retention(mode: &str, seconds: u64) -> String {
    let until = in_seconds(seconds);
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_come_back_count_in_answers_and_go_with_a_copy() {
    let shop = Shop::open().await;
    let reply = shop
        .ask(put("/bkt/o", b"x").set("x-amz-tagging", "colour=dark+red&empty="))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let tags = async |path: &str| {
        let reply = shop.ask(get(path).query("tagging", "")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let (keys, values) = (reply.all("Key"), reply.all("Value"));
        keys.into_iter().zip(values).collect::<Vec<_>>()
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let both = vec![pair("colour", "dark red"), pair("empty", "")];
    assert_eq!(tags("/bkt/o").await, both);
    assert_eq!(shop.get("/bkt/o").await.header("x-amz-tagging-count"), "2");
    let copy = || put("/bkt/p", b"").set("x-amz-copy-source", "/bkt/o");
    assert_eq!(shop.ask(copy()).await.status, 200);
    assert_eq!(tags("/bkt/p").await, both);
    let other = copy()
        .set("x-amz-tagging-directive", "REPLACE")
        .set("x-amz-tagging", "a=b");
    assert_eq!(shop.ask(other).await.status, 200);
    assert_eq!(tags("/bkt/p").await, [pair("a", "b")]);
    let set = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    let etag = shop.get("/bkt/o").await.header("etag").to_owned();
    assert_eq!(
        shop.ask(put("/bkt/o", set.as_bytes()).query("tagging", ""))
            .await
            .status,
        200
    );
    assert_eq!(tags("/bkt/o").await, [pair("k", "v")]);
    let reply = shop.get("/bkt/o").await;
    assert_eq!((reply.text.as_str(), reply.header("etag")), ("x", etag.as_str()));
    assert_eq!(shop.ask(delete("/bkt/o").query("tagging", "")).await.status, 204);
    assert_eq!(tags("/bkt/o").await, []);
    assert_eq!(shop.get("/bkt/o").await.header("x-amz-tagging-count"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_beyond_the_limits_are_refused_and_change_nothing() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"x").await;
    let tag = |key: &str, value: &str| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let eleven: String = (0..11).map(|n| tag(&n.to_string(), "")).collect();
    for tags in [
        eleven,
        tag(&"k".repeat(129), ""),
        tag("k", &"v".repeat(257)),
        tag("", "v"),
        tag("aws:k", "v"),
        tag("k", "1") + &tag("k", "2"),
    ] {
        let xml = format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        let reply = shop.ask(put("/bkt/o", xml.as_bytes()).query("tagging", "")).await;
        assert_eq!(reply.outcome(), refused("InvalidTag", 400), "{xml}");
    }
    let reply = shop.ask(get("/bkt/o").query("tagging", "")).await;
    assert_eq!(reply.all("Key"), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_version_is_not_deleted_and_a_marker_hides_it() {
    let shop = Shop::open().await;
    locked_bucket(&shop).await;
    let write = put("/locked/o", b"x")
        .set("x-amz-object-lock-mode", "COMPLIANCE")
        .set("x-amz-object-lock-retain-until-date", &in_seconds(3600))
        .set("x-amz-object-lock-legal-hold", "ON");
    let reply = shop.ask(write).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let id = reply.header("x-amz-version-id").to_owned();
    let reply = shop.get("/locked/o").await;
    assert_eq!(reply.header("x-amz-object-lock-mode"), "COMPLIANCE");
    assert_eq!(reply.header("x-amz-object-lock-legal-hold"), "ON");
    let for_good = || {
        delete("/locked/o")
            .query("versionId", &id)
            .set("x-amz-bypass-governance-retention", "true")
    };
    assert_eq!(shop.ask(for_good()).await.outcome(), refused("AccessDenied", 403));
    assert_eq!(shop.ask(delete("/locked/o")).await.status, 204);
    assert_eq!(shop.get("/locked/o").await.status, 404);
    // Neither the marker nor the end of the hold opens what compliance keeps.
    let off = put("/locked/o", b"<LegalHold><Status>OFF</Status></LegalHold>");
    let off = off.query("legal-hold", "").query("versionId", &id);
    assert_eq!(shop.ask(off).await.status, 200);
    assert_eq!(shop.ask(for_good()).await.outcome(), refused("AccessDenied", 403));
    let suspend = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let reply = shop.ask(put("/locked", suspend).query("versioning", "")).await;
    assert_eq!(reply.outcome(), refused("InvalidBucketState", 409));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn governance_gives_way_to_whoever_may_configure_the_bucket() {
    let shop = Shop::open().await;
    locked_bucket(&shop).await;
    let id = shop
        .put("/locked/o", b"x")
        .await
        .header("x-amz-version-id")
        .to_owned();
    let retain = |xml: &str| put("/locked/o", xml.as_bytes()).query("retention", "");
    assert_eq!(shop.ask(retain(&retention("GOVERNANCE", 3600))).await.status, 200);
    let shorter = retention("GOVERNANCE", 60);
    assert_eq!(
        shop.ask(retain(&shorter)).await.outcome(),
        refused("AccessDenied", 403)
    );
    let bypassing = |ask: Ask| ask.set("x-amz-bypass-governance-retention", "true");
    shop.credential("writer", ScopeSet::All, "read,write,delete".parse().unwrap())
        .await;
    let writer = |ask: Ask| Ask {
        key: "writer".to_owned(),
        ..bypassing(ask)
    };
    assert_eq!(
        shop.ask(writer(retain(&shorter))).await.outcome(),
        refused("AccessDenied", 403)
    );
    let gone = || delete("/locked/o").query("versionId", &id);
    assert_eq!(
        shop.ask(writer(gone())).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(shop.ask(bypassing(retain(&shorter))).await.status, 200);
    assert_eq!(shop.ask(gone()).await.outcome(), refused("AccessDenied", 403));
    assert_eq!(shop.ask(bypassing(gone())).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_retention_locks_what_is_written_and_says_so() {
    let shop = Shop::open().await;
    locked_bucket(&shop).await;
    let rule = |inner: &str| {
        format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>{inner}\
             </DefaultRetention></Rule></ObjectLockConfiguration>"
        )
    };
    let configure = |bucket: &str, xml: &str| put(bucket, xml.as_bytes()).query("object-lock", "");
    for (inner, code) in [
        ("<Mode>GOVERNANCE</Mode>", "MalformedXML"),
        ("<Days>1</Days>", "MalformedXML"),
        (
            "<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>",
            "MalformedXML",
        ),
        ("<Mode>GOVERNANCE</Mode><Days>0</Days>", "InvalidRetentionPeriod"),
        ("<Mode>SOFT</Mode><Days>1</Days>", "MalformedXML"),
    ] {
        let reply = shop.ask(configure("/locked", &rule(inner))).await;
        assert_eq!(reply.outcome(), refused(code, 400), "{inner}");
    }
    let good = rule("<Mode>GOVERNANCE</Mode><Days>1</Days>");
    assert_eq!(
        shop.ask(configure("/bkt", &good)).await.outcome(),
        refused("InvalidBucketState", 409)
    );
    assert_eq!(shop.ask(configure("/locked", &good)).await.status, 200);
    let reply = shop.ask(get("/locked").query("object-lock", "")).await;
    assert_eq!(
        (element(&reply.text, "Mode"), element(&reply.text, "Days")),
        ("GOVERNANCE".to_owned(), "1".to_owned())
    );
    let id = shop
        .put("/locked/o", b"x")
        .await
        .header("x-amz-version-id")
        .to_owned();
    let gone = delete("/locked/o").query("versionId", &id);
    assert_eq!(shop.ask(gone).await.outcome(), refused("AccessDenied", 403));
    let without = put("/bkt/o", b"x").set("x-amz-object-lock-legal-hold", "ON");
    assert_eq!(shop.ask(without).await.outcome(), refused("InvalidRequest", 400));
}
