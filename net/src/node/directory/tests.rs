//! Whom a node serves, and for how long after the ledger was heard.

use engine::disk::SimDisk;

use super::*;
use crate::peer::PeerKey;

fn peer(seed: u8, role: Role, standing: Standing) -> PeerEntry {
    PeerEntry {
        peer: PeerKey::from_seed(&[seed; 32]).id(),
        role,
        standing,
        domain: String::new(),
        addresses: vec![std::net::SocketAddr::from((
            [127, 0, 0, 1],
            7_400 + u16::from(seed),
        ))],
        drives: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_serves_for_twenty_seconds_after_its_last_answered_question_and_again_after_the_next() {
    let gateway = peer(1, Role::Gateway, Standing::Active);
    let directory = Directory::of_gateways([gateway.peer].into());
    assert!(directory.serves(), "before there is a ledger");
    let sent = Instant::now();
    tokio::time::advance(Duration::from_secs(5)).await;
    // It is the question that counts, not when the answer came.
    directory.told(vec![gateway.clone()], sent);
    tokio::time::advance(Duration::from_millis(14_999)).await;
    assert!(directory.serves());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(!directory.serves());
    directory.told(vec![gateway], Instant::now());
    assert!(directory.serves());
}

#[tokio::test(start_paused = true)]
async fn what_the_ledger_says_wins_and_is_remembered_but_not_that_it_was_heard() {
    let (old, new) = (
        peer(1, Role::Gateway, Standing::Active),
        peer(2, Role::Gateway, Standing::Active),
    );
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(1));
    disk.create_dir_all(std::path::Path::new("/node")).unwrap();
    let file = PathBuf::from("/node/known-peers");
    let open = || Directory::open(Arc::clone(&disk), file.clone(), [old.peer].into());
    let directory = open();
    directory.introduce(vec![peer(3, Role::Node, Standing::Active)]);
    assert!(directory.is_gateway(&old.peer) && directory.knows(&peer(3, Role::Node, Standing::Active).peer));
    let gone = PeerEntry {
        standing: Standing::Gone,
        ..old.clone()
    };
    directory.told(vec![gone, new.clone()], Instant::now());
    for (directory, port) in [(directory, 7_402), (open(), 9)] {
        assert!(
            !directory.is_gateway(&old.peer),
            "whatever the configuration says"
        );
        assert!(directory.is_gateway(&new.peer));
        // An introduction changes where a peer is if the ledger has not said so in this run, and never what it may.
        let moved = PeerEntry {
            addresses: vec!["127.0.0.1:9".parse().unwrap()],
            role: Role::Node,
            ..new.clone()
        };
        directory.introduce(vec![moved]);
        assert!(directory.is_gateway(&new.peer) && !directory.is_node(&new.peer));
        let address = directory.address(&new.peer).map(|address| address.port());
        assert_eq!(address, Some(port));
    }
    assert!(!open().serves(), "until the ledger has answered this process");
    disk.remove_file(&file).unwrap();
    let damaged = disk.open(&file, OpenMode::CreateNew).unwrap();
    damaged.write_all_at(&[b"\x09"], 0).unwrap();
    assert!(!open().serves(), "also when what was remembered does not read");
}

#[tokio::test(start_paused = true)]
async fn where_a_peer_was_seen_counts_until_the_ledger_says_something_new() {
    let at = |port: u16| PeerEntry {
        addresses: vec![std::net::SocketAddr::from(([127, 0, 0, 1], port))],
        ..peer(3, Role::Node, Standing::Active)
    };
    let port = |directory: &Directory| directory.address(&at(0).peer).map(|address| address.port());
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(1));
    disk.create_dir_all(std::path::Path::new("/node")).unwrap();
    let open = || {
        Directory::open(
            Arc::clone(&disk),
            PathBuf::from("/node/known-peers"),
            BTreeSet::new(),
        )
    };
    open().told(vec![at(1)], Instant::now());

    // The ledger of a copied directory says where the other one's peers are.
    let copied = open().waiting_to_be_told();
    assert_eq!(
        port(&copied),
        None,
        "nobody is called before the parent has said where he is"
    );
    copied.introduce(vec![at(2)]);
    assert_eq!(port(&copied), Some(2));
    copied.told(vec![at(1)], Instant::now());
    assert_eq!(port(&copied), Some(2), "that is old");
    copied.told(vec![at(2)], Instant::now());
    copied.told(vec![at(4)], Instant::now());
    assert_eq!(port(&copied), Some(4), "it has moved");

    assert_eq!(port(&open()), Some(4), "started by hand, it remembers");
    let fresh = Directory::of_gateways(BTreeSet::new());
    fresh.introduce(vec![at(2)]);
    fresh.told(vec![at(1)], Instant::now());
    assert_eq!(port(&fresh), Some(2));
}
