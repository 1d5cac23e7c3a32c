//! A disk that fails the ledger's flush: the process ends with 1 and says why, and nothing that it acknowledged is lost.
//!
//! The program runs with a shim between it and the C library, whose `fdatasync` fails for one directory once a file
//! appears. Without a C compiler the story says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Place, content, get, make_bucket, put, refusal};

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd) {
    char link[64], path[4096];
    const char *fails = getenv("SHIM_FAILS"), *when = getenv("SHIM_WHEN");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (fails && when && access(when, F_OK) == 0 && strstr(path, fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}
"#;

/// Builds the shim, if there is something to build it with.
fn shim(directory: &Path) -> Option<PathBuf> {
    let (source, library) = (directory.join("shim.c"), directory.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    built.is_ok_and(|status| status.success()).then_some(library)
}

#[tokio::test]
async fn a_failed_flush_of_the_ledger_ends_the_process_and_loses_nothing() {
    let place = Place::new();
    let Some(shim) = shim(place.root()) else {
        eprintln!("note: there is no C compiler here; nothing was tried");
        return;
    };
    let (trigger, said) = (place.root().join("trigger"), place.root().join("stderr"));
    // With drives of its own it has the ledger to itself.
    let mut up = place.command(["up", "--json"]);
    for number in 0..6 {
        up.arg("--drive")
            .arg(place.data().join(format!("drives/{number}")));
    }
    up.env("LD_PRELOAD", shim)
        .env("SHIM_FAILS", "/ledger/")
        .env("SHIM_WHEN", &trigger)
        .stderr(std::fs::File::create(&said).unwrap());
    let running = place.up_with(up);
    let key = place.root_key();
    let mut client = running.client(&key).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "kept", content("kept", 300_000))
        .await
        .unwrap();
    std::fs::write(&trigger, "").unwrap();
    let after = put(&mut client, "first", "after", content("after", 100)).await;
    assert!(after.is_err(), "nothing is acknowledged any more");
    let status = running.ended();
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("a flush of the ledger failed") && said.contains("start again"),
        "{said}"
    );

    std::fs::remove_file(&trigger).unwrap();
    let again = place.up();
    let mut client = again.client(&key).await;
    assert_eq!(
        get(&mut client, "first", "kept").await.unwrap(),
        content("kept", 300_000)
    );
    match get(&mut client, "first", "after").await {
        Ok(bytes) => assert_eq!(bytes, content("after", 100), "whole or not at all"),
        absent => assert_eq!(refusal(absent).0, 404),
    }
    put(&mut client, "first", "after", content("after", 100))
        .await
        .unwrap();
}
