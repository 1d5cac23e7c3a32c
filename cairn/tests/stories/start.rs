//! Starting, stopping, starting again, and what stands in the way.

use std::os::unix::fs::PermissionsExt;

use super::process::{Place, admin, content, get, make_bucket, put, refusal, text};

#[tokio::test]
async fn the_first_start_makes_everything_and_the_next_finds_it_again() {
    let place = Place::new();
    let first = place.up_with(place.command(["up"]));
    let all = first.printed.join("\n");
    assert_eq!(first.printed.last().unwrap(), "ready");
    for part in [
        "access key",
        "secret",
        "s3 mb s3://",
        "s3 cp",
        "s3 ls",
        "Back up",
        "export AWS_ACCESS_KEY_ID=",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let key = place.root_key();
    assert!(all.contains(&key.id) && all.contains(&key.secret));
    first.stop();
    assert!(!place.data().join("control.sock").exists());

    let second = place.up();
    assert_eq!(second.announced["access_key_id"], key.id);
    assert!(
        second.announced["secret_access_key"].is_null(),
        "the secret is shown on the first start only"
    );
    let mut client = second.client(&key).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "a", content("a", 100_000))
        .await
        .unwrap();
    drop(client);
    second.stop();

    let third = place.up();
    let mut client = third.client(&key).await;
    assert_eq!(
        get(&mut client, "first", "a").await.unwrap(),
        content("a", 100_000)
    );
}

#[test]
fn a_second_start_says_who_holds_the_directory() {
    let place = Place::new();
    let running = place.up();
    let second = place.run(["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second).contains(&format!("in use by process {}", running.pid())),
        "{}",
        text(&second)
    );
}

#[tokio::test]
async fn a_data_directory_that_was_moved_or_copied_has_its_own_drives() {
    let (place, copy) = (Place::new(), Place::new());
    let running = place.up();
    let key = place.root_key();
    let mut client = running.client(&key).await;
    make_bucket(&mut client, "moved").await;
    put(&mut client, "moved", "a", content("a", 100_000))
        .await
        .unwrap();
    drop(client);
    running.stop();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([place.data(), copy.data()])
        .status();
    assert!(copied.unwrap().success());
    // Both at the same time, and each writes to its own.
    let (first, second) = (place.up(), copy.up());
    for (running, name) in [(&first, "first"), (&second, "second")] {
        let mut client = running.client(&key).await;
        assert_eq!(
            get(&mut client, "moved", "a").await.unwrap(),
            content("a", 100_000)
        );
        put(&mut client, "moved", name, content(name, 100_000))
            .await
            .unwrap();
    }
    let mut client = second.client(&key).await;
    assert_eq!(refusal(get(&mut client, "moved", "first").await).0, 404);
    drop(client);
    first.stop();
    second.stop();
    if place.data().join("peers").exists() {
        // Storage peers have their drives to themselves: no other store can be given them.
        return;
    }
    let drives: Vec<_> = (0..6).map(|n| place.data().join(format!("drives/{n}"))).collect();
    let running = place.up();
    let with = drives
        .iter()
        .flat_map(|drive| ["--drive".into(), drive.clone().into_os_string()]);
    let mut refused = copy.command(["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let refused = refused.args(with).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("is in use by another process"),
        "{}",
        text(&refused)
    );
    running.stop();
}

#[test]
fn keys_alone_are_no_reason_to_make_drives() {
    let (place, other) = (Place::new(), Place::new());
    place.up().stop();
    let key = place.root().join("k");
    let key = key.to_str().unwrap();
    place.json(["vault", "export-key", "--out", key]);
    assert!(other.run(["vault", "import-key", key]).status.success());
    let status = other.run(["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status).contains("holds no store yet"), "{}", text(&status));
    assert!(!other.data().join("drives").exists() && !other.data().join("ledger").exists());
}

#[test]
fn secrets_are_private_and_never_on_the_admin_port() {
    let place = Place::new();
    let running = place.up();
    let mode = |path: &str| {
        std::fs::metadata(place.data().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode(""), mode("keys"), mode("control.sock")),
        (0o700, 0o700, 0o600)
    );
    let key = place.root_key();
    let metrics = admin(&running, "/metrics");
    assert!(
        metrics.contains("cairn_drives{state=\"present\"} 6") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert!(!metrics.contains(&key.id) && !metrics.contains(&key.secret));
    assert!(admin(&running, "/health/live").starts_with("HTTP/1.1 200"));
    assert!(admin(&running, "/health/ready").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_environment_fixes_the_root_key_and_a_change_replaces_it() {
    let place = Place::new();
    let up = |secret: &str| {
        let mut command = place.command(["up", "--json"]);
        command
            .env("CAIRN_ACCESS_KEY", "operator")
            .env("CAIRN_SECRET_KEY", secret);
        command
    };
    place.up_with(up("first-secret-of-many")).stop();
    let old = place.root_key();
    assert_eq!(
        (old.id.as_str(), old.secret.as_str()),
        ("operator", "first-secret-of-many")
    );
    let running = place.up_with(up("second-secret-of-many"));
    assert_eq!(place.root_key().secret, "second-secret-of-many");
    let listing = || cairn::s3_client::Call::new(http::Method::GET, "", "");
    let refused = running.client(&old).await.fetch(listing()).await;
    assert_eq!(refusal(refused), (403, "SignatureDoesNotMatch".to_owned()));
    running
        .client(&place.root_key())
        .await
        .fetch(listing())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_root_key_in_the_environment_stays_out_of_force_until_its_return_is_asked_for() {
    let place = Place::new();
    let up = |id: &str, extra: &[&str]| {
        let mut command = place.command(["up", "--json"]);
        command.args(extra).env("CAIRN_ACCESS_KEY", id);
        command.env("CAIRN_SECRET_KEY", "secret-of-many-characters");
        command
    };
    let ports = ["--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let running = place.up_with(up("first", &[]));
    place.json(["key", "revoke", "first"]);
    running.stop();
    let refused = up("first", &ports).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    for part in [
        "\"first\"",
        "was revoked",
        "another pair",
        "--restore-revoked-root-key",
    ] {
        assert!(text(&refused).contains(part), "{}", text(&refused));
    }
    place.up_with(up("second", &[])).stop();
    let shown = place.json(["key", "show", "first"]);
    assert_eq!(shown["status"], "revoked");
    let running = place.up_with(up("first", &["--restore-revoked-root-key"]));
    assert_eq!(place.root_key().id, "first");
    running
        .client(&place.root_key())
        .await
        .fetch(cairn::s3_client::Call::new(http::Method::GET, "", ""))
        .await
        .unwrap();
    running.stop();
    place.up_with(up("first", &[])).stop();
    let replaced = up("second", &ports).output().unwrap();
    assert!(text(&replaced).contains("was revoked"), "{}", text(&replaced));
}

#[test]
fn wrong_settings_are_usage_errors_and_make_nothing() {
    let place = Place::new();
    for args in [
        vec!["up", "--s3", "nowhere"],
        vec!["up", "--code", "4+1"],
        vec!["up", "--drive", "/a"],
        vec!["up", "--no-such-flag"],
        vec![
            "key",
            "create",
            "--scope",
            "a",
            "--op",
            "all",
            "--expires",
            "soon",
        ],
    ] {
        let output = place.run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
    }
    assert!(!place.data().exists());
}

#[test]
fn commands_without_a_data_directory_say_how_to_make_one() {
    let place = Place::new();
    let output = place.run(["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("cairn up --data"), "{}", text(&output));
}

#[test]
fn drives_without_a_ledger_are_refused_and_so_is_data_without_keys() {
    let place = Place::new();
    place.up().stop();
    // With storage peers it is a copy, and may go.
    if !place.data().join("peers").exists() {
        let ledger = place.data().join("ledger");
        std::fs::rename(&ledger, place.root().join("ledger")).unwrap();
        let output = place.run(["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("cairn vault rebuild"), "{}", text(&output));
        std::fs::rename(place.root().join("ledger"), &ledger).unwrap();
    }
    std::fs::rename(place.data().join("keys"), place.root().join("keys")).unwrap();
    let output = place.run(["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert!(text(&output).contains("backup of keys/"), "{}", text(&output));
}

#[test]
fn sealed_keys_open_with_their_passphrase_only() {
    let place = Place::new();
    let file = place.root().join("passphrase");
    std::fs::write(&file, "correct horse battery staple\n").unwrap();
    let sealed = || {
        let mut command = place.command(["up", "--json"]);
        command.arg("--passphrase-file").arg(&file);
        command
    };
    let first = place.up_with(sealed());
    let id = first.announced["access_key_id"].clone();
    first.stop();
    let output = place.run(["status"]);
    assert!(text(&output).contains("--passphrase-file"), "{}", text(&output));
    assert_eq!(place.up_with(sealed()).announced["access_key_id"], id);
}
