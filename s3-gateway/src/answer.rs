//! How every answer leaves: the same headers, the same error document.
//!
//! Nothing that a client sent reaches a header or a document unescaped. HEAD and 304 have no body. Source: "Error
//! responses" and "Common response headers" of the S3 API reference.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::body::BoxError;
use crate::errors::Refusal;

/// The body of an answer.
pub type AnswerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// What an answer says about the request it belongs to.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// The operation id in hex.
    pub request_id: &'a str,
    /// This gateway's id.
    pub host_id: &'a str,
    /// The request's path, percent-encoded.
    pub resource: &'a str,
    /// Whether the answer may have no body.
    pub head: bool,
}

/// A body that is all there.
pub fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// No body.
pub fn empty() -> AnswerBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A refusal as an answer.
pub fn refuse(refusal: &Refusal, about: &About<'_>) -> Response<AnswerBody> {
    let mut response = Response::new(empty());
    *response.status_mut() =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some((_, region)) = refusal.details.iter().find(|(name, _)| *name == "Region")
        && let Ok(region) = HeaderValue::from_str(region)
    {
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-amz-bucket-region"), region);
    }
    if !about.head && response.status() != StatusCode::NOT_MODIFIED {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        *response.body_mut() = whole(document(refusal, about));
    }
    sign_off(response.headers_mut(), about);
    response
}

/// Gives an answer from behind the door its common headers, and an error its whole document.
/// Returns the S3 code of an error beside it.
pub async fn finish(
    response: Response<AnswerBody>,
    about: &About<'_>,
) -> (Response<AnswerBody>, Option<String>) {
    let (mut parts, body) = response.into_parts();
    let failed = parts.status.is_client_error() || parts.status.is_server_error();
    if parts.status == StatusCode::NOT_MODIFIED {
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(CONTENT_LENGTH);
        sign_off(&mut parts.headers, about);
        return (Response::from_parts(parts, empty()), None);
    }
    if !failed {
        // s3s has no way to say so for HEAD.
        if about.head && parts.headers.contains_key(CONTENT_RANGE) {
            parts.status = StatusCode::PARTIAL_CONTENT;
        }
        sign_off(&mut parts.headers, about);
        return (Response::from_parts(parts, body), None);
    }
    let refusal = read_document(&short(body).await, parts.status);
    let mut answer = refuse(&refusal, about);
    for (name, value) in &parts.headers {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH && !answer.headers().contains_key(name) {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    (answer, Some(refusal.code.into_owned()))
}

/// The start of an error's body.
async fn short(mut body: AnswerBody) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > ERROR_BYTES_MAX {
            break;
        }
        bytes.extend_from_slice(&data);
    }
    bytes
}

fn sign_off(headers: &mut HeaderMap, about: &About<'_>) {
    for (name, value) in [
        ("x-amz-request-id", about.request_id),
        ("x-amz-id-2", about.host_id),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.insert(SERVER, HeaderValue::from_static("Cairn"));
}

fn document(refusal: &Refusal, about: &About<'_>) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    let details = refusal
        .details
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let first = [("Code", &*refusal.code), ("Message", &*refusal.message)];
    let last = [
        ("Resource", about.resource),
        ("RequestId", about.request_id),
        ("HostId", about.host_id),
    ];
    for (name, value) in first.into_iter().chain(details).chain(last) {
        let _ = write!(xml, "<{name}>{}</{name}>", escape(value));
    }
    xml.push_str("</Error>");
    xml
}

/// Escapes text for XML 1.0; control characters, which XML cannot hold, become `?`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// Reads code, message and details back from an error document.
fn read_document(xml: &[u8], status: StatusCode) -> Refusal {
    let mut refusal = Refusal::new(status.as_u16(), fallback_code(status), "");
    let text = String::from_utf8_lossy(xml);
    let mut reader = Reader::from_str(&text);
    let (mut element, mut content) = (String::new(), String::new());
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                start.name().as_ref().clone_into(&mut element);
                content.clear();
            }
            Ok(Event::Text(part)) => content.push_str(&part.xml10_content()),
            Ok(Event::GeneralRef(name)) => content.push_str(match name.as_ref() {
                "amp" => "&",
                "lt" => "<",
                "gt" => ">",
                "quot" => "\"",
                "apos" => "'",
                _ => "?",
            }),
            Ok(Event::End(_)) => {
                match element.as_str() {
                    "Code" => refusal.code = std::mem::take(&mut content).into(),
                    "Message" => refusal.message = std::mem::take(&mut content).into(),
                    _ => {}
                }
                element.clear();
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if refusal.message.is_empty() {
        refusal.message = status.canonical_reason().unwrap_or("Error").into();
    }
    refusal
}

const fn fallback_code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        405 => "MethodNotAllowed",
        412 => "PreconditionFailed",
        501 => "NotImplemented",
        503 => "ServiceUnavailable",
        400..=499 => "InvalidRequest",
        _ => "InternalError",
    }
}

const ERROR_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_reads_back_and_escapes_what_it_holds() {
        let mut refusal = Refusal::new(404, "NoSuchKey", "a <b> & \"c\" \u{1b}[31m\r\n");
        let about = About {
            request_id: "id",
            host_id: "host",
            resource: "/b/%3Ck%3E",
            head: false,
        };
        let xml = document(&refusal, &about);
        assert!(!xml.contains('\u{1b}') && !xml.contains("\r"), "{xml}");
        assert!(
            xml.contains("<Resource>/b/%3Ck%3E</Resource><RequestId>id</RequestId><HostId>host</HostId>")
        );
        refusal.message = "a <b> & \"c\" ?[31m??".into();
        assert_eq!(read_document(xml.as_bytes(), StatusCode::NOT_FOUND), refusal);
    }
}
