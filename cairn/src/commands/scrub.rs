//! `cairn scrub`: reads every shard, checks its hash, rebuilds what does not check.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
use crate::commands::status::{count, unreadable};
use crate::exit::Failure;
use crate::output::{print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs) -> Result<(), Failure> {
    let report = ask(global, "scrub", Request::Scrub).await?;
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    if global.json {
        print_json(&report);
    } else {
        print_line(format!(
            "{} checked ({}), {} bad, {} rebuilt, {} of no pack and deleted",
            count(number("shards_checked"), "shard"),
            ByteSize(number("bytes_checked")),
            number("shards_bad"),
            number("shards_rebuilt"),
            number("shards_orphaned")
        ));
    }
    let (left, missing) = (number("shards_unrepaired"), number("shards_missing"));
    let mut wrong = Vec::new();
    if left > 0 {
        wrong.push(format!("{} could not be rebuilt", count(left, "bad shard")));
    }
    if missing > 0 {
        wrong.push(format!("{} missing", count(missing, "shard")));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let next = "`cairn repair` brings back what can be brought back";
    let mut message = format!("{}: {next}", wrong.join(", "));
    if number("packs_unreadable") > 0 {
        message += "; ";
        message += &unreadable(number("packs_unreadable"));
    }
    Err(Failure::Incomplete(message))
}
