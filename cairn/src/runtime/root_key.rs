//! The root key of a vault: the S3 credential that may do everything in it.
//!
//! Invariants: after [`settle`] a vault has a live root key, and if the environment fixes it, only that one; a key that was
//! revoked comes back in force only when that is asked for by name.

use s3_gateway::session::{CredentialRow, NewCredential, Secret, Session, SessionError};
use scopes::{CredentialStatus, OperationSet, ScopeSet, Window};

use crate::config::RootCredential;
use crate::runtime::now_ms;

/// The root key of a vault.
#[derive(Clone, Debug)]
pub struct RootKeyFound {
    /// Its access key id.
    pub access_key_id: String,
    /// Its secret, if the key was made just now.
    pub fresh_secret: Option<Secret>,
}

/// Why a vault has no root key in force.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The environment fixes a key that was revoked.
    #[error(
        "the access key {access_key_id:?} that CAIRN_ACCESS_KEY names was revoked: set CAIRN_ACCESS_KEY and CAIRN_SECRET_KEY to \
         another pair, or start once with --restore-revoked-root-key if it is to be in force again"
    )]
    Revoked {
        /// The key.
        access_key_id: String,
    },
    /// The vault does not take part.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Makes sure of the vault's root key: the fixed one, the one that is there, or a new one. With `restore` the fixed one may be
/// one that was revoked.
pub(crate) async fn settle(
    session: &Session,
    fixed: Option<&RootCredential>,
    restore: bool,
) -> Result<RootKeyFound, RootKeyError> {
    let live = live_root_keys(session)?;
    let Some(fixed) = fixed else {
        // The newest, if a replacement was once cut off between making the new one and revoking the old.
        return match live.last() {
            Some(row) => Ok(RootKeyFound {
                access_key_id: row.access_key_id.clone(),
                fresh_secret: None,
            }),
            None => Ok(make(session, None).await?),
        };
    };
    let mut there = false;
    for row in &live {
        if row.access_key_id == fixed.access_key_id {
            there = session.credential_secret(&row.access_key_id)?.expose() == fixed.secret.as_str();
        }
    }
    if !there {
        let mut known = session.credentials()?.into_iter();
        if !restore && known.any(|row| row.access_key_id == fixed.access_key_id && row.credential.revoked) {
            return Err(RootKeyError::Revoked {
                access_key_id: fixed.access_key_id.clone(),
            });
        }
        make(session, Some(fixed)).await?;
    }
    for row in live.iter().filter(|row| row.access_key_id != fixed.access_key_id) {
        session.revoke_credential(&row.access_key_id).await?;
    }
    Ok(RootKeyFound {
        access_key_id: fixed.access_key_id.clone(),
        fresh_secret: None,
    })
}

/// The root keys in force, oldest first.
pub(crate) fn live_root_keys(session: &Session) -> Result<Vec<CredentialRow>, SessionError> {
    let now = now_ms();
    let mut rows = session.credentials()?;
    rows.retain(|row| row.credential.owner && row.credential.status_at(now) == CredentialStatus::Live);
    Ok(rows)
}

async fn make(session: &Session, fixed: Option<&RootCredential>) -> Result<RootKeyFound, SessionError> {
    let new = NewCredential {
        label: "root".to_owned(),
        scopes: ScopeSet::All,
        operations: OperationSet::all(),
        window: Window::default(),
        owner: true,
        fixed: fixed.map(|fixed| {
            (
                fixed.access_key_id.clone(),
                Secret::new(fixed.secret.as_str().to_owned()),
            )
        }),
    };
    let (access_key_id, secret) = session.create_credential(new).await?;
    Ok(RootKeyFound {
        access_key_id,
        fresh_secret: fixed.is_none().then_some(secret),
    })
}
