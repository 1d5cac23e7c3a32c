//! Access keys, vaults and scopes by command, with the process running and without.

use http::Method;

use cairn::s3_client::Call;

use super::process::{Place, content, get, key_of, list, make_bucket, put, refusal, text};

#[tokio::test]
async fn a_key_does_what_it_was_made_for_until_it_is_revoked() {
    let place = Place::new();
    let running = place.up();
    let mut root = running.client(&place.root_key()).await;
    make_bucket(&mut root, "photos").await;
    make_bucket(&mut root, "letters").await;
    put(&mut root, "photos", "a", content("a", 10)).await.unwrap();
    put(&mut root, "letters", "a", content("a", 10)).await.unwrap();

    let made = place.json([
        "key",
        "create",
        "--scope",
        "photos",
        "--op",
        "read,list",
        "--expires",
        "90d",
        "--label",
        "reader",
    ]);
    let key = key_of(&made);
    let mut reader = running.client(&key).await;
    assert_eq!(get(&mut reader, "photos", "a").await.unwrap(), content("a", 10));
    assert_eq!(list(&mut reader, "photos").await.len(), 1);
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(refusal(put(&mut reader, "photos", "b", vec![1]).await), denied);
    assert_eq!(refusal(get(&mut reader, "letters", "a").await), denied);

    let listed = place.json(["key", "list"]);
    let row = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["label"] == "reader")
        .unwrap()
        .clone();
    assert_eq!(
        (row["status"].as_str(), row["access_key_id"].as_str()),
        (Some("live"), Some(key.id.as_str()))
    );
    assert!(
        !listed.to_string().contains(&key.secret),
        "a list shows no secret"
    );

    place.json(["key", "revoke", &key.id]);
    let (status, _) = refusal(get(&mut reader, "photos", "a").await);
    assert_eq!(status, 403);
    let shown = place.json(["key", "show", &key.id]);
    assert_eq!(shown["status"], "revoked");
}

#[tokio::test]
async fn a_key_that_may_read_changes_nothing_in_any_way() {
    let place = Place::new();
    let running = place.up();
    let mut root = running.client(&place.root_key()).await;
    make_bucket(&mut root, "photos").await;
    put(&mut root, "photos", "a", content("a", 10)).await.unwrap();
    let made = place.json(["key", "create", "--scope", "photos", "--op", "read"]);
    let mut reader = running.client(&key_of(&made)).await;
    assert_eq!(get(&mut reader, "photos", "a").await.unwrap(), content("a", 10));
    let copied = http::HeaderName::from_static("x-amz-copy-source");
    for call in [
        Call::new(Method::PUT, "photos", "b"),
        Call::new(Method::PUT, "photos", "a"),
        Call::new(Method::PUT, "photos", "b").header(copied, "photos/a"),
        Call::new(Method::DELETE, "photos", "a"),
        Call::new(Method::POST, "photos", "").query("delete", ""),
        Call::new(Method::POST, "photos", "b").query("uploads", ""),
        Call::new(Method::PUT, "letters", ""),
        Call::new(Method::DELETE, "photos", ""),
        Call::new(Method::GET, "photos", ""),
    ] {
        let what = format!("{call:?}");
        let answer = reader.fetch(call).await;
        assert_eq!(refusal(answer), (403, "AccessDenied".to_owned()), "{what}");
    }
    assert_eq!(list(&mut root, "photos").await, [("a".to_owned(), 10)].into());
    assert_eq!(get(&mut root, "photos", "a").await.unwrap(), content("a", 10));
}

#[tokio::test]
async fn commands_do_the_same_whether_a_process_serves_or_not() {
    let place = Place::new();
    place.up().stop();
    place.json(["scope", "create", "quiet"]);
    let made = key_of(&place.json(["key", "create", "--scope", "quiet", "--op", "all"]));
    let running = place.up();
    let mut client = running.client(&made).await;
    put(&mut client, "quiet", "a", vec![7; 5_000]).await.unwrap();
    let scopes = place.json(["scope", "list"]);
    assert_eq!(
        (
            scopes["scopes"][0]["scope"].as_str(),
            scopes["scopes"][0]["objects"].as_u64()
        ),
        (Some("quiet"), Some(1))
    );
    drop(client);
    running.stop();
    assert_eq!(place.json(["scope", "list"]), scopes);
}

#[tokio::test]
async fn a_second_vault_has_its_own_scopes_and_keys() {
    let place = Place::new();
    let running = place.up();
    let other = key_of(&place.json(["vault", "create", "second"]));
    let mut main = running.client(&place_key(&place, "main")).await;
    let mut second = running.client(&other).await;
    make_bucket(&mut main, "calendar").await;
    make_bucket(&mut second, "calendar").await;
    put(&mut main, "calendar", "a", vec![1; 100]).await.unwrap();
    assert_eq!(
        refusal(get(&mut second, "calendar", "a").await),
        (404, "NoSuchKey".to_owned())
    );
    let output = place.run(["key", "list"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--vault"), "{}", text(&output));
    assert_eq!(
        place.json(["vault", "list"])["vaults"].as_array().unwrap().len(),
        2
    );
    drop((main, second));
    running.stop();
    let again = place.up();
    let mut second = again.client(&other).await;
    second
        .fetch(Call::new(Method::HEAD, "calendar", ""))
        .await
        .unwrap();
}

fn place_key(place: &Place, vault: &str) -> super::process::Key {
    key_of(&place.json(["key", "show", "--vault", vault]))
}

#[test]
fn exported_keys_are_taken_in_elsewhere() {
    let (here, there) = (Place::new(), Place::new());
    here.up().stop();
    there.up().stop();
    let file = here.root().join("main.key");
    let file = file.to_str().unwrap();
    let exported = here.json(["vault", "export-key", "--out", file]);
    assert_eq!(
        here.run(["vault", "export-key", "--out", file]).status.code(),
        Some(1),
        "it overwrites nothing"
    );
    there.json(["vault", "import-key", file, "--name", "guest"]);
    let vaults = there.json(["vault", "list"]);
    let ids: Vec<_> = vaults["vaults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vault| vault["vault_id"].clone())
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&exported["vault_id"]));
}

#[test]
fn a_key_for_a_scope_that_is_not_there_yet_is_made_with_a_word_about_it() {
    let place = Place::new();
    let _running = place.up();
    let create = ["key", "create", "--json", "--scope", "later", "--op", "read"];
    let early = place.run(create);
    assert!(early.status.success(), "{}", text(&early));
    let note = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(note.contains("no scope \"later\" yet"), "{note}");
    assert!(serde_json::from_slice::<serde_json::Value>(&early.stdout).is_ok());
    place.json(["scope", "create", "later"]);
    let output = place.run(create);
    assert!(!text(&output).contains("no scope"), "{}", text(&output));
}
