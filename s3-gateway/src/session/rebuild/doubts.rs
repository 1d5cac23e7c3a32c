//! What a rebuild cannot know, and what it does about it: a credential may have been revoked since the checkpoint, so none
//! comes back in force but the owner's own, which whoever holds `keys/` could make anew; a bucket may have been deleted, or replaced by another of its name, so its objects come back in a
//! bucket made for them.
//!
//! Pure. Invariants: what is in doubt loses nothing, and opens nothing but to the owner's root key, which the report names.

use super::super::{fill_random, now_ms};
use crate::settings::OBJECT_LOCK;
use engine::slots::EntryKind;
use scopes::{Credential, ScopeId};
use std::collections::{HashMap, HashSet};
use vault::credential::{CredentialError, SealedCredential, is_credential};
use vault::keys::{FIRST_EPOCH, Keyring};
use vault::object::{Bucket, Lock, Object, Settings};
use vault::rebuild::RebuiltEntry;
use zeroize::Zeroizing;

/// The longest bucket name.
const NAME_BYTES_MAX: usize = 63;

/// Watches the entries that come out of a rebuild.
pub(super) struct Doubts<'a> {
    keyring: &'a Keyring,
    /// Names of scopes as packs give them.
    names: HashMap<ScopeId, String>,
    /// Names and scopes of the buckets that came out.
    buckets: HashMap<String, ScopeId>,
    /// Scopes that objects stand in.
    with_objects: HashSet<ScopeId>,
    /// Scopes with versions that S3 calls by an id, and with locks.
    with_versions: HashSet<ScopeId>,
    with_locks: HashSet<ScopeId>,
    credentials: Vec<String>,
    owners: Vec<String>,
}

impl<'a> Doubts<'a> {
    pub(super) fn new(keyring: &'a Keyring) -> Self {
        Self {
            keyring,
            names: HashMap::new(),
            buckets: HashMap::new(),
            with_objects: HashSet::new(),
            with_versions: HashSet::new(),
            with_locks: HashSet::new(),
            credentials: Vec::new(),
            owners: Vec::new(),
        }
    }

    /// Notes what a pack calls its scope.
    pub(super) fn note_name(&mut self, scope: ScopeId, name: Option<String>) {
        if let Some(name) = name {
            self.names.insert(scope, name);
        }
    }

    /// The entry to write in this one's place, if any.
    pub(super) fn weigh(&mut self, mut entry: RebuiltEntry) -> Option<RebuiltEntry> {
        match entry.address.kind {
            EntryKind::Bucket => {
                if let Ok(bucket) = Bucket::decode(&entry.value) {
                    self.buckets.insert(bucket.name, bucket.scope);
                }
            }
            EntryKind::ObjectCurrent | EntryKind::ObjectVersion => {
                let scope = ScopeId(entry.address.scope);
                self.with_objects.insert(scope);
                let object = Object::decode(&entry.value).ok();
                if object.as_ref().is_none_or(|object| !object.null_version) {
                    self.with_versions.insert(scope);
                }
                if object.is_none_or(|object| object.lock != Lock::default()) {
                    self.with_locks.insert(scope);
                }
            }
            EntryKind::Statement if is_credential(&entry.value) => match self.revoked(&entry) {
                Ok(value) => entry.value = Zeroizing::new(value),
                Err(error) => {
                    tracing::warn!(%error, "a credential in the checkpoint does not open and is left out");
                    return None;
                }
            },
            _ => {}
        }
        Some(entry)
    }

    /// Buckets for the scopes whose objects have none, with the name that the scope had, or one made from it.
    pub(super) fn missing_buckets(&mut self) -> Vec<Bucket> {
        let homes: HashSet<ScopeId> = self.buckets.values().copied().collect();
        let mut missing: Vec<ScopeId> = self.with_objects.difference(&homes).copied().collect();
        missing.sort_unstable_by_key(|scope| scope.0);
        missing
            .into_iter()
            .map(|scope| {
                let name = self.free_name(scope);
                let mut settings = Settings::default();
                if self.with_versions.contains(&scope) || self.with_locks.contains(&scope) {
                    settings.set_versioning(true);
                }
                if self.with_locks.contains(&scope) {
                    settings.set(OBJECT_LOCK, "enabled".to_owned());
                }
                self.buckets.insert(name.clone(), scope);
                Bucket {
                    name,
                    scope,
                    epoch: FIRST_EPOCH,
                    created_ms: now_ms(),
                    settings,
                }
            })
            .collect()
    }

    /// Access key ids of the credentials that were in force and are revoked now, and of the owner's, which are in force again.
    pub(super) fn into_credentials(mut self) -> (Vec<String>, Vec<String>) {
        self.credentials.sort_unstable();
        self.owners.sort_unstable();
        (self.credentials, self.owners)
    }

    fn free_name(&self, scope: ScopeId) -> String {
        let own = self.names.get(&scope).map_or("restored", String::as_str);
        if !self.buckets.contains_key(own) {
            return own.to_owned();
        }
        // The scope's id is random, so that the first of these is free unless somebody made it on purpose.
        let hex: String = scope.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let free = [8, hex.len()].into_iter().filter_map(|digits| {
            let suffix = hex.get(..digits)?;
            let end = own.floor_char_boundary(NAME_BYTES_MAX - 1 - suffix.len());
            let stem = own.get(..end)?.trim_end_matches(['.', '-']);
            Some(format!("{stem}-{suffix}"))
        });
        let mut free = free.filter(|name| !self.buckets.contains_key(name));
        free.next().unwrap_or(hex)
    }

    /// The credential's entry, revoked unless it is the owner's.
    fn revoked(&mut self, entry: &RebuiltEntry) -> Result<Vec<u8>, CredentialError> {
        let opened = SealedCredential::decode(&entry.value)?.open_copy(self.keyring, &entry.address)?;
        if opened.credential.owner && !opened.credential.revoked {
            self.owners.push(opened.access_key_id.expose().to_owned());
        }
        if opened.credential.revoked || opened.credential.owner {
            return Ok(entry.value.to_vec());
        }
        let credential = Credential {
            revoked: true,
            ..opened.credential
        };
        let id = opened.access_key_id.expose();
        let sealed = SealedCredential::seal(self.keyring, id, &opened.secret, &credential, &mut fill_random)?;
        self.credentials.push(id.to_owned());
        Ok(sealed.encode())
    }
}
