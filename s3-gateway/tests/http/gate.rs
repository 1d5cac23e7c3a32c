//! The gate, request by request: every way in which a request may lie gets the code that S3 documents, and nothing
//! of it reaches the inside as success.

use crate::client::{Ask, Bench, HOST, signed_chunks};
use http::Method;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

fn put() -> Ask {
    Ask::new(Method::PUT, "/photos/a%20cat").body(b"meow")
}

fn chunked(mode: &str, body: &[u8]) -> Ask {
    put()
        .body(body)
        .payload(mode)
        .set("x-amz-decoded-content-length", &body.len().to_string())
}

fn unsigned_trailer(trailer: &str, framed: &str, decoded: usize) -> Ask {
    let mut ask = put().body(framed.as_bytes()).payload(UNSIGNED_TRAILER);
    ask = ask
        .set("content-encoding", "aws-chunked")
        .set("x-amz-trailer", trailer);
    ask.set("x-amz-decoded-content-length", &decoded.to_string())
}

fn refused(code: &str, status: u16) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn an_honest_request_passes_without_its_credentials() {
    let bench = Bench::new();
    let reply = bench
        .send(
            put()
                .set("x-amz-meta-mood", "fine")
                .set("content-type", "text/plain")
                .signed(),
        )
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["server"], "Cairn");
    assert_eq!(reply.headers["x-amz-request-id"].len(), 32);
    let seen = bench.seen().unwrap();
    assert_eq!(
        (seen.uri.as_str(), seen.body.as_slice()),
        ("/photos/a%20cat", &b"meow"[..])
    );
    for gone in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
    let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    assert_eq!(
        seen.metadata,
        [
            pair("content-type", "text/plain"),
            pair("x-amz-meta-mood", "fine")
        ]
    );
    assert_eq!(hex::encode(seen.md5.unwrap()), "4a4be40c96ac6314e91d93f38043a634");
}

#[tokio::test]
async fn a_presigned_request_passes_without_its_credentials() {
    let bench = Bench::new();
    let ask = put()
        .query("x-id", "PutObject")
        .query("x-amz-meta-hoisted", "yes");
    assert_eq!(bench.send(ask.presigned(60)).await.status, 200);
    let seen = bench.seen().unwrap();
    assert_eq!(
        seen.metadata,
        [("x-amz-meta-hoisted".to_owned(), "yes".to_owned())]
    );
    assert!(
        seen.uri.contains("x-id=PutObject") && !seen.uri.contains("X-Amz-"),
        "{}",
        seen.uri
    );
}

#[tokio::test]
async fn nothing_is_accepted_without_a_good_signature_in_any_payload_mode() {
    let modes = ["UNSIGNED-PAYLOAD", SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER];
    let targets = [
        (Method::PUT, "/photos/k", ""),
        (Method::PUT, "/photos/k", "uploadId"),
        (Method::POST, "/photos/k", "uploads"),
        (Method::POST, "/photos", "delete"),
        (Method::DELETE, "/photos/k", ""),
        (Method::PUT, "/photos", ""),
        (Method::GET, "/photos/k", ""),
    ];
    let bench = Bench::new();
    for mode in modes {
        for (method, path, query) in &targets {
            let make = || {
                let mut ask = Ask::new(method.clone(), path).body(b"0\r\n\r\n").payload(mode);
                if !query.is_empty() {
                    ask = ask.query(query, "");
                }
                ask.set("x-amz-decoded-content-length", "0")
            };
            let mut forged = make();
            forged.secret = "guessed".into();
            let outcome = bench.send(forged.signed()).await.outcome();
            assert_eq!(
                outcome,
                refused("SignatureDoesNotMatch", 403),
                "{mode} {method} {query}"
            );
            let anonymous = make().set("x-amz-content-sha256", mode).build();
            assert_eq!(
                bench.send(anonymous).await.outcome(),
                refused("AccessDenied", 403),
                "{mode}"
            );
        }
    }
    assert!(bench.seen().is_none());
    assert_eq!(
        bench.book.refused.lock().unwrap().len(),
        2 * modes.len() * targets.len()
    );
}

#[tokio::test]
async fn what_s3s_lets_through_is_refused() {
    let bench = Bench::new();
    let outcome = async |request| bench.send(request).await.outcome();
    let v2 = put().set("authorization", "AWS key:signature").build();
    assert_eq!(outcome(v2).await, refused("InvalidRequest", 400));
    let v2 = put()
        .query("AWSAccessKeyId", "k")
        .query("Signature", "s")
        .query("Expires", "9")
        .build();
    assert_eq!(outcome(v2).await, refused("InvalidRequest", 400));
    let mut no_host = put();
    no_host.leave_out.push("host".into());
    assert_eq!(outcome(no_host.signed()).await, refused("AccessDenied", 403));
    let mut added = put();
    added.unsigned.push(("x-amz-acl".into(), "public-read".into()));
    assert_eq!(outcome(added.signed()).await, refused("AccessDenied", 403));
    let mut foreign = put();
    foreign.region = "eu-west-1".into();
    let reply = bench.send(foreign.signed()).await;
    assert_eq!(reply.outcome(), refused("AuthorizationHeaderMalformed", 400));
    assert!(
        reply.text.contains("<Region>us-east-1</Region>"),
        "{}",
        reply.text
    );
    let mut sts = put();
    sts.service = "sts".into();
    assert_eq!(
        outcome(sts.signed()).await,
        refused("AuthorizationHeaderMalformed", 400)
    );
    assert_eq!(
        outcome(put().presigned(604_801)).await,
        refused("AuthorizationQueryParametersError", 400)
    );
    let token = put().set("x-amz-security-token", "anything").signed();
    assert_eq!(outcome(token).await, refused("InvalidToken", 400));
    let mut late = put();
    late.skew_s = -1000;
    assert_eq!(outcome(late.signed()).await, refused("RequestTimeTooSkewed", 403));
    let mut over = put();
    over.skew_s = -61;
    let reply = bench.send(over.presigned(60)).await;
    assert_eq!(reply.outcome(), refused("AccessDenied", 403));
    assert!(reply.text.contains("Request has expired"));
    let form = Ask::new(Method::POST, "/photos")
        .set("content-type", "Multipart/Form-Data; boundary=x")
        .build();
    assert_eq!(outcome(form).await, refused("MalformedPOSTRequest", 400));
    assert!(bench.seen().is_none());
}

#[tokio::test]
async fn a_credential_out_of_force_is_refused_with_its_reason() {
    let bench = Bench::new();
    let mut unknown = put();
    unknown.key = "NOBODY".into();
    assert_eq!(
        bench.send(unknown.signed()).await.outcome(),
        refused("InvalidAccessKeyId", 403)
    );
    bench.book.credential.lock().unwrap().window.expires_ms = Some(1);
    let reply = bench.send(put().signed()).await;
    assert_eq!(reply.outcome(), refused("AccessDenied", 403));
    assert!(reply.text.contains("expired"));
    bench.book.credential.lock().unwrap().revoked = true;
    assert!(bench.send(put().signed()).await.text.contains("revoked"));
    assert!(bench.seen().is_none());
}

#[tokio::test]
async fn signed_chunks_pass_whole_or_not_at_all() {
    let body: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let bench = Bench::new();
    let good = chunked(SIGNED, &body).signed_with(|signed, body| signed_chunks(signed, body, 65_536, None));
    assert_eq!(bench.send(good).await.status, 200);
    assert_eq!(bench.seen().unwrap().body, body);
    let flipped = chunked(SIGNED, &body).signed_with(|signed, body| {
        let mut framed = signed_chunks(signed, body, 65_536, None);
        framed[70_000] ^= 1;
        framed
    });
    assert_eq!(
        bench.send(flipped).await.outcome(),
        refused("SignatureDoesNotMatch", 403)
    );
    let seen = bench.seen().unwrap();
    assert_eq!(
        seen.body,
        body[..65_536],
        "nothing of the second chunk may be released"
    );
    assert!(seen.md5.is_none());
    let cut = chunked(SIGNED, &body).signed_with(|signed, body| {
        let framed = signed_chunks(signed, body, 65_536, None);
        framed[..framed.len() - 88].to_vec()
    });
    assert_eq!(bench.send(cut).await.outcome(), refused("IncompleteBody", 400));
    for declared in ["199999", "200001"] {
        let lied = chunked(SIGNED, &body).set("x-amz-decoded-content-length", declared);
        let lied = lied.signed_with(|signed, body| signed_chunks(signed, body, 65_536, None));
        assert_eq!(
            bench.send(lied).await.outcome(),
            refused("IncompleteBody", 400),
            "{declared}"
        );
        assert!(bench.seen().unwrap().md5.is_none());
    }
    let silent = put().body(&body).payload(SIGNED);
    let silent = silent.signed_with(|signed, body| signed_chunks(signed, body, 65_536, None));
    assert_eq!(
        bench.send(silent).await.outcome(),
        refused("MissingContentLength", 411)
    );
}

#[tokio::test]
async fn trailers_must_be_the_ones_promised_and_right() {
    let bench = Bench::new();
    let crc = "x-amz-checksum-crc32";
    let frame = |trailer: &str| format!("4\r\nmeow\r\n0\r\n{trailer}\r\n");
    // CRC32 of "meow", by a second implementation.
    let expected = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, b"meow");
    let value = {
        use base64::Engine as _;
        let bytes = u32::try_from(expected).unwrap().to_be_bytes();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let good = unsigned_trailer(crc, &frame(&format!("{crc}:{value}\r\n")), 4);
    assert_eq!(
        bench
            .send(good.set("content-encoding", "gzip, aws-chunked").signed())
            .await
            .status,
        200
    );
    let seen = bench.seen().unwrap();
    assert_eq!(
        (seen.body.as_slice(), seen.checksum),
        (&b"meow"[..], Some(value.clone()))
    );
    assert_eq!(
        seen.metadata,
        [("content-encoding".to_owned(), "gzip".to_owned())]
    );
    assert_eq!(seen.headers["content-length"], "4");
    for (trailer, code) in [
        ("x-amz-checksum-crc32:AAAAAA==\r\n".to_owned(), "BadDigest"),
        ("x-amz-checksum-crc32:AAAA\r\n".to_owned(), "InvalidRequest"),
        (String::new(), "MalformedTrailerError"),
        (
            format!("x-amz-checksum-crc32c:{value}\r\n"),
            "MalformedTrailerError",
        ),
        (
            format!("{crc}:{value}\r\nx-amz-checksum-sha1:AA==\r\n"),
            "MalformedTrailerError",
        ),
    ] {
        let reply = bench
            .send(unsigned_trailer(crc, &frame(&trailer), 4).signed())
            .await;
        assert_eq!(reply.outcome(), refused(code, 400), "{trailer}");
        assert!(bench.seen().unwrap().md5.is_none());
    }
    let unending = unsigned_trailer(crc, "4\r\nmeow\r\n", 4).signed();
    assert_eq!(
        bench.send(unending).await.outcome(),
        refused("IncompleteBody", 400)
    );
    let framed = |trailer: String| {
        let ask = chunked(SIGNED_TRAILER, b"meow").set("x-amz-trailer", crc);
        ask.signed_with(move |signed, body| signed_chunks(signed, body, 8192, Some(&trailer)))
    };
    assert_eq!(bench.send(framed(format!("{crc}:{value}"))).await.status, 200);
    assert_eq!(
        bench.send(framed(format!("{crc}:AAAAAA=="))).await.outcome(),
        refused("BadDigest", 400)
    );
    let early = put().set("x-amz-trailer", crc).signed();
    assert_eq!(bench.send(early).await.outcome(), refused("InvalidRequest", 400));
}

#[tokio::test]
async fn bodies_are_compared_with_every_digest_that_came_with_them() {
    let bench = Bench::new();
    let outcome = async |ask: Ask| bench.send(ask.signed()).await.outcome();
    let mut altered = put();
    altered.body = b"woof".to_vec();
    assert_eq!(outcome(altered).await, refused("XAmzContentSHA256Mismatch", 400));
    let md5 = |value: &str| put().set("content-md5", value);
    assert_eq!(outcome(md5("SkvkDJasYxTpHZPzgEOmNA==")).await.0, 200);
    assert_eq!(
        outcome(md5("AAAAAAAAAAAAAAAAAAAAAA==")).await,
        refused("BadDigest", 400)
    );
    assert_eq!(outcome(md5("AAAA")).await, refused("InvalidDigest", 400));
    let sum = |value: &str| put().set("x-amz-checksum-sha256", value);
    assert_eq!(
        outcome(sum(&"A".repeat(43).add_pad())).await,
        refused("BadDigest", 400)
    );
    assert_eq!(outcome(sum("AAAA")).await, refused("InvalidRequest", 400));
    let two = sum(&"A".repeat(43).add_pad()).set("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(outcome(two).await, refused("InvalidRequest", 400));
    let missing = put().set("x-amz-sdk-checksum-algorithm", "CRC32");
    assert_eq!(outcome(missing).await, refused("InvalidRequest", 400));
    let mut short = put().payload("UNSIGNED-PAYLOAD");
    short.body.truncate(2);
    assert_eq!(outcome(short).await, refused("IncompleteBody", 400));
    // Bodies that are read whole are checked before anything sees them.
    bench.seen();
    let delete = || {
        Ask::new(Method::POST, "/photos")
            .query("delete", "")
            .body(b"<Delete/>")
    };
    assert_eq!(
        outcome(delete().set("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")).await,
        refused("BadDigest", 400)
    );
    let mut altered = delete();
    altered.body = b"<delete/>".to_vec();
    assert_eq!(outcome(altered).await, refused("XAmzContentSHA256Mismatch", 400));
    assert!(bench.seen().is_none());
}

trait AddPad {
    fn add_pad(self) -> String;
}

impl AddPad for String {
    fn add_pad(mut self) -> String {
        self.push('=');
        self
    }
}

#[tokio::test]
async fn lengths_are_limited_before_a_byte_is_read() {
    let bench = Bench::new();
    let outcome = async |ask: Ask| bench.send(ask.signed()).await.outcome();
    let large = put()
        .payload("UNSIGNED-PAYLOAD")
        .set("content-length", "5368709121");
    assert_eq!(outcome(large).await, refused("EntityTooLarge", 400));
    let mut silent = put();
    silent.headers.retain(|(name, _)| name != "content-length");
    assert_eq!(outcome(silent).await, refused("MissingContentLength", 411));
    let long = Ask::new(Method::POST, "/photos")
        .query("delete", "")
        .body(&vec![b' '; (2 << 20) + 1]);
    assert_eq!(
        outcome(long.clone()).await,
        refused("MaxMessageLengthExceeded", 400)
    );
    let mut unstated = long.payload("UNSIGNED-PAYLOAD");
    unstated.headers.retain(|(name, _)| name != "content-length");
    assert_eq!(outcome(unstated).await, refused("MaxMessageLengthExceeded", 400));
    let bucket = Ask::new(Method::PUT, "/photos").body(&[b' '; 65_537]);
    assert_eq!(outcome(bucket).await, refused("MaxMessageLengthExceeded", 400));
    let metadata = put().set("x-amz-meta-a", &"v".repeat(2048));
    assert_eq!(outcome(metadata).await, refused("MetadataTooLarge", 400));
    assert!(bench.seen().is_none());
}

#[tokio::test]
async fn names_are_checked_and_never_become_paths() {
    let bench = Bench::new();
    let outcome = async |path: &str| bench.send(Ask::new(Method::GET, path).signed()).await.outcome();
    assert_eq!(outcome("/No_Bucket/k").await, refused("InvalidBucketName", 400));
    assert_eq!(
        outcome(&format!("/photos/{}", "k".repeat(1025))).await,
        refused("KeyTooLongError", 400)
    );
    assert_eq!(outcome("/photos/a%00b").await, refused("InvalidArgument", 400));
    assert_eq!(outcome("/photos/%FF").await, refused("InvalidURI", 400));
    assert!(bench.seen().is_none());
    for path in [
        "/photos/../../etc/passwd",
        "/photos//a",
        "/photos/a%5Cb",
        "/photos/.",
        "/photos/a%2525b",
    ] {
        assert_eq!(outcome(path).await.0, 200, "{path}");
        assert_eq!(bench.seen().unwrap().uri, path);
    }
}

#[tokio::test]
async fn virtual_hosts_become_path_style_and_proxies_are_believed_only_if_trusted() {
    let bench = Bench::new();
    let get = || Ask::new(Method::GET, "/a/b").set("host", "Photos.S3.example.org:18333");
    assert_eq!(bench.send(get().signed()).await.status, 200);
    assert_eq!(bench.seen().unwrap().uri, "/photos/a/b");
    // The client signed the outer name; the proxy connects with the inner one.
    let behind = || {
        let mut request = get().signed();
        request.headers_mut().insert("host", HOST.parse().unwrap());
        request
            .headers_mut()
            .insert("x-forwarded-host", "Photos.S3.example.org:18333".parse().unwrap());
        request
    };
    assert_eq!(bench.send_from("10.0.0.1", behind()).await.status, 200);
    assert_eq!(bench.seen().unwrap().uri, "/photos/a/b");
    assert_eq!(
        bench.send_from("10.0.0.2", behind()).await.outcome(),
        refused("SignatureDoesNotMatch", 403)
    );
}

#[tokio::test]
async fn errors_carry_the_whole_document_and_head_has_none() {
    let bench = Bench::new();
    let mut forged = Ask::new(Method::GET, "/photos/%3Cscript%3E");
    forged.secret = "guessed".into();
    let reply = bench.send(forged.clone().signed()).await;
    let id = reply.headers["x-amz-request-id"].to_str().unwrap();
    assert!(
        reply
            .text
            .contains(&format!("<RequestId>{id}</RequestId><HostId>bench</HostId>"))
    );
    assert!(
        reply.text.contains("<Resource>/photos/%3Cscript%3E</Resource>"),
        "{}",
        reply.text
    );
    forged.method = Method::HEAD;
    let reply = bench.send(forged.signed()).await;
    assert_eq!((reply.status, reply.text.as_str()), (403, ""));
    assert!(reply.headers.contains_key("x-amz-id-2"));
}

#[tokio::test]
async fn a_completion_may_carry_the_checksum_of_the_object() {
    let bench = Bench::new();
    let ask = Ask::new(Method::POST, "/photos/k")
        .query("uploadId", "00")
        .body(b"<CompleteMultipartUpload/>");
    assert_eq!(
        bench
            .send(ask.set("x-amz-checksum-crc32", "AAAAAA==-2").signed())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_that_stops_sending_is_cut_off() {
    use http_body_util::BodyExt as _;
    let bench = Bench::new();
    let mut request = put().payload("UNSIGNED-PAYLOAD").signed();
    let stalled = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, _>>();
    *request.body_mut() = http_body_util::StreamBody::new(stalled).boxed_unsync();
    assert_eq!(
        bench.send(request).await.outcome(),
        refused("RequestTimeout", 400)
    );
}
