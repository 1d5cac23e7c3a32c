//! Real S3 clients, each that is installed, by `scripts/clients.py`. Where one is not, the story says so.

use std::process::Command;

use super::process::{Place, text};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/clients.py");

/// Runs one client against a server of its own.
fn works_unchanged(client: &str) {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        eprintln!("note: python3 is not here; {client} was not tried");
        return;
    }
    let place = Place::new();
    let running = place.up();
    let key = place.root_key();
    let output = Command::new("python3")
        .args([SCRIPT, "--quick", "--only", client])
        .env("CAIRN_ENDPOINT", running.endpoint())
        .env("CAIRN_ACCESS_KEY", key.id)
        .env("CAIRN_SECRET_KEY", key.secret)
        .env("TMPDIR", place.root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    match said.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "ok", ..] if name == client => {}
        [name, "absent", ..] if name == client => eprintln!("note: {client} is not here; it was not tried"),
        _ => panic!("{said}"),
    }
}

#[test]
fn aws_works_unchanged() {
    works_unchanged("aws");
}

#[test]
fn boto3_works_unchanged() {
    works_unchanged("boto3");
}

#[test]
fn s5cmd_works_unchanged() {
    works_unchanged("s5cmd");
}

#[test]
fn rclone_works_unchanged() {
    works_unchanged("rclone");
}

#[test]
fn restic_works_unchanged() {
    works_unchanged("restic");
}

#[test]
fn s3cmd_works_unchanged() {
    works_unchanged("s3cmd");
}

#[test]
fn pyarrow_works_unchanged() {
    works_unchanged("pyarrow");
}
