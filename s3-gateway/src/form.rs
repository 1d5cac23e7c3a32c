//! Browser forms: `multipart/form-data` (RFC 7578) with fields first and then the file, which streams.
//!
//! The fields are held in memory, within limits; the file never is. What follows the file is not read. Whether the form may
//! be posted is decided in the gate; what its policy says, in `form/policy.rs`.

pub(crate) mod policy;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;

use crate::body::{BodyError, BoxError, RawBody};
use crate::pace::Pace;

/// The most bytes of all fields together, their heads included.
pub(crate) const FIELDS_BYTES_MAX: usize = 64 << 10;
/// The most fields.
const FIELDS_MAX: usize = 128;
/// The longest boundary: RFC 2046, section 5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why a form cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// No usable boundary in the content type.
    #[error("the content type has no boundary")]
    Boundary,
    /// Not the form of a form.
    #[error("the body is not well-formed multipart/form-data")]
    Malformed,
    /// Too many fields, or too long ones.
    #[error("the fields of the form are longer than {FIELDS_BYTES_MAX} bytes")]
    TooLong,
    /// It ends without a file.
    #[error("the form has no file")]
    NoFile,
    /// The client stopped sending.
    #[error("the client sent too little for too long")]
    Slow,
}

/// A form up to its file.
pub(crate) struct Form {
    /// The fields before the file, under lower-case names.
    pub(crate) fields: Vec<(String, String)>,
    /// The file's name on the client, without directories.
    pub(crate) filename: String,
    /// The file.
    pub(crate) file: FormFile,
}

/// The file of a form, as a body that ends with it.
pub(crate) struct FormFile {
    body: RawBody,
    buffer: BytesMut,
    delimiter: Vec<u8>,
    /// The fewest and the most bytes that it may have.
    bounds: (u64, u64),
    bytes: u64,
    ended: bool,
}

/// Reads a form up to its file.
pub(crate) async fn open(content_type: &str, body: RawBody, patience: Duration) -> Result<Form, FormError> {
    let mut reader = FormFile {
        body,
        // The first delimiter has no line before it.
        buffer: BytesMut::from(&b"\r\n"[..]),
        delimiter: format!("\r\n--{}", boundary(content_type)?).into_bytes(),
        bounds: (0, u64::MAX),
        bytes: 0,
        ended: false,
    };
    let mut pace = Pace::new(patience);
    let (mut fields, mut held) = (Vec::new(), 0);
    loop {
        let delimiter = reader.delimiter.clone();
        let value = reader.until(&delimiter, &mut pace).await?;
        if let Some((_, text)) = fields.last_mut() {
            *text = String::from_utf8(value.to_vec()).map_err(|_| FormError::Malformed)?;
        }
        held += value.len();
        let head = reader.until(b"\r\n\r\n", &mut pace).await;
        let head = match head {
            Ok(head) if head.starts_with(b"\r\n") => head,
            Ok(head) if head.starts_with(b"--") => return Err(FormError::NoFile),
            Err(FormError::Malformed) if reader.buffer.starts_with(b"--") => return Err(FormError::NoFile),
            Ok(_) => return Err(FormError::Malformed),
            Err(error) => return Err(error),
        };
        held += head.len();
        let (name, filename) = disposition(&head)?;
        if name == "file" {
            return Ok(Form {
                fields,
                filename,
                file: reader,
            });
        }
        if held > FIELDS_BYTES_MAX || fields.len() == FIELDS_MAX {
            return Err(FormError::TooLong);
        }
        fields.push((name, String::new()));
    }
}

impl FormFile {
    /// Bounds its length.
    pub(crate) const fn bounded(mut self, bounds: (u64, u64)) -> Self {
        self.bounds = bounds;
        self
    }

    /// What stands before a mark, which is taken too.
    async fn until(&mut self, mark: &[u8], pace: &mut Pace) -> Result<Bytes, FormError> {
        // What was looked through is not looked through again, however small the pieces are that come.
        let mut looked = 0;
        loop {
            let found = self.buffer.get(looked..).and_then(|rest| find(rest, mark));
            if let Some(at) = found {
                let before = self.buffer.split_to(looked + at).freeze();
                self.buffer.advance(mark.len());
                return Ok(before);
            }
            if self.buffer.len() > FIELDS_BYTES_MAX {
                return Err(FormError::TooLong);
            }
            looked = (self.buffer.len() + 1).saturating_sub(mark.len()).max(looked);
            match pace.wait(self.body.frame()).await.ok_or(FormError::Slow)? {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        pace.moved(bytes.len());
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                Some(Err(_)) | None => return Err(FormError::Malformed),
            }
        }
    }

    /// Hands out bytes of the file, counted.
    fn give(&mut self, length: usize) -> Result<Bytes, BodyError> {
        let bytes = self.buffer.split_to(length).freeze();
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let (_, most) = self.bounds;
        if self.bytes > most {
            return Err(BodyError::TooLarge { most });
        }
        Ok(bytes)
    }

    fn poll_file(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let delimiter = self.delimiter.len();
            match find(&self.buffer, &self.delimiter) {
                Some(at) => {
                    self.ended = true;
                    let last = self.give(at);
                    let (least, _) = self.bounds;
                    if last.is_ok() && self.bytes < least {
                        return Poll::Ready(Err(BodyError::TooSmall { least }));
                    }
                    return Poll::Ready(last.map(|last| (!last.is_empty()).then_some(last)));
                }
                // All but what may be the start of the delimiter.
                None if self.buffer.len() >= delimiter => {
                    let safe = self.buffer.len() - (delimiter - 1);
                    return Poll::Ready(self.give(safe).map(Some));
                }
                None => {}
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                Some(Err(_)) | None => return Poll::Ready(Err(BodyError::Broken)),
            }
        }
    }
}

impl Body for FormFile {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(self.poll_file(cx)) {
            Ok(bytes) => bytes.map(|bytes| Ok(Frame::data(bytes))),
            Err(error) => {
                self.ended = true;
                Some(Err(error.into()))
            }
        })
    }
}

/// Where a mark stands.
fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let first = mark.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| byte == first) {
        let at = from + at;
        let rest = bytes.get(at..)?;
        if rest.len() < mark.len() {
            return None;
        }
        if rest.starts_with(mark) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn boundary(content_type: &str) -> Result<&str, FormError> {
    let parameters = content_type.split(';').skip(1);
    let named = parameters.filter_map(|parameter| parameter.trim().split_once('='));
    let found = named
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let (_, value) = found.ok_or(FormError::Boundary)?;
    let value = value.trim_matches('"');
    let usable =
        (1..=BOUNDARY_BYTES_MAX).contains(&value.len()) && value.bytes().all(|b| (b' '..=b'~').contains(&b));
    usable.then_some(value).ok_or(FormError::Boundary)
}

/// The field's name in lower case, and the name of its file.
fn disposition(head: &[u8]) -> Result<(String, String), FormError> {
    let head = std::str::from_utf8(head).map_err(|_| FormError::Malformed)?;
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"));
    let (_, value) = found.ok_or(FormError::Malformed)?;
    let rest = value
        .trim()
        .strip_prefix("form-data")
        .ok_or(FormError::Malformed)?;
    let name = parameter(rest, "name").ok_or(FormError::Malformed)?;
    let filename = parameter(rest, "filename").unwrap_or_default();
    let base = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    Ok((name.to_ascii_lowercase(), base.to_owned()))
}

/// A parameter of a header: in quotes, where a backslash makes a quote or a backslash plain, or a word.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start().strip_prefix(';')?.trim_start();
        let (name, after) = rest.split_once('=')?;
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (word, tail) = after.split_at(end);
                (word.trim().to_owned(), tail)
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = tail;
    }
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in text.char_indices() {
        match character {
            '"' | '\\' if escaped => value.push(character),
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => return Some((value, text.get(at + 1..)?)),
            other => {
                // Browsers write paths of Windows as they are.
                if escaped {
                    value.push('\\');
                }
                value.push(other);
            }
        }
        escaped = false;
    }
    None
}
