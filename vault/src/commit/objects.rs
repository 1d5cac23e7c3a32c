//! Appends that change which version of an object is current, and which are kept beside it.
//!
//! Invariants. The newest version of a key, a delete marker perhaps, stands at the key's object-current slot, and every
//! other version at a slot of its own; so a key that has any version has a current one, and an append that changes the order of a
//! key's versions expects the current one as it was read. The null version has one slot, so there is at most one of it.

use engine::slots::{Address, Append, Sequence};
use scopes::ScopeId;

use super::{Commit, CommitError, Over, Packs};
use crate::Random;
use crate::index::Stored;
use crate::object::{Bucket, Lock, Object, Versioning};

/// What a write does with the version that is current before it.
#[derive(Debug, Clone, Copy)]
pub enum Succession<'a> {
    /// It takes its place.
    Replace(Over),
    /// It keeps it beside itself, if there is one; this is the one, as it was read.
    Keep {
        /// The version that is current.
        current: Option<&'a Stored<Object>>,
        /// Whether a null version that is kept beside it goes, because the new version is the null version.
        drops_null: bool,
    },
}

impl<'a> Succession<'a> {
    /// What a write into a bucket does with the current version of its key. `conditional`: whether the write was decided on it.
    pub fn of(versioning: Versioning, current: Option<&'a Stored<Object>>, conditional: bool) -> Self {
        let seen = Over::Row(current.map(|row| row.sequence));
        match (versioning, current) {
            // Only a bucket that was made anew can be without versions and have some.
            (Versioning::Never, Some(row)) if !row.value.null_version => Self::Keep {
                current,
                drops_null: true,
            },
            (Versioning::Never, Some(row)) if row.value.lock != Lock::default() => Self::Replace(seen),
            (Versioning::Never, _) if !conditional => Self::Replace(Over::Anything),
            (Versioning::Never, _) => Self::Replace(seen),
            (Versioning::Suspended, Some(row)) if row.value.null_version => Self::Replace(seen),
            (Versioning::Suspended | Versioning::Enabled, current) => Self::Keep {
                current,
                drops_null: versioning != Versioning::Enabled,
            },
        }
    }
}

impl<T: Into<Over>> From<T> for Succession<'_> {
    fn from(over: T) -> Self {
        Self::Replace(over.into())
    }
}

impl Commit<'_> {
    /// Makes an object, or a delete marker, the current version of its key.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn put_object<'s>(
        mut self,
        bucket: &Stored<Bucket>,
        object: &Object,
        succession: impl Into<Succession<'s>>,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        self.write_object(bucket, object, succession.into(), random)?;
        self.finish(packs)
    }

    /// Writes a copy that shares the chunks of `source`, an object of the same scope: where it stands and its sequence.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn copy_object<'s>(
        mut self,
        bucket: &Stored<Bucket>,
        source: (Address, Sequence),
        object: &Object,
        succession: impl Into<Succession<'s>>,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        let target = self
            .keyring
            .object_address(bucket.value.scope, object.key.as_bytes());
        let succession = match succession.into() {
            Succession::Replace(_) if source.0 == target => Succession::Replace(Over::Row(Some(source.1))),
            other => {
                self.expect(source.0, Some(source.1));
                other
            }
        };
        self.write_object(bucket, object, succession, random)?;
        self.finish(packs)
    }

    /// Writes a version again, in its place: with other tags, another lock. Its chunks are those of the version as it was read.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn amend_object(
        mut self,
        bucket: &Stored<Bucket>,
        before: (Address, Sequence),
        object: &Object,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        self.expect(before.0, Some(before.1));
        self.seal_object(before.0, bucket.value.epoch, object, random)?;
        self.finish(packs)
    }

    /// Deletes an object of a bucket that keeps no versions.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn delete_object(
        mut self,
        bucket: &Stored<Bucket>,
        key: &str,
        over: impl Into<Over>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        let address = self.keyring.object_address(bucket.value.scope, key.as_bytes());
        self.expect_over(address, over.into());
        self.remove(address);
        self.finish(&Packs::default())
    }

    /// Deletes the current version for good; `next`, the newest of those kept beside it, becomes current.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn delete_current(
        mut self,
        bucket: &Stored<Bucket>,
        current: &Stored<Object>,
        next: Option<&Stored<Object>>,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        let scope = bucket.value.scope;
        let address = self.keyring.object_address(scope, current.value.key.as_bytes());
        self.expect(address, Some(current.sequence));
        match next {
            None => self.remove(address),
            Some(next) => {
                let again = Object {
                    superseded: Sequence(0),
                    ..next.value.clone()
                };
                // Written before it is removed: the index takes over what it knows of the version's packs.
                self.seal_object(address, bucket.value.epoch, &again, random)?;
                self.remove_seen(self.kept_address(scope, &next.value), next.sequence);
            }
        }
        self.finish(&Packs::default())
    }

    /// Deletes a version that is kept beside the current one, for good.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn delete_kept(
        mut self,
        bucket: &Stored<Bucket>,
        version: &Stored<Object>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        let address = self.kept_address(bucket.value.scope, &version.value);
        self.remove_seen(address, version.sequence);
        self.finish(&Packs::default())
    }

    pub(super) fn write_object(
        &mut self,
        bucket: &Stored<Bucket>,
        object: &Object,
        succession: Succession<'_>,
        random: Random<'_>,
    ) -> Result<(), CommitError> {
        let scope = bucket.value.scope;
        let address = self.keyring.object_address(scope, object.key.as_bytes());
        match succession {
            Succession::Replace(over) => self.expect_over(address, over),
            Succession::Keep { current: None, .. } => self.expect(address, None),
            Succession::Keep {
                current: Some(current),
                drops_null,
            } => {
                self.expect(address, Some(current.sequence));
                let kept = Object {
                    superseded: current.sequence,
                    ..current.value.clone()
                };
                if drops_null {
                    self.remove(self.keyring.null_version_address(scope, object.key.as_bytes()));
                }
                self.seal_object(self.kept_address(scope, &kept), bucket.value.epoch, &kept, random)?;
            }
        }
        self.seal_object(address, bucket.value.epoch, object, random)
    }

    fn seal_object(
        &mut self,
        address: Address,
        epoch: u64,
        object: &Object,
        random: Random<'_>,
    ) -> Result<(), CommitError> {
        if object.manifest.names_this_pack() {
            return Err(CommitError::ThisPack);
        }
        self.seal(address, epoch, &object.encode(), random)
    }

    fn kept_address(&self, scope: ScopeId, object: &Object) -> Address {
        self.keyring.kept_address(scope, object)
    }
}
