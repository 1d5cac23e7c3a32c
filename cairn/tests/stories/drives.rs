//! Drives that are taken away while it runs.

use super::process::{Place, admin, content, get, make_bucket, put, refusal, text};

const OBJECTS: [(&str, usize); 4] = [
    ("empty", 0),
    ("small", 4_096),
    ("middle", 300_000),
    ("big", 20_000_000),
];

#[tokio::test]
async fn any_two_drives_may_go_and_repair_brings_them_back() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    for (name, bytes) in OBJECTS {
        put(&mut client, "first", name, content(name, bytes))
            .await
            .unwrap();
    }
    for (round, pair) in [[1, 4], [0, 5]].into_iter().enumerate() {
        for number in pair {
            std::fs::remove_dir_all(place.drive(number)).unwrap();
        }
        for (name, bytes) in OBJECTS {
            assert_eq!(
                get(&mut client, "first", name).await.unwrap(),
                content(name, bytes),
                "{name}"
            );
        }
        let shown = place.json(["status"]);
        assert_eq!(shown["writable"], false);
        assert!(shown["packs"]["at_risk"].as_u64().unwrap() > 0);
        let lost: Vec<_> = shown["drives"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|drive| drive["state"] == "lost")
            .collect();
        assert_eq!(lost.len(), 2);
        let (status, code) = refusal(put(&mut client, "first", "refused", vec![1; 10]).await);
        assert_eq!(
            (status, code.as_str()),
            (503, "ServiceUnavailable"),
            "round {round}"
        );
        assert!(text(&place.run(["status"])).contains("WRITES ARE REFUSED"));
        assert!(admin(&running, "/health/ready").contains("refused"));

        let report = place.json(["repair"]);
        assert_eq!(
            (report["complete"].as_bool(), report["shards_missing"].as_u64()),
            (Some(true), Some(0))
        );
        put(&mut client, "first", &format!("after {round}"), vec![1; 10])
            .await
            .unwrap();
    }
    assert_eq!(
        refusal(get(&mut client, "first", "refused").await).0,
        404,
        "a refused object is not there"
    );
    let shown = place.json(["status"]);
    assert_eq!(
        (shown["writable"].as_bool(), shown["packs"]["at_risk"].as_u64()),
        (Some(true), Some(0))
    );
}

#[tokio::test]
async fn three_lost_drives_are_an_error_and_never_wrong_bytes() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "big", content("big", 3_000_000))
        .await
        .unwrap();
    for number in [0, 2, 3] {
        std::fs::remove_dir_all(place.drive(number)).unwrap();
    }
    assert!(get(&mut client, "first", "big").await.is_err());
    let output = place.run(["repair"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("lost more shards than parity makes up for"),
        "{}",
        text(&output)
    );
}

#[tokio::test]
async fn a_flipped_byte_on_a_drive_is_found_and_mended_by_scrub() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "big", content("big", 4_000_000))
        .await
        .unwrap();
    drop(client);
    running.stop();
    let segment = place.drive(2).join("log/00000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = 200_000;
    assert_ne!(bytes[at..at + 64], [0; 64], "there is data to damage");
    bytes[at] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();
    let running = place.up();
    // Opening the drive may have noticed it before: then the shard is missing, which scrub tells and repair mends.
    let report: serde_json::Value = serde_json::from_slice(&place.run(["scrub", "--json"]).stdout).unwrap();
    assert_eq!(report["clean"], report["shards_missing"] == 0, "{report}");
    let repaired = place.json(["repair"]);
    assert_eq!(repaired["complete"], true, "{report} {repaired}");
    let found = report["shards_rebuilt"].as_u64().unwrap() + repaired["shards_rebuilt"].as_u64().unwrap();
    assert_eq!(found, 1, "{report} {repaired}");
    let mut client = running.client(&place.root_key()).await;
    assert_eq!(
        get(&mut client, "first", "big").await.unwrap(),
        content("big", 4_000_000)
    );
}

#[tokio::test]
async fn every_shard_proves_itself_to_a_challenge_and_a_rotten_one_does_not() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "big", content("big", 4_000_000))
        .await
        .unwrap();
    let number = |report: &serde_json::Value, name: &str| report[name].as_u64().unwrap();
    let whole = place.json(["verify", "--challenge", "10000"]);
    assert!(number(&whole, "shards") >= 6, "{whole}");
    assert_eq!(number(&whole, "proven"), number(&whole, "shards"), "{whole}");
    assert_eq!(whole["detection"][1]["percent"].as_f64(), Some(100.0), "{whole}");
    let one = place.run(["verify", "--challenge", "1"]);
    assert!(text(&one).contains(" 1 asked for: 1 proven"), "{}", text(&one));

    // Rot while the drive is in use: its index knows nothing of it.
    let segment = place.drive(2).join("log/00000000.seg");
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&segment)
        .unwrap();
    let (mut byte, at) = ([0; 1], 200_000);
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte[0] ^ 0x10], at).unwrap();
    std::io::Write::flush(&mut file).unwrap();
    let output = place.run(["verify", "--challenge", "10000", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(number(&report, "failed"), 1, "{report}");
    assert_eq!(report["drives_failed"][0]["number"], 2, "{report}");
    let repaired = place.json(["repair"]);
    assert_eq!(repaired["complete"], true, "{repaired}");
    // What could not be proven is made again in the background.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !place.run(["verify", "--challenge", "10000"]).status.success() {
        assert!(
            std::time::Instant::now() < deadline,
            "the shard is still not proven"
        );
    }
    let both = place.run(["verify", "receipt.json", "--challenge", "5"]);
    assert_eq!(both.status.code(), Some(2));
    assert_eq!(place.run(["verify"]).status.code(), Some(2));
}
