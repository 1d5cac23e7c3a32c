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
    std::fs::remove_dir_all(place.data().join("ledger")).unwrap();
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
    std::fs::remove_dir_all(place.data().join("ledger")).unwrap();
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
