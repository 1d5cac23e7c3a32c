//! `cairn repair`: brings every shard back, on drives that are there or made anew.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::{GlobalArgs, RepairArgs};
use crate::commands::reach::ask;
use crate::commands::status::{count, list, unreadable};
use crate::exit::Failure;
use crate::layout::absolute;
use crate::output::{print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs, args: RepairArgs) -> Result<(), Failure> {
    let replace = absolute(&args.replace)
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    let request = Request::Repair {
        replace,
        accept_risk: args.accept_risk,
    };
    let report = ask(global, "repair", request).await?;
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let complete = report.get("complete").and_then(Value::as_bool).unwrap_or(false);
    if global.json {
        print_json(&report);
    } else {
        for drive in list(&report, "drives_recreated").iter().filter_map(Value::as_str) {
            print_line(format!("made anew: {drive}"));
        }
        print_line(format!(
            "{}, {} checked, {} rebuilt ({})",
            count(number("packs"), "pack"),
            count(number("shards_checked"), "shard"),
            number("shards_rebuilt"),
            ByteSize(number("bytes_rebuilt"))
        ));
        if complete {
            print_line("every shard is present");
        }
    }
    if complete {
        return Ok(());
    }
    let lost: Vec<&str> = list(&report, "drives_lost")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut message = format!("{} still missing", count(number("shards_missing"), "shard"));
    if !lost.is_empty() {
        message += &format!(
            "; lost drives: {}. `cairn status` shows why: start their storage peers, or bring them back; those that are lost for good are made anew with \
             `cairn repair --replace DIR`, or their storage peers replaced",
            lost.join(", ")
        );
    }
    if number("packs_unreadable") > 0 {
        message += "; ";
        message += &unreadable(number("packs_unreadable"));
    }
    Err(Failure::Incomplete(message))
}
