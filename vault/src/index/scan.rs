//! The grouping scan under listings: rows of a scope in byte order of their names, those that share a common prefix up
//! to a delimiter rolled into one item.
//!
//! Invariant: a group costs a few steps and one seek, however many names it holds.
//!
//! Source: ListObjectsV2 in the Amazon S3 API reference.

use std::borrow::Cow;

use engine::view::{View, prefix_end};

use super::IndexError;

/// Names of a group that are stepped over one by one before a seek; a seek costs about as much as so many steps.
const STEPS_BEFORE_SEEK: usize = 16;

/// How the names of some kind of row stand in the row keys.
pub(super) struct RowNames {
    /// The row key before the name.
    pub(super) base: Vec<u8>,
    /// A name or its beginning as the row key has it.
    pub(super) written: fn(&[u8]) -> Cow<'_, [u8]>,
    /// The name in what follows the base in a row key.
    pub(super) name: fn(&[u8]) -> Option<Cow<'_, [u8]>>,
}

/// What a listing is narrowed to.
pub(super) struct Narrowed<'a> {
    pub(super) prefix: &'a [u8],
    /// Empty for none.
    pub(super) delimiter: &'a [u8],
    /// Rows before this one are passed over.
    pub(super) from: Vec<u8>,
}

/// What a listing shows.
pub(super) enum Item<'a> {
    /// The value of a row by itself.
    Row(&'a [u8]),
    /// All the names that start with this.
    Group(&'a [u8]),
}

/// Shows `visit` the items in order until it returns false or fails.
pub(super) fn grouped(
    view: &dyn View,
    rows: &RowNames,
    narrowed: Narrowed<'_>,
    mut visit: impl FnMut(Item<'_>) -> Result<bool, IndexError>,
) -> Result<(), IndexError> {
    let Narrowed {
        prefix,
        delimiter,
        from,
    } = narrowed;
    let first = [rows.base.as_slice(), &(rows.written)(prefix)].concat();
    let to = prefix_end(&first);
    let mut from = from.max(first);
    let mut group: Option<Vec<u8>> = None;
    loop {
        let mut outcome = Ok(true);
        let mut seek = false;
        let mut steps = 0;
        view.scan(&from, to.as_deref(), false, &mut |row, value| {
            let key = row.get(rows.base.len()..).unwrap_or_default();
            let Some(name) = (rows.name)(key).filter(|name| name.starts_with(prefix)) else {
                return true;
            };
            if group.as_ref().is_some_and(|group| name.starts_with(group)) {
                steps += 1;
                seek = steps >= STEPS_BEFORE_SEEK;
                return !seek;
            }
            steps = 0;
            outcome = match group_of(&name, prefix, delimiter) {
                Some(of) => {
                    let more = visit(Item::Group(of));
                    group = Some(of.to_vec());
                    more
                }
                None => visit(Item::Row(value)),
            };
            matches!(outcome, Ok(true))
        })?;
        let past = group.as_ref().filter(|_| seek && matches!(outcome, Ok(true)));
        match past.map(|group| after_group(rows, group)) {
            Some(Some(next)) => from = next,
            Some(None) | None => return outcome.map(|_| ()),
        }
    }
}

/// The first row key after every name that starts with `group`.
pub(super) fn after_group(rows: &RowNames, group: &[u8]) -> Option<Vec<u8>> {
    prefix_end(&[rows.base.as_slice(), &(rows.written)(group)].concat())
}

/// The common prefix that a name is rolled into: up to the first delimiter after the prefix, inclusive.
pub(super) fn group_of<'n>(name: &'n [u8], prefix: &[u8], delimiter: &[u8]) -> Option<&'n [u8]> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = name.get(prefix.len()..)?;
    let at = rest
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    name.get(..prefix.len() + at + delimiter.len())
}
