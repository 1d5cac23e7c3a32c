//! Versions of objects: finding one, and listing all of a scope's.
//!
//! Invariant: the versions of a key come newest first, the current one before those kept beside it.

use std::collections::VecDeque;

use engine::slots::Sequence;
use engine::view::prefix_end;
use scopes::ScopeId;

use super::list::{is_group, text};
use super::scan::group_of;
use super::{Index, IndexError, Stored, rows};
use crate::object::{Listed, Object, VersionRef};

/// Rows that a cursor reads ahead.
const READ_AHEAD: usize = 64;
/// How often a version that was not found is looked for again because something was applied meanwhile.
const LOOKS_MAX: usize = 8;

/// What to list of a scope's versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionsQuery {
    /// As in [`super::ListQuery`].
    pub prefix: String,
    /// As in [`super::ListQuery`].
    pub delimiter: String,
    /// Only object keys after this.
    pub key_marker: Option<String>,
    /// With a key marker: of that very key, what is older than this version too. If it is gone, all that is left of the key.
    pub version_marker: Option<VersionRef>,
    /// The most items.
    pub max_keys: usize,
}

/// One version of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The append that wrote its entry.
    pub sequence: Sequence,
    /// Whether it is the current one.
    pub is_latest: bool,
    /// Key, length, time, ETag and checksum.
    pub object: Listed,
}

/// A page of versions, by object key and newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// Versions and delete markers.
    pub versions: Vec<ListedVersion>,
    /// Common prefixes.
    pub common_prefixes: Vec<String>,
    /// Whether there is more.
    pub truncated: bool,
    /// Where the next page goes on: a key, and a version of it unless the key is a common prefix.
    pub next: Option<(String, Option<VersionRef>)>,
}

impl Index {
    /// The current version of a key, a delete marker perhaps.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn current(&self, scope: ScopeId, key: &str) -> Result<Option<Stored<Object>>, IndexError> {
        match self.object(scope, key)? {
            None => self.stored(&rows::marker(scope, key.as_bytes()), |plain| {
                Ok(Object::decode(plain)?)
            }),
            found => Ok(found),
        }
    }

    /// One version of a key, and whether it is the current one.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn version(
        &self,
        scope: ScopeId,
        key: &str,
        version: VersionRef,
    ) -> Result<Option<(Stored<Object>, bool)>, IndexError> {
        let mut found = self.version_once(scope, key, version)?;
        for _ in 0..LOOKS_MAX {
            if found.is_some() {
                break;
            }
            // Rows are read one after another: what moved between them meanwhile was in neither place.
            let through = self.applied_through()?;
            found = self.version_once(scope, key, version)?;
            if self.applied_through()? == through {
                break;
            }
        }
        Ok(found)
    }

    fn version_once(
        &self,
        scope: ScopeId,
        key: &str,
        version: VersionRef,
    ) -> Result<Option<(Stored<Object>, bool)>, IndexError> {
        let current = self.current(scope, key)?;
        if let Some(current) = current.filter(|row| VersionRef::of(&row.value) == version) {
            return Ok(Some((current, true)));
        }
        let address = match version {
            VersionRef::Null => self.keyring.null_version_address(scope, key.as_bytes()),
            VersionRef::Id(id) => self.keyring.version_address(scope, key.as_bytes(), id),
        };
        let Some(slot) = self.view.get(&rows::slot(&address))? else {
            return Ok(None);
        };
        let row = rows::SlotRow::decode(&slot)?.row;
        let found = self.stored(&row, |plain| Ok(Object::decode(plain)?))?;
        Ok(found.map(|found| (found, false)))
    }

    /// The newest version of a key beside the current one.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn newest_kept(&self, scope: ScopeId, key: &str) -> Result<Option<Stored<Object>>, IndexError> {
        let from = rows::kept_of(scope, key.as_bytes());
        let to = prefix_end(&from);
        let mut newest = None;
        self.each_from(&from, to.as_deref(), |_, row| {
            let (sequence, plain) = rows::read_sequenced(row)?;
            newest = Some(Stored {
                sequence,
                value: Object::decode(plain)?,
            });
            Ok(false)
        })?;
        Ok(newest)
    }

    /// Lists a scope's versions and delete markers.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn versions(&self, scope: ScopeId, query: &VersionsQuery) -> Result<VersionsPage, IndexError> {
        let mut page = VersionsPage::default();
        if query.max_keys == 0 {
            return Ok(page);
        }
        let (prefix, delimiter) = (query.prefix.as_bytes(), query.delimiter.as_bytes());
        let mut cursors = Cursors::new(scope, prefix);
        self.seek_marker(&mut cursors, query)?;
        while let Some(name) = cursors.next_name(self)? {
            let full = page.versions.len() + page.common_prefixes.len() == query.max_keys;
            if full {
                page.truncated = true;
                break;
            }
            if let Some(group) = group_of(&name, prefix, delimiter) {
                let group_text = text(group)?;
                page.next = Some((group_text.clone(), None));
                page.common_prefixes.push(group_text);
                cursors.skip_group(group);
                continue;
            }
            let (sequence, object, is_latest) = cursors.take(&name)?;
            page.next = Some((
                object.key.clone(),
                Some(VersionRef::named(object.null_version, object.version)),
            ));
            page.versions.push(ListedVersion {
                sequence,
                is_latest,
                object,
            });
        }
        page.next = page.next.filter(|_| page.truncated);
        Ok(page)
    }

    /// Puts the cursors behind the marker.
    fn seek_marker(&self, cursors: &mut Cursors, query: &VersionsQuery) -> Result<(), IndexError> {
        let Some(key) = &query.key_marker else {
            return Ok(());
        };
        let (prefix, delimiter) = (query.prefix.as_bytes(), query.delimiter.as_bytes());
        let Some(version) = query.version_marker else {
            if is_group(key.as_bytes(), prefix, delimiter) {
                cursors.skip_group(key.as_bytes());
            } else {
                cursors.skip_key(key.as_bytes());
            }
            return Ok(());
        };
        match self.version(cursors.scope, key, version)? {
            Some((_, true)) => cursors.skip_current(key.as_bytes()),
            Some((row, false)) => cursors.skip_through(&row.value),
            None => cursors.skip_before(key.as_bytes()),
        }
        Ok(())
    }
}

/// Three cursors over the rows of one scope: current objects, current delete markers, versions beside them.
struct Cursors {
    scope: ScopeId,
    objects: Cursor,
    markers: Cursor,
    kept: Cursor,
}

impl Cursors {
    fn new(scope: ScopeId, prefix: &[u8]) -> Self {
        let kept = [rows::all_kept(scope), rows::escaped(prefix).into_owned()].concat();
        Self {
            scope,
            objects: Cursor::new(rows::object(scope, prefix), false),
            markers: Cursor::new(rows::marker(scope, prefix), false),
            kept: Cursor::new(kept, true),
        }
    }

    /// The least name that any of them stands at.
    fn next_name(&mut self, index: &Index) -> Result<Option<Vec<u8>>, IndexError> {
        let mut least: Option<Vec<u8>> = None;
        for cursor in [&mut self.objects, &mut self.markers, &mut self.kept] {
            if let Some(name) = cursor.peek(index)?
                && least.as_ref().is_none_or(|least| name < *least)
            {
                least = Some(name);
            }
        }
        Ok(least)
    }

    /// The next version of the name that they stand at.
    fn take(&mut self, name: &[u8]) -> Result<(Sequence, Listed, bool), IndexError> {
        let row = match self.objects.take(name) {
            None => self.markers.take(name),
            found => found,
        };
        let (row, is_latest) = match row {
            Some(row) => (row, true),
            None => (self.kept.take(name).unwrap_or_default(), false),
        };
        let (sequence, plain) = rows::read_sequenced(&row)?;
        Ok((sequence, Listed::decode(plain)?, is_latest))
    }

    fn skip_group(&mut self, group: &[u8]) {
        let scope = self.scope;
        self.objects.seek(prefix_end(&rows::object(scope, group)));
        self.markers.seek(prefix_end(&rows::marker(scope, group)));
        let kept = [rows::all_kept(scope), rows::escaped(group).into_owned()].concat();
        self.kept.seek(prefix_end(&kept));
    }

    /// Behind every version of a key.
    fn skip_key(&mut self, key: &[u8]) {
        self.skip_current(key);
        self.kept.seek(prefix_end(&rows::kept_of(self.scope, key)));
    }

    /// Behind the current version of a key.
    fn skip_current(&mut self, key: &[u8]) {
        self.skip_before(key);
        let after = |mut row: Vec<u8>| {
            row.push(0);
            Some(row)
        };
        self.objects.seek(after(rows::object(self.scope, key)));
        self.markers.seek(after(rows::marker(self.scope, key)));
    }

    /// Behind a version that is kept.
    fn skip_through(&mut self, object: &Object) {
        let key = object.key.as_bytes();
        self.skip_current(key);
        let row = rows::kept(self.scope, key, object.superseded, object.version);
        self.kept.seek(prefix_end(&row));
    }

    /// Before every version of a key.
    fn skip_before(&mut self, key: &[u8]) {
        self.objects.seek(Some(rows::object(self.scope, key)));
        self.markers.seek(Some(rows::marker(self.scope, key)));
        self.kept.seek(Some(rows::kept_of(self.scope, key)));
    }
}

/// A place among rows of one kind, with the next few read ahead.
struct Cursor {
    /// Whether a row's key goes on behind the name.
    kept: bool,
    /// Where the next read begins; nothing when all was read.
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    ahead: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Cursor {
    fn new(first: Vec<u8>, kept: bool) -> Self {
        Self {
            kept,
            to: prefix_end(&first),
            from: Some(first),
            ahead: VecDeque::new(),
        }
    }

    /// Goes on from a row, if that is further on than where it stands; from nothing, ends.
    fn seek(&mut self, to: Option<Vec<u8>>) {
        let Some(to) = to else {
            self.ahead.clear();
            self.from = None;
            return;
        };
        while self.ahead.front().is_some_and(|(row, _)| *row < to) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty()
            && let Some(from) = &mut self.from
            && *from < to
        {
            *from = to;
        }
    }

    /// The name of the next row.
    fn peek(&mut self, index: &Index) -> Result<Option<Vec<u8>>, IndexError> {
        if self.ahead.is_empty()
            && let Some(from) = self.from.take()
        {
            let ahead = &mut self.ahead;
            index.each_from(&from, self.to.as_deref(), |row, value| {
                ahead.push_back((row.to_vec(), value.to_vec()));
                Ok(ahead.len() < READ_AHEAD)
            })?;
            if ahead.len() == READ_AHEAD {
                self.from = ahead.back().map(|(row, _)| [row.as_slice(), &[0]].concat());
            }
        }
        let Some((row, _)) = self.ahead.front() else {
            return Ok(None);
        };
        let name = row.get(SCOPED_BYTES..).unwrap_or_default();
        if self.kept {
            let key = rows::key_of_kept(name);
            return Ok(Some(key.ok_or(engine::codec::DecodeError::BadValue {
                what: "version row",
                got: name.len() as u64,
            })?));
        }
        Ok(Some(name.to_vec()))
    }

    /// The value of the next row, if it is of this name.
    fn take(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let (row, _) = self.ahead.front()?;
        let own = row.get(SCOPED_BYTES..)?;
        let same = if self.kept {
            rows::key_of_kept(own).as_deref() == Some(name)
        } else {
            own == name
        };
        same.then(|| self.ahead.pop_front())
            .flatten()
            .map(|(_, value)| value)
    }
}

/// Bytes of a row key before the name: the kind of row, and the scope.
const SCOPED_BYTES: usize = 17;
