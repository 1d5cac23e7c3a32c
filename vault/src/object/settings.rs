//! A bucket's settings: values by name, as the bucket's entry keeps them.
//!
//! What a value says is its reader's business; only versioning is read here, because it decides which entries a write makes.
//!
//! Invariant: names are unique and in byte order, so equal settings are equal bytes.

use engine::codec::{DecodeError, Reader, Writer};

use super::{PAIRS_MAX, STRING_BYTES_MAX};

/// The setting that says whether versions are kept.
const VERSIONING: &str = "versioning";

/// Whether a bucket keeps the versions of its objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Versioning {
    /// It never did: a write takes the place of what is there, as the null version.
    #[default]
    Never,
    /// Every write is a version of its own.
    Enabled,
    /// It did: what has a version stays, and a write takes the place of the null version.
    Suspended,
}

/// Settings of a bucket, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.find(name).ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    /// Sets a setting, in place of an older value. Values are at most [`STRING_BYTES_MAX`] bytes; a longer one is refused when
    /// the bucket is written.
    pub fn set(&mut self, name: &str, value: String) {
        match self.find(name) {
            Ok(at) => {
                if let Some(held) = self.0.get_mut(at) {
                    held.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (name.to_owned(), value)),
        }
    }

    /// Removes a setting, if it is there.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.0.remove(at);
        }
    }

    /// Whether versions are kept. A value that is unknown here keeps them: what might be wanted is not lost.
    pub fn versioning(&self) -> Versioning {
        match self.get(VERSIONING) {
            None => Versioning::Never,
            Some("suspended") => Versioning::Suspended,
            Some(_) => Versioning::Enabled,
        }
    }

    /// Keeps versions from now on, or no longer.
    pub fn set_versioning(&mut self, enabled: bool) {
        let value = if enabled { "enabled" } else { "suspended" };
        self.set(VERSIONING, value.to_owned());
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(have, _)| have.as_str().cmp(name))
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.list_with(&self.0, |w, (name, value)| {
            w.string(name);
            w.string(value);
        });
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let pairs = reader.list_with(PAIRS_MAX, |r| {
            Ok::<_, DecodeError>((
                r.string(STRING_BYTES_MAX)?.to_owned(),
                r.string(STRING_BYTES_MAX)?.to_owned(),
            ))
        })?;
        if pairs.is_sorted_by(|a, b| a.0 < b.0) {
            Ok(Self(pairs))
        } else {
            Err(DecodeError::BadValue {
                what: "setting order",
                got: pairs.len() as u64,
            })
        }
    }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut settings = Self::default();
        for (name, value) in pairs {
            settings.set(&name, value);
        }
        settings
    }
}
