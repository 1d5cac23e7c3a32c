//! The cluster client over drives of peers: six nodes in this process, each with a simulated disk, behind a transport that can lose
//! a peer, hold it or change what it says.

mod away;
mod challenged;
mod joining;
mod liars;
mod moving;
mod numbers;
mod rebalancing;
mod strays;
mod upkeep;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use engine::drive::{ListedShard, ShardKey};
use futures::future::BoxFuture;

use super::*;
use crate::cluster::{PeerConfig, Peers, RepairOptions, Standing};
use crate::drives::DrivesConfig;
use crate::node::{Directory, Node, NodeConfig};
use crate::peer::message::{decode_answer, decode_call, encode_answer, encode_call};
use crate::peer::{Answer, Call, CallError, PeerId, PeerKey, Refusal, Reply, Request, Service, Transport};

const PEERS: usize = 6;

/// How a peer behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    Honest,
    /// Nobody reaches it.
    Down,
    /// It takes calls and never answers.
    Frozen,
    /// It answers every range with other bytes.
    Altered,
    /// It leaves the last byte of every range out.
    Short,
    /// It says of every put that its lease has ended, and that it has seen the last one there is.
    Fencer,
    /// It lists every shard of every pack that it has one of.
    Lister,
    /// Its headers name another scope.
    Mislabeler,
    /// It answers every challenge with other bytes.
    Forger,
    /// It says that it holds everything, and has nothing to show.
    Boaster,
    /// It says that it stored what it did not.
    Swallower,
    /// It has no room for anything.
    Stuffed,
}

/// The way to the nodes: every message is encoded and read again, as on a wire.
#[derive(Default)]
pub(super) struct Wire {
    nodes: Mutex<HashMap<PeerId, Arc<Node>>>,
    conduct: Mutex<HashMap<PeerId, Conduct>>,
    pub(super) calls: AtomicUsize,
    /// The requests that were carried, in short.
    pub(super) carried: Mutex<Vec<(PeerId, Request)>>,
    /// Moves may make so many calls more; none are counted while it is 0.
    left: AtomicUsize,
    stopped: tokio::sync::Notify,
    /// What drives say they can hold, unless 0.
    capacity: AtomicU64,
    /// Carried out before the next put.
    before_put: Mutex<Option<BoxFuture<'static, ()>>>,
}

fn gateway() -> PeerId {
    PeerKey::from_seed(&[99; 32]).id()
}

fn peer(number: usize) -> PeerId {
    PeerKey::from_seed(&[number as u8 + 1; 32]).id()
}

impl Wire {
    fn behave(&self, number: usize, conduct: Conduct) {
        self.conduct.lock().unwrap().insert(peer(number), conduct);
    }

    /// Lets so many calls of moves through; the one after them hangs.
    fn stop_after(&self, calls: usize) {
        self.left.store(calls + 1, Ordering::Relaxed);
    }

    fn go_on(&self) {
        self.left.store(0, Ordering::Relaxed);
    }

    async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Has the node of one peer stand behind another's name as well.
    fn stand_in(&self, name: usize, behind: usize) {
        let mut nodes = self.nodes.lock().unwrap();
        let node = Arc::clone(&nodes[&peer(behind)]);
        nodes.insert(peer(name), node);
    }

    fn before_put(&self, work: impl Future<Output = ()> + Send + 'static) {
        *self.before_put.lock().unwrap() = Some(Box::pin(work));
    }

    async fn count(&self, request: &Request) {
        if matches!(request, Request::Drives | Request::Has { .. }) {
            return;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left == 1 {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
    }

    fn node(&self, number: usize) -> Arc<Node> {
        Arc::clone(&self.nodes.lock().unwrap()[&peer(number)])
    }

    async fn carry(&self, to: PeerId, call: Call) -> Result<Reply, CallError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let conduct = self.conduct.lock().unwrap().get(&to).copied();
        let conduct = conduct.unwrap_or(Conduct::Honest);
        match conduct {
            Conduct::Down => {
                let why = "down".to_owned();
                return Err(CallError::Unreachable { peer: to, why });
            }
            Conduct::Frozen => std::future::pending().await,
            _ => {}
        }
        let head = encode_call(&call.context, &call.request);
        let (context, request) = decode_call(&head, call.body.len()).unwrap();
        self.carried.lock().unwrap().push((to, request.clone()));
        self.count(&request).await;
        if matches!(request, Request::Put { .. }) {
            let before = self.before_put.lock().unwrap().take();
            if let Some(before) = before {
                before.await;
            }
            match conduct {
                Conduct::Swallower => return Ok(Answer::Done.into()),
                Conduct::Stuffed => return Ok(Answer::Refused(Refusal::Full).into()),
                _ => {}
            }
        }
        let node = Arc::clone(&self.nodes.lock().unwrap()[&to]);
        assert!(node.admits(&gateway()) && !node.admits(&to));
        let call = Call {
            context,
            request,
            body: call.body,
        };
        let asked = call.request.clone();
        let mut reply = node.answer(gateway(), call).await;
        let capacity = self.capacity.load(Ordering::Relaxed);
        if let Answer::Drives(drives) = &mut reply.answer
            && capacity > 0
        {
            drives
                .iter_mut()
                .for_each(|drive| (drive.allocated_bytes, drive.free_bytes) = (capacity, 0));
        }
        misreport(conduct, &asked, &mut reply.answer);
        misbehave(conduct, asked, &mut reply);
        let head = encode_answer(&reply.answer);
        let answer = decode_answer(&head, reply.body.len()).unwrap();
        Ok(Reply {
            answer,
            body: reply.body,
        })
    }
}

/// What a peer of this conduct says instead.
fn misreport(conduct: Conduct, asked: &Request, answer: &mut Answer) {
    match (conduct, asked, answer) {
        (Conduct::Fencer, Request::Put { .. }, answer) => {
            *answer = Answer::Refused(Refusal::LeaseEnded { lowest_live: 9 });
        }
        (Conduct::Fencer, _, Answer::Drives(drives)) => {
            drives.iter_mut().for_each(|drive| drive.highest_lease = u64::MAX);
        }
        (Conduct::Lister, _, Answer::Listed { shards, .. }) => {
            let all = |shard: &ListedShard| {
                let (pack, shard) = (shard.key.pack, *shard);
                (0..6).map(move |index| ListedShard {
                    key: ShardKey { pack, index },
                    ..shard
                })
            };
            *shards = shards.iter().flat_map(all).collect();
        }
        (Conduct::Mislabeler, _, Answer::Headers(headers)) => {
            for header in headers.iter_mut().flatten() {
                header.scope = [66; 16];
            }
        }
        _ => {}
    }
}

/// What it gives instead.
fn misbehave(conduct: Conduct, asked: Request, reply: &mut Reply) {
    match (conduct, asked) {
        (Conduct::Altered, Request::Range { .. }) if reply.answer == Answer::Bytes => {
            let mut bytes = reply.body.to_vec();
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
            reply.body = Bytes::from(bytes);
        }
        (Conduct::Short, Request::Range { .. }) => {
            reply.body = reply.body.slice(..reply.body.len().saturating_sub(1));
        }
        (Conduct::Forger, Request::Challenge { .. }) => {
            let mut bytes = reply.body.to_vec();
            bytes.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
            reply.body = Bytes::from(bytes);
        }
        (Conduct::Boaster, Request::Has { keys, .. }) => {
            *reply = Answer::Held(vec![true; keys.len()]).into();
        }
        _ => {}
    }
}

impl Transport for Wire {
    fn call(&self, peer: PeerId, call: Call) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(self.carry(peer, call))
    }
}

/// Six peers, and what opens a cluster over them.
pub(super) struct Rig {
    pub(super) wire: Arc<Wire>,
    disks: Vec<SimDisk>,
}

impl Rig {
    async fn new(seed: u64) -> Self {
        Self::with(seed, PEERS).await
    }

    async fn with(seed: u64, nodes: usize) -> Self {
        let rig = Self {
            wire: Arc::default(),
            disks: (0..nodes as u64)
                .map(|number| SimDisk::unrecorded(seed * 100 + number))
                .collect(),
        };
        for number in 0..nodes {
            rig.start(number, true).await;
        }
        rig
    }

    fn drive_id(number: usize) -> [u8; 16] {
        drive_id(&[number as u8; 16], 0)
    }

    async fn start(&self, number: usize, create: bool) {
        let root = config(Path::new("/n"), 1, create).own;
        let drives = DrivesConfig {
            id_seed: [number as u8; 16],
            ..root
        };
        let config = NodeConfig {
            drives,
            directory: Arc::new(Directory::of_gateways([gateway()].into())),
            now_ms: Arc::new(|| 1_000),
        };
        let disk = Arc::new(self.disks[number].clone());
        let node = Node::open(disk, config).await.unwrap();
        self.wire.nodes.lock().unwrap().insert(peer(number), node);
    }

    /// No peer says that its drive can hold more than so many bytes.
    fn hold_at_most(&self, bytes: u64) {
        self.wire.capacity.store(bytes, Ordering::Relaxed);
    }

    /// Ends a node in an orderly way and starts it again.
    async fn restart(&self, number: usize) {
        let node = self.wire.nodes.lock().unwrap().remove(&peer(number)).unwrap();
        node.close().await;
        drop(node);
        self.start(number, false).await;
    }

    /// A cluster over drives elsewhere.
    async fn open(&self) -> Cluster {
        self.open_over(&(0..PEERS).collect::<Vec<_>>()).await
    }

    /// A cluster over the drives of these peers.
    async fn open_over(&self, numbers: &[usize]) -> Cluster {
        let own = config(Path::new("/none"), 0, false);
        let peers = numbers.iter().map(|number| PeerConfig {
            id: peer(*number),
            domain: [*number as u8; 16],
            drives: vec![Self::drive_id(*number)],
            standing: Standing::Active,
        });
        let transport: Arc<dyn Transport> = Arc::clone(&self.wire) as _;
        let config = ClusterConfig {
            peers: Some(Peers {
                transport,
                peers: peers.collect(),
            }),
            ..own
        };
        let nowhere = SimDisk::unrecorded(1);
        Cluster::open(Arc::new(nowhere), config).await.unwrap()
    }

    /// Which peer holds shard `index`.
    fn holder(stored: &Stored, index: usize) -> usize {
        let id = stored.entry.drives[index];
        (0..PEERS).find(|number| Self::drive_id(*number) == id).unwrap()
    }

    fn log_dir() -> PathBuf {
        Path::new("/n/0").to_owned()
    }
}

/// A range of this lane, and the chunk there.
fn in_lane(stored: &Stored, lane: u8) -> (LaneRange, Vec<u8>) {
    let mut chunks = stored.chunks.iter();
    chunks.find(|(range, _)| range.lane == lane).cloned().unwrap()
}

#[tokio::test]
async fn packs_on_peers_read_back_also_after_both_sides_started_again() {
    let rig = Rig::new(1).await;
    let cluster = rig.open().await;
    assert_eq!(cluster.present(), 6);
    let stored = [
        put(&cluster, 1, &[65_536; 9]).await.unwrap(),
        put(&cluster, 2, &[100]).await.unwrap(),
    ];
    settle(&cluster, &stored).await;
    for stored in &stored {
        assert_reads(&cluster, stored).await;
    }
    let shards: u64 = {
        cluster.check_drives().await;
        cluster.status().drives.iter().map(|drive| drive.shards).sum()
    };
    assert_eq!(
        shards,
        6 + 3,
        "a lone small chunk takes one data shard and the parity"
    );
    cluster.close().await;
    for number in 0..PEERS {
        rig.restart(number).await;
    }
    let cluster = rig.open().await;
    for stored in &stored {
        assert_reads(&cluster, stored).await;
    }
    cluster.close().await;
}

#[tokio::test]
async fn drives_of_one_failure_domain_hold_no_more_shards_than_may_be_lost() {
    let rig = Rig::new(2).await;
    let own = config(Path::new("/none"), 0, false);
    // Two nodes a site: three sites, and 4+2 survives the loss of one.
    let peers = (0..PEERS).map(|number| PeerConfig {
        id: peer(number),
        domain: [number as u8 / 2; 16],
        drives: vec![Rig::drive_id(number)],
        standing: Standing::Active,
    });
    let config = |peers: Vec<PeerConfig>| ClusterConfig {
        peers: Some(Peers {
            transport: Arc::clone(&rig.wire) as _,
            peers,
        }),
        ..own.clone()
    };
    let nowhere = || Arc::new(SimDisk::unrecorded(1));
    let three = Cluster::open(nowhere(), config(peers.clone().collect()))
        .await
        .unwrap();
    let stored = put(&three, 1, &[9_000; 5]).await.unwrap();
    assert_reads(&three, &stored).await;
    // Five drives are enough of them, but the loss of a whole site would leave three shards.
    rig.wire.behave(0, Conduct::Down);
    three.check_drives().await;
    let too_close = PutError::Domains {
        have: 5,
        left: 3,
        need: 4,
    };
    assert_eq!(three.writable(), Err(too_close));
    let before = three.status();
    assert_eq!(put(&three, 3, &[9_000; 5]).await.err(), Some(too_close));
    assert_eq!(
        three.status().shards_put,
        before.shards_put,
        "nothing of it was begun"
    );
    rig.wire.behave(0, Conduct::Honest);
    three.check_drives().await;
    assert_eq!(three.writable(), Ok(()));
    three.close().await;
    let two = peers.map(|peer| PeerConfig {
        domain: [peer.domain[0] / 2; 16],
        ..peer
    });
    let two = Cluster::open(nowhere(), config(two.collect())).await.unwrap();
    let refused = put(&two, 2, &[9_000; 5]).await.err();
    assert_eq!(refused, Some(PutError::Layout { have: 6, need: 6 }));
    two.close().await;
}
