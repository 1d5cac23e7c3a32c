//! The activity log, as its owner reads it.

use activity::{ActivityReader, AuditError, AuditReport, OperationId, Receipt, Verified};
use net::membership::Role;
use s3_gateway::operations;
use s3_gateway::session::{ActivityQuery, SessionError};
use serde_json::{Value, json};

use crate::operator::{ErrorCode, OperatorError};
use crate::request::RecordQuery;
use crate::runtime::Runtime;

/// `activity list`: the newest records that fit, oldest first.
pub(super) async fn list(runtime: &Runtime, query: RecordQuery) -> Result<Value, OperatorError> {
    let session = runtime.session(query.vault.as_deref())?;
    if let Some(unknown) = query
        .operation
        .as_ref()
        .filter(|name| !operations::is_recorded(name))
    {
        let message = format!(
            "--operation {unknown:?}: no record has this name; one of {}",
            operations::names().join(", ")
        );
        return Err(OperatorError::new(ErrorCode::BadRequest, message));
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let query = ActivityQuery {
        operation_id: operation_id(query.operation_id.as_deref())?,
        limit,
        operation: query.operation,
        since_ms: query.since_ms,
    };
    let found = session.activity(&query).await?;
    let records: Result<Vec<Value>, _> = found
        .into_iter()
        .map(|opened| serde_json::to_value(opened.record))
        .collect();
    Ok(json!({"records": records.map_err(unshowable)?, "other_gateways": other_gateways(runtime)}))
}

/// Who else stores and reads at the storage peers: what they did stands in activity logs of their own.
fn other_gateways(runtime: &Runtime) -> Vec<String> {
    let Some(peers) = &runtime.peers else {
        return Vec::new();
    };
    let known = peers.known();
    let others = known.iter().filter(|entry| entry.role == Role::Gateway);
    let others = others.filter(|entry| entry.peer != peers.own());
    others.map(|entry| entry.peer.to_string()).collect()
}

/// `activity show`: the record, its place in the log, and whether its receipt holds.
pub(super) async fn show(
    runtime: &Runtime,
    vault: Option<&str>,
    record_id: &str,
) -> Result<Value, OperatorError> {
    let text = receipt_text(runtime, vault, record_id).await?;
    let verified = Receipt::parse(text.as_bytes())
        .and_then(|receipt| receipt.verify(Some(runtime.recorder.reader().key())))
        .map_err(unshowable)?;
    shown(&verified)
}

/// What `activity show` says of a record whose receipt holds.
pub(crate) fn shown(verified: &Verified) -> Result<Value, OperatorError> {
    Ok(json!({
        "record": serde_json::to_value(&verified.record).map_err(unshowable)?,
        "index": verified.index,
        "tree_size": verified.tree_size,
        "log_key": verified.key.to_string(),
    }))
}

/// `activity receipt`.
pub(super) async fn receipt(
    runtime: &Runtime,
    vault: Option<&str>,
    record_id: &str,
) -> Result<Value, OperatorError> {
    let text = receipt_text(runtime, vault, record_id).await?;
    Ok(json!({"record_id": record_id, "receipt": text}))
}

async fn receipt_text(
    runtime: &Runtime,
    vault: Option<&str>,
    record_id: &str,
) -> Result<String, OperatorError> {
    let session = runtime.session(vault)?;
    session.receipt(record_id).await.map_err(|error| match error {
        SessionError::NoSuchKey => OperatorError::new(
            ErrorCode::NotFound,
            format!(
                "the activity log has no record {record_id} of this vault: `cairn activity list` shows them"
            ),
        ),
        other => other.into(),
    })
}

/// `verify --log`: every entry and every checkpoint of the log.
pub(super) async fn verify(runtime: &Runtime) -> Result<Value, OperatorError> {
    runtime.recorder.flush().await.map_err(SessionError::from)?;
    let reader = runtime.recorder.reader().clone();
    let audited = tokio::task::spawn_blocking(move || (activity::audit(&reader), reader));
    let (report, reader) = audited.await.map_err(unshowable)?;
    audited_json(report, &reader)
}

/// What an audit found, for programs.
pub(crate) fn audited_json(
    report: Result<AuditReport, AuditError>,
    reader: &ActivityReader,
) -> Result<Value, OperatorError> {
    let wrong = |error| {
        let message = format!("the activity log does not hold: {error}");
        OperatorError::new(ErrorCode::Failed, message)
    };
    let report = report.map_err(wrong)?;
    Ok(json!({
        "entries": report.entries,
        "checkpoints": report.checkpoints,
        "uncovered": report.uncovered,
        "root": hex::encode(report.root),
        "log_key": reader.key().to_string(),
    }))
}

/// An operation's id as it was typed.
pub(crate) fn operation_id(typed: Option<&str>) -> Result<Option<[u8; 16]>, OperatorError> {
    let wrong = |_| {
        OperatorError::new(
            ErrorCode::BadRequest,
            "--operation-id takes 32 hex digits, as `activity list --json` shows them",
        )
    };
    let read = |typed: &str| typed.parse::<OperationId>().map(|id| id.0);
    typed.map(read).transpose().map_err(wrong)
}

pub(crate) fn unshowable(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::new(ErrorCode::Failed, format!("a record cannot be shown: {error}"))
}
