//! The text of `x-amz-copy-source`: where its name ends, and the one form that is read from it.
//!
//! It is parsed behind the gate, by s3s. Invariant: whoever looks at it before cuts it where s3s does, so that no two readings
//! of one header name different objects.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What begins the version; every other `?` is the name's.
const VERSION: &str = "?versionId=";

/// The name, still encoded, and the version with what begins it.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(VERSION).unwrap_or(text.len()))
}

/// The text with its name in the one form: S3 reads it as a form's field, where `+` is a space.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let (name, version) = split(text);
    if name.contains('+') {
        Cow::Owned(format!("{}{version}", name.replace('+', "%20")))
    } else {
        Cow::Borrowed(text)
    }
}

/// Bucket and key of a plain text, decoded, without a slash before: as policies write them.
pub(crate) fn named(text: &str) -> Option<String> {
    let decoded = percent_decode_str(split(text).0).decode_utf8().ok()?;
    Some(decoded.strip_prefix('/').unwrap_or(&decoded).to_owned())
}
