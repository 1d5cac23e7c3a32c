//! Lifecycle rules through the whole gateway, under a clock of the test's own.

use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;

use crate::client::{Ask, element};
use crate::shop::{Shop, get, post, put, refused};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn in_days(days: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as u64 + days * DAY_MS
}

async fn set(shop: &Shop, rules: &str) -> (u16, String) {
    let xml = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
    shop.ask(put("/bkt", xml.as_bytes()).query("lifecycle", ""))
        .await
        .outcome()
}

fn rule(id: &str, inner: &str) -> String {
    format!("<Rule><ID>{id}</ID><Status>Enabled</Status>{inner}</Rule>")
}

async fn keep_versions(shop: &Shop) {
    let xml = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(
        shop.ask(put("/bkt", xml).query("versioning", "")).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_go_when_their_days_are_over_and_answers_foretell_it() {
    let shop = Shop::open().await;
    let rules = rule(
        "short",
        "<Prefix>tmp/</Prefix><Expiration><Days>1</Days></Expiration>",
    );
    assert_eq!(set(&shop, &rules).await, refused("", 200));
    for key in ["tmp/a", "keep/a"] {
        shop.put(&format!("/bkt/{key}"), b"x").await;
    }
    let foretold = shop.get("/bkt/tmp/a").await.header("x-amz-expiration").to_owned();
    assert!(foretold.contains("rule-id=\"short\""), "{foretold}");
    assert_eq!(shop.get("/bkt/keep/a").await.header("x-amz-expiration"), "");
    let session = &shop.rig.session;
    assert_eq!(session.expire(in_days(0)).await.unwrap().objects, 0);
    assert_eq!(session.expire(in_days(2)).await.unwrap().objects, 1);
    assert_eq!(shop.get("/bkt/tmp/a").await.outcome(), refused("NoSuchKey", 404));
    assert_eq!(shop.get("/bkt/keep/a").await.status, 200);
    assert_eq!(session.expire(in_days(2)).await.unwrap().objects, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_markers_and_uploads_go_by_their_own_rules() {
    let shop = Shop::open().await;
    keep_versions(&shop).await;
    for body in [b"1", b"2", b"3"] {
        shop.put("/bkt/o", body).await;
    }
    let begun = shop.ask(post("/bkt/u", "uploads", "", "")).await;
    assert_eq!(begun.status, 200);
    let all = rule("current", "<Filter/><Expiration><Days>5</Days></Expiration>")
        + &rule(
            "old",
            "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>10</NoncurrentDays></NoncurrentVersionExpiration>",
        )
        + &rule(
            "marker",
            "<Filter/><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
        )
        + &rule(
            "uploads",
            "<Filter/><AbortIncompleteMultipartUpload><DaysAfterInitiation>20</DaysAfterInitiation>\
             </AbortIncompleteMultipartUpload>",
        );
    assert_eq!(set(&shop, &all).await, refused("", 200));
    let gone = async |days| {
        let expired = shop.rig.session.expire(in_days(days)).await.unwrap();
        (expired.objects, expired.versions, expired.uploads)
    };
    assert_eq!(gone(1).await, (0, 0, 0));
    // The current object goes under a marker; what is beside it stays until its own time.
    assert_eq!(gone(7).await, (1, 0, 0));
    assert_eq!(gone(12).await, (0, 3, 0));
    assert_eq!(gone(12).await, (0, 1, 0));
    assert_eq!(gone(22).await, (0, 0, 1));
    let listed = shop.ask(get("/bkt").query("versions", "")).await;
    assert!(!listed.text.contains("<Key>"), "{}", listed.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_keeps_what_a_rule_would_remove() {
    let shop = Shop::open().await;
    keep_versions(&shop).await;
    let lock =
        b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    assert_eq!(
        shop.ask(put("/bkt", lock).query("object-lock", "")).await.status,
        200
    );
    let held = put("/bkt/o", b"1").set("x-amz-object-lock-legal-hold", "ON");
    let id = shop.ask(held).await.header("x-amz-version-id").to_owned();
    shop.put("/bkt/o", b"2").await;
    let old = rule(
        "old",
        "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    );
    assert_eq!(set(&shop, &old).await, refused("", 200));
    assert_eq!(shop.rig.session.expire(in_days(9)).await.unwrap().versions, 0);
    assert_eq!(shop.ask(get("/bkt/o").query("versionId", &id)).await.text, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_come_back_as_they_were_set_and_bad_ones_are_refused() {
    let shop = Shop::open().await;
    let get_rules = || get("/bkt").query("lifecycle", "");
    assert_eq!(
        shop.ask(get_rules()).await.outcome(),
        refused("NoSuchLifecycleConfiguration", 404)
    );
    let good = "<Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><Expiration><Date>\
                2030-01-01T00:00:00.000Z</Date></Expiration>";
    assert_eq!(set(&shop, &rule("r", good)).await, refused("", 200));
    let shown = shop.ask(get_rules()).await.text;
    for (name, value) in [("ID", "r"), ("Prefix", "a/"), ("Key", "k"), ("Status", "Enabled")] {
        assert_eq!(element(&shown, name), value, "{shown}");
    }
    let expire = "<Filter/><Expiration><Days>1</Days></Expiration>";
    for (rules, code, status) in [
        (rule(&"x".repeat(256), expire), "InvalidArgument", 400),
        (rule("r", expire) + &rule("r", expire), "InvalidArgument", 400),
        (
            rule("r", "<Filter/><Expiration><Days>0</Days></Expiration>"),
            "InvalidArgument",
            400,
        ),
        (rule("r", "<Filter/>"), "InvalidRequest", 400),
        (
            rule("r", "<Expiration><Days>1</Days></Expiration>"),
            "MalformedXML",
            400,
        ),
        (
            rule(
                "r",
                "<Filter/><Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>",
            ),
            "InvalidArgument",
            400,
        ),
        (
            rule(
                "r",
                "<Filter/><Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>",
            ),
            "NotImplemented",
            501,
        ),
    ] {
        assert_eq!(set(&shop, &rules).await, refused(code, status), "{rules}");
    }
    assert_eq!(shop.ask(get_rules()).await.text, shown);
    let delete = Ask::new(Method::DELETE, "/bkt").query("lifecycle", "");
    assert_eq!(shop.ask(delete).await.status, 204);
    assert_eq!(shop.ask(get_rules()).await.status, 404);
}
