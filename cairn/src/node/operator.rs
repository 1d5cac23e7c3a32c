//! What commands may ask of a storage peer: its activity log. Of drives, vaults and keys it answers nobody here.
//!
//! Invariant: the log of a peer that runs is read by its own process; only one that does not run is opened by a command.

use std::path::Path;
use std::sync::Arc;

use activity::{Opening, Receipt, RecordId, audit_with};
use engine::disk::{Disk, RealDisk};
use futures::future::BoxFuture;
use net::node::{NodeRecords, OPERATIONS, newest, open_entry};
use scopes::VaultId;
use serde_json::{Value, json};

use super::{NodeSettings, open_records};
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::key_store::peer_key;
use crate::operator::records::{audited_json, operation_id, shown, unshowable};
use crate::operator::{ErrorCode, Operate, OperatorError, S3Stream};
use crate::request::{OnStep, RecordQuery, Request};

/// See the module.
#[derive(Debug)]
pub struct NodeOperator {
    records: Arc<NodeRecords>,
}

impl NodeOperator {
    /// An operator of this log.
    pub const fn new(records: Arc<NodeRecords>) -> Self {
        Self { records }
    }

    /// Whether a storage peer has an answer to this.
    pub const fn knows(request: &Request) -> bool {
        matches!(
            request,
            Request::ActivityList(_)
                | Request::ActivityShow { .. }
                | Request::ActivityReceipt { .. }
                | Request::ActivityVerify
        )
    }

    async fn answer(&self, request: Request) -> Result<Value, OperatorError> {
        self.records.recorder().flush().await.map_err(unshowable)?;
        let reader = self.records.recorder().reader().clone();
        let answered = tokio::task::spawn_blocking(move || match request {
            Request::ActivityList(query) => list(&reader, &query),
            Request::ActivityShow { record_id, .. } => show(&reader, &record_id),
            Request::ActivityReceipt { record_id, .. } => {
                let receipt = receipt(&reader, &record_id)?;
                Ok(json!({"record_id": record_id, "receipt": receipt.to_string()}))
            }
            Request::ActivityVerify => {
                let report = audit_with(&reader, &mut |entry| {
                    let (record, blind) = open_entry(entry)?;
                    let record = record.canonical_bytes().ok()?;
                    Some(Opening { blind, record })
                });
                audited_json(report, &reader)
            }
            _ => Err(OperatorError::new(
                ErrorCode::BadRequest,
                "a storage peer answers this for nobody: ask with the --data of its owner's gateway",
            )),
        });
        answered.await.map_err(unshowable)?
    }
}

impl Operate for NodeOperator {
    fn run<'a>(
        &'a self,
        request: Request,
        _on_step: OnStep<'a>,
    ) -> BoxFuture<'a, Result<Value, OperatorError>> {
        Box::pin(self.answer(request))
    }

    fn serve_s3(&self, _stream: Box<dyn S3Stream>) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Answers for a storage peer that does not run.
pub async fn answer_closed(root: &Path, request: Request) -> Result<Value, Failure> {
    let data = DataDir::of_node(root)?;
    let settings = NodeSettings::read(&data)?
        .ok_or_else(|| Failure::Usage(format!("{} is no storage peer's", root.display())))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let records = open_records(&disk, &data, &peer_key(&data.peer_key())?, settings.cluster).await?;
    let answer = NodeOperator::new(Arc::clone(&records)).answer(request).await;
    records.recorder().close().await.map_err(unshowable)?;
    Ok(answer?)
}

fn list(reader: &activity::ActivityReader, query: &RecordQuery) -> Result<Value, OperatorError> {
    let refused = |message: String| OperatorError::new(ErrorCode::BadRequest, message);
    if let Some(name) = query
        .operation
        .as_deref()
        .filter(|name| !OPERATIONS.contains(name))
    {
        let names = OPERATIONS.join(", ");
        return Err(refused(format!(
            "--operation {name:?}: no record of a storage peer has this name; one of {names}"
        )));
    }
    let vault = query.vault.as_deref().map(|vault| {
        let id: Result<VaultId, _> = vault.parse();
        id.map_err(|_| {
            refused(format!(
                "--vault {vault}: a storage peer knows vaults by their ids only"
            ))
        })
    });
    let vault = vault.transpose()?.map(|vault| format!("{vault} / "));
    let id = operation_id(query.operation_id.as_deref())?;
    let wanted = |record: &activity::Record| {
        query
            .operation
            .as_ref()
            .is_none_or(|name| *name == record.operation)
            && vault
                .as_ref()
                .is_none_or(|vault| record.vault_scope.starts_with(vault))
            && id.is_none_or(|id| id == record.operation_id.0)
    };
    let limit = match usize::try_from(query.limit).unwrap_or(usize::MAX) {
        0 => RECORDS_MAX,
        limit => limit.min(RECORDS_MAX),
    };
    let found = newest(reader, limit, query.since_ms.unwrap_or(0), &wanted).map_err(unshowable)?;
    let records: Result<Vec<Value>, _> = found
        .into_iter()
        .map(|(_, record)| serde_json::to_value(record))
        .collect();
    Ok(json!({"records": records.map_err(unshowable)?, "log_key": reader.key().to_string()}))
}

fn receipt(reader: &activity::ActivityReader, record_id: &str) -> Result<Receipt, OperatorError> {
    let found = record_id.parse::<RecordId>().ok().and_then(|id| reader.find(&id));
    let index = found.ok_or_else(|| {
        let message = format!("this log has no record {record_id}: `cairn activity list` shows them");
        OperatorError::new(ErrorCode::NotFound, message)
    })?;
    let entry = reader.entry(index).map_err(unshowable)?;
    let (record, blind) = open_entry(&entry).ok_or_else(|| unshowable("it does not open"))?;
    let bytes = record.canonical_bytes().map_err(unshowable)?;
    Receipt::build(reader, index, &bytes, &blind).map_err(unshowable)
}

fn show(reader: &activity::ActivityReader, record_id: &str) -> Result<Value, OperatorError> {
    let verified = receipt(reader, record_id)?
        .verify(Some(reader.key()))
        .map_err(unshowable)?;
    shown(&verified)
}

/// The most records one answer holds.
const RECORDS_MAX: usize = 100_000;
