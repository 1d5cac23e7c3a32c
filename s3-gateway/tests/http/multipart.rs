//! Multipart uploads over HTTP: checksums of both kinds, completions that may not pass, retries, listings, part copies.

use http::Method;
use sha2::Digest as _;

use crate::client::{Ask, Reply};
use crate::rig::body;
use crate::shop::{Shop, get, refused};
use crate::upload::{Upload, base64, creation};

const LEAST: usize = 5 << 20;

type Sum = fn(&[u8]) -> Vec<u8>;

/// The algorithms, and what a second implementation says of bytes.
const ALGORITHMS: [(&str, Sum); 5] = [
    ("CRC32", |bytes| {
        crc(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)[4..].to_vec()
    }),
    ("CRC32C", |bytes| {
        crc(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)[4..].to_vec()
    }),
    ("CRC64NVME", |bytes| {
        crc(crc_fast::CrcAlgorithm::Crc64Nvme, bytes).to_vec()
    }),
    ("SHA1", |bytes| sha1::Sha1::digest(bytes).to_vec()),
    ("SHA256", |bytes| sha2::Sha256::digest(bytes).to_vec()),
];

fn crc(algorithm: crc_fast::CrcAlgorithm, bytes: &[u8]) -> [u8; 8] {
    crc_fast::checksum(algorithm, bytes).to_be_bytes()
}

fn header_of(algorithm: &str) -> String {
    format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_of_both_kinds_are_what_another_implementation_says() {
    let shop = Shop::open().await;
    let parts = [body(1, LEAST), body(2, 1000)];
    let whole = parts.concat();
    for (name, sum) in ALGORITHMS {
        for kind in ["COMPOSITE", "FULL_OBJECT"] {
            let not_both = matches!(
                (name, kind),
                ("SHA1" | "SHA256", "FULL_OBJECT") | ("CRC64NVME", "COMPOSITE")
            );
            if not_both {
                let reply = shop.ask(creation("/bkt/o", name, kind)).await;
                assert_eq!(reply.outcome(), refused("InvalidRequest", 400), "{name} {kind}");
                continue;
            }
            let upload = Upload::begin_with(&shop, "/bkt/o", name, kind).await;
            let sums = [sum(&parts[0]), sum(&parts[1])];
            let wrong = upload.part(1, &parts[0]).set(&header_of(name), &base64(&sums[1]));
            assert_eq!(shop.ask(wrong).await.outcome(), refused("BadDigest", 400));
            let mut etags = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                // The first comes with its checksum, the second gets the one that was announced.
                let mut ask = upload.part(at + 1, part);
                if at == 0 {
                    ask = ask.set(&header_of(name), &base64(&sums[0]));
                }
                let reply = shop.ask(ask).await;
                assert_eq!(reply.header(&header_of(name)), base64(&sums[at]));
                etags.push(reply.header("etag").to_owned());
            }
            let expected = if kind == "COMPOSITE" {
                format!("{}-2", base64(&sum(&sums.concat())))
            } else {
                base64(&sum(&whole))
            };
            let named = [(1, etags[0].as_str()), (2, etags[1].as_str())];
            let complete = || match kind {
                "COMPOSITE" => upload.complete_with(&named, name, &sums),
                _ => upload.complete(&named),
            };
            if kind == "COMPOSITE" {
                for (ask, missing) in [
                    (upload.complete(&named), 1),
                    (upload.complete_with(&named, name, &sums[..1]), 2),
                ] {
                    let reply = shop.ask(ask).await;
                    assert_eq!(reply.outcome(), refused("InvalidRequest", 400), "{name}");
                    let said = format!(
                        "The upload was created using a {} checksum. The complete request must include the checksum \
                         for each part. It was missing for part {missing} in the request.",
                        name.to_ascii_lowercase()
                    );
                    assert_eq!(reply.all("Message"), [said]);
                }
            }
            let wrong = base64(&sum(b"something else"));
            let wrong = complete().set(&header_of(name), &wrong);
            assert_eq!(
                shop.ask(wrong).await.outcome(),
                refused("BadDigest", 400),
                "{name} {kind}"
            );
            let other = if kind == "COMPOSITE" {
                "FULL_OBJECT"
            } else {
                "COMPOSITE"
            };
            let other = complete().set("x-amz-checksum-type", other);
            assert_eq!(shop.ask(other).await.outcome(), refused("InvalidRequest", 400));
            assert!(upload.is_open().await, "a refused completion changes nothing");
            let done = complete().set("x-amz-checksum-type", kind);
            let done = shop.ask(done.set(&header_of(name), &expected)).await;
            assert_eq!(done.status, 200, "{name} {kind}: {}", done.text);
            assert_eq!(done.all(&format!("Checksum{name}")), [expected.as_str()]);
            assert_eq!(done.all("ChecksumType"), [kind]);
            check_reads(&shop, name, kind, &expected).await;
        }
    }
}

/// The whole carries the checksum, a part its own, a range none.
async fn check_reads(shop: &Shop, name: &str, kind: &str, expected: &str) {
    for method in [Method::GET, Method::HEAD] {
        let ask = || Ask::new(method.clone(), "/bkt/o").set("x-amz-checksum-mode", "ENABLED");
        let reply = shop.ask(ask()).await;
        assert_eq!(reply.header(&header_of(name)), expected);
        assert_eq!(reply.header("x-amz-checksum-type"), kind);
        let part = shop.ask(ask().query("partNumber", "2")).await;
        let own = part.header(&header_of(name));
        assert!(
            part.status == 206 && !own.is_empty() && own != expected,
            "{method}: {own}"
        );
        for part in [ask().set("range", "bytes=0-")] {
            let reply = shop.ask(part).await;
            assert_eq!(
                (reply.status, reply.header(&header_of(name))),
                (206, ""),
                "{method}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_contradicts_its_parts_is_refused_and_changes_nothing() {
    let shop = Shop::open().await;
    let upload = Upload::begin_with(&shop, "/bkt/o", "CRC32", "FULL_OBJECT").await;
    let large = body(3, LEAST);
    let (one, two, three) = (
        upload.put(1, &large).await,
        upload.put(2, b"too small").await,
        upload.put(3, b"last").await,
    );
    let (right, small) = (
        [(1, one.as_str()), (3, three.as_str())],
        [(1, one.as_str()), (2, two.as_str()), (3, three.as_str())],
    );
    let sum = "AAAAAA==";
    for (ask, code, status) in [
        (upload.complete(&small), "EntityTooSmall", 400),
        (upload.complete(&[right[1], right[0]]), "InvalidPartOrder", 400),
        (upload.complete(&[right[0], right[0]]), "InvalidPartOrder", 400),
        (upload.complete(&[right[0], (4, &three)]), "InvalidPart", 400),
        (upload.complete(&[right[0], (3, &one)]), "InvalidPart", 400),
        (upload.complete(&[(0, &one)]), "InvalidArgument", 400),
        (upload.complete(&[]), "MalformedXML", 400),
        (
            upload.complete(&right).set("x-amz-mp-object-size", "5242883"),
            "InvalidRequest",
            400,
        ),
        (
            upload.complete(&right).set("x-amz-mp-object-size", "-1"),
            "InvalidArgument",
            400,
        ),
        (
            upload.complete(&right).set("x-amz-checksum-sha1", "AAAA"),
            "InvalidRequest",
            400,
        ),
        (
            upload
                .complete(&right)
                .set("x-amz-checksum-crc32", &format!("{sum}-3")),
            "BadDigest",
            400,
        ),
        (
            upload
                .complete(&right)
                .set("x-amz-checksum-crc32", sum)
                .set("x-amz-checksum-crc32c", sum),
            "InvalidRequest",
            400,
        ),
        (
            upload.complete(&right).set("if-match", "\"00\""),
            "NoSuchKey",
            404,
        ),
    ] {
        let query = format!("{:?} {:?}", ask.headers, String::from_utf8_lossy(&ask.body));
        assert_eq!(shop.ask(ask).await.outcome(), refused(code, status), "{query}");
    }
    let parts = shop.ask(get("/bkt/o").query("uploadId", &upload.id)).await;
    assert_eq!(parts.all("PartNumber"), ["1", "2", "3"]);
    assert_eq!(shop.get("/bkt/o").await.outcome(), refused("NoSuchKey", 404));
    let done = shop
        .ask(upload.complete(&right).set("x-amz-mp-object-size", "5242884"))
        .await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(shop.get("/bkt/o").await.body, [&large[..], b"last"].concat());
    assert!(!upload.is_open().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_sent_again_gets_the_same_answer() {
    let shop = Shop::open().await;
    let upload = Upload::begin_with(&shop, "/bkt/o", "CRC64NVME", "FULL_OBJECT").await;
    let etag = upload.put(7, b"only").await;
    let complete = || upload.complete(&[(7, &etag)]).set("if-none-match", "*");
    let first = shop.ask(complete()).await;
    let again = shop.ask(complete()).await;
    assert_eq!((first.status, first.text), (again.status, again.text));
    let other = upload.complete(&[(7, "\"00000000000000000000000000000000\"")]);
    assert_eq!(shop.ask(other).await.outcome(), refused("NoSuchUpload", 404));
    shop.put("/bkt/o", b"something newer").await;
    assert_eq!(shop.ask(complete()).await.outcome(), refused("NoSuchUpload", 404));
    assert_eq!(shop.get("/bkt/o").await.text, "something newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_upload_takes_nothing_any_more() {
    let shop = Shop::open().await;
    let upload = Upload::begin(&shop, "/bkt/o").await;
    let etag = upload.put(1, b"x").await;
    let abort = || Ask::new(Method::DELETE, "/bkt/o").query("uploadId", &upload.id);
    let elsewhere = Ask::new(Method::DELETE, "/bkt/other").query("uploadId", &upload.id);
    assert_eq!(shop.ask(elsewhere).await.outcome(), refused("NoSuchUpload", 404));
    assert_eq!(shop.ask(abort()).await.status, 204);
    shop.put("/bkt/source", b"meow").await;
    for ask in [
        upload.part(2, b"y"),
        upload.part(2, b"").set("x-amz-copy-source", "/bkt/source"),
        upload.complete(&[(1, &etag)]),
        get("/bkt/o").query("uploadId", &upload.id),
        abort(),
    ] {
        let what = format!("{} {:?}", ask.method, ask.query);
        assert_eq!(
            shop.ask(ask).await.outcome(),
            refused("NoSuchUpload", 404),
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_list_in_pages_in_the_order_of_their_numbers() {
    let shop = Shop::open().await;
    let upload = Upload::begin_with(&shop, "/bkt/o", "SHA256", "").await;
    for number in [9, 2, 10_000, 4, 1] {
        upload.put(number, number.to_string().as_bytes()).await;
    }
    let list = || get("/bkt/o").query("uploadId", &upload.id);
    let (mut numbers, mut marker) = (Vec::new(), "0".to_owned());
    for page in 1.. {
        let reply = shop
            .ask(
                list()
                    .query("max-parts", "2")
                    .query("part-number-marker", &marker),
            )
            .await;
        assert_eq!(reply.all("PartNumberMarker"), [marker.as_str()]);
        assert_eq!(reply.all("ChecksumAlgorithm"), ["SHA256"]);
        assert_eq!(reply.all("ChecksumSHA256").len(), reply.all("PartNumber").len());
        numbers.extend(reply.all("PartNumber"));
        marker = reply.all("NextPartNumberMarker").pop().unwrap();
        if reply.all("IsTruncated") == ["false"] {
            assert_eq!(page, 3);
            break;
        }
    }
    assert_eq!(numbers, ["1", "2", "4", "9", "10000"]);
    assert_eq!(shop.ask(list()).await.all("Size"), ["1", "1", "1", "1", "5"]);
    for (name, value) in [
        ("max-parts", "-1"),
        ("part-number-marker", "-1"),
        ("max-parts", "x"),
    ] {
        assert_eq!(
            shop.ask(list().query(name, value)).await.outcome(),
            refused("InvalidArgument", 400),
            "{name}={value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_list_in_pages_by_key_and_id_with_prefix_and_delimiter() {
    let shop = Shop::open().await;
    let mut made = Vec::new();
    for key in ["a", "d/x", "d/y", "d/y", "d/y", "e", "e%20f", "z"] {
        let path = format!("/bkt/{key}");
        made.push((key.to_owned(), Upload::begin(&shop, &path).await.id));
    }
    made.sort();
    let list = || get("/bkt").query("uploads", "").query("encoding-type", "url");
    let pairs = |reply: &Reply| -> Vec<(String, String)> {
        assert_eq!(reply.status, 200, "{}", reply.text);
        // The first Key of the answer is that of an upload: the markers have other names.
        reply.all("Key").into_iter().zip(reply.all("UploadId")).collect()
    };
    let all = shop.ask(list()).await;
    assert_eq!(pairs(&all), made);
    // A credential acts for its vault: who began an upload is its owner.
    let vault = crate::rig::vault_id().to_string();
    assert!(all.all("ID").iter().all(|id| *id == vault) && all.all("ID").len() == 2 * made.len());
    assert!(all.all("DisplayName").iter().all(|name| name == "test"));
    for size in ["1", "2", "3"] {
        let (mut found, mut ask) = (Vec::new(), list());
        loop {
            let reply = shop.ask(ask.query("max-uploads", size)).await;
            found.extend(pairs(&reply));
            if reply.all("IsTruncated") == ["false"] {
                break;
            }
            let next = |name| reply.all(name).pop().unwrap().replace("/", "%2F");
            ask = list()
                .query("key-marker", &next("NextKeyMarker"))
                .query("upload-id-marker", &next("NextUploadIdMarker"));
        }
        assert_eq!(found, made, "{size} a page");
    }
    let grouped = shop.ask(list().query("delimiter", "%2F")).await;
    assert_eq!(grouped.all("Key"), ["a", "e", "e%20f", "z"], "{}", grouped.text);
    assert!(
        grouped
            .text
            .contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>")
    );
    let within = shop
        .ask(list().query("prefix", "d%2F").query("delimiter", "%2F"))
        .await;
    assert_eq!(within.all("Key"), ["d/x", "d/y", "d/y", "d/y"]);
    let after = shop.ask(list().query("key-marker", "d%2Fy")).await;
    assert_eq!(after.all("Key"), ["e", "e%20f", "z"]);
    let bad = list().query("key-marker", "a").query("upload-id-marker", "no-id");
    assert_eq!(shop.ask(bad).await.outcome(), refused("InvalidArgument", 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_copied_from_ranges_of_objects() {
    let shop = Shop::open().await;
    let source = body(5, LEAST + 70_000);
    let etag = shop.put("/bkt/s%20o", &source).await.header("etag").to_owned();
    let upload = Upload::begin_with(&shop, "/bkt/o", "CRC32C", "FULL_OBJECT").await;
    let copy = |number, range: &str| {
        let ask = upload.part(number, b"").set("x-amz-copy-source", "/bkt/s%20o");
        if range.is_empty() {
            ask
        } else {
            ask.set("x-amz-copy-source-range", range)
        }
    };
    let one = shop.ask(copy(1, "")).await;
    let two = shop.ask(copy(2, "bytes=65519-131041")).await;
    let three = shop.ask(copy(3, "bytes=0-0")).await;
    assert_eq!(
        two.all("ChecksumCRC32C"),
        [base64(&ALGORITHMS[1].1(&source[65_519..131_042]))]
    );
    let last = source.len();
    for bad in [
        format!("bytes=0-{last}"),
        format!("bytes={last}-{last}"),
        "bytes=5-".into(),
        "bytes=-5".into(),
        "bytes=9-3".into(),
        "0-5".into(),
    ] {
        let reply = shop.ask(copy(4, &bad)).await;
        assert_eq!(reply.outcome(), refused("InvalidArgument", 400), "{bad}");
    }
    let unless = copy(4, "").set("x-amz-copy-source-if-none-match", &etag);
    assert_eq!(
        shop.ask(unless).await.outcome(),
        refused("PreconditionFailed", 412)
    );
    let of = |reply: &Reply| reply.all("ETag").pop().unwrap().replace("&quot;", "\"");
    let (one, two, three) = (of(&one), of(&two), of(&three));
    let small = upload.complete(&[(1, &one), (2, &two), (3, &three)]);
    assert_eq!(shop.ask(small).await.outcome(), refused("EntityTooSmall", 400));
    let done = shop.ask(upload.complete(&[(1, &one), (2, &two)])).await;
    let whole = [&source[..], &source[65_519..131_042]].concat();
    assert_eq!(
        done.all("ChecksumCRC32C"),
        [base64(&ALGORITHMS[1].1(&whole))],
        "{}",
        done.text
    );
    assert_eq!(shop.get("/bkt/o").await.body, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_read_part_by_part() {
    let shop = Shop::open().await;
    let upload = Upload::begin_with(&shop, "/bkt/o", "CRC32", "FULL_OBJECT").await;
    let parts = [body(8, LEAST), body(9, LEAST + 3), Vec::new()];
    let mut etags = Vec::new();
    for (number, part) in [3, 5, 6].into_iter().zip(&parts) {
        etags.push((number, upload.put(number, part).await));
    }
    let named: Vec<(usize, &str)> = etags.iter().map(|(n, etag)| (*n, etag.as_str())).collect();
    assert_eq!(shop.ask(upload.complete(&named)).await.status, 200);
    let total: usize = parts.iter().map(Vec::len).sum();
    for method in [Method::GET, Method::HEAD] {
        let ask = |n: &str| {
            let ask = Ask::new(method.clone(), "/bkt/o").query("partNumber", n);
            ask.set("x-amz-checksum-mode", "ENABLED")
        };
        let mut start = 0;
        for (at, part) in parts.iter().enumerate() {
            let reply = shop.ask(ask(&(at + 1).to_string())).await;
            assert_eq!(reply.header("x-amz-mp-parts-count"), "3");
            assert_eq!(reply.header("content-length"), part.len().to_string());
            let own = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, part) as u32;
            let own = base64(&own.to_be_bytes());
            assert_eq!(
                reply.header("x-amz-checksum-crc32"),
                own,
                "the part's own, not the object's"
            );
            if method == Method::GET {
                assert!(reply.body == part.as_slice());
            }
            if !part.is_empty() {
                let range = format!("bytes {start}-{}/{total}", start + part.len() - 1);
                assert_eq!(
                    (reply.status, reply.header("content-range")),
                    (206, range.as_str())
                );
            }
            start += part.len();
        }
        let (many, none) = (shop.ask(ask("4")).await, shop.ask(ask("0")).await);
        assert_eq!((many.status, none.status), (416, 400));
        assert_eq!(shop.ask(ask("10001")).await.status, 400);
        assert_eq!(shop.ask(ask("1").set("range", "bytes=0-1")).await.status, 400);
    }
    shop.put("/bkt/single", b"meow").await;
    let one = shop.ask(get("/bkt/single").query("partNumber", "1")).await;
    assert_eq!(
        (one.status, one.text.as_str(), one.header("x-amz-mp-parts-count")),
        (206, "meow", "")
    );
    let two = shop.ask(get("/bkt/single").query("partNumber", "2")).await;
    assert_eq!(two.outcome(), refused("InvalidPartNumber", 416));
}
