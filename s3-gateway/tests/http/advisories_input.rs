//! Tests made from advisories about what a parser is given, as `advisories.rs`: each named after its row.

use std::time::{Duration, Instant};

use crate::advisories::stocked;
use crate::client::Ask;
use crate::shop::{get, post, put};

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
        "\u{7f}",
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
                if http::HeaderValue::from_str(value).is_err() {
                    continue;
                }
                ask.headers.push((name.into(), value.into()));
                let reply = shop.ask(ask).await;
                assert!(
                    reply.status < 500 || reply.status == 501,
                    "{name}: {value:.20}: {} {}",
                    reply.status,
                    reply.text
                );
            }
        }
    }
    assert_eq!(shop.get("/bkt/canary-5d1c07").await.text, "as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s35_the_worst_xml_is_answered_within_a_second() {
    let shop = stocked().await;
    let many = |unit: &str, bytes: usize| unit.repeat(bytes / unit.len());
    let long = 1_900_000;
    let short = 60_000;
    let bodies = |bytes: usize| {
        [
            many("<a>", bytes),
            format!(
                "<Delete>{}</Delete>",
                many("<Object><Key>k</Key></Object>", bytes)
            ),
            format!("<Delete a{}/>", many(" a='1'", bytes)),
            format!("<Delete>{}", many("&amp;", bytes)),
            format!(
                "<!DOCTYPE a [{}]><Delete/>",
                many("<!ENTITY a \"aaaaaaaaaa\">", bytes)
            ),
            format!(
                "<!DOCTYPE a [<!ENTITY a \"{}\">]><Delete>&a;&a;&a;&a;</Delete>",
                many("a", bytes)
            ),
            many("<!-- ", bytes),
            format!("<Delete>{}</Delete>", many("<![CDATA[a]]>", bytes)),
            format!("<{}", many("a:", bytes)),
        ]
    };
    let mut slowest = Duration::ZERO;
    let routes = [
        ("POST", "/bkt", "delete", long),
        ("POST", "/bkt/o", "uploadId", long),
        ("PUT", "/bkt", "lifecycle", short),
        ("PUT", "/bkt", "cors", short),
        ("PUT", "/bkt", "acl", short),
        ("PUT", "/bkt", "tagging", short),
        ("PUT", "/bkt/o", "tagging", short),
        ("PUT", "/bkt", "versioning", short),
    ];
    for (method, path, query, bytes) in routes {
        for body in bodies(bytes) {
            let ask = Ask::new(method.parse().unwrap(), path)
                .query(query, "")
                .body(body.as_bytes());
            let begun = Instant::now();
            let reply = shop.ask(ask).await;
            slowest = slowest.max(begun.elapsed());
            assert!(
                (400..500).contains(&reply.status),
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
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>http://a&#13;&#10;x-injected: 1</AllowedOrigin><AllowedMethod>GET</AllowedMethod><ExposeHeader>a&#10;b</ExposeHeader></CORSRule></CORSConfiguration>";
    let set = shop.ask(put("/bkt", rules.as_bytes()).query("cors", "")).await;
    let seen = shop
        .ask(get("/bkt/canary-5d1c07").set("origin", "http://a"))
        .await;
    assert!(
        seen.headers.get("x-injected").is_none() && (set.status == 400 || seen.status == 200),
        "{}",
        set.text
    );
}
