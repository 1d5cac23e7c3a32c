//! Tests made from advisories about what a parser is given, as `advisories.rs`: each named after its row.

use std::time::{Duration, Instant};

use crate::advisories::stocked;
use crate::client::Ask;
use crate::shop::{get, post, put, refused};
use crate::upload::Upload;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_empty_and_odd_and_oversized_headers_are_a_refusal_and_no_more() {
    let shop = stocked().await;
    let names = [
        "x-amz-copy-source",
        "x-amz-copy-source-range",
        "x-amz-copy-source-if-match",
        "x-amz-tagging",
        "x-amz-acl",
        "x-amz-grant-read",
        "x-amz-storage-class",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-object-lock-legal-hold",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-trailer",
        "x-amz-metadata-directive",
        "x-amz-tagging-directive",
        "x-amz-website-redirect-location",
        "x-amz-expected-bucket-owner",
        "x-amz-meta-a",
        "content-md5",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "range",
        "expect",
        "origin",
        "x-amz-decoded-content-length",
    ];
    let long = "a".repeat(20_000);
    let values = [
        "",
        "\t",
        "%00",
        "/",
        "//",
        "?",
        "%",
        "/bkt/%00",
        "0",
        "-1",
        "99999999999999999999",
        "\u{e9}",
        "a=%zz&&=",
        long.as_str(),
    ];
    for name in names {
        for value in values {
            for ask in [
                put("/bkt/odd", b"x"),
                get("/bkt/canary-5d1c07"),
                post("/bkt/odd", "uploads", "", ""),
            ] {
                let mut ask = ask;
                ask.headers.push((name.into(), value.into()));
                let reply = shop.ask(ask).await;
                assert!(
                    (reply.status < 500 || reply.status == 501) && reply.code() != "SignatureDoesNotMatch",
                    "{name}: {value:.20}: {} {}",
                    reply.status,
                    reply.text
                );
            }
        }
    }
    assert_eq!(shop.get("/bkt/canary-5d1c07").await.text, "as it was");
}

fn many(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes / unit.len())
}

/// The worst of so many bytes, about a document of this root, with the list in it that takes the element.
fn worst((root, list): (&str, &str), element: &str, bytes: usize) -> [String; 9] {
    let within = |inner: String| match list {
        "" => format!("<{root}>{inner}</{root}>"),
        list => format!("<{root}><{list}>{inner}</{list}></{root}>"),
    };
    [
        many("<a>", bytes),
        within(many(element, bytes)),
        format!("<{root} a{}/>", many(" a='1'", bytes)),
        format!("<{root}>{}", many("&amp;", bytes)),
        format!(
            "<!DOCTYPE a [{}]><{root}/>",
            many("<!ENTITY a \"aaaaaaaaaa\">", bytes)
        ),
        format!(
            "<!DOCTYPE a [<!ENTITY a \"{}\">]><{root}>&a;&a;&a;&a;</{root}>",
            many("a", bytes)
        ),
        many("<!-- ", bytes),
        within(many("<![CDATA[a]]>", bytes)),
        format!("<{root}{}", many(" a:", bytes)),
    ]
}

/// A method, a path, a query with its value; the root and the list of its document, an element of it, the most bytes that are read.
type Documented<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    (&'a str, &'a str),
    &'a str,
    usize,
);

fn documented(upload: &str) -> [Documented<'_>; 8] {
    let (long, short) = (1_900_000, 60_000);
    let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
    [
        (
            "POST",
            "/bkt",
            "delete",
            "",
            ("Delete", ""),
            "<Object><Key>k</Key></Object>",
            long,
        ),
        (
            "POST",
            "/bkt/o",
            "uploadId",
            upload,
            ("CompleteMultipartUpload", ""),
            "<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>",
            long,
        ),
        (
            "PUT",
            "/bkt",
            "lifecycle",
            "",
            ("LifecycleConfiguration", ""),
            "<Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>",
            short,
        ),
        (
            "PUT",
            "/bkt",
            "cors",
            "",
            ("CORSConfiguration", ""),
            "<CORSRule><AllowedOrigin>a</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>",
            short,
        ),
        (
            "PUT",
            "/bkt",
            "acl",
            "",
            ("AccessControlPolicy", "AccessControlList"),
            "<Grant><Grantee><ID>a</ID></Grantee><Permission>READ</Permission></Grant>",
            short,
        ),
        ("PUT", "/bkt", "tagging", "", ("Tagging", "TagSet"), tag, short),
        ("PUT", "/bkt/o", "tagging", "", ("Tagging", "TagSet"), tag, short),
        (
            "PUT",
            "/bkt",
            "versioning",
            "",
            ("VersioningConfiguration", ""),
            "<Status>Enabled</Status>",
            short,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s35_the_worst_xml_is_answered_within_a_second() {
    let shop = stocked().await;
    let mut slowest = Duration::ZERO;
    let upload = Upload::begin(&shop, "/bkt/o").await;
    for (method, path, query, value, root, element, bytes) in documented(&upload.id) {
        for body in worst(root, element, bytes) {
            let ask = Ask::new(method.parse().unwrap(), path)
                .query(query, value)
                .body(body.as_bytes());
            let begun = Instant::now();
            let reply = shop.ask(ask).await;
            slowest = slowest.max(begun.elapsed());
            // A root without anything in it says something of lists and of versioning.
            assert!(
                (400..500).contains(&reply.status) || (reply.status == 200 && query != "delete"),
                "{path}?{query} {body:.30}: {} {}",
                reply.status,
                reply.text
            );
        }
    }
    // Builds without optimisation are some ten times slower.
    let limit = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(slowest < Duration::from_secs(limit), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s45_line_ends_and_escapes_of_users_split_no_header_and_no_document() {
    let shop = stocked().await;
    let odd = "/bkt/a%0D%0Ax-injected%3A%201%0A%1B%5B31m%3C%26%3E%22%27";
    assert_eq!(shop.put(odd, b"odd").await.status, 200);
    let none = shop.get(&format!("{odd}-none")).await;
    assert!(
        !none.text.contains('\u{1b}') && !none.text.contains("<&>"),
        "{}",
        none.text
    );
    let list = shop.ask(get("/bkt").query("encoding-type", "url")).await;
    assert!(
        list.text.contains("%0D%0A") && !list.text.contains('\u{1b}'),
        "{}",
        list.text
    );
    let plain = shop.get("/bkt").await;
    assert!(!plain.text.contains("<&>"), "{}", plain.text);
    for (name, value) in [
        ("response-content-type", "a%0D%0Ax-injected%3A%201"),
        ("response-content-disposition", "%0Ax-injected%3A1"),
        ("response-expires", "%0D"),
    ] {
        let reply = shop.ask(get("/bkt/canary-5d1c07").query(name, value)).await;
        assert!(reply.headers.get("x-injected").is_none());
        assert!(
            reply
                .headers
                .values()
                .all(|value| value.as_bytes().iter().all(|byte| !b"\r\n".contains(byte)))
        );
        assert_eq!(reply.status, 400, "{name}: {}", reply.text);
    }
    let rule = |origin: &str, expose: &str| {
        format!(
            "<CORSConfiguration><CORSRule><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
             <ExposeHeader>{expose}</ExposeHeader></CORSRule></CORSConfiguration>"
        )
    };
    let set = async |rules: &str| shop.ask(put("/bkt", rules.as_bytes()).query("cors", "")).await;
    let seen = async || {
        shop.ask(get("/bkt/canary-5d1c07").set("origin", "http://a"))
            .await
    };
    assert_eq!(set(&rule("http://a", "etag")).await.status, 200);
    assert_eq!(seen().await.header("access-control-expose-headers"), "etag");
    for end in ["&#13;&#10;", "&#10;", "\n", "\r\n"] {
        let exposed = set(&rule("http://a", &format!("etag{end}x-injected: 1"))).await;
        assert_eq!(exposed.outcome(), refused("InvalidRequest", 400), "{end:?}");
        // An origin is said back as the page says it, and a page can say no line end.
        let origin = set(&rule(&format!("http://a{end}x-injected: 1"), "etag")).await;
        let seen = seen().await;
        assert_eq!((origin.status, seen.status), (200, 200), "{end:?}");
        assert_eq!(seen.header("access-control-allow-origin"), "", "{end:?}");
        assert!(seen.headers.get("x-injected").is_none(), "{end:?}");
    }
}
