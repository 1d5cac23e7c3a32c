//! `cairn status`: drives, space, and what is at risk.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs) -> Result<(), Failure> {
    let status = ask(global, "status", Request::Status).await?;
    if global.json {
        print_json(&status);
        return Ok(());
    }
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let size = |pointer: &str| ByteSize(number(pointer)).to_string();

    print_line(format!(
        "{} ({}), {}",
        text("/data"),
        text("/endpoint"),
        text("/code")
    ));
    print_line(format!("  {}", text("/survives")));
    match status.get("writes_refused_because").and_then(Value::as_str) {
        Some(reason) => print_line(format!(
            "  WRITES ARE REFUSED: {reason}. `cairn repair` brings drives back"
        )),
        None => print_line("  reads and writes are served"),
    }
    print_line("");
    drives(&status).print(2);
    print_line("");
    let mut rest = Table::new(&["", ""]);
    let at_risk = number("/packs/at_risk");
    let risk = match at_risk {
        0 => "none at risk".to_owned(),
        _ => format!(
            "{at_risk} at risk, up to {} shards of a pack missing, {} unreadable: `cairn repair` brings them back",
            number("/packs/missing_shards_max"),
            number("/packs/unreadable")
        ),
    };
    rest.row(["packs".to_owned(), format!("{}, {risk}", number("/packs/total"))]);
    rest.row([
        "space".to_owned(),
        format!(
            "{} live, {} garbage, {} allocated",
            size("/live_bytes"),
            size("/garbage_bytes"),
            size("/allocated_bytes")
        ),
    ]);
    rest.row([
        "ledger".to_owned(),
        format!(
            "{}, sequence {}, {} entries, {}",
            text("/ledger/state"),
            number("/ledger/sequence"),
            number("/ledger/entries"),
            size("/ledger/bytes")
        ),
    ]);
    rest.row([
        "activity".to_owned(),
        format!("{} records", number("/activity/records")),
    ]);
    rest.row(["log key".to_owned(), text("/activity/log_key").to_owned()]);
    for line in rest.lines(2).into_iter().skip(1) {
        print_line(line);
    }
    print_line("");
    vaults(&status).print(2);
    Ok(())
}

fn drives(status: &Value) -> Table {
    let mut table = Table::new(&[
        "drive",
        "state",
        ">live",
        ">garbage",
        ">free",
        ">shards",
        "directory",
    ]);
    for drive in list(status, "drives") {
        let size = |name: &str| ByteSize(drive.get(name).and_then(Value::as_u64).unwrap_or(0)).to_string();
        let text = |name: &str| drive.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| drive.get(name).and_then(Value::as_u64).unwrap_or(0).to_string();
        let state = match drive.get("reason").and_then(Value::as_str) {
            Some(reason) => format!("{} ({reason})", text("state")),
            None => text("state").to_owned(),
        };
        table.row([
            number("number"),
            state,
            size("live_bytes"),
            size("garbage_bytes"),
            size("free_bytes"),
            number("shards"),
            text("directory").to_owned(),
        ]);
    }
    table
}

/// The vaults of a status or of a vault list.
pub(super) fn vaults(answer: &Value) -> Table {
    let mut table = Table::new(&["vault", "id", ">scopes", ">objects", ">size"]);
    for vault in list(answer, "vaults") {
        let text = |name: &str| {
            vault
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |name: &str| vault.get(name).and_then(Value::as_u64).unwrap_or(0);
        table.row([
            text("name"),
            text("vault_id"),
            number("scopes").to_string(),
            number("objects").to_string(),
            ByteSize(number("bytes")).to_string(),
        ]);
    }
    table
}

/// The list of this name in an answer.
pub(super) fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
