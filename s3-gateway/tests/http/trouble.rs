//! What goes wrong on the way: drives that go, disks that fill, quotas, and bodies that nobody wants any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::SimDisk;
use http::Method;
use s3_gateway::host::Hosts;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::Ask;
use crate::rig::body;
use crate::shop::{Shop, get, post, put, refused};
use crate::wire::{Answer, exchange, rest, wire};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_drives_refuse_writes_with_a_sentence_and_reads_go_on() {
    let shop = Shop::open().await;
    let port = shop.listen(None).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let large = body(1, 9 << 20);
    assert_eq!(
        exchange(&mut stream, put("/bkt/before", &large)).await.status,
        200
    );
    // A body is under way when the drives go.
    let bytes = wire(put("/bkt/during", &large).signed()).await;
    let (first, last) = bytes.split_at(bytes.len() / 2);
    stream.write_all(first).await.unwrap();
    for number in [1, 4] {
        shop.remove_drive(number);
    }
    stream.write_all(last).await.unwrap();
    let answer = Answer::read(&mut stream, false).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("cairn repair"), "{}", answer.text());
    if answer.closes() {
        stream = TcpStream::connect(port.address).await.unwrap();
    }
    for ask in [
        put("/bkt/after", b"x"),
        put("/bkt/copy", b"").set("x-amz-copy-source", "/bkt/before"),
        post("/bkt/upload", "uploads", "", ""),
        put("/other", b""),
    ] {
        let answer = exchange(&mut stream, ask).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("<Code>ServiceUnavailable</Code>"));
    }
    assert!(exchange(&mut stream, get("/bkt/before")).await.body == large);
    for name in ["during", "after", "copy"] {
        assert_eq!(
            exchange(&mut stream, get(&format!("/bkt/{name}"))).await.status,
            404
        );
    }
    shop.rig.repair().await;
    assert_eq!(exchange(&mut stream, put("/bkt/after", b"x")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_507_keeps_reading_and_deleting_and_recovers() {
    let sim = SimDisk::unrecorded(1);
    let root = PathBuf::from("/data");
    let shop = Shop::open_on(Arc::new(sim.clone()), root, Hosts::default(), |_| {}).await;
    let some = body(2, 1 << 20);
    assert_eq!(shop.put("/bkt/first", &some).await.status, 200);
    // No byte above what is taken: not even the room that was preallocated is free to others.
    sim.set_capacity(sim.used_bytes());
    let mut stored = 0;
    let full = loop {
        let reply = shop.put(&format!("/bkt/o{stored}"), &some).await;
        if reply.status != 200 {
            break reply;
        }
        stored += 1;
        assert!(stored < 1_000, "the disk is never full");
    };
    assert_eq!(full.status, 507, "{}", full.text);
    assert!(full.text.contains("cairn gc"), "{}", full.text);
    assert_eq!(
        shop.get(&format!("/bkt/o{stored}")).await.outcome(),
        refused("NoSuchKey", 404)
    );
    assert!(shop.get("/bkt/first").await.body == some);
    assert_eq!(shop.ask(Ask::new(Method::DELETE, "/bkt/first")).await.status, 204);
    assert_eq!(shop.get("/bkt/first").await.status, 404);
    sim.set_capacity(u64::MAX);
    shop.rig.cluster.check_drives().await;
    let again = async { while shop.put("/bkt/again", &some).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_counts_the_parts_of_an_upload_and_gives_back_what_is_deleted() {
    let mib = 1 << 20;
    let shop = Shop::open_with(|options| options.quota_bytes = Some(10 << 20)).await;
    let id = shop
        .ask(post("/bkt/o", "uploads", "", ""))
        .await
        .all("UploadId")
        .pop()
        .unwrap();
    let part = |n: &str, body: &[u8]| put("/bkt/o", body).query("partNumber", n).query("uploadId", &id);
    let one = body(1, 6 * mib);
    let etag = shop.ask(part("1", &one)).await.header("etag").to_owned();
    let over = refused("QuotaExceeded", 403);
    assert_eq!(shop.ask(part("2", &one)).await.outcome(), over);
    let another = shop.ask(post("/bkt/other", "uploads", "", "")).await;
    let another = another.all("UploadId").pop().unwrap();
    let elsewhere = put("/bkt/other", &one)
        .query("partNumber", "1")
        .query("uploadId", &another);
    assert_eq!(
        shop.ask(elsewhere).await.outcome(),
        over,
        "parts of all uploads count together"
    );
    assert_eq!(shop.put("/bkt/p", &one).await.outcome(), over);
    assert_eq!(
        shop.ask(part("1", &one)).await.status,
        200,
        "a part in its own place is no more"
    );
    let xml = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    assert_eq!(shop.ask(post("/bkt/o", "uploadId", &id, &xml)).await.status, 200);
    assert_eq!(shop.put("/bkt/p", &one).await.outcome(), over);
    let copy = put("/bkt/p", b"").set("x-amz-copy-source", "/bkt/o");
    assert_eq!(shop.ask(copy).await.outcome(), over);
    assert_eq!(shop.get("/bkt/p").await.status, 404);
    assert_eq!(shop.ask(Ask::new(Method::DELETE, "/bkt/o")).await.status, 204);
    assert_eq!(shop.put("/bkt/p", &one).await.status, 200);
}

type Make<'a> = &'a dyn Fn(&[u8]) -> Ask;

/// What a body says that would like to be a request.
fn smuggled() -> Vec<u8> {
    b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n".repeat(40)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_refused_body_is_never_taken_for_a_request() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"meow").await;
    let port = shop.listen(None).await;
    let small = smuggled();
    let large = small.repeat((3 << 20) / small.len());
    let forged = |body: &[u8]| {
        let mut ask = put("/bkt/refused", body);
        ask.secret = "guessed".into();
        ask
    };
    // Refused at the gate, refused by right, and refused by a condition.
    shop.credential("READER", scopes::ScopeSet::All, "read".parse().unwrap())
        .await;
    let reader = |body: &[u8]| {
        let mut ask = put("/bkt/refused", body);
        ask.key = "READER".into();
        ask
    };
    let condition = |body: &[u8]| put("/bkt/o", body).set("if-none-match", "*");
    let cases: [(Make<'_>, u16); 3] = [(&forged, 403), (&reader, 403), (&condition, 412)];
    for (make, status) in cases {
        // Short enough to be drained: the connection goes on with the request behind it.
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let mut both = wire(make(&small).signed()).await;
        both.extend(wire(get("/bkt/o").signed()).await);
        stream.write_all(&both).await.unwrap();
        let first = Answer::read(&mut stream, false).await;
        assert_eq!(
            (first.status, first.closes()),
            (status, false),
            "{}",
            first.text()
        );
        let second = Answer::read(&mut stream, false).await;
        assert_eq!((second.status, second.text()), (200, "meow".to_owned()));
        // Too long: one answer, which says that the connection ends, and then its end.
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let bytes = wire(make(&large).signed()).await;
        let (mut reader, mut writer) = stream.split();
        let sent = async {
            let _ = writer.write_all(&bytes).await;
        };
        let got = tokio::time::timeout(Duration::from_secs(8), async {
            tokio::join!(rest(&mut reader), sent).0
        });
        let got = got.await.unwrap();
        assert!(got.matches("HTTP/1.1").count() <= 1, "{got}");
        if !got.is_empty() {
            assert!(
                got.starts_with(&format!("HTTP/1.1 {status}")) && got.contains("connection: close"),
                "{got}"
            );
        }
    }
    assert_eq!(shop.get("/bkt/refused").await.status, 404);
    assert_eq!(shop.get("/bkt/o").await.text, "meow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_http_chunks_ends_where_they_end() {
    let shop = Shop::open().await;
    shop.put("/bkt/o", b"meow").await;
    let port = shop.listen(None).await;
    for with_length in [false, true] {
        let mut ask = put("/bkt/chunked", b"").payload("UNSIGNED-PAYLOAD");
        ask.headers.retain(|(name, _)| name != "content-length");
        if with_length {
            ask.unsigned.push(("content-length".into(), "3".into()));
        }
        ask.unsigned.push(("transfer-encoding".into(), "chunked".into()));
        let mut both = wire(ask.signed()).await;
        let inner = smuggled();
        both.extend_from_slice(format!("{:x}\r\n", inner.len()).as_bytes());
        both.extend_from_slice(&inner);
        both.extend_from_slice(b"\r\n0\r\n\r\n");
        both.extend(wire(get("/bkt/o").signed()).await);
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(&both).await.unwrap();
        let first = Answer::read(&mut stream, false).await;
        assert!((400..500).contains(&first.status), "{}", first.text());
        if !first.closes() {
            let second = Answer::read(&mut stream, false).await;
            assert_eq!((second.status, second.text()), (200, "meow".to_owned()));
        }
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
        assert_eq!(shop.get("/bkt/chunked").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_for_100_continue_is_never_left_in_doubt() {
    let shop = Shop::open().await;
    let port = shop.listen(None).await;
    let waiting = |path: &str, body: &[u8]| put(path, body).set("expect", "100-continue");
    // An empty body: there is nothing to ask for, and the connection ends with the answer.
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let answer = exchange(&mut stream, waiting("/bkt/empty", b"")).await;
    assert_eq!((answer.status, answer.closes()), (200, true), "{}", answer.head);
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(shop.get("/bkt/empty").await.status, 200);
    // A refusal instead of the interim answer: the body is not asked for, and what comes next is another connection.
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let bytes = wire(waiting("/none/o", b"meow").signed()).await;
    stream.write_all(&bytes[..bytes.len() - 4]).await.unwrap();
    let answer = Answer::read(&mut stream, false).await;
    assert_eq!((answer.status, answer.closes()), (404, true), "{}", answer.head);
    assert_eq!(rest(&mut stream).await, "");
    // An accepted one is asked for its body and goes on.
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let bytes = wire(waiting("/bkt/o", b"meow").signed()).await;
    let (head, body) = bytes.split_at(bytes.len() - 4);
    stream.write_all(head).await.unwrap();
    assert_eq!(Answer::read(&mut stream, true).await.status, 100);
    stream.write_all(body).await.unwrap();
    let answer = Answer::read(&mut stream, false).await;
    assert_eq!((answer.status, answer.closes()), (200, false));
    assert_eq!(exchange(&mut stream, get("/bkt/o")).await.text(), "meow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_leaves_nothing_to_be_seen() {
    let shop = Shop::open().await;
    shop.put("/bkt/old", b"as it was").await;
    let port = shop.listen(None).await;
    let large = body(3, 6 << 20);
    for path in ["/bkt/new", "/bkt/old"] {
        let bytes = wire(put(path, &large).signed()).await;
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
        stream.shutdown().await.unwrap();
        rest(&mut stream).await;
    }
    assert_eq!(shop.get("/bkt/new").await.outcome(), refused("NoSuchKey", 404));
    assert_eq!(shop.get("/bkt/old").await.text, "as it was");
    assert_eq!(shop.get("/bkt").await.all("Key"), ["old"]);
}
