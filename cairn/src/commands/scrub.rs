//! `cairn scrub`: reads every shard, checks its hash, rebuilds what does not check.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
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
            "{} shards checked ({}), {} bad, {} rebuilt, {} of no pack and deleted",
            number("shards_checked"),
            ByteSize(number("bytes_checked")),
            number("shards_bad"),
            number("shards_rebuilt"),
            number("shards_orphaned")
        ));
    }
    match number("shards_unrepaired") {
        0 => Ok(()),
        left => Err(Failure::Incomplete(format!(
            "{left} bad shards could not be rebuilt: try `cairn repair`"
        ))),
    }
}
