//! The key hierarchy of one vault: root, scope, stream, slot, entry and credential keys.
//!
//! It derives and names; sealing streams is `seal`, sealing small values is `value`.
//!
//! Invariant: every derivation has a context string of its own and material of fixed length (but for the access key
//! id, which comes last), so no two kinds of key can ever be equal by a clever choice of inputs. Keys are wiped on
//! drop and print as nothing.
//!
//! Source: FORMAT.md section 4; BLAKE3 `derive_key` (the BLAKE3 paper, section 2.3).

use engine::pack::PackId;
use engine::slots::{Address, EntryKind};
use scopes::{Salt, ScopeId, VaultId};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Random;
use crate::customer::CustomerKey;
use crate::object::{Object, StreamId, UploadId, VersionId};

#[cfg(test)]
mod tests;

/// The epoch of a new scope, and of vault-wide entries for good.
pub const FIRST_EPOCH: u64 = 1;

/// A key of 32 bytes: wiped on drop, printed as nothing, compared in constant time.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for SecretKey {}

impl SecretKey {
    /// A key that is these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Whoever copies them wipes the copy.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// `derive(context, parts one after another)`.
    pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(part);
        }
        let key = Self(*hasher.finalize().as_bytes());
        hasher.zeroize();
        key
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretKey {}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The root of a vault: whoever holds it opens everything in the vault. It never leaves the owner's side.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKey(SecretKey);

impl RootKey {
    /// A new root from 32 random bytes.
    pub fn draw(random: Random<'_>) -> Self {
        let mut bytes = [0; 32];
        random(&mut bytes);
        let root = Self::from_bytes(bytes);
        bytes.zeroize();
        root
    }

    /// The root that is these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SecretKey::from_bytes(bytes))
    }

    /// The salt in the id of the vault that has this root: `derive("cairn v1 vault salt", root)`, its first 16 bytes. It says nothing about the root.
    pub fn vault_salt(&self) -> Salt {
        let mut salt = [0; 16];
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 vault salt");
        hasher.update(self.expose());
        hasher.finalize_xof().fill(&mut salt);
        Salt(salt)
    }

    /// The bytes themselves, for a key file. Whoever copies them wipes the copy.
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// Derives every key of one vault. A derivation takes about 200 ns, so nothing is cached.
#[derive(Clone)]
pub struct Keyring {
    root: RootKey,
    vault: VaultId,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("vault", &self.vault)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// The keys of `vault` under `root`.
    pub const fn new(root: RootKey, vault: VaultId) -> Self {
        Self { root, vault }
    }

    /// The vault that the keys belong to.
    pub const fn vault(&self) -> VaultId {
        self.vault
    }

    /// The scope of vault-wide entries: buckets, statements, checkpoints.
    pub const fn vault_wide(&self) -> ScopeId {
        ScopeId::vault_wide(self.vault)
    }

    /// `derive("cairn v1 scope key", root ‖ vault ‖ scope ‖ u64(epoch))`.
    pub fn scope_key(&self, scope: ScopeId, epoch: u64) -> SecretKey {
        self.of_epoch("cairn v1 scope key", scope, epoch)
    }

    /// `derive("cairn v1 stream key", scope key ‖ stream id)`.
    pub(crate) fn stream_key(&self, scope: ScopeId, epoch: u64, stream: StreamId) -> SecretKey {
        let scope_key = self.scope_key(scope, epoch);
        SecretKey::derive("cairn v1 stream key", &[scope_key.expose(), &stream.0])
    }

    /// `derive("cairn v1 customer stream key", scope key ‖ stream id ‖ customer key)`.
    pub(crate) fn customer_stream_key(
        &self,
        scope: ScopeId,
        epoch: u64,
        stream: StreamId,
        customer: &CustomerKey,
    ) -> SecretKey {
        let context = "cairn v1 customer stream key";
        self.with_customer(context, (scope, epoch), &stream.0, customer)
    }

    /// `derive("cairn v1 customer etag", scope key ‖ salt ‖ customer key)`.
    pub(crate) fn customer_etag_key(
        &self,
        scope: ScopeId,
        epoch: u64,
        salt: &[u8; 16],
        customer: &CustomerKey,
    ) -> SecretKey {
        self.with_customer("cairn v1 customer etag", (scope, epoch), salt, customer)
    }

    /// `derive("cairn v1 customer key check", scope key ‖ salt ‖ customer key)`.
    pub(crate) fn customer_check(
        &self,
        scope: ScopeId,
        epoch: u64,
        salt: &[u8; 16],
        customer: &CustomerKey,
    ) -> SecretKey {
        self.with_customer("cairn v1 customer key check", (scope, epoch), salt, customer)
    }

    /// `derive("cairn v1 slot key", root ‖ vault ‖ scope)`: no epoch, so that a name keeps its slot for good.
    pub fn slot_key(&self, scope: ScopeId) -> SecretKey {
        SecretKey::derive(
            "cairn v1 slot key",
            &[self.root.expose(), &self.vault.0, &scope.0],
        )
    }

    /// `derive("cairn v1 entry key", root ‖ vault ‖ scope ‖ u64(epoch))`.
    pub(crate) fn entry_key(&self, scope: ScopeId, epoch: u64) -> SecretKey {
        self.of_epoch("cairn v1 entry key", scope, epoch)
    }

    /// `derive("cairn v1 credential copy", root ‖ vault)`.
    pub(crate) fn credential_copy_key(&self) -> SecretKey {
        SecretKey::derive("cairn v1 credential copy", &[self.root.expose(), &self.vault.0])
    }

    /// `derive("cairn v1 record body", root ‖ vault)`.
    pub(crate) fn record_body_key(&self) -> SecretKey {
        SecretKey::derive("cairn v1 record body", &[self.root.expose(), &self.vault.0])
    }

    /// The slot of an entry: the first 16 bytes of BLAKE3 keyed with the scope's slot key over `kind ‖ bytes`. Ledger
    /// members see it and cannot tell which name it stands for.
    pub fn slot(&self, scope: ScopeId, kind: EntryKind, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(self.slot_key(scope).expose());
        hasher.update(&[kind as u8]);
        hasher.update(bytes);
        let slot = first_16(hasher.finalize().as_bytes());
        hasher.zeroize();
        slot
    }

    /// How a log names an access key: 16 hex digits that only the owner can connect with the access key id.
    pub fn access_key_log_name(&self, access_key_id: &str) -> String {
        let context = "cairn v1 access key log name";
        let name = SecretKey::derive(context, &[self.root.expose(), access_key_id.as_bytes()]);
        name.expose()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn with_customer(
        &self,
        context: &str,
        (scope, epoch): (ScopeId, u64),
        what: &[u8],
        customer: &CustomerKey,
    ) -> SecretKey {
        let scope_key = self.scope_key(scope, epoch);
        SecretKey::derive(context, &[scope_key.expose(), what, customer.expose()])
    }

    fn of_epoch(&self, context: &str, scope: ScopeId, epoch: u64) -> SecretKey {
        let epoch = epoch.to_le_bytes();
        SecretKey::derive(context, &[self.root.expose(), &self.vault.0, &scope.0, &epoch])
    }
}

/// Where entries of the vault stand in the ledger.
impl Keyring {
    /// The entry of the bucket called `name`.
    pub fn bucket_address(&self, name: &str) -> Address {
        self.address(self.vault_wide(), EntryKind::Bucket, name.as_bytes())
    }

    /// The current version of an object.
    pub fn object_address(&self, scope: ScopeId, object_key: &[u8]) -> Address {
        self.address(scope, EntryKind::ObjectCurrent, object_key)
    }

    /// One version of an object, kept beside the current one.
    pub fn version_address(&self, scope: ScopeId, object_key: &[u8], version: VersionId) -> Address {
        let mut bytes = object_key.to_vec();
        bytes.extend_from_slice(&version.0);
        self.address(scope, EntryKind::ObjectVersion, &bytes)
    }

    /// The null version of an object, while another is current. A key has one null version at most.
    pub fn null_version_address(&self, scope: ScopeId, object_key: &[u8]) -> Address {
        self.version_address(scope, object_key, VersionId([0; 16]))
    }

    /// Where this version stands while another is current.
    pub fn kept_address(&self, scope: ScopeId, object: &Object) -> Address {
        if object.null_version {
            self.null_version_address(scope, object.key.as_bytes())
        } else {
            self.version_address(scope, object.key.as_bytes(), object.version)
        }
    }

    /// A multipart upload in progress.
    pub fn upload_address(&self, scope: ScopeId, upload: UploadId) -> Address {
        self.address(scope, EntryKind::Upload, &upload.0)
    }

    /// A part of an upload. The number is little-endian in the hashed bytes.
    pub fn part_address(&self, scope: ScopeId, upload: UploadId, number: u16) -> Address {
        let mut bytes = upload.0.to_vec();
        bytes.extend_from_slice(&number.to_le_bytes());
        self.address(scope, EntryKind::Part, &bytes)
    }

    /// The vault's newest index checkpoint: one statement entry, replaced by each newer one.
    pub fn checkpoint_address(&self) -> Address {
        self.address(self.vault_wide(), EntryKind::Statement, b"checkpoint")
    }

    fn address(&self, scope: ScopeId, kind: EntryKind, bytes: &[u8]) -> Address {
        Address {
            scope: scope.0,
            kind,
            slot: self.slot(scope, kind, bytes),
        }
    }
}

/// The entry of a pack of `scope`: found by the first half of its id, without any key.
pub fn pack_address(scope: ScopeId, pack: &PackId) -> Address {
    Address {
        scope: scope.0,
        kind: EntryKind::Pack,
        slot: pack.slot(),
    }
}

/// The entry of the credential with this access key id: found by whoever knows the id, without any other key.
pub fn credential_address(vault: VaultId, access_key_id: &str) -> Address {
    let hash = blake3::derive_key("cairn v1 credential id", access_key_id.as_bytes());
    Address {
        scope: ScopeId::vault_wide(vault).0,
        kind: EntryKind::Statement,
        slot: first_16(&hash),
    }
}

/// `derive("cairn v1 credential record", access key id)`.
pub(crate) fn credential_record_key(access_key_id: &str) -> SecretKey {
    SecretKey::derive("cairn v1 credential record", &[access_key_id.as_bytes()])
}

fn first_16(bytes: &[u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(bytes.split_at(16).0);
    first
}
