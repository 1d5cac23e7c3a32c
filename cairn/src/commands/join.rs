//! `cairn activity join`: the records of both ends side by side, joined by the operation's id, and what does not fit.
//!
//! It reads logs and changes nothing, and takes no side: where two records disagree it says so, not who is wrong. What gateways do for no client
//! (collection, repair, challenges) stands in the peers' records alone and is not judged; nor is here what other gateways of the cluster did.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use activity::{Purpose, Record};
use serde_json::{Value, json};

use crate::cli::{GlobalArgs, JoinArgs};
use crate::commands::reach::ask;
use crate::commands::status::{count, list};
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line};
use crate::request::{RecordQuery, Request};
use crate::runtime::now_ms;

/// Most records that are taken of each log, the newest.
const RECORDS_MAX: u64 = 100_000;
/// The longest file of exported records.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// One operation: what the gateway says of it and what the peers say.
#[derive(Default)]
struct Joined {
    gateway: Vec<Record>,
    /// With the peer's name.
    nodes: Vec<(String, Record)>,
}

pub(super) async fn run(global: &GlobalArgs, args: JoinArgs) -> Result<(), Failure> {
    let query = RecordQuery {
        vault: None,
        since_ms: args.since.map(|span| now_ms().saturating_sub(span.as_ms())),
        operation: None,
        operation_id: args.operation_id.clone(),
        limit: RECORDS_MAX,
    };
    let mut operations: BTreeMap<[u8; 16], Joined> = BTreeMap::new();
    // The peers first: what they have written down by then, the gateway has answered or is about to.
    for node in &args.nodes {
        let name = node.display().to_string();
        for record in of_node(global, node, &query).await? {
            let joined = operations.entry(record.operation_id.0).or_default();
            joined.nodes.push((name.clone(), record));
        }
    }
    let query = RecordQuery {
        vault: args.vault.vault,
        ..query
    };
    let answer = ask(global, "activity", Request::ActivityList(query)).await?;
    let gateway = records_of(&answer)?;
    let others = list(&answer, "other_gateways").iter();
    let others: BTreeSet<&str> = others.filter_map(Value::as_str).collect();
    // Of what is older than the oldest record that was taken, nothing is known.
    let known_from = match gateway.len() as u64 >= RECORDS_MAX {
        true => gateway.first().map_or(u64::MAX, |record| record.time.ms()),
        false => 0,
    };
    for record in gateway {
        let joined = operations.entry(record.operation_id.0).or_default();
        joined.gateway.push(record);
    }
    let misfits: Vec<_> = operations
        .iter()
        .flat_map(|(id, joined)| {
            joined
                .misfits(known_from, &others)
                .into_iter()
                .map(move |misfit| (hex::encode(id), misfit))
        })
        .collect();
    let of_others = operations.values().filter(|joined| joined.is_of(&others)).count() as u64;
    show(global, &operations, &misfits, of_others);
    match misfits.len() as u64 {
        0 => Ok(()),
        some => Err(Failure::Incomplete(format!(
            "{} not fit",
            match some {
                1 => "1 thing does".to_owned(),
                more => format!("{more} things do"),
            }
        ))),
    }
}

async fn of_node(global: &GlobalArgs, node: &Path, query: &RecordQuery) -> Result<Vec<Record>, Failure> {
    if node.is_dir() {
        let there = GlobalArgs {
            data: node.to_owned(),
            ..global.clone()
        };
        return records_of(&ask(&there, "activity", Request::ActivityList(query.clone())).await?);
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(node).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| Failure::file(node, error))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Usage(format!("{}: {error}", node.display())))?;
    let id = query.operation_id.as_deref();
    let mut records = records_of(&value)?;
    records.retain(|record| id.is_none_or(|id| record.operation_id.to_string() == id));
    records.retain(|record| query.since_ms.is_none_or(|since| record.time.ms() >= since));
    Ok(records)
}

fn records_of(answer: &Value) -> Result<Vec<Record>, Failure> {
    let read = |value: &Value| serde_json::from_value(value.clone());
    let records: Result<Vec<Record>, _> = list(answer, "records").iter().map(read).collect();
    records.map_err(|error| Failure::Incomplete(format!("a record does not read: {error}")))
}

impl Joined {
    /// Whether nobody but these gateways asked for it.
    fn is_of(&self, gateways: &BTreeSet<&str>) -> bool {
        let mut callers = self.nodes.iter().map(|(_, record)| record.agent.as_str());
        self.gateway.is_empty() && callers.all(|caller| gateways.contains(caller))
    }

    /// What does not fit, in sentences. `known_from` is the time from which on the gateway's records are all there; what `others` asked
    /// for stands in theirs.
    fn misfits(&self, known_from: u64, others: &BTreeSet<&str>) -> Vec<String> {
        let mut misfits = Vec::new();
        let of_client = |purpose| matches!(purpose, Purpose::Read | Purpose::Write | Purpose::Hedge);
        if self.gateway.is_empty() {
            let judged = |(_, record): &&(String, Record)| {
                let is_known = record.time.ms() >= known_from && !others.contains(record.agent.as_str());
                of_client(record.purpose) && is_known
            };
            let mut by_node: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            for (node, record) in self.nodes.iter().filter(judged) {
                *by_node.entry((node, &record.operation)).or_default() += record.bytes;
            }
            misfits.extend(by_node.into_iter().map(|((node, operation), bytes)| {
                format!(
                    "{node} has {operation} of {} for an operation that the gateway never recorded",
                    count(bytes, "byte")
                )
            }));
            return misfits;
        }
        let served: u64 = self
            .gateway
            .iter()
            .filter(|record| record.operation == "GetObject" && record.status == "ok")
            .map(|record| record.bytes)
            .sum();
        let given: u64 = self
            .nodes
            .iter()
            .filter(|(_, record)| record.operation == "GetRange")
            .map(|(_, record)| record.bytes)
            .sum();
        if given < served {
            misfits.push(format!(
                "the gateway gave its client {}, the storage peers that were asked wrote down {given}",
                count(served, "byte")
            ));
        }
        misfits
    }
}

fn show(
    global: &GlobalArgs,
    operations: &BTreeMap<[u8; 16], Joined>,
    misfits: &[(String, String)],
    of_others: u64,
) {
    if global.json {
        let rows = operations.iter().map(|(id, joined)| {
            json!({
                "operation_id": hex::encode(id),
                "gateway": joined.gateway,
                "nodes": joined.nodes.iter().map(|(node, record)| json!({"node": node, "record": record})).collect::<Vec<_>>(),
            })
        });
        let named = misfits
            .iter()
            .map(|(id, what)| json!({"operation_id": id, "what": what}));
        print_json(&json!({
            "operations": rows.collect::<Vec<_>>(),
            "misfits": named.collect::<Vec<_>>(),
            "of_other_gateways": of_others,
        }));
        return;
    }
    let mut table = Table::new(&[
        "operation",
        "by",
        "what",
        "purpose",
        ">attempt",
        ">bytes",
        "status",
    ]);
    for (id, joined) in operations {
        let id = hex::encode(id);
        let gateway = joined.gateway.iter().map(|record| ("gateway", record));
        let nodes = joined.nodes.iter().map(|(node, record)| (node.as_str(), record));
        for (by, record) in gateway.chain(nodes) {
            let purpose = serde_json::to_value(record.purpose).unwrap_or_default();
            table.row([
                id.clone(),
                by.to_owned(),
                record.operation.clone(),
                purpose.as_str().unwrap_or_default().to_owned(),
                record.attempt.to_string(),
                record.bytes.to_string(),
                record.status.clone(),
            ]);
        }
    }
    table.lines(0).into_iter().for_each(print_line);
    for (id, what) in misfits {
        print_line(format!("{id}: {what}"));
    }
    if of_others > 0 {
        print_line(format!(
            "{} of other gateways, whose activity logs are theirs: look there",
            count(of_others, "operation")
        ));
    }
}
