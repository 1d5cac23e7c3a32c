//! `cairn gc`: gives back the space of deleted objects; returns when nothing more can be collected.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
use crate::commands::status::count;
use crate::exit::Failure;
use crate::output::{print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs) -> Result<(), Failure> {
    let report = ask(global, "gc", Request::Gc).await?;
    let complete = report.get("complete").and_then(Value::as_bool).unwrap_or(false);
    if global.json {
        print_json(&report);
    } else {
        show(&report);
    }
    if complete {
        return Ok(());
    }
    let held_back = report.get("held_back").and_then(Value::as_bool).unwrap_or(false);
    let message = match held_back {
        true => {
            "another gateway may be reading what was left: `cairn status` says which. Run it again when that one is through"
        }
        false => "shards on lost drives or in unreadable packs were left: run it again after `cairn repair`",
    };
    Err(Failure::Incomplete(message.to_owned()))
}

fn show(report: &Value) {
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let size = |name: &str| ByteSize(number(name));
    print_line(format!(
        "{} deleted, {} given back: {} allocated before, {} now, for {} of data that objects need",
        count(number("packs_deleted"), "pack"),
        size("bytes_freed"),
        size("allocated_bytes_before"),
        size("allocated_bytes"),
        size("live_bytes")
    ));
    let moved = number("bytes_moved").saturating_add(number("bytes_rewritten"));
    if moved > 0 {
        print_line(format!(
            "{} of data that objects need moved to free whole segments",
            ByteSize(moved)
        ));
    }
}
