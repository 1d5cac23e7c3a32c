//! `put`, `get` and `ls`, through the running process and without one.

use http::Method;

use cairn::s3_client::Call;

use super::process::{Place, content, make_bucket, put, text};

#[test]
fn files_go_up_and_down_with_the_process_and_without() {
    let place = Place::new();
    let running = place.up();
    place.json(["scope", "create", "first"]);
    // More than one part, so that the upload is a multipart one.
    let (source, back) = (place.root().join("source"), place.root().join("back"));
    let bytes = content("source", 70 << 20);
    std::fs::write(&source, &bytes).unwrap();
    let (source, back) = (source.to_str().unwrap(), back.to_str().unwrap());
    let stored = place.json(["put", source, "first/dir/"]);
    assert_eq!(
        (stored["key"].as_str(), stored["bytes"].as_u64()),
        (Some("dir/source"), Some(70 << 20))
    );
    let again = place.run(["put", source, "first/dir/", "--if-absent"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("PreconditionFailed"), "{}", text(&again));
    running.stop();

    place.json(["get", "first/dir/source", back]);
    assert!(std::fs::read(back).unwrap() == bytes);
    let range = place.run(["get", "first/dir/source", "--range", "5-14"]);
    assert_eq!(range.stdout, &bytes[5..15]);
    let missing = place.run(["get", "first/none", back]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("NoSuchKey"), "{}", text(&missing));
    assert!(
        std::fs::read(back).unwrap() == bytes,
        "a failed get leaves the file as it was"
    );

    let listed = place.json(["ls", "first"]);
    assert_eq!(listed["prefixes"][0], "dir/");
    let listed = place.json(["ls", "--recursive", "first"]);
    assert_eq!(
        (
            listed["objects"][0]["key"].as_str(),
            listed["objects"][0]["bytes"].as_u64()
        ),
        (Some("dir/source"), Some(70 << 20))
    );
    assert_eq!(place.json(["ls"])["scopes"][0]["scope"], "first");
}

#[test]
fn gc_gives_back_what_was_deleted() {
    let place = Place::new();
    let running = place.up();
    place.json(["scope", "create", "first"]);
    let source = place.root().join("source");
    std::fs::write(&source, content("source", 12 << 20)).unwrap();
    let source = source.to_str().unwrap();
    place.json(["put", source, "first/kept"]);
    for name in ["first/a", "first/b"] {
        place.json(["put", source, name]);
        place.json(["put", "/dev/null", name]);
    }
    let report = place.json(["gc"]);
    let (live, allocated) = (
        report["live_bytes"].as_u64().unwrap(),
        report["allocated_bytes"].as_u64().unwrap(),
    );
    assert_eq!(live, 12 << 20);
    assert!(allocated as f64 <= 1.2 * 1.5 * live as f64, "{report}");
    let before = report["allocated_bytes_before"].as_u64().unwrap();
    assert!(before > allocated, "{report}");
    assert_eq!(
        report["bytes_freed"],
        before - allocated,
        "net, and no more than that"
    );
    let shown = place.json(["status"]);
    assert_eq!(shown["allocated_bytes"], allocated, "as status says it");
    drop(running);
}

#[test]
fn the_bench_runs_against_a_server_of_its_own() {
    let place = Place::new();
    let mut command = place.command(["bench", "--quick", "--json", "--dir"]);
    let output = command.arg(place.root()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let loads = report["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 9);
    assert!(
        loads
            .iter()
            .all(|load| load["operations_per_second"].as_f64().unwrap() > 0.0)
    );
    assert_eq!(
        std::fs::read_dir(place.root()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn what_is_no_plain_file_is_written_to_and_never_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let place = Place::new();
    let running = place.up();
    place.json(["scope", "create", "first"]);
    let (source, pipe) = (place.root().join("source"), place.root().join("pipe"));
    let bytes = content("source", 100_000);
    std::fs::write(&source, &bytes).unwrap();
    place.json(["put", source.to_str().unwrap(), "first/source"]);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // Held open for both, so that neither end waits for the other to come.
    let mut held = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; 100_000];
        std::io::Read::read_exact(&mut held, &mut read).map(|()| read)
    });
    place.json(["get", "first/source", pipe.to_str().unwrap()]);
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert!(reader.join().unwrap().unwrap() == bytes);
    running.stop();
}

#[tokio::test]
async fn parts_of_an_upload_that_was_cut_off_are_told_apart_from_objects() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "whole", content("whole", 1_000))
        .await
        .unwrap();
    let begun = Call::new(Method::POST, "first", "torn").query("uploads", "");
    let (_, begun) = client.fetch(begun).await.unwrap();
    let begun = String::from_utf8(begun.to_vec()).unwrap();
    let id = begun
        .split(['<', '>'])
        .skip_while(|word| *word != "UploadId")
        .nth(1);
    let part = Call::new(Method::PUT, "first", "torn")
        .query("uploadId", id.unwrap())
        .query("partNumber", "1");
    let part = part.body(content("torn", 3 << 20).into());
    client.fetch(part).await.unwrap();
    let vault = &place.json(["status"])["vaults"][0];
    let figures = (
        vault["objects"].as_u64(),
        vault["bytes"].as_u64(),
        vault["open_upload_bytes"].as_u64(),
    );
    assert_eq!(figures, (Some(1), Some(1_000), Some(3 << 20)));
    let shown = text(&place.run(["status"]));
    assert!(
        shown.contains("uploads   3.00 MiB in parts of uploads"),
        "{shown}"
    );
}
