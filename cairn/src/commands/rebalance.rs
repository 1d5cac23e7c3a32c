//! `cairn rebalance`: evens out how full drives are, or says what that would take.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::{GlobalArgs, RebalanceArgs};
use crate::commands::reach::ask;
use crate::commands::status::{count, list};
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs, args: &RebalanceArgs) -> Result<(), Failure> {
    let request = Request::Rebalance {
        dry_run: args.dry_run,
    };
    let report = ask(global, "rebalance", request).await?;
    if global.json {
        print_json(&report);
        return finished(&report);
    }
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    drives(&report).print(2);
    print_line("");
    let planned = format!(
        "{} ({})",
        count(number("moves_planned"), "shard"),
        ByteSize(number("bytes_planned"))
    );
    match (number("moves_planned"), args.dry_run) {
        (0, _) => print_line("nothing to move: no drive is much fuller than another that could take from it"),
        (_, true) => print_line(format!("{planned} would be moved; nothing was")),
        (_, false) => print_line(format!(
            "{} moved ({})",
            count(number("shards_moved"), "shard"),
            ByteSize(number("bytes_moved"))
        )),
    }
    finished(&report)
}

fn finished(report: &Value) -> Result<(), Failure> {
    match report.get("packs_failed").and_then(Value::as_u64).unwrap_or(0) {
        0 => Ok(()),
        failed => Err(Failure::Incomplete(format!(
            "{} could not be moved now: `cairn rebalance` goes on with them",
            count(failed, "pack")
        ))),
    }
}

fn drives(report: &Value) -> Table {
    let mut table = Table::new(&["drive", ">capacity", ">now", ">then"]);
    for drive in list(report, "drives") {
        let size = |name: &str| ByteSize(drive.get(name).and_then(Value::as_u64).unwrap_or(0)).to_string();
        let name = drive.get("drive").and_then(Value::as_str).unwrap_or("-");
        table.row([
            name.to_owned(),
            size("capacity_bytes"),
            size("bytes_before"),
            size("bytes_after"),
        ]);
    }
    table
}
