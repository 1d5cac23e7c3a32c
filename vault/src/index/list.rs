//! Listing objects and uploads: prefix, delimiter, a place to go on from, and a limit.
//!
//! Encodings, tokens and XML are `s3-gateway`. Names come in true byte order.
//!
//! A marker that is itself one of the listing's common prefixes stands for the whole group, so that the last item of a
//! page is always a right place to go on from. A marker inside a group leaves the group in the listing if it has names
//! after the marker.

use std::borrow::Cow;

use engine::slots::Sequence;
use engine::view::prefix_end;
use scopes::ScopeId;

use super::scan::{Item, Narrowed, RowNames, after_group, group_of, grouped};
use super::{Index, IndexError, rows};
use crate::object::{Listed, Upload, UploadId};

/// What to list of a scope's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only names that start with this.
    pub prefix: String,
    /// Names that share what is between the prefix and the first delimiter become one common prefix. Empty for none.
    pub delimiter: String,
    /// Only what comes after this: a marker, start-after, or the `next` of the page before.
    pub start_after: Option<String>,
    /// The most items, objects and common prefixes together.
    pub max_keys: usize,
}

/// One object of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The append that wrote it.
    pub sequence: Sequence,
    /// Key, length, time, ETag and checksum.
    pub object: Listed,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, in byte order.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, in byte order.
    pub common_prefixes: Vec<String>,
    /// Whether there is more.
    pub truncated: bool,
    /// Where the next page goes on, if there is more: the last item of this one.
    pub next: Option<String>,
}

/// What to list of a scope's uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadQuery {
    /// As in [`ListQuery`].
    pub prefix: String,
    /// As in [`ListQuery`].
    pub delimiter: String,
    /// Only object keys after this.
    pub key_marker: Option<String>,
    /// With a key marker: of that very key, the uploads after this one too.
    pub upload_marker: Option<UploadId>,
    /// The most items.
    pub max_uploads: usize,
}

/// A page of uploads, by object key and then by upload id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// Uploads.
    pub uploads: Vec<Upload>,
    /// Common prefixes.
    pub common_prefixes: Vec<String>,
    /// Whether there is more.
    pub truncated: bool,
    /// Where the next page goes on: a key, and an upload unless the key is a common prefix.
    pub next: Option<(String, Option<UploadId>)>,
}

impl Index {
    /// Lists a scope's objects.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn list(&self, scope: ScopeId, query: &ListQuery) -> Result<ListPage, IndexError> {
        let names = RowNames {
            base: rows::objects(scope),
            written: |name| Cow::Borrowed(name),
            name: |key| Some(Cow::Borrowed(key)),
        };
        let (prefix, delimiter) = (query.prefix.as_bytes(), query.delimiter.as_bytes());
        let from = match query.start_after.as_deref().map(str::as_bytes) {
            None => Some(names.base.clone()),
            Some(marker) if is_group(marker, prefix, delimiter) => after_group(&names, marker),
            Some(marker) => Some([names.base.as_slice(), marker, &[0]].concat()),
        };
        let read = |row: &[u8]| {
            let (sequence, plain) = rows::read_sequenced(row)?;
            let object = Listed::decode(plain)?;
            Ok((object.key.clone(), ListedObject { sequence, object }))
        };
        let found = self.page((&names, prefix, delimiter), from, query.max_keys, read, |group| {
            group
        })?;
        Ok(ListPage {
            objects: found.items,
            common_prefixes: found.common_prefixes,
            truncated: found.truncated,
            next: found.next,
        })
    }

    /// Lists a scope's uploads in progress.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn uploads(&self, scope: ScopeId, query: &UploadQuery) -> Result<UploadPage, IndexError> {
        let names = RowNames {
            base: rows::uploads(scope),
            written: rows::escaped,
            name: |key| rows::upload_of(key).map(|(name, _)| Cow::Owned(name)),
        };
        let (prefix, delimiter) = (query.prefix.as_bytes(), query.delimiter.as_bytes());
        let marker = query.key_marker.as_deref().map(str::as_bytes);
        let from = match (marker, query.upload_marker) {
            (None, _) => Some(names.base.clone()),
            (Some(marker), Some(id)) => prefix_end(&rows::upload(scope, marker, id)),
            (Some(marker), None) if is_group(marker, prefix, delimiter) => after_group(&names, marker),
            (Some(marker), None) => {
                prefix_end(&[names.base.as_slice(), &rows::escaped(marker), rows::TERMINATOR].concat())
            }
        };
        let read = |row: &[u8]| {
            let upload = Upload::decode(rows::read_sequenced(row)?.1)?;
            Ok(((upload.key.clone(), Some(upload.id)), upload))
        };
        let found = self.page(
            (&names, prefix, delimiter),
            from,
            query.max_uploads,
            read,
            |group| (group, None),
        )?;
        Ok(UploadPage {
            uploads: found.items,
            common_prefixes: found.common_prefixes,
            truncated: found.truncated,
            next: found.next,
        })
    }

    /// Fills a page of at most `max` items and common prefixes from a row on. `read` makes an item of a row's value, and says
    /// where the page after it goes on, as `after` does for a common prefix.
    fn page<T, N>(
        &self,
        (names, prefix, delimiter): (&RowNames, &[u8], &[u8]),
        from: Option<Vec<u8>>,
        max: usize,
        read: impl Fn(&[u8]) -> Result<(N, T), IndexError>,
        after: impl Fn(String) -> N,
    ) -> Result<Page<T, N>, IndexError> {
        let mut page = Page {
            items: Vec::new(),
            common_prefixes: Vec::new(),
            truncated: false,
            next: None,
        };
        let Some(from) = from.filter(|_| max > 0) else {
            return Ok(page);
        };
        let narrowed = Narrowed {
            prefix,
            delimiter,
            from,
        };
        grouped(&*self.view, names, narrowed, |item| {
            if page.items.len() + page.common_prefixes.len() == max {
                page.truncated = true;
                return Ok(false);
            }
            match item {
                Item::Group(group) => {
                    let group = text(group)?;
                    page.next = Some(after(group.clone()));
                    page.common_prefixes.push(group);
                }
                Item::Row(value) => {
                    let (next, item) = read(value)?;
                    page.next = Some(next);
                    page.items.push(item);
                }
            }
            Ok(true)
        })?;
        page.next = page.next.filter(|_| page.truncated);
        Ok(page)
    }
}

/// A page of either listing.
struct Page<T, N> {
    items: Vec<T>,
    common_prefixes: Vec<String>,
    truncated: bool,
    next: Option<N>,
}

pub(super) fn is_group(marker: &[u8], prefix: &[u8], delimiter: &[u8]) -> bool {
    marker.starts_with(prefix) && group_of(marker, prefix, delimiter) == Some(marker)
}

/// A delimiter is text and so are names, so the cut between them is too.
pub(super) fn text(bytes: &[u8]) -> Result<String, IndexError> {
    let text = std::str::from_utf8(bytes).map_err(|_| engine::codec::DecodeError::Utf8)?;
    Ok(text.to_owned())
}
