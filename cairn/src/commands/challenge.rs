//! `cairn verify --challenge`: has drives prove that they hold what the ledger says, by a sample.

use serde_json::Value;

use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
use crate::commands::status::{count, list};
use crate::exit::Failure;
use crate::output::{print_json, print_line, wrapped};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs, samples: u64) -> Result<(), Failure> {
    let report = ask(global, "challenge", Request::Challenge { samples }).await?;
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    if global.json {
        print_json(&report);
    } else {
        print_line(format!(
            "of {} {} asked for: {} proven, {} not, {} unanswered",
            count(number("shards"), "shard"),
            number("asked"),
            number("proven"),
            number("failed"),
            number("unanswered")
        ));
        for drive in list(&report, "drives_failed") {
            let name = drive.get("drive").and_then(Value::as_str).unwrap_or("-");
            let failed = drive.get("shards").and_then(Value::as_u64).unwrap_or(0);
            print_line(format!("  {name}: {} not proven", count(failed, "shard")));
        }
        let worth = list(&report, "detection").iter().map(|row| {
            let figure = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            format!("{} % of them: {:.1} %", figure("bad_percent"), figure("percent"))
        });
        let worth: Vec<_> = worth.collect();
        let sentence = format!(
            "how likely such a sample meets at least one bad shard, if so many are bad: {}",
            worth.join(", ")
        );
        wrapped("", &sentence, 2, WIDTH).into_iter().for_each(print_line);
    }
    let mut wrong = Vec::new();
    if number("failed") > 0 {
        let failed = count(number("failed"), "shard");
        wrong.push(format!(
            "{failed} could not be proven; they are made again where that is possible"
        ));
    }
    if number("unanswered") > 0 {
        let unanswered = count(number("unanswered"), "shard");
        wrong.push(format!(
            "nothing is known of {unanswered}, whose drives did not answer"
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::Incomplete(format!(
        "{}: `cairn status` shows the drives",
        wrong.join("; ")
    )))
}

/// What a terminal shows of a line.
const WIDTH: usize = 80;
