//! Tests made from advisories of other S3 servers, each named after its row in `docs/advisories.md`.
//!
//! What is swept comes from the table of routes, so that a new operation is swept without anybody's doing. Rows with a test of their
//! own elsewhere are named in that page.

use http::{Method, Request};
use s3_gateway::body::RawBody;
use s3_gateway::route::{Route, routes};
use scopes::ScopeSet;

use crate::client::{Ask, Reply, SECRET};
use crate::shop::{Shop, get, post, put};

/// Every value of `x-amz-content-sha256` that S3 documents, and two that it does not.
const MODES: [&str; 8] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "UNSIGNED-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
    "",
];
/// A name that stands in nothing that an uninvited client may read.
const CANARY: &str = "canary-5d1c07";

fn ask_of(route: &Route) -> Ask {
    let path = ["/", "/bkt", "/bkt/canary-5d1c07"][route.names];
    let mut ask = Ask::new(route.method.parse().unwrap(), path);
    for (name, value) in route.query {
        ask = ask.query(name, value);
    }
    if route.copies {
        ask = ask.set("x-amz-copy-source", "/bkt/canary-5d1c07");
    }
    ask
}

pub(crate) async fn stocked() -> Shop {
    let shop = Shop::open().await;
    assert_eq!(shop.put("/bkt/canary-5d1c07", b"as it was").await.status, 200);
    shop
}

/// What there is: whatever an uninvited request changed would show here.
async fn state(shop: &Shop) -> String {
    let object = shop.get("/bkt/canary-5d1c07").await;
    let list = shop.get("/bkt").await.all("Key");
    let uploads = shop.ask(get("/bkt").query("uploads", "")).await.all("UploadId");
    let tags = shop.ask(get("/bkt").query("tagging", "")).await.status;
    let policy = shop.ask(get("/bkt").query("policy", "")).await.status;
    let buckets = shop.get("/").await.all("Name");
    format!("{}{list:?}{uploads:?}{tags}{policy}{buckets:?}", object.text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_no_route_takes_a_forged_signature_in_any_payload_mode() {
    let shop = stocked().await;
    let before = state(&shop).await;
    for route in routes() {
        for mode in MODES {
            let body: &[u8] = if mode.starts_with("STREAMING") {
                b"0\r\n\r\n"
            } else {
                b""
            };
            let ask = ask_of(&route).body(body).payload(mode);
            let mut forged = ask.set("x-amz-decoded-content-length", "0");
            forged.secret = "guessed".into();
            let reply = shop.ask(forged).await;
            let known = mode.len() == 64 || mode == "UNSIGNED-PAYLOAD" || MODES[2..5].contains(&mode);
            let whole = if known {
                (403, "SignatureDoesNotMatch")
            } else {
                (400, "")
            };
            let is_head = route.method == "HEAD";
            assert!(
                reply.status == whole.0 || (!known && matches!(reply.status, 403 | 501)),
                "{route:?} {mode}: {} {}",
                reply.status,
                reply.text
            );
            assert!(!known || is_head || reply.code() == whole.1, "{route:?} {mode}");
        }
    }
    assert_eq!(state(&shop).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_credentials_in_two_places_or_half_in_one_are_nobodys() {
    let shop = stocked().await;
    let before = state(&shop).await;
    let target = || Ask::new(Method::DELETE, "/bkt/canary-5d1c07");
    let presigned = target().presigned(60);
    let (path, query) = presigned
        .uri()
        .to_string()
        .split_once('?')
        .map(|(p, q)| (p.to_owned(), q.to_owned()))
        .unwrap();
    let signed = target().signed();
    let authorization = signed.headers()["authorization"].to_str().unwrap().to_owned();
    let pairs = |text: &str| -> Vec<(String, String)> {
        text.split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect()
    };
    let with = |drop: &str, header: Option<&str>| -> Request<RawBody> {
        let mut ask = Ask::new(Method::DELETE, &path);
        ask.query = pairs(&query)
            .into_iter()
            .filter(|(name, _)| name != drop)
            .collect();
        if let Some(value) = header {
            ask.unsigned.push(("authorization".into(), value.into()));
            ask.unsigned.push((
                "x-amz-date".into(),
                signed.headers()["x-amz-date"].to_str().unwrap().into(),
            ));
        }
        ask.build()
    };
    let mut cases = vec![
        with("", Some(&authorization)),
        with("", Some("")),
        with("", Some("AWS4-HMAC-SHA256")),
        with("", Some(&authorization.replace("Signature=", "Signature=0"))),
        with("X-Amz-Signature", Some(&authorization)),
    ];
    for half in [
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Algorithm",
    ] {
        cases.push(with(half, None));
    }
    for (number, request) in cases.into_iter().enumerate() {
        let reply = shop.send(request).await;
        assert!(
            matches!(reply.status, 400 | 403),
            "{number}: {} {}",
            reply.status,
            reply.text
        );
    }
    assert_eq!(state(&shop).await, before);
    // What the cases were made of is good by itself.
    assert_eq!(shop.send(with("", None)).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_s30_no_route_tells_anything_to_a_client_without_credentials() {
    let shop = stocked().await;
    let before = state(&shop).await;
    for route in routes() {
        let reply = shop.send(ask_of(&route).build()).await;
        let shown = format!(
            "{:?}{}",
            reply.headers,
            reply.text.replace("<Resource>/bkt/canary-5d1c07</Resource>", "")
        );
        assert!(
            matches!(reply.status, 400 | 403),
            "{route:?}: {} {}",
            reply.status,
            reply.text
        );
        assert!(
            !shown.contains(CANARY) && !shown.contains(SECRET),
            "{route:?}: {shown}"
        );
    }
    let elsewhere = [
        "/metrics",
        "/health/live",
        "/health/ready",
        "/debug/pprof/profile",
        "/debug/pprof/heap",
        "/admin/v3/info",
        "/minio/health/live",
        "/minio/bootstrap/v1/verify",
        "/_/metrics",
        "/status",
        "/.well-known/security.txt",
        "/..%2f..%2fkeys/vault.json",
        "/%2e%2e/keys",
    ];
    for path in elsewhere {
        for method in [Method::GET, Method::POST, Method::PUT] {
            let reply = shop.send(Ask::new(method.clone(), path).build()).await;
            assert!(
                matches!(reply.status, 400 | 403 | 405),
                "{method} {path}: {}",
                reply.status
            );
            assert!(
                reply.code() != "" && !reply.text.contains("cairn_"),
                "{method} {path}: {}",
                reply.text
            );
        }
    }
    assert_eq!(state(&shop).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_conditions_tell_nothing_of_an_object_that_one_may_not_read() {
    let shop = stocked().await;
    let etag = shop.get("/bkt/canary-5d1c07").await.header("etag").to_owned();
    shop.credential("ELSEWHERE", ScopeSet::named(["other"]), "all".parse().unwrap())
        .await;
    let conditions = [
        ("if-match", etag.as_str()),
        ("if-match", "*"),
        ("if-match", "\"0\""),
        ("if-none-match", &etag),
        ("if-none-match", "*"),
        ("if-modified-since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("if-unmodified-since", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ];
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        for (name, value) in conditions {
            let mut told = Vec::new();
            for key in [CANARY, "absent-5d1c07"] {
                for signed in [true, false] {
                    let mut ask = Ask::new(method.clone(), &format!("/bkt/{key}")).set(name, value);
                    ask.key = "ELSEWHERE".into();
                    let reply = shop.send(if signed { ask.signed() } else { ask.build() }).await;
                    let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
                    names.sort();
                    told.push((reply.outcome(), names));
                }
            }
            assert_eq!(told[0].0.0, 403);
            assert!(
                told[0] == told[2] && told[1] == told[3],
                "{method} {name}: {told:?}"
            );
        }
    }
    assert_eq!(shop.get("/bkt/canary-5d1c07").await.text, "as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_s16_a_copy_source_goes_through_the_same_decision_as_a_read() {
    let shop = stocked().await;
    assert_eq!(shop.put("/mine", b"").await.status, 200);
    shop.credential("MINE", ScopeSet::named(["mine"]), "all".parse().unwrap())
        .await;
    shop.credential("WRITER", ScopeSet::All, "write".parse().unwrap())
        .await;
    let sources = [
        "/bkt/canary-5d1c07",
        "bkt/canary-5d1c07",
        "/bkt/%63anary-5d1c07",
        "/%62kt/canary-5d1c07",
        "bkt%2Fcanary-5d1c07",
        "/bkt/canary-5d1c07?versionId=null",
        "/mine/../bkt/canary-5d1c07",
        "//bkt/canary-5d1c07",
        "/bkt/absent",
        "http://127.0.0.1/bkt/canary-5d1c07",
    ];
    for id in ["MINE", "WRITER"] {
        let mut begin = post("/mine/parts", "uploads", "", "");
        begin.key = id.into();
        let upload = shop.ask(begin).await.all("UploadId").pop().unwrap();
        for source in sources {
            for part in [false, true] {
                let mut ask = put(if part { "/mine/parts" } else { "/mine/copy" }, b"")
                    .set("x-amz-copy-source", source);
                if part {
                    ask = ask.query("partNumber", "1").query("uploadId", &upload);
                }
                ask.key = id.into();
                let reply = shop.ask(ask).await;
                // A way up is a key of one's own bucket, which is not there.
                let own = source.starts_with("/mine") && id == "MINE";
                let right = if own {
                    reply.status == 404
                } else {
                    matches!(reply.status, 400 | 403)
                };
                assert!(right, "{id} {source} {part}: {} {}", reply.status, reply.text);
            }
        }
        let parts = shop.ask(get("/mine/parts").query("uploadId", &upload)).await;
        assert!(parts.all("ETag").is_empty(), "{}", parts.text);
    }
    assert_eq!(shop.get("/mine/copy").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s24_s25_no_header_sets_what_the_gateway_says_of_an_object() {
    let shop = stocked().await;
    let forged = [
        "x-amz-version-id",
        "x-amz-delete-marker",
        "x-amz-replication-status",
        "x-amz-mp-parts-count",
        "x-amz-expiration",
        "x-amz-restore",
        "x-amz-request-id",
        "x-amz-id-2",
        "x-amz-missing-meta",
        "etag",
        "last-modified",
        "x-amz-meta-x-amz-version-id",
        "x-amz-meta-etag",
        "x-amz-meta-cairn-epoch",
        "x-amz-meta-x-amz-server-side-encryption",
        "x-cairn-epoch",
        "x-minio-internal-server-side-encryption-sealed-key",
        "x-amz-object-attributes",
        "x-amz-owner",
        "x-amz-meta-x-amz-object-lock-mode",
        "x-amz-server-side-encryption-aws-kms-key-arn",
        "server",
        "date",
    ];
    let plain = shop.get("/bkt/canary-5d1c07").await;
    let system = |reply: &Reply| -> Vec<String> {
        let names = reply.headers.keys().map(ToString::to_string);
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("x-amz-meta-")).collect();
        names.sort();
        names
    };
    let mut taken = 0;
    for header in forged {
        let mut ask = put("/bkt/forged", b"as it was");
        ask.headers.push((header.into(), "forged".into()));
        let answer = shop.ask(ask).await;
        if answer.status != 200 {
            assert!(
                (400..=501).contains(&answer.status) && answer.status != 500,
                "{header}: {}",
                answer.text
            );
            continue;
        }
        taken += 1;
        let got = shop.get("/bkt/forged").await;
        for (name, value) in answer.headers.iter().chain(&got.headers) {
            let own = name.as_str().starts_with("x-amz-meta-");
            assert!(own || value != "forged", "{name} was taken from a client");
        }
        assert_eq!(got.header("etag"), plain.header("etag"), "{header}");
        assert_eq!(system(&got), system(&plain), "{header}");
        for sub in ["retention", "legal-hold"] {
            let said = shop.ask(get("/bkt/forged").query(sub, "")).await.status;
            assert_ne!(said, 200, "{header}: {sub}");
        }
    }
    assert!(taken > 10, "most say nothing to the gateway");
}
