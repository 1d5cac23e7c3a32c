//! What both ends write down of one operation, and peers that are found out without anybody asking them for anything.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::data_dir::DataDir;
use cairn::key_store::peer_key;
use cairn::node::NodeSettings;
use cairn::s3_client::S3Client;
use engine::disk::RealDisk;
use futures::future::BoxFuture;
use net::peer::quic::{Quic, QuicConfig};
use net::peer::{Answer, Call, PeerId, Refusal, Reply, Request, Service};
use net::{Directory, DriveConfig, DrivesConfig, Node, NodeConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::{Place, Running, content, get, make_bucket, put, text};

fn peer_dir(place: &Place, number: usize) -> PathBuf {
    place.data().join(format!("peers/{number}"))
}

/// The records of one storage peer, all or those of one operation.
fn of_peer(place: &Place, number: usize, operation_id: Option<&str>) -> Vec<Value> {
    let dir = peer_dir(place, number);
    let mut args = vec!["activity", "list", "--data", dir.to_str().unwrap()];
    args.extend(operation_id.iter().flat_map(|id| ["--operation-id", *id]));
    place.json(args)["records"].as_array().unwrap().clone()
}

fn join(place: &Place, numbers: impl Iterator<Item = usize>, operation_id: &str) -> (Option<i32>, Value) {
    let mut args = vec!["activity".to_owned(), "join".to_owned()];
    for number in numbers {
        args.extend(["--node".to_owned(), peer_dir(place, number).display().to_string()]);
    }
    args.extend(["--operation-id", operation_id, "--json"].map(str::to_owned));
    let output = place.run(args);
    let shown = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        shown.unwrap_or_else(|_| panic!("{}", text(&output))),
    )
}

fn bytes(records: &[Value], operation: &str) -> u64 {
    let of = records.iter().filter(|record| record["operation"] == operation);
    of.map(|record| record["bytes"].as_str().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// A gateway over six storage peers that challenges nobody, and two objects put and read once.
async fn recorded(place: &Place) -> Running {
    let up = ["up", "--json", "--peers", "6", "--challenges-per-hour", "0"];
    let running = place.up_with(place.command(up));
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    for (name, bytes) in [("small", 4_096), ("long", 9 << 20)] {
        put(&mut client, "first", name, content(name, bytes))
            .await
            .unwrap();
        get(&mut client, "first", name).await.unwrap();
    }
    running
}

/// The gateway's records of this operation.
fn of_gateway(place: &Place, operation: &str) -> Vec<Value> {
    let listed = place.json(["activity", "list", "--operation", operation]);
    listed["records"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_records_of_gateway_and_storage_peers_join_by_the_operations_id() {
    let place = Place::new();
    let _running = recorded(&place).await;
    for (operation, of_node) in [("PutObject", "PutShard"), ("GetObject", "GetRange")] {
        let of = of_gateway(&place, operation);
        assert_eq!(of.len(), 2, "{of:?}");
        for record in of {
            let id = record["operation_id"].as_str().unwrap();
            let all: Vec<_> = (0..6)
                .flat_map(|number| of_peer(&place, number, Some(id)))
                .collect();
            let plain: u64 = record["bytes"].as_str().unwrap().parse().unwrap();
            assert!(bytes(&all, of_node) >= plain, "{operation} of {plain}: {all:?}");
            assert!(all.iter().all(|record| record["operation"] == of_node), "{all:?}");
            let (status, joined) = join(&place, 0..6, id);
            assert_eq!(
                (status, joined["misfits"].as_array().unwrap().len()),
                (Some(0), 0)
            );
            let joined = &joined["operations"][0]["gateway"][0];
            assert_eq!(joined["record_id"], record["record_id"]);
        }
    }
    // Without the records of those who gave it, what the client got comes from nowhere.
    let small = of_gateway(&place, "GetObject").remove(0);
    let id = small["operation_id"].as_str().unwrap();
    let silent = (0..6).filter(|number| of_peer(&place, *number, Some(id)).is_empty());
    let (status, joined) = join(&place, silent, id);
    let misfits = joined["misfits"].as_array().unwrap();
    assert_eq!((status, misfits.len()), (Some(1), 1), "{misfits:?}");
}

#[tokio::test]
async fn a_storage_peers_log_is_read_and_proven_whether_it_runs_or_not_and_names_nothing() {
    let place = Place::new();
    let running = recorded(&place).await;
    let small = of_gateway(&place, "GetObject").remove(0);
    let id = small["operation_id"].as_str().unwrap();
    let asked = (0..6).find(|number| !of_peer(&place, *number, Some(id)).is_empty());
    let asked = asked.unwrap();
    let dir = peer_dir(&place, asked).display().to_string();
    let record = of_peer(&place, asked, Some(id)).remove(0);
    let name = record["record_id"].as_str().unwrap().to_owned();
    let receipt = place.run(["activity", "receipt", &name, "--data", &dir]);
    let file = place.root().join("receipt");
    std::fs::write(&file, &receipt.stdout).unwrap();
    let verified = place.json(["verify", file.to_str().unwrap()]);
    assert_eq!(
        (&verified["valid"], &verified["record"]),
        (&Value::Bool(true), &record)
    );
    let held = place.json(["verify", "--log", "--data", &dir]);
    assert!(held["entries"].as_u64().unwrap() > 0, "{held}");
    assert_eq!(held["log_key"], verified["log_key"]);
    let refused = place.run(["status", "--data", &dir]);
    assert!(
        text(&refused).contains("a storage peer answers this for nobody"),
        "{}",
        text(&refused)
    );

    let before = of_peer(&place, asked, None);
    running.stop();
    assert_eq!(
        of_peer(&place, asked, None)[..before.len()],
        before,
        "when nobody runs it"
    );
    let held = place.run(["verify", "--log", "--data", &dir]);
    assert!(held.status.success(), "{}", text(&held));
    let shown = text(&place.run(["activity", "list", "--json", "--data", &dir]));
    for name in ["small", "long", "first"] {
        assert!(!shown.contains(name), "{name}");
    }
}

/// The drive of a peer, by the status.
fn drive_of(status: &Value, number: usize) -> &Value {
    let drive = &status["peers"][number]["drives"][0];
    let drives = status["drives"].as_array().unwrap();
    drives.iter().find(|of| of["drive_id"] == *drive).unwrap()
}

/// A gateway over six storage peers that asks for proofs as often as it can.
struct Watched {
    place: Place,
    running: Running,
    client: S3Client,
    objects: Vec<String>,
}

impl Watched {
    async fn new() -> Self {
        let place = Place::new();
        let up = ["up", "--json", "--peers", "6", "--challenges-per-hour", "36000"];
        let running = place.up_with(place.command(up));
        let mut client = running.client(&place.root_key()).await;
        make_bucket(&mut client, "first").await;
        let mut watched = Self {
            place,
            running,
            client,
            objects: Vec::new(),
        };
        watched.put("a", 12).await;
        watched
    }

    async fn put(&mut self, prefix: &str, count: usize) {
        for number in 0..count {
            let name = format!("{prefix}{number}");
            put(&mut self.client, "first", &name, content(&name, 20_000))
                .await
                .unwrap();
            self.objects.push(name);
        }
    }

    async fn assert_reads(&mut self) {
        for name in &self.objects {
            let read = get(&mut self.client, "first", name).await.unwrap();
            assert!(read == content(name, 20_000), "{name}");
        }
    }

    /// What a peer did, by the status.
    fn misdeeds(&self, status: &Value, number: usize, kind: &str) -> u64 {
        drive_of(status, number)["misdeeds"][kind].as_u64().unwrap()
    }

    /// How many shards a peer said that it has, when it was asked last.
    fn shards(&self, number: usize) -> u64 {
        let status = self.place.json(["status"]);
        drive_of(&status, number)["shards"].as_u64().unwrap()
    }

    /// Waits until the status names the peer, for what challenges alone found; then every object reads as it was.
    async fn until_named(&mut self, number: usize, kind: &str, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.place.json(["status"]);
            let asked = status["drives"].as_array().unwrap().iter();
            let asked = asked.filter(|drive| drive["challenges"]["asked"].as_u64().unwrap() > 0);
            if self.misdeeds(&status, number, kind) > 0 && asked.count() > 0 {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "peer {number} is never named: {status}"
            );
        }
        self.assert_reads().await;
        let people = text(&self.place.run(["status"]));
        let people = people.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(people.contains(words) && people.contains("proven in"), "{people}");
        self.assert_reads().await;
    }

    fn pid(&self, number: usize) -> Pid {
        let status = self.place.json(["status"]);
        let pid = status["peers"][number]["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    /// Kills a peer and waits until its directory is nobody's.
    fn kill(&self, number: usize) -> DataDir {
        kill_process(self.pid(number), Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match DataDir::of_node(&peer_dir(&self.place, number)) {
                Ok(data) => return data,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let there = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::copy(&file, there).unwrap();
    }
}

#[tokio::test]
async fn a_peer_whose_shards_were_altered_on_its_disk_is_named_and_no_reader_notices() {
    let mut watched = Watched::new().await;
    // A byte in each 4 KiB of what the log holds, below everything that Cairn does.
    for path in files(&peer_dir(&watched.place, 1).join("drives/0")) {
        if path.extension().is_some_and(|ending| ending == "json") || path.ends_with("reserve") {
            continue;
        }
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let bytes = file.metadata().unwrap().len();
        for at in (6_000..bytes.min(4 << 20)).step_by(4_096) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            if byte[0] != 0 {
                file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
            }
        }
    }
    watched
        .until_named(1, "altered", "that are not what was stored there")
        .await;
    drop(watched.client);
}

#[tokio::test]
async fn a_peer_whose_old_shards_were_put_back_is_named_and_made_whole_again_and_no_reader_notices() {
    let mut watched = Watched::new().await;
    let (drives, old) = (
        peer_dir(&watched.place, 4).join("drives"),
        watched.place.root().join("old"),
    );
    copy(&drives, &old);
    let before = watched.shards(4);
    watched.put("b", 12).await;
    // What a peer never said is not held against it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while watched.shards(4) == before {
        assert!(Instant::now() < deadline, "the peer stores nothing");
    }
    let data = watched.kill(4);
    std::fs::remove_dir_all(&drives).unwrap();
    copy(&old, &drives);
    drop(data);
    let status = watched.place.json(["status"]);
    let line = status["peers"][4]["start_again"].as_str().unwrap().to_owned();
    let words: Vec<_> = line.split(' ').collect();
    let again = Running::ready(watched.place.command(&words[1..]));
    watched
        .until_named(4, "rolled_back", "went back to an OLDER state 1 time")
        .await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        watched.assert_reads().await;
        let status = watched.place.json(["status"]);
        if status["peers"][4]["answers"] == true && status["packs"]["shards_missing"] == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "what is gone is never made anew: {status}"
        );
    }
    let status = watched.place.json(["status"]);
    assert_eq!(watched.misdeeds(&status, 4, "rolled_back"), 1, "{status}");
    let others = [0, 1, 2, 3, 5].map(|number| watched.misdeeds(&status, number, "rolled_back"));
    assert_eq!(others, [0; 5], "{status}");
    watched.assert_reads().await;
    drop(watched.client);
    watched.running.stop();
    again.stop();
}

/// A peer that says that it holds everything, and has nothing to show.
struct Boaster(Arc<Node>);

impl Service for Boaster {
    fn admits(&self, caller: &PeerId) -> bool {
        self.0.admits(caller)
    }

    fn answer(&self, caller: PeerId, call: Call) -> BoxFuture<'_, Reply> {
        match &call.request {
            Request::Has { keys, .. } => {
                let all = Answer::Held(vec![true; keys.len()]);
                Box::pin(std::future::ready(all.into()))
            }
            Request::Range { .. } | Request::Challenge { .. } => {
                let gone = Answer::Refused(Refusal::Absent);
                Box::pin(std::future::ready(gone.into()))
            }
            _ => self.0.answer(caller, call),
        }
    }
}

/// Serves in the name of a peer, from its own directory.
async fn boast(data: &DataDir) -> (Arc<Quic>, Arc<Node>) {
    let settings = NodeSettings::read(data).unwrap().unwrap();
    let key = peer_key(&data.peer_key()).unwrap();
    let quic = Quic::open(
        &key,
        QuicConfig::new(settings.listen),
        Arc::new(|_: &PeerId| None),
    )
    .unwrap();
    let drives = settings.drives.iter().map(|dir| DriveConfig {
        dir: dir.clone(),
        default: true,
    });
    let config = NodeConfig {
        drives: DrivesConfig {
            create: false,
            id_seed: settings.id_seed,
            ..DrivesConfig::new(settings.cluster, drives.collect(), Arc::new(|| 77))
        },
        directory: Arc::new(Directory::of_gateways(
            settings.gateways.iter().copied().collect(),
        )),
        now_ms: Arc::new(cairn::runtime::now_ms),
    };
    let node = Node::open(Arc::new(RealDisk), config).await.unwrap();
    let (quic, service) = (Arc::new(quic), Arc::new(Boaster(Arc::clone(&node))));
    let serving = Arc::clone(&quic);
    tokio::spawn(async move { serving.serve(service).await });
    (quic, node)
}

// The peer answers on threads of its own while commands are waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_claims_to_hold_what_it_deleted_is_named_and_no_reader_notices() {
    let mut watched = Watched::new().await;
    // The last of six: no member of the ledger.
    let data = watched.kill(5);
    let (quic, node) = boast(&data).await;
    watched.until_named(5, "claimed", "that it does not give").await;
    quic.close().await;
    node.close().await;
    drop(watched.client);
}
