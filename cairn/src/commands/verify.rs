//! `cairn verify`: checks a receipt, offline, for which it opens no data directory and asks no server; or a whole log.

use std::io::Read;
use std::path::Path;

use activity::{LogKey, RECEIPT_BYTES_MAX, Receipt};
use serde_json::{Value, json};

use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
use crate::commands::status::count;
use crate::exit::Failure;
use crate::output::{print_json, print_line, printable};
use crate::request::Request;

pub(super) fn run(global: &GlobalArgs, receipt: &Path, log_key: Option<&str>) -> Result<(), Failure> {
    let pinned: Option<LogKey> = match log_key {
        Some(text) => {
            let wrong = |error| Failure::Usage(format!("--log-key: {error}"));
            Some(text.parse().map_err(wrong)?)
        }
        None => None,
    };
    let bytes = read(receipt)?;
    let held = if bytes.is_empty() {
        Err("the file is empty".to_owned())
    } else {
        let receipt = Receipt::parse(&bytes);
        let held = receipt.and_then(|receipt| receipt.verify(pinned.as_ref()));
        held.map_err(|error| error.to_string())
    };
    let verified = match held {
        Ok(verified) => verified,
        Err(reason) => {
            if global.json {
                print_json(&json!({"valid": false, "reason": reason}));
            }
            return Err(Failure::Incomplete(format!(
                "the receipt does not hold: {reason}"
            )));
        }
    };
    let record = serde_json::to_value(&verified.record)
        .map_err(|error| Failure::Incomplete(format!("the record cannot be shown: {error}")))?;
    if global.json {
        print_json(&json!({
            "valid": true,
            "log_key": verified.key.to_string(),
            "pinned": verified.pinned,
            "index": verified.index,
            "tree_size": verified.tree_size,
            "record": record,
        }));
        return Ok(());
    }
    print_line("the receipt holds: this record is in the signed log");
    if let Some(fields) = record.as_object() {
        for (name, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            print_line(format!("  {name:<13} {}", printable(value)));
        }
    }
    // The log counts from 0, people from 1.
    let place = verified.index.saturating_add(1);
    print_line(format!("  entry {place} of {}", verified.tree_size));
    print_line(format!("log key: {}", verified.key));
    if !verified.pinned {
        print_line(
            "key not pinned: compare it with the one that the log's owner gave you, or give --log-key",
        );
    }
    Ok(())
}

/// `verify --log`.
pub(super) async fn log(global: &GlobalArgs) -> Result<(), Failure> {
    let report = ask(global, "activity", Request::ActivityVerify).await?;
    if global.json {
        print_json(&report);
        return Ok(());
    }
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    print_line(format!(
        "the log holds: {} under {}",
        count(number("entries"), "record"),
        count(number("checkpoints"), "signed checkpoint"),
    ));
    let key = report.get("log_key").and_then(Value::as_str).unwrap_or_default();
    print_line(format!("log key: {key}"));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    // One byte more than a receipt may have: the parser then says that it is too long.
    let limit = RECEIPT_BYTES_MAX as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::file(path, error))?;
    Ok(bytes)
}
