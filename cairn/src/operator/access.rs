//! Access keys, vaults and scopes.

use s3_gateway::key::BucketName;
use s3_gateway::session::{Caller, CredentialRow, NewCredential, Session, SessionError};
use scopes::{Credential, CredentialName, CredentialStatus, Identity, OperationSet, Proof, ScopeSet, Window};
use serde_json::{Value, json};

use crate::operator::{ErrorCode, OperatorError};
use crate::request::NewKey;
use crate::runtime::root_key::live_root_keys;
use crate::runtime::{Runtime, now_ms};

/// `key create`.
pub(super) async fn create(runtime: &Runtime, new: NewKey) -> Result<Value, OperatorError> {
    let session = runtime.session(new.vault.as_deref())?;
    let operations: OperationSet = new
        .operations
        .parse()
        .map_err(|error: scopes::UnknownOperation| bad(format!("--op {}: {error}", new.operations)))?;
    let scopes = scope_set(&new.scopes)?;
    let absent = absent_scopes(&session, &scopes).await?;
    let starts = new.starts_in_ms.map(|wait| now_ms().saturating_add(wait));
    let expires = new
        .expires_ms
        .map(|life| starts.unwrap_or_else(now_ms).saturating_add(life));
    let window = Window {
        not_before_ms: starts,
        expires_ms: expires,
    };
    let credential = NewCredential {
        label: new.label,
        scopes,
        operations,
        window,
        owner: false,
        fixed: None,
    };
    let (access_key_id, secret) = session.create_credential(credential).await?;
    let mut shown = json!({
        "vault_id": session.vault().to_string(),
        "access_key_id": access_key_id,
        "secret_access_key": secret.expose(),
        "scopes_absent": absent,
    });
    if let (Some(fields), Some(expires_ms)) = (shown.as_object_mut(), expires) {
        fields.insert("expires_ms".to_owned(), Value::from(expires_ms));
    }
    Ok(shown)
}

/// `key list`.
pub(super) fn list(runtime: &Runtime, vault: Option<&str>) -> Result<Value, OperatorError> {
    let session = runtime.session(vault)?;
    let now = now_ms();
    let keys: Vec<Value> = session
        .credentials()?
        .iter()
        .map(|row| row_json(row, now))
        .collect();
    Ok(json!({"vault_id": session.vault().to_string(), "keys": keys}))
}

/// `key revoke`.
pub(super) async fn revoke(
    runtime: &Runtime,
    vault: Option<&str>,
    access_key_id: &str,
) -> Result<Value, OperatorError> {
    let session = runtime.session(vault)?;
    find(&session, access_key_id)?;
    session.revoke_credential(access_key_id).await?;
    Ok(json!({"access_key_id": access_key_id, "status": "revoked"}))
}

/// `key show`; without an id the newest root key in force.
pub(super) fn show(
    runtime: &Runtime,
    vault: Option<&str>,
    access_key_id: Option<&str>,
) -> Result<Value, OperatorError> {
    let session = runtime.session(vault)?;
    let row = match access_key_id {
        Some(id) => find(&session, id)?,
        None => live_root_keys(&session)?.pop().ok_or_else(|| {
            OperatorError::new(
                ErrorCode::NotFound,
                "the vault has no root key in force: the next `cairn up` makes one",
            )
        })?,
    };
    let secret = session.credential_secret(&row.access_key_id)?;
    let mut shown = row_json(&row, now_ms());
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("secret_access_key".to_owned(), Value::from(secret.expose()));
        fields.insert("vault_id".to_owned(), Value::from(session.vault().to_string()));
    }
    Ok(shown)
}

/// `vault create`.
pub(super) async fn create_vault(runtime: &Runtime, name: &str) -> Result<Value, OperatorError> {
    let (session, root) = runtime.create_vault(name).await?;
    Ok(json!({
        "vault_id": session.vault().to_string(),
        "name": session.name(),
        "access_key_id": root.access_key_id,
        "secret_access_key": root.fresh_secret.as_ref().map(|secret| secret.expose()),
    }))
}

/// `scope create`.
pub(super) async fn create_scope(
    runtime: &Runtime,
    vault: Option<&str>,
    name: &str,
) -> Result<Value, OperatorError> {
    let session = runtime.session(vault)?;
    let name = BucketName::parse(name).map_err(|_| {
        bad(format!(
            "{name:?} is no name for a scope: 3 to 63 of a-z, 0-9, - and ., as for S3 buckets"
        ))
    })?;
    let bucket = session.create_bucket(&owner(&session)?, &name).await?;
    Ok(json!({"scope": bucket.name, "scope_id": bucket.scope.to_string()}))
}

/// The owner at the keyboard: this process holds the root key and was told to by a command of the same user.
fn owner(session: &Session) -> Result<Caller, OperatorError> {
    let credential = Credential {
        scopes: ScopeSet::All,
        operations: OperationSet::all(),
        owner: true,
        ..Credential::without_rights(session.vault(), now_ms())
    };
    let name: CredentialName = match live_root_keys(session)?.pop() {
        Some(row) => row.name,
        None => CredentialName([0; 8]),
    };
    Ok(Caller::new(Identity::verified(
        &credential,
        name,
        Proof::root_key_held(),
    )))
}

fn find(session: &Session, access_key_id: &str) -> Result<CredentialRow, OperatorError> {
    let rows = session.credentials()?;
    rows.into_iter()
        .find(|row| row.access_key_id == access_key_id)
        .ok_or_else(|| {
            OperatorError::new(
                ErrorCode::NotFound,
                "the vault has no such access key: `cairn key list` shows those it has",
            )
        })
}

fn scope_set(names: &[String]) -> Result<ScopeSet, OperatorError> {
    if names.iter().any(|name| name == "*") {
        return if names.len() == 1 {
            Ok(ScopeSet::All)
        } else {
            Err(bad("--scope '*' is every scope: give it alone".to_owned()))
        };
    }
    for name in names {
        if BucketName::parse(name).is_err() {
            return Err(bad(format!("--scope {name:?}: not a name that a scope can have")));
        }
    }
    Ok(ScopeSet::named(names.iter().cloned()))
}

/// The names among these that no scope of the vault has now.
async fn absent_scopes(session: &Session, scopes: &ScopeSet) -> Result<Vec<String>, OperatorError> {
    let ScopeSet::Named(names) = scopes else {
        return Ok(Vec::new());
    };
    let mut absent = Vec::new();
    for name in names {
        match session.bucket(name).await {
            Ok(_) => {}
            Err(SessionError::NoSuchBucket) => absent.push(name.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(absent)
}

fn row_json(row: &CredentialRow, now: u64) -> Value {
    let credential = &row.credential;
    let scopes = match &credential.scopes {
        ScopeSet::All => json!(["*"]),
        ScopeSet::Named(names) => json!(names),
    };
    let operations: Vec<&str> = credential
        .operations
        .iter()
        .map(|operation| operation.name())
        .collect();
    let status = match credential.status_at(now) {
        CredentialStatus::Live => "live",
        CredentialStatus::Expired => "expired",
        CredentialStatus::NotYetValid => "not yet valid",
        CredentialStatus::Revoked => "revoked",
    };
    json!({
        "access_key_id": row.access_key_id,
        "name": row.name.to_string(),
        "label": credential.label,
        "root": credential.owner,
        "scopes": scopes,
        "operations": operations,
        "status": status,
        "created_ms": credential.created_ms,
        "not_before_ms": credential.window.not_before_ms,
        "expires_ms": credential.window.expires_ms,
    })
}

fn bad(message: String) -> OperatorError {
    OperatorError::new(ErrorCode::BadRequest, message)
}
