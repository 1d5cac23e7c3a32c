//! A storage peer with many shards: what its memory is, and how long it takes from its start until it serves again, after an orderly end and
//! after a kill.
//!
//! The peer is a `cairn node` of its own, the bench is its gateway. `CAIRN_BENCH_SHARDS` says how many shards of 4 KiB it gets (50,000);
//! the bounds are those of a million.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::measures;
use benches::server::{command, program, scratch};
use bytes::Bytes;
use engine::drive::ShardHeader;
use engine::pack::{Code, PackGeometry, PackSummary, ShardHash};
use futures::{StreamExt, stream};
use net::peer::message::PutMode;
use net::peer::quic::{Addresses, Quic, QuicConfig};
use net::peer::{Answer, Call, Context, PeerId, PeerKey, Purpose, Request, Transport};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SHARD_BYTES: usize = 4_096;
/// Puts under way at one time: less than one peer's turns and what waits for them.
const AT_ONCE: usize = 64;
const CLUSTER: &str = "000102030405060708090a0b0c0d0e0f";
const VAULT: [u8; 16] = [5; 16];
/// The bounds with a million shards, or fewer.
const MEMORY_MB: f64 = 1_000.0;
const RESTART: Duration = Duration::from_secs(5);

/// A running peer, killed when dropped.
struct Peer {
    child: Child,
    id: PeerId,
    address: SocketAddr,
    drive: [u8; 16],
    started_in: Duration,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(program: &Path, data: &Path, gateway: PeerId) -> Result<Self, Box<dyn Error>> {
        let begun = Instant::now();
        let mut child = command(program, data)
            .args(["node", "--json", "--join", &format!("{CLUSTER}@{gateway}")])
            .args(["--listen", "127.0.0.1:0"])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the peer has no output")?;
        let mut lines = BufReader::new(output).lines();
        let said: Value = serde_json::from_str(&lines.next().ok_or("the peer says nothing")??)?;
        let text = |pointer: &str| said.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut drive = [0; 16];
        for (byte, digits) in drive.iter_mut().zip(text("/drives/0/id").as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
        }
        let mut peer = Self {
            id: text("/peer_id").parse().map_err(|_| "no peer id")?,
            address: text("/address").parse()?,
            drive,
            child,
            started_in: Duration::ZERO,
        };
        for line in lines {
            if line? == "ready" {
                peer.started_in = begun.elapsed();
                return Ok(peer);
            }
        }
        Err("the peer did not start".into())
    }

    fn resident_mb(&self) -> Result<f64, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.ok_or("no VmRSS")?.trim().trim_end_matches("kB");
        Ok(kib.trim().parse::<f64>()? * 1024.0 / 1e6)
    }

    fn end(&mut self, signal: Signal) -> Result<(), Box<dyn Error>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).ok_or("the peer has no process")?;
        kill_process(pid, signal)?;
        self.child.wait()?;
        Ok(())
    }
}

/// The first shard of a pack that no other number has.
fn put(number: u64, drive: [u8; 16]) -> Result<Call, Box<dyn Error>> {
    let mut shard = blake3::Hasher::new();
    shard.update(&number.to_le_bytes());
    let mut bytes = vec![0; SHARD_BYTES];
    shard.finalize_xof().fill(&mut bytes);
    let code = Code::DEFAULT;
    let shard_bytes = u32::try_from(SHARD_BYTES)?;
    let geometry = PackGeometry {
        code,
        shard_bytes,
        lane_bytes: vec![shard_bytes; code.data()],
        trailer: None,
    };
    let hash = ShardHash::of(&bytes);
    let summary = PackSummary::new(geometry, vec![hash; code.shards()])?;
    let header = ShardHeader {
        summary,
        index: 0,
        lease: 1,
        vault: VAULT,
        scope: [6; 16],
    };
    Ok(Call {
        context: Context {
            operation: [1; 16],
            attempt: 0,
            purpose: Purpose::Write,
        },
        request: Request::Put {
            drive,
            header: Box::new(header),
            mode: PutMode::Free,
        },
        body: Bytes::from(bytes),
    })
}

async fn fill(peer: &Peer, key: &PeerKey, shards: u64) -> Result<(), Box<dyn Error>> {
    let address = peer.address;
    let addresses: Addresses = Arc::new(move |_| Some(address));
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let carrier = Quic::open(key, QuicConfig::new(any), addresses)?;
    let begun = Instant::now();
    let carrier_of = &carrier;
    let puts = (0..shards).map(|number| async move {
        let call = put(number, peer.drive).map_err(|error| error.to_string())?;
        let reply = carrier_of.call(peer.id, call).await;
        match reply.map_err(|error| error.to_string())?.answer {
            Answer::Done => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let mut puts = stream::iter(puts).buffer_unordered(AT_ONCE);
    let mut done = 0u64;
    while let Some(put) = puts.next().await {
        put?;
        done += 1;
        if done.is_multiple_of(shards.div_ceil(10).max(1)) {
            let rate = done as f64 / begun.elapsed().as_secs_f64();
            println!(
                "{done:>9} shards, {rate:.0}/s, resident {:.0} MB",
                peer.resident_mb()?
            );
        }
    }
    carrier.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if !measures() {
        println!("many_shards measures a release build, under `cargo bench`; nothing done");
        return Ok(());
    }
    let shards = match std::env::var("CAIRN_BENCH_SHARDS") {
        Ok(shards) => shards.parse()?,
        Err(_) => 50_000,
    };
    let (program, parent) = (program()?, scratch()?);
    let data = parent.path().join("peer");
    let key = PeerKey::from_seed(&[77; 32]);
    println!("\nmany_shards: {shards} shards of {SHARD_BYTES} bytes on one peer with one drive");
    let mut peer = Peer::start(&program, &data, key.id())?;
    fill(&peer, &key, shards).await?;
    let mut is_kept = peer.resident_mb()? < MEMORY_MB;
    for (how, signal) in [("an orderly end", Signal::TERM), ("a kill", Signal::KILL)] {
        peer.end(signal)?;
        peer = Peer::start(&program, &data, key.id())?;
        let resident = peer.resident_mb()?;
        is_kept &= peer.started_in < RESTART && resident < MEMORY_MB;
        println!(
            "after {how}: ready in {:.2} s (bound {} s), resident {resident:.0} MB (bound {MEMORY_MB} MB)",
            peer.started_in.as_secs_f64(),
            RESTART.as_secs()
        );
    }
    println!(
        "{}\n",
        if is_kept {
            "every bound kept"
        } else {
            "a bound was MISSED"
        }
    );
    Ok(())
}
