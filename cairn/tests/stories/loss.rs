//! What the commands say when more is lost than the parity makes up for, and when it is not.

use super::process::{Place, content, text};

/// A store that is not running, with a big and a small object, from which these drives were deleted.
fn without(drives: &[usize]) -> Place {
    let place = Place::new();
    let running = place.up();
    place.json(["scope", "create", "first"]);
    for (name, bytes) in [("big", 3_000_000), ("small", 4_096)] {
        let source = place.root().join(name);
        std::fs::write(&source, content(name, bytes)).unwrap();
        place.json(["put", source.to_str().unwrap(), &format!("first/{name}")]);
    }
    let shown = place.json(["status"]);
    assert_eq!(shown["packs"]["at_risk"], 0, "{shown}");
    assert!(text(&place.run(["status"])).contains("reads and writes are served"));
    running.stop();
    for number in drives {
        std::fs::remove_dir_all(place.drive(*number)).unwrap();
    }
    place
}

fn assert_says(place: &Place, command: &str, code: i32, says: &[&str], never: &[&str]) -> String {
    let output = place.run([command]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{command}: {said}");
    let too_wide = |line: &&str| {
        // Those are to be copied whole.
        let is_whole = line.contains("log key") || line.contains("cairn node --join");
        line.chars().count() > 80 && !is_whole
    };
    if command == "status" {
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(shown.lines().find(too_wide), None, "{said}");
    }
    // Where a line ends is not what is said.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says.iter()
        .for_each(|what| assert!(said.contains(what), "{command}, {what}: {said}"));
    never
        .iter()
        .for_each(|what| assert!(!said.contains(what), "{command}, {what}: {said}"));
    said
}

#[test]
fn three_drives_made_anew_are_a_loss_that_every_command_tells() {
    let place = without(&[0, 1, 2]);
    let gone = ["cannot be read", "until a lost drive is back"];
    assert_says(&place, "scrub", 1, &["missing: `cairn repair`", gone[0]], &[]);
    let lost = ["nothing is running", "3 are lost now, so 0 more may go"];
    assert_says(&place, "status", 0, &lost, &["are served", "none at risk"]);
    let said = assert_says(
        &place,
        "repair",
        1,
        &gone,
        &["a pack could not be rebuilt", "1 packs"],
    );
    assert_eq!(said.matches("could not be rebuilt").count(), 1, "{said}");

    // All six drives are there now, and three of them without what they should hold.
    let not_well = ["none at risk", "reads and writes are served", "lost now"];
    let may_go = "shards are missing now, so 0 more may go";
    assert_says(&place, "status", 0, &[gone[0], may_go], &not_well);
    let stopped = place.json(["status"]);
    assert!(stopped["packs"]["unreadable"].as_u64().unwrap() > 0, "{stopped}");
    assert_eq!(stopped["packs"]["missing_shards_max"], 3, "{stopped}");
    assert_eq!(
        (&stopped["running"], &stopped["drives_may_lose"]),
        (&false.into(), &0.into())
    );
    let running = place.up();
    let served = place.json(["status"]);
    assert_eq!(served["packs"]["unreadable"], stopped["packs"]["unreadable"]);
    assert_eq!(
        served["packs"]["shards_missing"],
        stopped["packs"]["shards_missing"]
    );
    assert_says(&place, "status", 0, &gone, &not_well[..1]);
    let scrubbed = place.run(["scrub", "--json"]);
    assert_eq!(scrubbed.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&scrubbed.stdout).unwrap();
    assert_eq!(report["clean"], false, "{report}");
    assert_eq!(report["shards_missing"], stopped["packs"]["shards_missing"]);
    drop(running);
}

#[test]
fn one_lost_drive_is_named_by_scrub_and_status_until_repair_has_brought_it_back() {
    let place = without(&[4]);
    let missing = ["missing: `cairn repair` brings back"];
    assert_says(&place, "scrub", 1, &missing, &["cannot be read"]);
    let shown = ["1 is lost now, so 1 more may go", "`cairn repair` makes"];
    assert_says(&place, "status", 0, &shown, &["cannot be read", "none at risk"]);
    assert_says(&place, "repair", 0, &["every shard is present"], &[]);
    assert_says(&place, "scrub", 0, &[" 0 bad"], &["missing"]);
    assert_says(
        &place,
        "status",
        0,
        &["none at risk"],
        &["lost now", "missing now"],
    );
}

#[test]
fn without_any_drive_no_shard_is_said_to_be_readable() {
    let place = without(&[0, 1, 2, 3, 4, 5]);
    // A small object has one stored data shard: the three others are implied.
    for (name, need) in [("first/big", 4), ("first/small", 1)] {
        let output = place.run(["get", name, place.root().join("out").to_str().unwrap()]);
        let said = text(&output);
        assert!(!output.status.success());
        let none = format!("cannot be read: 0 of the {need} stored shards it needs are readable");
        assert!(said.contains(&none), "{said}");
    }
    let shown = place.json(["status"]);
    let packs = &shown["packs"];
    assert_eq!(packs["shards_missing"], packs["shards"], "{shown}");
    assert_eq!(packs["unreadable"], packs["total"], "{shown}");
}
