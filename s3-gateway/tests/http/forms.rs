//! Objects posted by browser forms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use crate::client::{Ask, KEY, REGION, Reply, SECRET, hmac};
use crate::shop::{Shop, get, put, refused};

/// A form's body from its fields; the last is the file.
fn body(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in fields {
        let file = if *name == "file" {
            "; filename=\"f.txt\""
        } else {
            ""
        };
        text.push_str(&format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        ));
    }
    text.push_str("--edge--\r\n");
    text.into_bytes()
}

async fn post(shop: &Shop, fields: &[(&str, &str)]) -> Reply {
    let mut ask = Ask::new(Method::POST, "/bkt").body(&body(fields));
    ask.headers
        .push(("content-type".into(), "multipart/form-data; boundary=edge".into()));
    // What a request says beside the form reaches nothing.
    ask.headers.push(("x-amz-meta-smuggled".into(), "1".into()));
    ask.headers
        .push(("x-amz-copy-source".into(), "/bkt/secret".into()));
    shop.send(ask.build()).await
}

/// The fields of a signed form with these conditions beside those on the signature's own fields.
fn signed(conditions: &str) -> Vec<(&'static str, String)> {
    let time = Ask::new(Method::POST, "/").time();
    let credential = format!("{KEY}/{}/{REGION}/s3/aws4_request", &time[..8]);
    let policy = format!(
        r#"{{"expiration": "2100-01-01T00:00:00Z", "conditions": [{{"bucket": "bkt"}}, {{"x-amz-algorithm": "AWS4-HMAC-SHA256"}}, {{"x-amz-credential": "{credential}"}}, {{"x-amz-date": "{time}"}}{conditions}]}}"#
    );
    let policy = STANDARD.encode(policy);
    let mut key = hmac(format!("AWS4{SECRET}").as_bytes(), &time[..8]);
    for part in [REGION, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    vec![
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential", credential),
        ("x-amz-date", time),
        ("x-amz-signature", hex::encode(hmac(&key, &policy))),
        ("policy", policy),
    ]
}

async fn post_signed(shop: &Shop, conditions: &str, fields: &[(&str, &str)]) -> Reply {
    let signed = signed(conditions);
    let mut all: Vec<(&str, &str)> = signed
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    all.extend_from_slice(fields);
    post(shop, &all).await
}

const ANY_KEY: &str = r#", ["starts-with", "$key", "up/"]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_may_bring_a_key_of_the_clients() {
    let shop = Shop::open().await;
    let start = "x-amz-server-side-encryption-customer-";
    let key = (
        "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=",
        "DWygnHRtgiJ77HCm+1rvHw==",
    );
    let names = ["algorithm", "key", "key-MD5"].map(|end| format!("{start}{end}"));
    let conditions = format!(
        "{ANY_KEY}, {{\"{}\": \"AES256\"}}, [\"starts-with\", \"${}\", \"\"], [\"starts-with\", \"${}\", \"\"]",
        names[0], names[1], names[2]
    );
    let fields = [
        ("key", "up/o"),
        (names[0].as_str(), "AES256"),
        (names[1].as_str(), key.0),
        (names[2].as_str(), key.1),
        ("file", "sealed"),
    ];
    let reply = post_signed(&shop, &conditions, &fields).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    assert_eq!(
        shop.get("/bkt/up/o").await.outcome(),
        refused("InvalidRequest", 400)
    );
    let read = fields[1..4].iter().fold(get("/bkt/up/o"), |ask, (name, value)| {
        ask.set(&name.to_ascii_lowercase(), value)
    });
    assert_eq!(shop.ask(read).await.text, "sealed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_form_stores_its_file_as_its_fields_say() {
    let shop = Shop::open().await;
    let conditions = format!(
        "{ANY_KEY}, {{\"x-amz-meta-a\": \"b\"}}, {{\"tagging\": \"<Tagging><TagSet><Tag><Key>k</Key><Value>v&amp;&#119;</Value></Tag></TagSet></Tagging>\"}}, [\"starts-with\", \"$Content-Type\", \"text/\"]"
    );
    let fields = [
        ("key", "up/${filename}"),
        ("Content-Type", "text/x"),
        ("x-amz-meta-a", "b"),
        (
            "tagging",
            "<Tagging><TagSet><Tag><Key>k</Key><Value>v&amp;&#119;</Value></Tag></TagSet></Tagging>",
        ),
        ("file", "the file\r\n--edg"),
    ];
    let reply = post_signed(&shop, &conditions, &fields).await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "{}", reply.text);
    assert!(
        reply.header("location").ends_with("/bkt/up/f.txt"),
        "{}",
        reply.header("location")
    );
    let stored = shop.get("/bkt/up/f.txt").await;
    assert_eq!(stored.text, "the file\r\n--edg");
    assert_eq!(stored.header("etag"), reply.header("etag"));
    assert_eq!(
        (stored.header("content-type"), stored.header("x-amz-meta-a")),
        ("text/x", "b")
    );
    assert_eq!(stored.header("x-amz-meta-smuggled"), "");
    let tags = shop.ask(get("/bkt/up/f.txt").query("tagging", "")).await;
    assert!(
        tags.text.contains("<Key>k</Key><Value>v&amp;w</Value>"),
        "{}",
        tags.text
    );
    let answered = |name: &'static str, value: &'static str| {
        let conditions = format!("{ANY_KEY}, {{\"{name}\": \"{value}\"}}");
        let shop = &shop;
        async move {
            post_signed(
                shop,
                &conditions,
                &[("key", "up/b c"), (name, value), ("file", "x")],
            )
            .await
        }
    };
    let created = answered("success_action_status", "201").await;
    assert_eq!(
        (created.status, created.all("Key")),
        (201, vec!["up/b c".to_owned()]),
        "{}",
        created.text
    );
    let away = answered("success_action_redirect", "http://a.org/done").await;
    assert_eq!(away.status, 303);
    assert!(
        away.header("location")
            .starts_with("http://a.org/done?bucket=bkt&key=up%2Fb%20c&etag=%22")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_its_policy_does_not_cover_stores_nothing() {
    let shop = Shop::open().await;
    let denied = refused("AccessDenied", 403);
    let bounded = format!("{ANY_KEY}, [\"content-length-range\", 2, 4]");
    let cases = [
        (ANY_KEY, vec![("key", "other"), ("file", "x")], denied.clone()),
        (
            ANY_KEY,
            vec![("key", "up/o"), ("acl", "public-read"), ("file", "x")],
            denied.clone(),
        ),
        (ANY_KEY, vec![("file", "x")], denied.clone()),
        (
            &bounded,
            vec![("key", "up/o"), ("file", "x")],
            refused("EntityTooSmall", 400),
        ),
        (
            &bounded,
            vec![("key", "up/o"), ("file", "12345")],
            refused("EntityTooLarge", 400),
        ),
        (
            ", 7",
            vec![("key", "up/o"), ("file", "x")],
            refused("InvalidPolicyDocument", 400),
        ),
        (
            ANY_KEY,
            vec![("key", "up/o")],
            refused("IncorrectNumberOfFilesInPostRequest", 400),
        ),
    ];
    for (conditions, fields, outcome) in cases {
        let reply = post_signed(&shop, conditions, &fields).await;
        assert_eq!(reply.outcome(), outcome, "{fields:?}");
    }
    let mut forged = signed(ANY_KEY);
    for (name, value) in [
        ("x-amz-signature", "0".repeat(64)),
        (
            "x-amz-credential",
            "NOBODY/20260101/us-east-1/s3/aws4_request".into(),
        ),
    ] {
        for field in forged.iter_mut().filter(|(have, _)| *have == name) {
            field.1.clone_from(&value);
        }
        let mut fields: Vec<_> = forged
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        fields.extend([("key", "up/o"), ("file", "x")]);
        assert!(matches!(post(&shop, &fields).await.status, 400 | 403));
    }
    let old = [
        ("key", "up/o"),
        ("AWSAccessKeyId", KEY),
        ("policy", "e30="),
        ("signature", "AAAA"),
        ("file", "x"),
    ];
    assert_eq!(post(&shop, &old).await.outcome(), refused("InvalidRequest", 400));
    assert_eq!(shop.get("/bkt").await.all("Key"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_without_a_signature_is_anonymous() {
    let shop = Shop::open().await;
    let fields = [("key", "o"), ("file", "x")];
    assert_eq!(post(&shop, &fields).await.outcome(), refused("AccessDenied", 403));
    let open = put("/bkt", b"")
        .query("acl", "")
        .set("x-amz-acl", "public-read-write");
    assert_eq!(shop.ask(open).await.status, 200);
    assert_eq!(post(&shop, &fields).await.status, 204);
    assert_eq!(shop.get("/bkt/o").await.text, "x");
    let twice = [
        ("key", "o"),
        ("acl", "private"),
        ("ACL", "private"),
        ("file", "x"),
    ];
    assert_eq!(
        post(&shop, &twice).await.outcome(),
        refused("InvalidArgument", 400)
    );
}
