//! Conditional writes, checksums, presigned URLs and versions.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode, VersioningConfiguration};

use crate::{Outcome, Work, equal, refused, said};

const WRITERS: usize = 10;

pub(crate) async fn conditional(work: &mut Work) -> Outcome {
    let put = |body: &'static str| {
        let put = work.s3.put_object().bucket(&work.bucket).key("once");
        put.body(ByteStream::from_static(body.as_bytes()))
    };
    let first = put("1").if_none_match("*").send().await.map_err(said)?;
    let etag = first.e_tag.unwrap_or_default();
    refused(
        put("2").if_none_match("*").send().await,
        "PreconditionFailed",
        "a second put",
    )?;
    put("3").if_match(&etag).send().await.map_err(said)?;
    let stale = put("4").if_match(&etag).send().await;
    refused(stale, "PreconditionFailed", "a put over a stale ETag")?;
    let got = work
        .s3
        .get_object()
        .bucket(&work.bucket)
        .key("once")
        .if_match(&etag);
    refused(
        got.send().await,
        "PreconditionFailed",
        "a get of what has changed",
    )?;
    let got = work.read("once").await?;
    work.same(&got, b"3", "the winner")
}

/// Ten writers at once, of which one may create the object: what is there is what that one wrote.
pub(crate) async fn writers(work: &mut Work) -> Outcome {
    let writers = (0..WRITERS).map(|n| {
        let put = work
            .s3
            .put_object()
            .bucket(&work.bucket)
            .key("contended")
            .if_none_match("*");
        tokio::spawn(put.body(ByteStream::from(vec![n as u8; 1000])).send())
    });
    let mut won = Vec::new();
    for (n, writer) in writers.collect::<Vec<_>>().into_iter().enumerate() {
        match writer.await? {
            Ok(_) => won.push(n),
            Err(error)
                if matches!(
                    error.code(),
                    Some("PreconditionFailed" | "ConditionalRequestConflict")
                ) => {}
            Err(error) => return Err(said(error)),
        }
    }
    equal(won.len(), 1, "winners")?;
    let got = work.read("contended").await?;
    work.same(&got, &[won[0] as u8; 1000], "what the winner wrote")
}

pub(crate) async fn checksums(work: &mut Work) -> Outcome {
    use ChecksumAlgorithm::{Crc32, Crc32C, Crc64Nvme, Sha1, Sha256};
    let want = work.samples["middle.bin"].clone();
    for algorithm in [Crc32, Crc32C, Crc64Nvme, Sha1, Sha256] {
        let put = work
            .s3
            .put_object()
            .bucket(&work.bucket)
            .key("sum")
            .checksum_algorithm(algorithm.clone());
        put.body(ByteStream::from(want.clone()))
            .send()
            .await
            .map_err(said)?;
        let got = work
            .s3
            .get_object()
            .bucket(&work.bucket)
            .key("sum")
            .checksum_mode(ChecksumMode::Enabled);
        let got = got.send().await.map_err(said)?;
        let there = [
            &got.checksum_crc32,
            &got.checksum_crc32_c,
            &got.checksum_crc64_nvme,
            &got.checksum_sha1,
            &got.checksum_sha256,
        ];
        equal(
            there.iter().filter(|sum| sum.is_some()).count(),
            1,
            "checksums of an answer",
        )?;
        // The SDK checks the body against it.
        let got = got.body.collect().await?.to_vec();
        work.same(&got, &want, algorithm.as_str())?;
    }
    let wrong = work
        .s3
        .put_object()
        .bucket(&work.bucket)
        .key("sum")
        .checksum_sha256("A".repeat(43) + "=");
    refused(
        wrong.body(ByteStream::from(want)).send().await,
        "BadDigest",
        "a wrong checksum",
    )
}

pub(crate) async fn presigned(work: &mut Work) -> Outcome {
    let (key, want) = ("signed/a b+c#%?.bin", work.samples["middle.bin"].clone());
    let minute = PresigningConfig::expires_in(Duration::from_secs(60))?;
    let put = work
        .s3
        .put_object()
        .bucket(&work.bucket)
        .key(key)
        .presigned(minute.clone());
    exchange(&put.await.map_err(said)?, &want)?;
    let get = work
        .s3
        .get_object()
        .bucket(&work.bucket)
        .key(key)
        .presigned(minute);
    let got = exchange(&get.await.map_err(said)?, &[])?;
    work.same(&got, &want, "a presigned get")
}

/// What a plain HTTP client of 20 lines gets: no TLS, the body up to the end of the connection.
fn exchange(request: &PresignedRequest, body: &[u8]) -> Outcome<Vec<u8>> {
    let rest = request
        .uri()
        .strip_prefix("http://")
        .ok_or("presigned URLs are tried without TLS only")?;
    let (host, path) = rest.split_once('/').ok_or("a URL without a path")?;
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "{} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
        request.method()
    )?;
    for (name, value) in request
        .headers()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
    {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "Content-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or("an answer without an end of its head")?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(format!(
            "a presigned request: {}",
            String::from_utf8_lossy(&answer[..head])
        )
        .into());
    }
    Ok(answer[head + 4..].to_vec())
}

pub(crate) async fn versions(work: &mut Work) -> Outcome {
    let enabled = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let versioned = work
        .s3
        .put_bucket_versioning()
        .bucket(&work.bucket)
        .versioning_configuration(enabled);
    versioned.send().await.map_err(said)?;
    let mut ids = Vec::new();
    for n in 0..3_u8 {
        let put = work
            .s3
            .put_object()
            .bucket(&work.bucket)
            .key("versioned")
            .body(ByteStream::from(vec![n]));
        ids.push(put.send().await.map_err(said)?.version_id.unwrap_or_default());
    }
    work.s3
        .delete_object()
        .bucket(&work.bucket)
        .key("versioned")
        .send()
        .await
        .map_err(said)?;
    let gone = work
        .s3
        .get_object()
        .bucket(&work.bucket)
        .key("versioned")
        .send()
        .await;
    refused(gone, "NoSuchKey", "a get of what was deleted")?;
    for (n, id) in ids.iter().enumerate() {
        let got = work
            .s3
            .get_object()
            .bucket(&work.bucket)
            .key("versioned")
            .version_id(id);
        let got = got.send().await.map_err(said)?.body.collect().await?.to_vec();
        work.same(&got, &[n as u8], "a version")?;
    }
    Ok(())
}
