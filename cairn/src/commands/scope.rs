//! `cairn scope`: the parts of a vault, which S3 shows as buckets.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::{GlobalArgs, ScopeCommand};
use crate::commands::key::moment;
use crate::commands::reach::ask;
use crate::commands::status::list;
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs, command: ScopeCommand) -> Result<(), Failure> {
    let (request, creates) = match command {
        ScopeCommand::Create { name, vault } => (
            Request::ScopeCreate {
                vault: vault.vault,
                name,
            },
            true,
        ),
        ScopeCommand::List(choice) => (Request::ScopeList { vault: choice.vault }, false),
    };
    let answer = ask(global, "scope", request).await?;
    if global.json {
        print_json(&answer);
        return Ok(());
    }
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if creates {
        print_line(format!(
            "{} ({})",
            text(&answer, "scope"),
            text(&answer, "scope_id")
        ));
        return Ok(());
    }
    let mut table = Table::new(&["scope", ">objects", ">size", "created"]);
    for scope in list(&answer, "scopes") {
        let number = |name: &str| scope.get(name).and_then(Value::as_u64).unwrap_or(0);
        table.row([
            text(scope, "scope"),
            number("objects").to_string(),
            ByteSize(number("bytes")).to_string(),
            moment(number("created_ms")),
        ]);
    }
    table.print(0);
    Ok(())
}
