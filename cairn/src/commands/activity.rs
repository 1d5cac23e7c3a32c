//! `cairn activity`: what was done, from the signed log.

use std::io::Write;

use serde_json::Value;

use crate::cli::{ActivityCommand, ActivityListArgs, GlobalArgs};
use crate::commands::join;
use crate::commands::reach::ask;
use crate::commands::status::list;
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line};
use crate::request::{RecordQuery, Request};
use crate::runtime::now_ms;

pub(super) async fn run(global: &GlobalArgs, command: ActivityCommand) -> Result<(), Failure> {
    match command {
        ActivityCommand::List(args) => records(global, args).await,
        ActivityCommand::Join(args) => join::run(global, args).await,
        ActivityCommand::Show(args) => {
            let request = Request::ActivityShow {
                vault: args.vault.vault,
                record_id: args.record_id,
            };
            // A record is JSON by nature: shown the same way to people and programs.
            print_json(&ask(global, "activity", request).await?);
            Ok(())
        }
        ActivityCommand::Receipt(args) => {
            let request = Request::ActivityReceipt {
                vault: args.vault.vault,
                record_id: args.record_id,
            };
            let answer = ask(global, "activity", request).await?;
            if global.json {
                print_json(&answer);
                return Ok(());
            }
            // A receipt has one byte form: nothing is added to it, not even a newline.
            let receipt = answer.get("receipt").and_then(Value::as_str).unwrap_or_default();
            let mut out = std::io::stdout().lock();
            out.write_all(receipt.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| Failure::file(std::path::Path::new("stdout"), error))
        }
    }
}

async fn records(global: &GlobalArgs, args: ActivityListArgs) -> Result<(), Failure> {
    let query = RecordQuery {
        vault: args.vault.vault,
        since_ms: args.since.map(|span| now_ms().saturating_sub(span.as_ms())),
        operation: args.operation,
        operation_id: args.operation_id,
        limit: args.limit.unwrap_or(LIMIT_DEFAULT),
    };
    let answer = ask(global, "activity", Request::ActivityList(query)).await?;
    if global.json {
        print_json(&answer);
        return Ok(());
    }
    let mut table = Table::new(&[
        "time",
        "operation",
        "status",
        ">bytes",
        "agent",
        "scope",
        "record",
    ]);
    for record in list(&answer, "records") {
        let text = |name: &str| {
            let field = record.get(name);
            field.map_or(String::new(), |value| {
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            })
        };
        table.row([
            text("time"),
            text("operation"),
            text("status"),
            text("bytes"),
            text("agent"),
            // One vault is asked about, so its id says nothing.
            text("vault_scope")
                .rsplit(" / ")
                .next()
                .unwrap_or_default()
                .to_owned(),
            text("record_id"),
        ]);
    }
    for line in table.lines(0) {
        print_line(line);
    }
    Ok(())
}

/// What a terminal can take; programs say what they want.
const LIMIT_DEFAULT: u64 = 10_000;
