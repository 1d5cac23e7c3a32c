//! GetObject and HeadObject: conditions, ranges, parts, and what an answer says of an object.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::{GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob};
use s3s::{Body, S3Request, S3Response};
use vault::object::{Checksum, Manifest, Object};

use super::encryption::{self, Encryption};
use super::multipart;
use super::object::{
    etag, kind_name, put_checksum, put_header, put_metadata, sent_checksum, signed, timestamp,
};
use super::versions::{find_version, version_id};
use super::{Answer, Asked, Halt, Operations, lifecycle, lock};
use crate::auth::canonical::Query;
use crate::conditions::{Verdict, format_http_date};
use crate::errors::Refusal;
use crate::session::{Bucket, ReadStream, Stored};

/// What of an object is sent.
struct Selection {
    range: Range<u64>,
    /// `Content-Range`, when it is not the whole object.
    content_range: Option<String>,
    parts_count: Option<i32>,
    /// Whether it is the whole object, asked for as such.
    whole: bool,
    /// The checksum of the part, where a part was asked for.
    part: Option<Checksum>,
}

impl Selection {
    const fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// An object that may be read, and what of it.
struct Found {
    bucket: Bucket,
    stored: Stored,
    selection: Selection,
    /// Everything but the length, the range, the ETag and the time.
    headers: HeaderMap,
}

impl Found {
    /// Finds the object and judges the request's conditions; the same for a read and a look.
    async fn find<T>(
        asked: &Asked,
        request: &S3Request<T>,
        version_id: Option<&str>,
        part_number: Option<i32>,
    ) -> Result<Self, Halt> {
        encryption::check_read(&request.headers)?;
        check_overrides(asked, request.uri.query())?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let stored = find_version(asked, &bucket, key, version_id).await?;
        asked.check_key(&bucket, &stored)?;
        check_conditions(asked, &stored.object)?;
        let selection = select(asked, &bucket, &stored, part_number).await?;
        let mut headers = headers_of(&stored.object, &selection, &request.headers, request.uri.query())?;
        Encryption::of_answer(&stored.object.system, asked.admitted.keys.target.as_ref()).put(&mut headers);
        if version_id.is_none() {
            lifecycle::put_expiry(&mut headers, &bucket, &stored.object);
        }
        Ok(Self {
            bucket,
            stored,
            selection,
            headers,
        })
    }
}

/// The fields that both answers have under the same names.
macro_rules! answer {
    ($output:ident, $found:ident, $($body:tt)*) => {
        $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed($found.selection.bytes())),
            content_range: $found.selection.content_range,
            e_tag: Some(etag(&$found.stored.object)),
            last_modified: Some(timestamp($found.stored.object.modified_ms)),
            parts_count: $found.selection.parts_count,
            version_id: version_id(&$found.bucket, &$found.stored.object),
            $($body)*
            ..Default::default()
        }
    };
}

impl Operations {
    pub(super) async fn get_object(
        &self,
        asked: Asked,
        request: S3Request<GetObjectInput>,
    ) -> Answer<GetObjectOutput> {
        let input = &request.input;
        let found = Found::find(&asked, &request, input.version_id.as_deref(), input.part_number).await?;
        let (caller, range) = (&asked.caller, found.selection.range.clone());
        let key = asked.admitted.keys.target_key().cloned();
        let stream = asked
            .session
            .read(caller, &found.bucket, &found.stored, key, range);
        let body = Some(open_body(stream, found.selection.bytes()).await?);
        let output = answer!(GetObjectOutput, found, body,);
        Ok(S3Response::with_headers(output, found.headers))
    }

    pub(super) async fn head_object(
        &self,
        asked: Asked,
        request: S3Request<HeadObjectInput>,
    ) -> Answer<HeadObjectOutput> {
        let input = &request.input;
        let found = Found::find(&asked, &request, input.version_id.as_deref(), input.part_number).await?;
        let output = answer!(HeadObjectOutput, found,);
        Ok(S3Response::with_headers(output, found.headers))
    }
}

/// 304 and 412, with the headers that a cache needs.
fn check_conditions(asked: &Asked, object: &Object) -> Result<(), Halt> {
    match asked
        .admitted
        .conditions
        .judge(&object.etag(), object.modified_ms)
    {
        Verdict::Hold => Ok(()),
        Verdict::Failed(condition) => Err(Refusal::precondition_failed(condition).into()),
        Verdict::NotModified => {
            let mut headers = HeaderMap::new();
            put_header(&mut headers, "etag", &format!("\"{}\"", object.etag()));
            put_header(
                &mut headers,
                "last-modified",
                &format_http_date(object.modified_ms),
            );
            if let Some(cache) = object.metadata("cache-control") {
                put_header(&mut headers, "cache-control", cache);
            }
            Err(Halt::with_headers(
                Refusal::new(304, "NotModified", "Not Modified"),
                headers,
            ))
        }
    }
}

/// The bytes asked for: all, a range or a part.
async fn select(
    asked: &Asked,
    bucket: &Bucket,
    stored: &Stored,
    part_number: Option<i32>,
) -> Result<Selection, Halt> {
    let object = &stored.object;
    let total = object.plaintext_bytes;
    let spec = asked
        .admitted
        .ranged
        .for_object(&object.etag(), object.modified_ms);
    let parts_count = object
        .multipart
        .then(|| i32::try_from(object.parts).unwrap_or(i32::MAX));
    match (part_number, spec) {
        (Some(_), Some(_)) => {
            let message = "Cannot specify both Range header and partNumber query parameter";
            Err(Refusal::invalid_request(message).into())
        }
        (None, None) => Ok(Selection {
            range: 0..total,
            content_range: None,
            parts_count: None,
            whole: true,
            part: None,
        }),
        (None, Some(spec)) => match spec.within(total) {
            Some(range) => Ok(Selection {
                content_range: content_range(&range, total),
                range,
                parts_count: None,
                whole: false,
                part: None,
            }),
            None => {
                let mut headers = HeaderMap::new();
                put_header(&mut headers, "content-range", &format!("bytes */{total}"));
                Err(Halt::with_headers(Refusal::invalid_range(total), headers))
            }
        },
        (Some(number), None) => {
            let number = multipart::part_number(number)?;
            let manifest = asked.session.manifest(&asked.caller, bucket, stored).await?;
            let range = part_range(object, &manifest, number)?;
            Ok(Selection {
                content_range: content_range(&range, total),
                range,
                parts_count,
                whole: false,
                part: part_checksum(object, &manifest, number),
            })
        }
    }
}

fn content_range(range: &Range<u64>, total: u64) -> Option<String> {
    let last = range.end.checked_sub(1)?;
    (range.start <= last).then(|| format!("bytes {}-{last}/{total}", range.start))
}

/// The bytes of one part.
fn part_range(object: &Object, manifest: &Manifest, number: u16) -> Result<Range<u64>, Halt> {
    let none = || {
        Halt::from(Refusal::new(
            416,
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
        ))
    };
    let place = usize::from(number) - 1;
    if !object.multipart {
        return if place == 0 {
            Ok(0..object.plaintext_bytes)
        } else {
            Err(none())
        };
    }
    let Manifest::Inline(parts) = manifest else {
        return Err(none());
    };
    let part = parts.get(place).ok_or_else(none)?;
    let start: u64 = parts.iter().take(place).map(|p| p.plaintext_bytes).sum();
    Ok(start..start + part.plaintext_bytes)
}

/// The checksum of one part of an object that was uploaded in parts.
fn part_checksum(object: &Object, manifest: &Manifest, number: u16) -> Option<Checksum> {
    let Manifest::Inline(parts) = manifest else {
        return None;
    };
    let part = parts.get(usize::from(number).checked_sub(1)?)?;
    part.checksum.clone().filter(|_| object.multipart)
}

/// Metadata, overrides of the query, and the checksum if the whole object is sent and it was asked for.
fn headers_of(
    object: &Object,
    selection: &Selection,
    asked: &HeaderMap,
    query: Option<&str>,
) -> Result<HeaderMap, Halt> {
    let mut headers = HeaderMap::new();
    put_metadata(&mut headers, object);
    lock::put_headers(&mut headers, &object.lock);
    if !object.tags.is_empty() {
        put_header(
            &mut headers,
            "x-amz-tagging-count",
            &object.tags.len().to_string(),
        );
    }
    let query = Query::parse(query).map_err(|error| Refusal::from(&error))?;
    for (parameter, header) in OVERRIDES {
        if let Ok(Some(value)) = query.unique(parameter) {
            put_header(&mut headers, header, value);
        }
    }
    let enabled = asked
        .get("x-amz-checksum-mode")
        .is_some_and(|mode| mode.as_bytes() == b"ENABLED");
    if let Some(checksum) = &object.checksum
        && enabled
        && selection.whole
    {
        put_checksum(&mut headers, checksum, object.parts);
    } else if let Some(checksum) = selection.part.as_ref().filter(|_| enabled) {
        let value = sent_checksum(checksum);
        put_header(&mut headers, value.algorithm.header(), &value.to_base64());
        if let Some(of_object) = &object.checksum {
            put_header(&mut headers, "x-amz-checksum-type", kind_name(of_object.kind));
        }
    }
    Ok(headers)
}

/// Nobody in particular says how a browser takes what somebody else stored.
fn check_overrides(asked: &Asked, query: Option<&str>) -> Result<(), Halt> {
    let query = Query::parse(query).map_err(|error| Refusal::from(&error))?;
    if asked.admitted.asking().is_none() && OVERRIDES.iter().any(|(parameter, _)| query.has(parameter)) {
        let message = "Request specific response headers cannot be used for anonymous GET requests.";
        return Err(Refusal::invalid_request(message).into());
    }
    Ok(())
}

/// Waits for the first bytes, so that what cannot be read is an error and not a broken answer, and so that a small
/// answer leaves in one write.
async fn open_body(mut stream: ReadStream, length: u64) -> Result<StreamingBlob, Halt> {
    let first = match stream.next().await {
        Some(first) => first?,
        None => Bytes::new(),
    };
    if first.len() as u64 == length {
        return Ok(StreamingBlob::from(Body::from(first)));
    }
    let whole = stream::once(async move { Ok(first) })
        .chain(stream)
        .map_ok(Frame::data);
    Ok(StreamingBlob::from(Body::http_body_unsync(StreamBody::new(
        whole,
    ))))
}

const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];
