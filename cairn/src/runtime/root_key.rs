//! The root key of a vault: the S3 credential that may do everything in it.
//!
//! Invariant: after [`settle`] a vault has a live root key, and if the environment fixes it, only that one.

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

/// Makes sure of the vault's root key: the fixed one, the one that is there, or a new one.
pub(crate) async fn settle(
    session: &Session,
    fixed: Option<&RootCredential>,
) -> Result<RootKeyFound, SessionError> {
    let live = live_root_keys(session)?;
    let Some(fixed) = fixed else {
        // The newest, if a replacement was once cut off between making the new one and revoking the old.
        return match live.last() {
            Some(row) => Ok(RootKeyFound {
                access_key_id: row.access_key_id.clone(),
                fresh_secret: None,
            }),
            None => make(session, None).await,
        };
    };
    let mut there = false;
    for row in &live {
        if row.access_key_id == fixed.access_key_id {
            there = session.credential_secret(&row.access_key_id)?.expose() == fixed.secret.as_str();
        }
    }
    if !there {
        let known = session.credentials()?;
        if known
            .iter()
            .any(|row| row.access_key_id == fixed.access_key_id && row.credential.revoked)
        {
            tracing::warn!(
                "the access key that CAIRN_ACCESS_KEY names was revoked and is in force again: change the variable if it should not be"
            );
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
