//! What may be typed.

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_flags_may_follow_the_command() {
    let cli = parse("cairn key list --json --data /d").unwrap();
    assert!(cli.global.json);
    assert_eq!(cli.global.data, PathBuf::from("/d"));
}

#[test]
fn a_key_needs_scopes_and_operations() {
    assert!(parse("cairn key create --op read").is_err());
    assert!(parse("cairn key create --scope photos").is_err());
    let cli = parse("cairn key create --scope a --scope b --op read,list --expires 90d").unwrap();
    let Command::Key(KeyCommand::Create(args)) = cli.command else {
        panic!("not key create")
    };
    assert_eq!(args.scopes, ["a", "b"]);
    assert_eq!(args.expires.unwrap().to_string(), "90d");
}

#[test]
fn a_bad_duration_is_a_usage_error() {
    let error = parse("cairn key create --scope a --op all --expires soon").unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn drives_repeat_in_order() {
    let cli = parse("cairn up --drive /a --drive /b --code 4+2").unwrap();
    let Command::Up(args) = cli.command else {
        panic!("not up")
    };
    assert_eq!(args.drives, [PathBuf::from("/a"), PathBuf::from("/b")]);
}
