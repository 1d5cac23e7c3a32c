//! What a storage peer holds and knows: its directory and its memory are searched for plaintext, names and keys.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::process::{Place, content, get, make_bucket, put};

/// What must not be found, and what it is.
type Canaries = Vec<(&'static str, Vec<u8>)>;

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// The canaries that a process has in its memory: what it may write to, and no file that is mapped.
fn in_memory(pid: u32, canaries: &Canaries) -> Vec<&'static str> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    let mut looked_at = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let bytes = u64::from_str_radix(end, 16).unwrap() - start;
        let pages = resident(pid, start, bytes);
        // A piece at a time, so that nothing that spans two pages is missed.
        for piece in pages {
            let mut read = vec![0; piece.1];
            // Pages may go while they are read.
            let Ok(()) = memory.read_exact_at(&mut read, piece.0) else {
                continue;
            };
            looked_at += read.len();
            let met = canaries.iter().filter(|(_, canary)| find(&read, canary));
            found.extend(met.map(|(what, _)| *what));
        }
    }
    assert!(
        looked_at > 1 << 20,
        "only {looked_at} bytes of {pid} could be read"
    );
    found.sort_unstable();
    found.dedup();
    found
}

/// The stretches of a mapping that have pages, as start and length.
fn resident(pid: u32, start: u64, bytes: u64) -> Vec<(u64, usize)> {
    const PAGE: u64 = 4_096;
    let count = usize::try_from(bytes / PAGE).unwrap();
    let mut entries = vec![0; count * 8];
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    if pagemap.read_exact_at(&mut entries, start / PAGE * 8).is_err() {
        return Vec::new();
    }
    let mut stretches: Vec<(u64, usize)> = Vec::new();
    for (number, entry) in entries.chunks_exact(8).enumerate() {
        // Bits 63 and 62: in memory, or swapped out.
        if entry[7] & 0xc0 == 0 {
            continue;
        }
        let at = start + number as u64 * PAGE;
        match stretches.last_mut() {
            Some((from, length)) if *from + *length as u64 == at => *length += PAGE as usize,
            _ => stretches.push((at, PAGE as usize)),
        }
    }
    stretches
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, all),
            false => all.push(path),
        }
    }
}

#[tokio::test]
async fn a_storage_peers_disk_and_memory_hold_no_plaintext_no_name_and_no_key() {
    let place = Place::new();
    let running = place.up_with(place.command(["up", "--json", "--peers", "6"]));
    let key = place.root_key();
    let mut client = running.client(&key).await;
    make_bucket(&mut client, "canary-scope-of-owls").await;
    let (name, body) = (
        "names/canary-object-of-wrens",
        content("canary plaintext", 3_000_000),
    );
    put(&mut client, "canary-scope-of-owls", name, body.clone())
        .await
        .unwrap();
    let small = content("another canary", 900);
    put(&mut client, "canary-scope-of-owls", "small-wren", small.clone())
        .await
        .unwrap();
    assert_eq!(
        get(&mut client, "canary-scope-of-owls", name).await.unwrap(),
        body
    );
    let mut canaries: Canaries = vec![
        ("a scope's name", b"canary-scope-of-owls".to_vec()),
        ("an object's name", b"canary-object-of-wrens".to_vec()),
        ("the first plaintext", body[..64].to_vec()),
        ("plaintext in the middle", body[1_500_000..1_500_064].to_vec()),
        ("a small object", small[100..164].to_vec()),
        ("a secret access key", key.secret.clone().into_bytes()),
        ("an access key id", key.id.clone().into_bytes()),
    ];
    let mut keyfiles = Vec::new();
    files(&place.data().join("keys"), &mut keyfiles);
    for keyfile in keyfiles {
        // A key of 32 bytes, wherever it begins, holds one of these whole.
        let bytes = std::fs::read(keyfile).unwrap();
        let pieces = bytes.chunks_exact(16).map(<[u8]>::to_vec);
        canaries.extend(pieces.map(|piece| ("a piece of a key file", piece)));
    }

    let shown = place.json(["status"]);
    let peers = shown["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 6);
    for peer in peers {
        let pid = u32::try_from(peer["pid"].as_u64().unwrap()).unwrap();
        assert_eq!(in_memory(pid, &canaries), [""; 0], "in the memory of {pid}");
    }
    // The search does find what is there: the gateway knows its scopes.
    let own = in_memory(running.pid(), &canaries);
    assert!(own.contains(&"a scope's name"), "{own:?}");

    drop(client);
    running.stop();
    let mut all = Vec::new();
    files(&place.data().join("peers"), &mut all);
    let mut searched = 0;
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        searched += bytes.len();
        for (what, canary) in &canaries {
            assert!(!find(&bytes, canary), "{what} in {}", path.display());
        }
    }
    assert!(searched > 4_000_000, "only {searched} bytes were searched");
}
