//! Settings of a bucket: what is put is given back, what was never set has S3's answer, and what is out of bounds is refused.

use http::Method;

use crate::client::Ask;
use crate::shop::{Shop, get, put, refused};

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_given_back_as_they_were_put_until_they_are_deleted() {
    let shop = Shop::open().await;
    #[rustfmt::skip]
    let cases = [
        ("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", "<Key>a</Key><Value>b</Value>", "NoSuchTagSet"),
        ("cors", "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://*.org</AllowedOrigin><MaxAgeSeconds>9</MaxAgeSeconds></CORSRule></CORSConfiguration>", "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://*.org</AllowedOrigin><MaxAgeSeconds>9</MaxAgeSeconds>", "NoSuchCORSConfiguration"),
        ("ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>", "<ObjectOwnership>ObjectWriter</ObjectOwnership>", "OwnershipControlsNotFoundError"),
        ("publicAccessBlock", "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>", "<IgnorePublicAcls>true</IgnorePublicAcls>", "NoSuchPublicAccessBlockConfiguration"),
        ("encryption", "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>", "<KMSMasterKeyID>k</KMSMasterKeyID><SSEAlgorithm>aws:kms</SSEAlgorithm>", "ServerSideEncryptionConfigurationNotFoundError"),
        ("website", "<WebsiteConfiguration><IndexDocument><Suffix>i.html</Suffix></IndexDocument></WebsiteConfiguration>", "<Suffix>i.html</Suffix>", "NoSuchWebsiteConfiguration"),
    ];
    for (name, document, said, absent) in cases {
        let read = || get("/bkt").query(name, "");
        assert_eq!(shop.ask(read()).await.outcome(), refused(absent, 404), "{name}");
        let reply = shop.ask(put("/bkt", document.as_bytes()).query(name, "")).await;
        assert_eq!(reply.status / 100, 2, "{name}: {}", reply.text);
        let reply = shop.ask(read()).await;
        assert!(reply.text.contains(said), "{name}: {}", reply.text);
        assert_eq!(
            shop.ask(delete("/bkt").query(name, "")).await.status,
            204,
            "{name}"
        );
        assert_eq!(shop.ask(read()).await.outcome(), refused(absent, 404), "{name}");
        let elsewhere = put("/none", document.as_bytes()).query(name, "");
        assert_eq!(
            shop.ask(elsewhere).await.outcome(),
            refused("NoSuchBucket", 404),
            "{name}"
        );
    }
    let pays = b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>";
    assert_eq!(
        shop.ask(get("/bkt").query("requestPayment", ""))
            .await
            .all("Payer"),
        ["BucketOwner"]
    );
    assert_eq!(
        shop.ask(put("/bkt", pays).query("requestPayment", ""))
            .await
            .status,
        200
    );
    assert_eq!(
        shop.ask(get("/bkt").query("requestPayment", ""))
            .await
            .all("Payer"),
        ["Requester"]
    );
    for name in ["analytics", "inventory", "metrics", "intelligent-tiering"] {
        let list = shop.ask(get("/bkt").query(name, "")).await;
        assert_eq!(list.all("IsTruncated"), ["false"], "{name}: {}", list.text);
        let one = get("/bkt").query(name, "").query("id", "1");
        assert_eq!(
            shop.ask(one).await.outcome(),
            refused("NoSuchConfiguration", 404),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_out_of_bounds_are_refused() {
    let shop = Shop::open().await;
    let tags = |tags: &[(String, String)]| {
        let one =
            |(key, value): &(String, String)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
        let list: String = tags.iter().map(one).collect();
        ("tagging", format!("<Tagging><TagSet>{list}</TagSet></Tagging>"))
    };
    let tag = |key: &str, value: &str| tags(&[(key.to_owned(), value.to_owned())]);
    let many: Vec<_> = (0..51).map(|n| (format!("k{n}"), String::new())).collect();
    let cors = |rule: &str| {
        (
            "cors",
            format!("<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>"),
        )
    };
    let origin = "<AllowedOrigin>*</AllowedOrigin>";
    #[rustfmt::skip]
    let cases = [
        (tags(&many), "InvalidTag"),
        (tag(&"k".repeat(129), ""), "InvalidTag"),
        (tag("k", &"v".repeat(257)), "InvalidTag"),
        (tag("AWS:k", ""), "InvalidTag"),
        (tag("", ""), "InvalidTag"),
        (tags(&[("k".into(), "1".into()), ("k".into(), "2".into())]), "InvalidTag"),
        (cors(origin), "MalformedXML"),
        (cors(&format!("{origin}<AllowedMethod>FETCH</AllowedMethod>")), "InvalidRequest"),
        (cors("<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*.*</AllowedOrigin>"), "InvalidRequest"),
        (cors(&format!("{origin}<AllowedMethod>GET</AllowedMethod><ExposeHeader>x-*,</ExposeHeader>")), "InvalidRequest"),
        (("ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>Mine</ObjectOwnership></Rule></OwnershipControls>".into()), "MalformedXML"),
        (("encryption", "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>rot13</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>".into()), "InvalidArgument"),
        (("requestPayment", "<RequestPaymentConfiguration><Payer>Bank</Payer></RequestPaymentConfiguration>".into()), "MalformedXML"),
        (("website", "<WebsiteConfiguration></WebsiteConfiguration>".into()), "InvalidArgument"),
        (("acl", "<AccessControlPolicy><Owner><ID>v-00</ID></Owner><AccessControlList/></AccessControlPolicy>".into()), "AccessDenied"),
        (("tagging", "<Tagging>".into()), "MalformedXML"),
    ];
    for ((name, document), code) in cases {
        let reply = shop.ask(put("/bkt", document.as_bytes()).query(name, "")).await;
        assert_eq!(reply.code(), code, "{document}");
    }
    let longest = tag(&"ä".repeat(128), &"ö".repeat(256));
    assert_eq!(
        shop.ask(put("/bkt", longest.1.as_bytes()).query("tagging", ""))
            .await
            .status
            / 100,
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_encryption_is_noted_of_what_names_none() {
    let shop = Shop::open().await;
    let document = b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    assert_eq!(
        shop.ask(put("/bkt", document).query("encryption", ""))
            .await
            .status,
        200
    );
    let header = "x-amz-server-side-encryption";
    assert_eq!(shop.put("/bkt/o", b"x").await.header(header), "AES256");
    assert_eq!(shop.get("/bkt/o").await.header(header), "AES256");
    let other = put("/bkt/p", b"x").set(header, "aws:kms");
    assert_eq!(shop.ask(other).await.header(header), "aws:kms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_sees_what_the_rules_say_also_of_errors() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"x").await;
    let preflight = |origin: &str, method: &str| {
        let mut ask = Ask::new(Method::OPTIONS, "/bkt/o");
        ask.headers.push(("origin".into(), origin.into()));
        ask.headers
            .push(("access-control-request-method".into(), method.into()));
        shop.send(ask.build())
    };
    assert_eq!(
        preflight("http://a.org", "GET").await.outcome(),
        refused("AccessForbidden", 403)
    );
    let bare = Ask::new(Method::OPTIONS, "/bkt/o").build();
    assert_eq!(shop.send(bare).await.outcome(), refused("BadRequest", 400));
    let rules = b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>http://*.org</AllowedOrigin><ExposeHeader>etag</ExposeHeader></CORSRule></CORSConfiguration>";
    assert_eq!(shop.ask(put("/bkt", rules).query("cors", "")).await.status, 200);
    let reply = preflight("http://a.org", "PUT").await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (200, "http://a.org")
    );
    assert_eq!(reply.header("access-control-allow-methods"), "GET, PUT");
    assert_eq!(preflight("http://a.com", "PUT").await.status, 403);
    assert_eq!(preflight("http://a.org", "DELETE").await.status, 403);
    for (ask, status) in [
        (get("/bkt/o"), 200),
        (get("/bkt/none"), 404),
        (put("/bkt/o", b"y").set("x-amz-acl", "?"), 400),
    ] {
        let reply = shop.ask(ask.set("origin", "http://a.org")).await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (status, "http://a.org")
        );
        assert_eq!(reply.header("access-control-expose-headers"), "etag");
    }
    // Nobody gets in by asking from somewhere: the answer is a refusal that the page may read.
    let mut anonymous = get("/bkt/o");
    anonymous.headers.push(("origin".into(), "http://a.org".into()));
    let reply = shop.send(anonymous.build()).await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (403, "http://a.org")
    );
    assert_eq!(shop.get("/bkt/o").await.header("access-control-allow-origin"), "");
}
