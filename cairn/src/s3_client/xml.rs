//! The few XML answers that the client reads: listings, an upload id, an error.
//!
//! Elements are found by name at any depth below the one they belong to; unknown ones are skipped.

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use crate::s3_client::ClientError;

/// One page of ListObjectsV2, asked for with `encoding-type=url`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// The common prefixes.
    pub prefixes: Vec<String>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

/// One object of a listing.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ListedObject {
    /// The object key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, RFC 3339.
    pub modified: String,
    /// Its entity tag, without quotes.
    pub etag: String,
}

/// Reads a ListObjectsV2 page.
pub fn listing(body: &[u8]) -> Result<Listing, ClientError> {
    let mut page = Listing::default();
    walk(body, |path, text| match (path, text) {
        ([.., "Contents"], None) => page.objects.push(ListedObject::default()),
        ([.., "Contents", field], Some(text)) => {
            if let Some(object) = page.objects.last_mut() {
                match *field {
                    "Key" => object.key = decoded(text),
                    "Size" => object.bytes = text.parse().unwrap_or_default(),
                    "LastModified" => text.clone_into(&mut object.modified),
                    "ETag" => text.trim_matches('"').clone_into(&mut object.etag),
                    _ => {}
                }
            }
        }
        ([.., "CommonPrefixes", "Prefix"], Some(text)) => page.prefixes.push(decoded(text)),
        ([.., "NextContinuationToken"], Some(text)) => page.next = Some(text.to_owned()),
        _ => {}
    })?;
    Ok(page)
}

/// Reads a ListBuckets answer: names and creation times.
pub fn scopes(body: &[u8]) -> Result<Vec<(String, String)>, ClientError> {
    let mut found: Vec<(String, String)> = Vec::new();
    walk(body, |path, text| match (path, text, found.last_mut()) {
        ([.., "Bucket"], None, _) => found.push((String::new(), String::new())),
        ([.., "Bucket", "Name"], Some(text), Some((name, _))) => text.clone_into(name),
        ([.., "Bucket", "CreationDate"], Some(text), Some((_, created))) => text.clone_into(created),
        _ => {}
    })?;
    Ok(found)
}

/// Reads the upload id of a CreateMultipartUpload answer.
pub fn upload_id(body: &[u8]) -> Result<String, ClientError> {
    let mut found = None;
    walk(body, |path, text| {
        if let ([.., "UploadId"], Some(text)) = (path, text) {
            found = Some(text.to_owned());
        }
    })?;
    found.ok_or(ClientError::Answer { what: "no UploadId" })
}

/// Reads the entity tag of a CompleteMultipartUpload answer, which may also be an error under the status 200.
pub fn completed_etag(body: &[u8]) -> Result<String, ClientError> {
    if let Some((code, message)) = error(body) {
        return Err(ClientError::Refused {
            status: http::StatusCode::OK,
            code,
            message,
        });
    }
    let mut found = None;
    walk(body, |path, text| {
        if let ([.., "ETag"], Some(text)) = (path, text) {
            found = Some(text.trim_matches('"').to_owned());
        }
    })?;
    found.ok_or(ClientError::Answer { what: "no ETag" })
}

/// Reads code and message of an error answer.
pub(super) fn error(body: &[u8]) -> Option<(String, String)> {
    let (mut code, mut message) = (None, String::new());
    walk(body, |path, text| match (path, text) {
        (["Error", "Code"], Some(text)) => code = Some(text.to_owned()),
        (["Error", "Message"], Some(text)) => text.clone_into(&mut message),
        _ => {}
    })
    .ok()?;
    code.map(|code| (code, message))
}

/// Calls `visit` with the path of each element where it begins, without a text, and again where it ends, if it has one.
fn walk(body: &[u8], mut visit: impl FnMut(&[&str], Option<&str>)) -> Result<(), ClientError> {
    const WRONG: ClientError = ClientError::Answer {
        what: "it is not XML",
    };
    let body = std::str::from_utf8(body).map_err(|_| WRONG)?;
    let mut reader = Reader::from_str(body);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(|_| WRONG)? {
            Event::Start(start) => {
                text.clear();
                path.push(start.local_name().as_ref().to_owned());
                if path.len() > DEPTH_MAX {
                    return Err(WRONG);
                }
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                visit(&names, None);
            }
            Event::Text(more) => text.push_str(&more.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| WRONG)? {
                Some(character) => text.push(character),
                None => text.push_str(resolve_predefined_entity(&reference.xml10_content()).ok_or(WRONG)?),
            },
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                if !text.is_empty() {
                    visit(&names, Some(&text));
                }
                text.clear();
                path.pop();
            }
            Event::Eof => return if path.is_empty() { Ok(()) } else { Err(WRONG) },
            _ => {}
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

const DEPTH_MAX: usize = 16;
