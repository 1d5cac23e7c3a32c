//! The cluster under test, as the faults and the load see it: an endpoint, and storage peers that each have a process, a UDP port and a
//! directory and can be started again. How it is started is in this file alone.
//!
//! `cairn up --peers 6`, a gateway with six storage peers as its children, the first three of which keep the ledger together, or as many as
//! are asked for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::isolation;
use super::process::{Key, Place, Running};

pub(crate) const NODES: usize = 6;
/// What a cluster has after a fault to be whole again.
const WHOLE_WAIT: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Cluster {
    // Dropped in this order: processes, then what they stand on.
    gateway: Running,
    nodes: Vec<Node>,
    _small: Vec<isolation::SmallDisk>,
    place: Place,
}

/// A storage peer.
pub(crate) struct Node {
    pub(crate) pid: Pid,
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
    /// The process that took the place of the first one.
    again: Option<Running>,
}

fn pid(number: u64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

impl Cluster {
    /// Starts it; the directories of some are small file systems of their own. What it says goes to a file.
    pub(crate) fn start(small: &[usize], members: u64, log: &Path, log_level: &str) -> Self {
        let place = Place::new();
        let mount = |node: &usize| isolation::SmallDisk::mount(place.data().join(format!("peers/{node}")));
        let small = small.iter().map(mount).collect();
        let mut up = place.command(["up", "--json", "--peers", &NODES.to_string()]);
        up.args(["--ledger-members", &members.to_string()])
            .env("RUST_LOG", log_level)
            .stderr(std::fs::File::create(log).unwrap());
        let gateway = place.up_with(up);
        let shown = place.json(["status"]);
        let node = |shown: &Value| {
            let address: std::net::SocketAddr = shown["address"].as_str().unwrap().parse().unwrap();
            Node {
                pid: pid(shown["pid"].as_u64().unwrap()),
                port: address.port(),
                directory: PathBuf::from(shown["directory"].as_str().unwrap()),
                again: None,
            }
        };
        let nodes: Vec<Node> = shown["peers"].as_array().unwrap().iter().map(node).collect();
        assert_eq!(nodes.len(), NODES);
        Self {
            gateway,
            nodes,
            _small: small,
            place,
        }
    }

    pub(crate) fn host(&self) -> &str {
        self.gateway.host()
    }

    pub(crate) fn key(&self) -> Key {
        self.place.root_key()
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// Starts a node again that was killed, as `status` says how.
    pub(crate) fn start_again(&mut self, number: usize, log: &Path, log_level: &str) {
        let log = std::fs::File::options().append(true).open(log).unwrap();
        let node = &mut self.nodes[number];
        let mut command = self.place.command(["node", "--json", "--data"]);
        command
            .arg(&node.directory)
            .env("RUST_LOG", log_level)
            .stderr(log);
        // What is left of an earlier one has to be gone first: it is dropped here.
        node.again = None;
        let running = Running::ready(command);
        node.pid = pid(u64::from(running.pid()));
        node.again = Some(running);
    }

    /// Waits until every node answers, no drive is lost and no pack lacks a shard; how long that took, or what is still wrong.
    pub(crate) fn whole(&self) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let shown = self.place.json(["status"]);
            let wrong = missing(&shown);
            match wrong {
                None => return Ok(began.elapsed()),
                Some(what) if began.elapsed() > WHOLE_WAIT => {
                    return Err(format!("not whole after {} s: {what}", WHOLE_WAIT.as_secs()));
                }
                Some(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Ends it in an orderly way.
    pub(crate) fn stop(self) {
        self.gateway.stop();
    }
}

/// What a status lacks of a whole cluster.
pub(crate) fn missing(shown: &Value) -> Option<String> {
    let silent = shown["peers"].as_array()?.iter();
    let silent = silent.filter(|peer| peer["answers"] != true).count();
    let is_whole = silent == 0
        && shown["drives_lost"] == 0
        && shown["writable"] == true
        && shown["packs"]["shards_missing"] == 0
        && shown["packs"]["unreadable"] == 0
        && shown["packs"]["at_risk"] == 0
        && shown["ledger"]["state"] == "serving";
    (!is_whole).then(|| {
        format!(
            "{silent} storage peers silent, {} drives lost, writable {}, packs {}, ledger {}",
            shown["drives_lost"], shown["writable"], shown["packs"], shown["ledger"]["state"]
        )
    })
}

impl Drop for Node {
    fn drop(&mut self) {
        // A stopped process does not see that its parent went.
        let _ = kill_process(self.pid, Signal::CONT);
    }
}
