//! All vaults that are open in this process, and which of them an access key belongs to.
//!
//! Decides no access. Invariant: an access key id opens a credential in at most one vault, for its record is sealed to one.

use crate::session::{OpenCredential, Session, SessionError};
use scopes::VaultId;
use std::sync::{Arc, PoisonError, RwLock};

/// The open vaults; clones share the set.
#[derive(Clone, Default)]
pub struct Sessions {
    open: Arc<RwLock<Vec<Session>>>,
}

impl Sessions {
    /// A set of open vaults.
    pub fn new(open: Vec<Session>) -> Self {
        Self {
            open: Arc::new(RwLock::new(open)),
        }
    }

    /// Adds a vault that was opened later.
    pub fn add(&self, session: Session) {
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session);
    }

    /// Every open vault, in the order of opening.
    pub fn all(&self) -> Vec<Session> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The session of a vault.
    pub fn of(&self, vault: VaultId) -> Option<Session> {
        self.all().into_iter().find(|session| session.vault() == vault)
    }

    /// The credential of an access key id, and the vault that it is for.
    ///
    /// # Errors
    /// When a view cannot be read or a record is damaged.
    pub fn find_credential(
        &self,
        access_key_id: &str,
    ) -> Result<Option<(Session, OpenCredential)>, SessionError> {
        for session in self.all() {
            if let Some(credential) = session.credential(access_key_id)? {
                return Ok(Some((session, credential)));
            }
        }
        Ok(None)
    }
}
