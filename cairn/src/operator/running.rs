//! The operator of an open runtime.
//!
//! Each request goes to its file: drives (`tend`), keys (`access`), the activity log (`records`), figures (`status`).

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::introduction::PeerAt;
use crate::key_store::KeyStoreError;
use crate::operator::{
    ErrorCode, Operate, OperatorError, S3Stream, access, gateways, nodes, records, status, tend,
};
use crate::request::{OnStep, Request};
use crate::runtime::{Runtime, RuntimeError};
use crate::serve::S3Front;
use s3_gateway::session::SessionError;

/// Carries requests out on a runtime, and speaks S3 through its front.
#[derive(Clone, Debug)]
pub struct Operator {
    runtime: Arc<Runtime>,
    front: S3Front,
}

impl Operator {
    /// An operator of `runtime`, whose S3 gateway is `front`.
    pub const fn new(runtime: Arc<Runtime>, front: S3Front) -> Self {
        Self { runtime, front }
    }

    async fn answer(&self, request: Request, on_step: OnStep<'_>) -> Result<Value, OperatorError> {
        let runtime = self.runtime.as_ref();
        match request {
            Request::Status => status::status(runtime, &self.front).await,
            Request::Repair { replace, accept_risk } => {
                tend::repair(runtime, replace, accept_risk, on_step).await
            }
            Request::Scrub => tend::scrub(runtime, on_step).await,
            Request::Gc => tend::gc(runtime, on_step).await,
            Request::Challenge { samples } => tend::challenge(runtime, samples, on_step).await,
            Request::NodeAdmit { peer, domain } => {
                let at = peer.parse::<PeerAt>();
                let at = at.map_err(|error| OperatorError::new(ErrorCode::BadRequest, error.to_string()))?;
                nodes::admit(runtime, at, domain).await
            }
            Request::GatewayAdmit { gateway } => gateways::admit(runtime, &gateway).await,
            Request::NodeDrain { peer, undo } => nodes::drain(runtime, &peer, undo, on_step).await,
            Request::NodeRemove { peer, lost } => nodes::remove(runtime, &peer, lost).await,
            Request::Rebalance { dry_run } => nodes::rebalance(runtime, dry_run, on_step).await,
            Request::KeyCreate(new) => access::create(runtime, new).await,
            Request::KeyList { vault } => access::list(runtime, vault.as_deref()),
            Request::KeyRevoke { vault, access_key_id } => {
                access::revoke(runtime, vault.as_deref(), &access_key_id).await
            }
            Request::KeyShow { vault, access_key_id } => self.key(vault.as_deref(), access_key_id.as_deref()),
            Request::VaultCreate { name } => access::create_vault(runtime, &name).await,
            Request::VaultList => status::vaults(runtime).map(|vaults| json!({"vaults": vaults})),
            Request::ScopeCreate { vault, name } => {
                access::create_scope(runtime, vault.as_deref(), &name).await
            }
            Request::ScopeList { vault } => status::scopes(runtime, vault.as_deref()).await,
            Request::ActivityList(query) => records::list(runtime, query).await,
            Request::ActivityShow { vault, record_id } => {
                records::show(runtime, vault.as_deref(), &record_id).await
            }
            Request::ActivityReceipt { vault, record_id } => {
                records::receipt(runtime, vault.as_deref(), &record_id).await
            }
            Request::ActivityVerify => records::verify(runtime).await,
            Request::S3 { vault } => self.key(vault.as_deref(), None),
        }
    }

    /// A key with its secret and the region that it signs for.
    fn key(&self, vault: Option<&str>, access_key_id: Option<&str>) -> Result<Value, OperatorError> {
        let mut key = access::show(&self.runtime, vault, access_key_id)?;
        if let Some(fields) = key.as_object_mut() {
            fields.insert("region".to_owned(), Value::from(self.front.region()));
        }
        Ok(key)
    }
}

impl Operate for Operator {
    fn run<'a>(
        &'a self,
        request: Request,
        on_step: OnStep<'a>,
    ) -> BoxFuture<'a, Result<Value, OperatorError>> {
        Box::pin(self.answer(request, on_step))
    }

    fn serve_s3(&self, stream: Box<dyn S3Stream>) -> BoxFuture<'_, ()> {
        Box::pin(self.front.speak(stream))
    }
}

impl From<SessionError> for OperatorError {
    fn from(error: SessionError) -> Self {
        let code = match &error {
            SessionError::NoSuchBucket | SessionError::NoSuchKey | SessionError::NoSuchUpload => {
                ErrorCode::NotFound
            }
            SessionError::BucketExists | SessionError::BucketNotEmpty => ErrorCode::Exists,
            SessionError::NotWritable { .. }
            | SessionError::TooClose { .. }
            | SessionError::LedgerAway
            | SessionError::DiskFull
            | SessionError::QuotaExceeded { .. }
            | SessionError::Behind
            | SessionError::Busy => ErrorCode::Unavailable,
            SessionError::Limit { .. } => ErrorCode::BadRequest,
            _ => ErrorCode::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<KeyStoreError> for OperatorError {
    fn from(error: KeyStoreError) -> Self {
        let code = match &error {
            KeyStoreError::NoSuchVault { .. } => ErrorCode::NotFound,
            KeyStoreError::NameTaken { .. } | KeyStoreError::VaultHere { .. } => ErrorCode::Exists,
            KeyStoreError::BadName | KeyStoreError::WhichVault { .. } => ErrorCode::BadRequest,
            _ => ErrorCode::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RuntimeError> for OperatorError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Keys(error) => error.into(),
            RuntimeError::Vault { source, .. } => source.into(),
            RuntimeError::PeerAway { .. } => Self::new(ErrorCode::Unavailable, error.to_string()),
            other => Self::new(ErrorCode::Failed, other.to_string()),
        }
    }
}
