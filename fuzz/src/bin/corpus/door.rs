//! Signed requests, framed bodies and checksum headers, made with the gateway's own canonical forms.

use fuzz::door::{ACCESS_KEY_ID, REGION, SECRET};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3_gateway::auth::canonical::{Query, canonical_headers, canonical_request, decode_utf8};
use s3_gateway::auth::payload::EMPTY_SHA256;
use s3_gateway::auth::signing::{SigningKey, string_to_sign};
use s3_gateway::checksum::{Algorithm, Summer};
use sha2::{Digest, Sha256};

use super::{Seed, Seeds};

const DAY: &str = "20260610";
const TIME: &str = "20260610T081402Z";

fn scope() -> String {
    format!("{DAY}/{REGION}/s3/aws4_request")
}

fn key() -> SigningKey {
    SigningKey::derive(SECRET.as_bytes(), DAY, REGION, "s3")
}

type Signed = Result<Vec<u8>, Box<dyn std::error::Error>>;

fn by_header(method: &str, target: &str, more: &[(&str, &str)]) -> Signed {
    let mut headers = vec![("host", "127.0.0.1:9000"), ("x-amz-date", TIME)];
    headers.extend_from_slice(more);
    let signature = sign(method, target, &headers, "x-amz-content-sha256")?;
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{}, SignedHeaders={}, Signature={signature}",
        scope(),
        names.join(";")
    );
    headers.push(("authorization", &authorization));
    Ok(head(method, target, &headers))
}

fn presigned(method: &str, path: &str, expires_s: u32) -> Signed {
    let credential = format!("{ACCESS_KEY_ID}%2F{}", scope().replace('/', "%2F"));
    let target = format!(
        "{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={TIME}\
         &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host"
    );
    let headers = [("host", "127.0.0.1:9000")];
    let signature = sign(method, &target, &headers, "")?;
    Ok(head(
        method,
        &format!("{target}&X-Amz-Signature={signature}"),
        &headers,
    ))
}

/// The signature in hex, the payload's hash being the named header, or unsigned.
fn sign(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    payload: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes())?,
            HeaderValue::from_str(value)?,
        );
    }
    let names: Vec<String> = headers.iter().map(|(name, _)| (*name).to_owned()).collect();
    let lines = canonical_headers(&map, &names).ok_or("a signed header is missing")?;
    let payload = map
        .get(payload)
        .map_or(Ok("UNSIGNED-PAYLOAD"), HeaderValue::to_str)?;
    let query = Query::parse(Some(query))?.canonical(|_| false);
    let canonical = canonical_request(method, &decode_utf8(path)?, &query, &lines, &names, payload);
    Ok(hex::encode(key().sign(&string_to_sign(
        TIME,
        &scope(),
        &canonical,
    ))))
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let lines = headers.iter().map(|(name, value)| format!("\n{name}: {value}"));
    format!("{method} {target}{}", lines.collect::<String>()).into_bytes()
}

pub(super) fn sigv4() -> Seeds {
    let sha = |value| [("x-amz-content-sha256", value)];
    let stream = [
        (
            "x-amz-content-sha256",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        ),
        ("x-amz-decoded-content-length", "11"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let meta = [
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-meta-colour", "green   and  blue"),
    ];
    Ok(vec![
        ("get", by_header("GET", "/bucket/key", &sha(EMPTY_SHA256))?),
        (
            "list",
            by_header(
                "GET",
                "/bucket?list-type=2&prefix=a%2Fb&delimiter=%2F",
                &sha(EMPTY_SHA256),
            )?,
        ),
        (
            "put-unsigned-payload",
            by_header("PUT", "/bucket/a%20b/%F0%9F%90%8E", &meta)?,
        ),
        ("put-stream", by_header("PUT", "/bucket/../key", &stream)?),
        (
            "delete",
            by_header("DELETE", "/bucket/key?uploadId=00", &sha(EMPTY_SHA256))?,
        ),
        ("presigned-get", presigned("GET", "/bucket/key", 3600)?),
        ("presigned-week", presigned("PUT", "/bucket/k%2Bey", 604_800)?),
    ])
}

/// A body framed as chunks of these bytes, with signatures if `signed`, and with a trailer if `trailer`.
fn framed(chunks: &[&[u8]], signed: bool, trailer: bool) -> Vec<u8> {
    let mut previous = [8; 32];
    let mut body = Vec::new();
    let mut summer = Summer::new(Algorithm::Crc32);
    for chunk in chunks.iter().chain([&&[][..]]) {
        summer.update(chunk);
        body.extend(format!("{:x}", chunk.len()).into_bytes());
        if signed {
            let tail = format!("{EMPTY_SHA256}\n{}", hex::encode(Sha256::digest(chunk)));
            previous = step("AWS4-HMAC-SHA256-PAYLOAD", previous, &tail);
            body.extend(format!(";chunk-signature={}", hex::encode(previous)).into_bytes());
        }
        body.extend(b"\r\n");
        if !chunk.is_empty() {
            body.extend_from_slice(chunk);
            body.extend(b"\r\n");
        }
    }
    if trailer {
        let line = format!("x-amz-checksum-crc32:{}", summer.finish().to_base64());
        body.extend(format!("{line}\r\n").into_bytes());
        if signed {
            let tail = hex::encode(Sha256::digest(format!("{line}\n")));
            let signature = step("AWS4-HMAC-SHA256-TRAILER", previous, &tail);
            body.extend(format!("x-amz-trailer-signature:{}\r\n", hex::encode(signature)).into_bytes());
        }
    }
    body.extend(b"\r\n");
    body
}

fn step(name: &str, previous: [u8; 32], tail: &str) -> [u8; 32] {
    key().sign(&format!(
        "{name}\n{TIME}\n{}\n{}\n{tail}",
        scope(),
        hex::encode(previous)
    ))
}

pub(super) fn aws_chunked() -> Vec<Seed> {
    let long = [0x6c; 9_000];
    vec![
        ("signed", framed(&[b"hello world"], true, false)),
        ("signed-chunks", framed(&[b"hello", b" ", b"world"], true, false)),
        ("signed-empty", framed(&[], true, false)),
        ("signed-trailer", framed(&[b"hello", b" world"], true, true)),
        ("unsigned", framed(&[b"hello world"], false, true)),
        (
            "unsigned-chunks",
            framed(&[b"hello", &long, b"world"], false, true),
        ),
        ("unsigned-bare", framed(&[b"x"], false, false)),
    ]
}

pub(super) fn checksum_headers() -> Vec<Seed> {
    let sum = |algorithm| {
        let mut summer = Summer::new(algorithm);
        summer.update(b"hello world");
        summer.finish().to_base64()
    };
    let with = |headers: &[(&str, &str)]| head("PUT", "/bucket/key", headers);
    let crc = sum(Algorithm::Crc32);
    vec![
        ("crc32", crc.clone().into_bytes()),
        ("crc64nvme", sum(Algorithm::Crc64Nvme).into_bytes()),
        ("sha1", sum(Algorithm::Sha1).into_bytes()),
        ("sha256", sum(Algorithm::Sha256).into_bytes()),
        (
            "header",
            with(&[
                (Algorithm::Crc32.header(), &crc),
                ("x-amz-sdk-checksum-algorithm", "CRC32"),
            ]),
        ),
        (
            "header-sha256",
            with(&[(Algorithm::Sha256.header(), &sum(Algorithm::Sha256))]),
        ),
        ("trailer", with(&[("x-amz-trailer", "x-amz-checksum-crc64nvme")])),
        ("md5", with(&[("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")])),
    ]
}
