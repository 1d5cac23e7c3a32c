//! Views and ledger deleted: what the drives and the root key alone bring back.

use super::process::{Place, content, get, list, make_bucket, put, text};

#[tokio::test]
async fn deleted_views_lose_nothing() {
    let place = Place::new();
    let running = place.up();
    let key = place.root_key();
    let mut client = running.client(&key).await;
    make_bucket(&mut client, "first").await;
    for n in 0..20 {
        put(&mut client, "first", &format!("{n}"), content("x", n * 1_000))
            .await
            .unwrap();
    }
    let before = list(&mut client, "first").await;
    drop(client);
    running.stop();
    std::fs::remove_dir_all(place.data().join("views")).unwrap();
    let running = place.up();
    let mut client = running.client(&key).await;
    assert_eq!(list(&mut client, "first").await, before);
    assert_eq!(
        get(&mut client, "first", "19").await.unwrap(),
        content("x", 19_000)
    );
}

#[tokio::test]
async fn a_deleted_ledger_is_rebuilt_from_the_drives() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    make_bucket(&mut client, "empty").await;
    for n in 0..20 {
        put(&mut client, "first", &format!("{n}"), content("x", n * 1_000))
            .await
            .unwrap();
    }
    put(&mut client, "first", "big", content("big", 10_000_000))
        .await
        .unwrap();
    let before = list(&mut client, "first").await;
    let output = place.run(["vault", "rebuild"]);
    assert!(text(&output).contains("in use by process"), "{}", text(&output));
    drop(client);
    running.stop();

    let output = place.run(["vault", "rebuild"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("--force"), "{}", text(&output));
    place.remove_ledger();
    std::fs::remove_dir_all(place.data().join("views")).unwrap();
    let rebuilt = place.json(["vault", "rebuild"]);
    assert_eq!(
        (
            rebuilt["vaults"][0]["objects"].as_u64(),
            rebuilt["vaults"][0]["scopes"].as_u64()
        ),
        (Some(21), Some(2))
    );

    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    assert_eq!(list(&mut client, "first").await, before);
    assert_eq!(
        get(&mut client, "first", "19").await.unwrap(),
        content("x", 19_000)
    );
    assert_eq!(
        get(&mut client, "first", "big").await.unwrap(),
        content("big", 10_000_000)
    );
    assert!(list(&mut client, "empty").await.is_empty());
    put(&mut client, "first", "after", content("after", 5_000))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_rebuild_without_a_drive_is_done_only_when_that_one_is_said_to_be_lost() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "kept", content("kept", 50_000))
        .await
        .unwrap();
    drop(client);
    running.stop();
    place.remove_ledger();
    std::fs::rename(place.drive(3), place.root().join("taken out")).unwrap();
    for args in [&["vault", "rebuild"][..], &["vault", "rebuild", "--without", "2"]] {
        let refused = place.run(args);
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused);
        assert!(said.contains("these drives are not there: 3 ("), "{said}");
    }
    assert!(
        !place.data().join("ledger").join("rebuilt").exists(),
        "nothing was put in place"
    );
    let rebuilt = place.json(["vault", "rebuild", "--without", "3"]);
    assert_eq!(rebuilt["vaults"][0]["objects"].as_u64(), Some(1));
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    let read = get(&mut client, "first", "kept").await.unwrap();
    assert_eq!(read, content("kept", 50_000));
}

#[tokio::test]
async fn after_a_rebuild_the_activity_log_goes_on() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    for n in 0..20 {
        put(&mut client, "first", &format!("{n}"), content("x", n * 1_000))
            .await
            .unwrap();
    }
    drop(client);
    running.stop();
    place.remove_ledger();
    place.json(["vault", "rebuild"]);
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    put(&mut client, "first", "after", content("after", 5_000))
        .await
        .unwrap();
    let listed = place.json(["activity", "list"]);
    let records = listed["records"].as_array().unwrap();
    let puts = records
        .iter()
        .filter(|record| record["operation"] == "PutObject")
        .count();
    assert_eq!(puts, 21, "the old records are there and the new one is added");
}

#[tokio::test]
async fn keys_that_were_lost_come_back_from_their_export_and_the_activity_log_goes_on() {
    let place = Place::new();
    let running = place.up();
    let key = place.root_key();
    let mut client = running.client(&key).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "kept", content("x", 9_000))
        .await
        .unwrap();
    let backup = place.root().join("backup");
    let backup = backup.to_str().unwrap();
    place.json(["vault", "export-key", "--out", backup]);
    drop(client);
    running.stop();
    std::fs::remove_dir_all(place.data().join("keys")).unwrap();
    let output = place.run(["ls"]);
    assert!(text(&output).contains("backup of keys/"), "{}", text(&output));
    place.json(["vault", "import-key", backup]);
    let running = place.up();
    let mut client = running.client(&key).await;
    assert_eq!(
        get(&mut client, "first", "kept").await.unwrap(),
        content("x", 9_000)
    );
    let listed = place.json(["activity", "list"]);
    let kinds: Vec<_> = listed["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| &record["operation"])
        .collect();
    assert!(kinds.iter().any(|kind| *kind == "PutObject"), "{kinds:?}");
}

#[test]
fn a_start_that_did_not_come_far_leaves_nothing_that_looks_like_lost_data() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = place.run(["up", "--s3", &address]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let output = place.run(["ls"]);
    assert!(text(&output).contains("`cairn up"), "{}", text(&output));
    place.up().stop();
}
