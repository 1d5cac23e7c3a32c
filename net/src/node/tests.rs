//! A node asked directly, and six of them over QUIC.

mod orders;
mod records;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use engine::disk::SimDisk;
use engine::drive::{ShardHeader, ShardKey};
use engine::erasure::Coder;
use engine::pack::{Code, Pack, PackBuilder};

use super::{Directory, Node, NodeConfig};
use crate::cluster::{Cluster, ClusterConfig, LaneRange, PeerConfig, Peers, Standing, drive_id};
use crate::drives::{DriveConfig, DrivesConfig};
use crate::peer::message::{KEYS_MAX, PutMode, RestoreMode, Restored};
use crate::peer::quic::{Addresses, Quic, QuicConfig};
use crate::peer::{Answer, Call, Context, PeerKey, Purpose, Refusal, Reply, Request, Service, Transport};

/// Of the owner whose wallet has the seed of ones, with a salt of zeros.
const VAULT: [u8; 16] = [
    180, 180, 141, 78, 159, 16, 9, 33, 32, 181, 236, 213, 87, 22, 128, 57,
];
/// Of the owner whose wallet has the seed of eights, with a salt of zeros.
const OTHER_VAULT: [u8; 16] = [
    129, 11, 196, 101, 60, 113, 138, 39, 180, 248, 94, 14, 145, 217, 67, 58,
];
const SCOPE: [u8; 16] = [3; 16];
const NOW_MS: u64 = 5_000;

fn gateway() -> PeerKey {
    PeerKey::from_seed(&[99; 32])
}

fn drives(seed: u8, create: bool) -> DrivesConfig {
    static LOG_ID: AtomicU64 = AtomicU64::new(1);
    let own = DriveConfig {
        dir: Path::new("/n/0").to_owned(),
        default: true,
    };
    let fresh = Arc::new(|| LOG_ID.fetch_add(1, Ordering::Relaxed));
    DrivesConfig {
        create,
        id_seed: [seed; 16],
        ..DrivesConfig::new([9; 16], vec![own], fresh)
    }
}

async fn node(disk: &SimDisk, seed: u8, create: bool) -> Arc<Node> {
    let config = NodeConfig {
        drives: drives(seed, create),
        directory: Arc::new(Directory::of_gateways([gateway().id()].into())),
        now_ms: Arc::new(|| NOW_MS),
    };
    Node::open(Arc::new(disk.clone()), config).await.unwrap()
}

async fn ask_with(node: &Node, request: Request, body: Bytes) -> Reply {
    let context = Context {
        operation: [7; 16],
        attempt: 0,
        purpose: Purpose::Write,
    };
    let call = Call {
        context,
        request,
        body,
    };
    node.answer(gateway().id(), call).await
}

async fn ask(node: &Node, request: Request) -> Answer {
    ask_with(node, request, Bytes::new()).await.answer
}

fn pack(seed: u8) -> Pack {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    for number in 0..5u8 {
        let chunk: Vec<u8> = (0..9_000)
            .map(|at| (at * 31 + usize::from(number) * 7) as u8 ^ seed)
            .collect();
        builder.place(&chunk).unwrap();
    }
    builder.finish(&Coder::new(Code::DEFAULT), None).unwrap()
}

fn header(pack: &Pack, index: u8, vault: [u8; 16]) -> ShardHeader {
    ShardHeader {
        summary: pack.summary.clone(),
        index,
        lease: 3,
        vault,
        scope: SCOPE,
    }
}

fn put(drive: [u8; 16], header: ShardHeader, mode: PutMode) -> Request {
    Request::Put {
        drive,
        header: Box::new(header),
        mode,
    }
}

fn range(drive: [u8; 16], key: ShardKey, offset: u32, bytes: u32) -> Request {
    Request::Range {
        drive,
        key,
        offset,
        bytes,
    }
}

#[tokio::test]
async fn a_shard_that_does_not_have_the_hash_of_its_header_is_not_stored() {
    let node = node(&SimDisk::unrecorded(1), 1, true).await;
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let mut wrong = pack.shards[0].to_vec();
    wrong[77] ^= 1;
    for mode in [PutMode::Free, PutMode::Headroom, PutMode::Replace, PutMode::Anew] {
        let request = put(drive, header(&pack, 0, VAULT), mode);
        let answer = ask_with(&node, request, Bytes::from(wrong.clone())).await.answer;
        assert_eq!(answer, Answer::Refused(Refusal::WrongHash));
    }
    // Nor one of another index.
    let request = put(drive, header(&pack, 1, VAULT), PutMode::Free);
    let answer = ask_with(&node, request, pack.shards[0].clone()).await.answer;
    assert_eq!(answer, Answer::Refused(Refusal::WrongHash));
    assert_eq!(node.reports()[0].shards, 0);
    node.close().await;
}

#[tokio::test]
async fn what_is_put_is_held_read_listed_and_proven() {
    let node = node(&SimDisk::unrecorded(2), 1, true).await;
    let drive = drive_id(&[1; 16], 0);
    let (own, other) = (pack(1), pack(2));
    for (pack, vault) in [(&own, VAULT), (&other, OTHER_VAULT)] {
        let request = put(drive, header(pack, 1, vault), PutMode::Free);
        let put = ask_with(&node, request, pack.shards[1].clone()).await;
        assert_eq!(put.answer, Answer::Done);
    }
    let key = header(&own, 1, VAULT).key();
    let absent = ShardKey { index: 2, ..key };
    let keys = vec![key, absent];
    let held = ask(
        &node,
        Request::Has {
            drive,
            keys: keys.clone(),
        },
    )
    .await;
    assert_eq!(held, Answer::Held(vec![true, false]));
    let headers = ask(&node, Request::Headers { drive, keys }).await;
    assert_eq!(headers, Answer::Headers(vec![Some(header(&own, 1, VAULT)), None]));
    let read = ask_with(&node, range(drive, key, 10, 500), Bytes::new()).await;
    assert_eq!(
        (read.answer, &read.body[..]),
        (Answer::Bytes, &own.shards[1][10..510])
    );
    let beyond = ask(&node, range(drive, key, u32::MAX >> 11, 1_000)).await;
    assert!(matches!(beyond, Answer::Refused(_)), "{beyond:?}");
    let gone = ask(&node, range(drive, absent, 0, 1)).await;
    assert_eq!(gone, Answer::Refused(Refusal::Absent));
    let list = |vault| Request::List {
        drive,
        vault,
        after: None,
        max: KEYS_MAX as u16,
    };
    let listed = ask(&node, list(VAULT)).await;
    let Answer::Listed { shards, more: false } = listed else {
        panic!("{listed:?}")
    };
    let known: Vec<_> = shards.iter().map(|shard| (shard.key, shard.lease)).collect();
    assert_eq!(known, [(key, 3)]);
    let proof = Request::Challenge {
        drive,
        key,
        offset: 2_000,
        bytes: 1_500,
    };
    let proof = ask_with(&node, proof, Bytes::new()).await;
    let geometry = &own.summary.geometry;
    let hash = own.summary.hash(1).unwrap();
    let proven = engine::proof::verify_slice(hash, geometry.shard_bytes, 2_000, 1_500, &proof.body);
    assert_eq!(proven.unwrap(), &own.shards[1][2_000..3_500]);
    let elsewhere = ask(&node, range([5; 16], key, 0, 1)).await;
    assert_eq!(elsewhere, Answer::Refused(Refusal::NoDrive));
    node.close().await;
}

#[tokio::test]
async fn a_put_in_the_place_of_a_good_shard_writes_nothing_and_of_a_damaged_one_the_right_one() {
    let disk = SimDisk::unrecorded(3);
    let node = node(&disk, 1, true).await;
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let replace = || put(drive, header(&pack, 1, VAULT), PutMode::Replace);
    let first = ask_with(&node, replace(), pack.shards[1].clone()).await;
    assert_eq!((first.answer, node.reports()[0].shards), (Answer::Done, 1));
    let again = ask_with(&node, replace(), pack.shards[1].clone()).await;
    assert_eq!((again.answer, node.reports()[0].garbage_bytes), (Answer::Done, 0));
    flip(&disk, &pack.shards[1]);
    let scrub = || Request::Scrub {
        drive,
        after: None,
        max: 10,
    };
    let key = header(&pack, 1, VAULT).key();
    let Answer::Scrubbed { bad, .. } = ask(&node, scrub()).await else {
        panic!("no scrub");
    };
    assert_eq!(bad, [key]);
    let mended = ask_with(&node, replace(), pack.shards[1].clone()).await;
    assert_eq!(mended.answer, Answer::Done);
    let Answer::Scrubbed { bad, shards, .. } = ask(&node, scrub()).await else {
        panic!("no scrub");
    };
    assert_eq!((bad, shards), (vec![], 1));
    node.close().await;
}

fn flip(disk: &SimDisk, shard: &[u8]) {
    use engine::disk::{Disk, OpenMode};
    let log = Path::new("/n/0/log");
    for name in disk.list_dir(log).unwrap() {
        let path = log.join(name);
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut content = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut content, 0).unwrap();
        if let Some(at) = content.windows(shard.len()).position(|window| window == shard) {
            assert!(disk.flip_bit(&path, at as u64 + 5));
            return;
        }
    }
    panic!("the shard is not there");
}

#[tokio::test]
async fn a_damaged_shard_stays_until_one_may_take_its_place() {
    let disk = SimDisk::unrecorded(6);
    let node = node(&disk, 1, true).await;
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let replace = || put(drive, header(&pack, 1, VAULT), PutMode::Replace);
    ask_with(&node, replace(), pack.shards[1].clone()).await;
    flip(&disk, &pack.shards[1]);
    ask(&node, Request::EndLeases { lowest: 4 }).await;
    let late = ask_with(&node, replace(), pack.shards[1].clone()).await.answer;
    assert_eq!(late, Answer::Refused(Refusal::LeaseEnded { lowest_live: 4 }));
    // Another turn of the flusher: what was staged by then is committed.
    ask(&node, Request::EndLeases { lowest: 5 }).await;
    assert_eq!(node.reports()[0].shards, 1, "its other ranges may still serve");
    node.close().await;
}

#[tokio::test]
async fn a_shard_that_is_there_for_one_vault_is_not_taken_for_another() {
    let node = node(&SimDisk::unrecorded(7), 1, true).await;
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let of = |vault, mode| put(drive, header(&pack, 0, vault), mode);
    ask_with(&node, of(OTHER_VAULT, PutMode::Free), pack.shards[0].clone()).await;
    for mode in [PutMode::Free, PutMode::Replace, PutMode::Anew] {
        let own = ask_with(&node, of(VAULT, mode), pack.shards[0].clone())
            .await
            .answer;
        assert_eq!(own, Answer::Refused(Refusal::NotAllowed));
    }
    node.close().await;
}

#[tokio::test]
async fn no_caller_ends_all_leases_that_there_could_ever_be() {
    let node = node(&SimDisk::unrecorded(8), 1, true).await;
    let all = ask(&node, Request::EndLeases { lowest: u64::MAX }).await;
    assert_eq!(all, Answer::Refused(Refusal::Malformed));
    assert_eq!(node.reports()[0].highest_lease, 0);
    node.close().await;
}

#[tokio::test]
async fn two_who_wipe_a_lost_drive_at_once_wipe_it_once_and_one_that_is_there_is_left_alone() {
    // A real one: it knows who has a drive open.
    let root = tempfile::tempdir().unwrap();
    let mut drives = drives(1, true);
    drives.drives[0].dir = root.path().join("0");
    let config = NodeConfig {
        drives,
        directory: Arc::new(Directory::of_gateways([gateway().id()].into())),
        now_ms: Arc::new(|| NOW_MS),
    };
    let node = Node::open(Arc::new(engine::disk::RealDisk), config)
        .await
        .unwrap();
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let own = || put(drive, header(&pack, 0, VAULT), PutMode::Free);
    ask_with(&node, own(), pack.shards[0].clone()).await;
    let wipe = |mode| Request::Restore { drive, mode };
    let there = ask(&node, wipe(RestoreMode::Wipe)).await;
    assert_eq!(there, Answer::Restored(Restored::Reattached));
    assert_eq!(node.reports()[0].shards, 1);

    std::fs::remove_file(root.path().join("0/drive.json")).unwrap();
    node.look().await;
    let doubtful = ask(&node, wipe(RestoreMode::Recreate)).await;
    assert_eq!(doubtful, Answer::Restored(Restored::Doubtful), "its log is there");
    let (one, other) = tokio::join!(
        ask(&node, wipe(RestoreMode::Wipe)),
        ask(&node, wipe(RestoreMode::Wipe))
    );
    let both = [Restored::Recreated, Restored::Reattached].map(Answer::Restored);
    assert!([one.clone(), other.clone()] == both || [other, one] == both);
    assert_eq!(
        ask_with(&node, own(), pack.shards[0].clone()).await.answer,
        Answer::Done
    );
    node.close().await;
}

#[tokio::test]
async fn ended_leases_stay_ended_after_a_restart() {
    let disk = SimDisk::unrecorded(4);
    let first = node(&disk, 1, true).await;
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    assert_eq!(ask(&first, Request::EndLeases { lowest: 4 }).await, Answer::Done);
    let late = || put(drive, header(&pack, 0, VAULT), PutMode::Free);
    let ended = Answer::Refused(Refusal::LeaseEnded { lowest_live: 4 });
    assert_eq!(
        ask_with(&first, late(), pack.shards[0].clone()).await.answer,
        ended
    );
    first.close().await;
    drop(first);
    let second = node(&disk, 1, false).await;
    assert_eq!(
        ask_with(&second, late(), pack.shards[0].clone()).await.answer,
        ended
    );
    second.close().await;
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_cross_quic_to_six_nodes_and_come_back() {
    let (mut book, mut nodes, mut peers) = (HashMap::new(), Vec::new(), Vec::new());
    let nobody: Addresses = Arc::new(|_| None);
    for number in 0..6u8 {
        let key = PeerKey::from_seed(&[number + 1; 32]);
        let disk = SimDisk::unrecorded(u64::from(number));
        let node = node(&disk, number, true).await;
        let quic = Quic::open(&key, QuicConfig::new(ANY), Arc::clone(&nobody)).unwrap();
        let quic = Arc::new(quic);
        book.insert(key.id(), quic.local_address().unwrap());
        let (serving, service) = (Arc::clone(&quic), Arc::clone(&node));
        nodes.push((
            node,
            quic,
            tokio::spawn(async move { serving.serve(service).await }),
        ));
        peers.push(PeerConfig {
            id: key.id(),
            domain: [number; 16],
            drives: vec![drive_id(&[number; 16], 0)],
            standing: Standing::Active,
        });
    }
    let addresses: Addresses = Arc::new(move |peer| book.get(peer).copied());
    let stranger = Quic::open(
        &PeerKey::from_seed(&[98; 32]),
        QuicConfig::new(ANY),
        Arc::clone(&addresses),
    );
    let carrier = Arc::new(Quic::open(&gateway(), QuicConfig::new(ANY), addresses).unwrap());
    let cluster = |transport: Arc<dyn Transport>| {
        let own = ClusterConfig::new([9; 16], Code::DEFAULT, Vec::new(), Arc::new(|| 5));
        let config = ClusterConfig {
            peers: Some(Peers {
                transport,
                peers: peers.clone(),
            }),
            ..own
        };
        Cluster::open(Arc::new(SimDisk::unrecorded(9)), config)
    };
    let refused = cluster(Arc::new(stranger.unwrap())).await.unwrap();
    assert_eq!(refused.present(), 0, "a gateway that the nodes do not serve");
    let cluster = cluster(Arc::clone(&carrier) as _).await.unwrap();
    assert_eq!(cluster.present(), 6);
    let puts = (0..20).map(|seed| {
        let (cluster, pack) = (&cluster, pack(seed));
        async move {
            let shards = pack.shards.clone();
            (cluster.put_pack(pack, VAULT, SCOPE, 1).await.unwrap(), shards)
        }
    });
    for (entry, shards) in futures::future::join_all(puts).await {
        let range = |lane: u8| LaneRange {
            lane,
            offset: 0,
            bytes: entry.summary.geometry.lane_bytes[usize::from(lane)],
        };
        let ranges: Vec<_> = (0..4).map(range).collect();
        let read = cluster.read_lanes(&entry, &ranges).await.unwrap();
        for (read, shard) in read.iter().zip(&shards) {
            assert_eq!(read[..], shard[..read.len()]);
        }
    }
    cluster.close().await;
    carrier.close().await;
    for (node, quic, served) in nodes {
        quic.close().await;
        served.await.unwrap();
        node.close().await;
    }
}
