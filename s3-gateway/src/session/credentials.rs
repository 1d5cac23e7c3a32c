//! S3 credentials of a vault: made, listed, revoked by the owner; opened by whoever presents the access key id.
//!
//! Verifies no request. Invariants: a credential's secret is at rest only under keys derived from its access key id or from the
//! vault's root; a revocation is in force as soon as its ledger append is applied, for one that was opened before ([`Opened`])
//! counts only while the view still shows the append that wrote it.

use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached};
use super::record::Note;
use super::{Inner, Session, SessionError, fill_random, now_ms};
use crate::operations;
use activity::Purpose;
use engine::slots::{Address, Sequence};
use scopes::{Credential, CredentialName, OperationSet, ScopeSet, Window};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use vault::commit::Commit;
use vault::credential::{SealedCredential, is_credential};
use vault::keys::credential_address;

pub use vault::credential::Secret;

/// Random bytes of an access key id; 26 characters of base 32 carry 130 bits.
const ACCESS_KEY_BYTES: usize = 26;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 30;

/// Credentials that are kept open. Beyond it all are let go of, and come back with the next request.
const OPENED_MAX: usize = 1_024;

/// What a new credential may do.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// A name for people.
    pub label: String,
    /// Which buckets it reaches.
    pub scopes: ScopeSet,
    /// What it may do there.
    pub operations: OperationSet,
    /// From when until when.
    pub window: Window,
    /// Whether it is the owner's root credential.
    pub owner: bool,
    /// A given access key id and secret instead of random ones.
    pub fixed: Option<(String, Secret)>,
}

/// A credential as the owner sees it in a list.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// The name that records and logs use for it.
    pub name: CredentialName,
    /// The access key id.
    pub access_key_id: String,
    /// What it may do.
    pub credential: Credential,
}

/// A credential opened with its access key id, to verify a request.
#[derive(Debug, Clone)]
pub struct OpenCredential {
    /// The secret.
    pub secret: Secret,
    /// What it may do.
    pub credential: Credential,
    /// The name that records and logs use for it.
    pub name: CredentialName,
}

/// Credentials that requests came with, opened: unsealing and reading one costs as much as the rest of a signature's check.
#[derive(Default)]
pub(crate) struct Opened(Mutex<HashMap<String, Arc<Kept>>>);

struct Kept {
    address: Address,
    /// Of the append that wrote it.
    sequence: Sequence,
    credential: OpenCredential,
}

impl Opened {
    fn get(&self, access_key_id: &str) -> Option<Arc<Kept>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(access_key_id)
            .cloned()
    }

    fn keep(&self, access_key_id: &str, address: Address, sequence: Sequence, credential: &OpenCredential) {
        let kept = Kept {
            address,
            sequence,
            credential: credential.clone(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= OPENED_MAX {
            all.clear();
        }
        all.insert(access_key_id.to_owned(), Arc::new(kept));
    }
}

impl Session {
    /// Makes a credential and returns its access key id and secret. A fixed one replaces what its access key id had.
    ///
    /// # Errors
    /// What the ledger refuses.
    pub async fn create_credential(&self, new: NewCredential) -> Result<(String, Secret), SessionError> {
        let inner = Arc::clone(&self.inner);
        detached(async move { inner.create_credential(new).await }).await
    }

    /// Every credential of the vault, revoked ones included.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn credentials(&self) -> Result<Vec<CredentialRow>, SessionError> {
        let mut rows = Vec::new();
        for row in self.inner.index.statements()? {
            let (address, value) = (row.address, row.value);
            if !is_credential(&value) {
                continue;
            }
            let opened = SealedCredential::decode(&value)
                .map_err(|_| SessionError::Internal {
                    what: "a credential that does not decode",
                })?
                .open_copy(&self.inner.keyring, &address)
                .map_err(|_| SessionError::Internal {
                    what: "a credential that does not open",
                })?;
            let access_key_id = opened.access_key_id.expose().to_owned();
            let name = self.inner.credential_name(&access_key_id);
            rows.push(CredentialRow {
                name,
                access_key_id,
                credential: opened.credential,
            });
        }
        rows.sort_by(|a, b| {
            (a.credential.created_ms, &a.access_key_id).cmp(&(b.credential.created_ms, &b.access_key_id))
        });
        Ok(rows)
    }

    /// The secret of a credential, from the owner's copy.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`] when there is no such credential.
    pub fn credential_secret(&self, access_key_id: &str) -> Result<Secret, SessionError> {
        let opened = self
            .inner
            .open_credential(access_key_id)?
            .ok_or(SessionError::NoSuchKey)?;
        Ok(opened.secret)
    }

    /// Revokes a credential; requests that use it are refused from the moment this returns.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`] when there is no such credential.
    pub async fn revoke_credential(&self, access_key_id: &str) -> Result<(), SessionError> {
        let (inner, id) = (Arc::clone(&self.inner), access_key_id.to_owned());
        detached(async move { inner.revoke_credential(&id).await }).await
    }

    /// Opens the credential of an access key id, if this vault has it.
    ///
    /// # Errors
    /// When the view cannot be read or the record is damaged.
    pub fn credential(&self, access_key_id: &str) -> Result<Option<OpenCredential>, SessionError> {
        self.inner.open_credential(access_key_id)
    }
}

impl Inner {
    pub(crate) fn credential_name(&self, access_key_id: &str) -> CredentialName {
        let name = self.keyring.access_key_log_name(access_key_id);
        // Sixteen hex digits by construction.
        name.parse().unwrap_or(CredentialName([0; 8]))
    }

    fn open_credential(&self, access_key_id: &str) -> Result<Option<OpenCredential>, SessionError> {
        let kept = self.opened.get(access_key_id);
        let address = kept.as_ref().map_or_else(
            || credential_address(self.vault, access_key_id),
            |kept| kept.address,
        );
        let Some(row) = self.index.statement(&address)? else {
            return Ok(None);
        };
        if let Some(kept) = kept.filter(|kept| kept.sequence == row.sequence) {
            return Ok(Some(kept.credential.clone()));
        }
        let sealed = SealedCredential::decode(&row.value).map_err(|_| SessionError::Internal {
            what: "a credential that does not decode",
        })?;
        let opened = sealed
            .open(self.vault, access_key_id)
            .map_err(|_| SessionError::Internal {
                what: "a credential that does not open",
            })?;
        let credential = OpenCredential {
            secret: opened.secret,
            credential: opened.credential,
            name: self.credential_name(access_key_id),
        };
        self.opened
            .keep(access_key_id, address, row.sequence, &credential);
        Ok(Some(credential))
    }

    async fn create_credential(
        self: &Arc<Self>,
        new: NewCredential,
    ) -> Result<(String, Secret), SessionError> {
        let (id, secret) = new.fixed.unwrap_or_else(random_credential);
        let credential = Credential {
            vault: self.vault,
            scopes: new.scopes,
            operations: new.operations,
            window: new.window,
            revoked: false,
            created_ms: now_ms(),
            label: new.label,
            owner: new.owner,
            grant: None,
        };
        self.write_credential(&id, &secret, &credential, operations::CREATE_CREDENTIAL)
            .await?;
        Ok((id, secret))
    }

    async fn revoke_credential(self: &Arc<Self>, id: &str) -> Result<(), SessionError> {
        let opened = self.open_credential(id)?.ok_or(SessionError::NoSuchKey)?;
        let credential = Credential {
            revoked: true,
            ..opened.credential
        };
        self.write_credential(id, &opened.secret, &credential, operations::REVOKE_CREDENTIAL)
            .await
    }

    async fn write_credential(
        self: &Arc<Self>,
        id: &str,
        secret: &Secret,
        credential: &Credential,
        operation: &'static str,
    ) -> Result<(), SessionError> {
        let sealed = SealedCredential::seal(&self.keyring, id, secret, credential, &mut fill_random)
            .map_err(|_| SessionError::Internal {
                what: "a credential that does not seal",
            })?;
        for _ in 0..ATTEMPTS_MAX {
            let address = credential_address(self.vault, id);
            let mut operation_id = [0; 16];
            fill_random(&mut operation_id);
            let current = self.index.statement(&address)?.map(|row| row.sequence);
            let note = Note::of(operation, None, Purpose::Write);
            let append = Commit::new(&self.keyring, operation_id, self.lease)
                .with_record(self.own_record_part(note)?)
                .statement(address, current, Some(sealed.encode().into()))?;
            if let Submitted::Applied(_) = self.submit(append, &[], Urgency::Frees).await? {
                return Ok(());
            }
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }
}

/// An access key id of 130 random bits in upper-case letters and digits, and a secret of 240 in base 64.
fn random_credential() -> (String, Secret) {
    use base64::Engine as _;
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut id = [0u8; ACCESS_KEY_BYTES];
    fill_random(&mut id);
    let letter = |byte: &u8| char::from(*LETTERS.get(usize::from(byte % 32)).unwrap_or(&b'A'));
    let id = id.iter().map(letter).collect();
    let mut secret = zeroize::Zeroizing::new([0u8; SECRET_BYTES]);
    fill_random(secret.as_mut());
    (
        id,
        Secret::new(base64::engine::general_purpose::STANDARD.encode(*secret)),
    )
}
