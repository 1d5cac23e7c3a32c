//! `cairn key`: S3 access keys.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::{GlobalArgs, KeyCommand, KeyCreateArgs, KeyShowArgs};
use crate::commands::reach::ask;
use crate::commands::status::list;
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line, print_note};
use crate::request::{NewKey, Request};

pub(super) async fn run(global: &GlobalArgs, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(global, args).await,
        KeyCommand::Show(args) => show(global, args).await,
        KeyCommand::List(choice) => {
            let answer = ask(global, "key list", Request::KeyList { vault: choice.vault }).await?;
            if global.json {
                print_json(&answer);
            } else {
                keys(&answer).print(0);
            }
            Ok(())
        }
        KeyCommand::Revoke(args) => {
            let request = Request::KeyRevoke {
                vault: args.vault.vault,
                access_key_id: args.access_key_id,
            };
            let answer = ask(global, "key revoke", request).await?;
            if global.json {
                print_json(&answer);
            } else {
                print_line(format!(
                    "{} is refused from now on",
                    text(&answer, "access_key_id")
                ));
            }
            Ok(())
        }
    }
}

async fn create(global: &GlobalArgs, args: KeyCreateArgs) -> Result<(), Failure> {
    if args.label.chars().count() > LABEL_CHARS_MAX || args.label.chars().any(char::is_control) {
        return Err(Failure::Usage(format!(
            "--label: at most {LABEL_CHARS_MAX} characters, without control characters"
        )));
    }
    let request = Request::KeyCreate(NewKey {
        vault: args.vault.vault,
        scopes: args.scopes,
        operations: args.operations,
        expires_ms: args.expires.map(crate::duration::Span::as_ms),
        starts_in_ms: args.starts_in.map(crate::duration::Span::as_ms),
        label: args.label,
    });
    let answer = ask(global, "key create", request).await?;
    for absent in list(&answer, "scopes_absent").iter().filter_map(Value::as_str) {
        print_note(format!(
            "note: the vault has no scope {absent:?} yet; the key works there once it is made"
        ));
    }
    if global.json {
        print_json(&answer);
        return Ok(());
    }
    print_pair(&answer);
    if let Some(expires) = answer.get("expires_ms").and_then(Value::as_u64) {
        print_line(format!("expires     {}", moment(expires)));
    }
    Ok(())
}

async fn show(global: &GlobalArgs, args: KeyShowArgs) -> Result<(), Failure> {
    let request = Request::KeyShow {
        vault: args.vault.vault,
        access_key_id: args.access_key_id,
    };
    let answer = ask(global, "key show", request).await?;
    if global.json {
        print_json(&answer);
    } else if args.env {
        print_line(format!(
            "export AWS_ACCESS_KEY_ID={}",
            quoted(text(&answer, "access_key_id"))
        ));
        print_line(format!(
            "export AWS_SECRET_ACCESS_KEY={}",
            quoted(text(&answer, "secret_access_key"))
        ));
        print_line(format!(
            "export AWS_DEFAULT_REGION={}",
            quoted(text(&answer, "region"))
        ));
    } else {
        print_pair(&answer);
        print_line(format!("status      {}", text(&answer, "status")));
        print_line(format!("agent       {}", agent(&answer)));
    }
    Ok(())
}

/// Access key and secret, as every command shows them.
pub(super) fn print_pair(answer: &Value) {
    print_line(format!("access key  {}", text(answer, "access_key_id")));
    print_line(format!("secret      {}", text(answer, "secret_access_key")));
}

fn keys(answer: &Value) -> Table {
    let mut table = Table::new(&[
        "access key",
        "label",
        "status",
        "scopes",
        "operations",
        "expires",
        "agent",
    ]);
    for key in list(answer, "keys") {
        let words = |name: &str| {
            let items: Vec<&str> = list(key, name).iter().filter_map(Value::as_str).collect();
            items.join(",")
        };
        let is_root = key.get("root").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            text(key, "access_key_id").to_owned(),
            text(key, "label").chars().take(LABEL_CHARS_MAX).collect(),
            text(key, "status").to_owned(),
            words("scopes"),
            if is_root {
                "everything".to_owned()
            } else {
                words("operations")
            },
            key.get("expires_ms")
                .and_then(Value::as_u64)
                .map_or("never".to_owned(), moment),
            agent(key),
        ]);
    }
    table
}

/// What the records of a key's requests call it: `activity list` shows no access key.
fn agent(key: &Value) -> String {
    format!("credential:{}", text(key, "name"))
}

/// A time in ms since 1970, as RFC 3339.
pub(super) fn moment(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    moment
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A word that a POSIX shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A label is a column of `key list`.
const LABEL_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_cannot_break_out_of_their_quotes() {
        assert_eq!(quoted("a'; rm -rf x"), r"'a'\''; rm -rf x'");
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(moment(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }
}
