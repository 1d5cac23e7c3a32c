//! The carrier between peers: whole shards to six peers and back over QUIC on loopback, both ends in this process, so that the figures
//! are what a byte costs on both sides together.

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use benches::{Clock, measures};
use bytes::Bytes;
use engine::drive::ShardKey;
use engine::pack::PackId;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use net::peer::quic::{Addresses, Quic, QuicConfig};
use net::peer::{Answer, Call, Context, PeerId, PeerKey, Purpose, Reply, Request, Service, Transport};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PEERS: u8 = 6;
const SHARD_BYTES: u32 = 2 << 20;
/// Calls under way at one time: two packs.
const AT_ONCE: usize = 12;

/// Answers a range with zeros, and takes everything else.
struct Still(Bytes);

impl Service for Still {
    fn admits(&self, _: &PeerId) -> bool {
        true
    }

    fn answer(&self, _: PeerId, call: Call) -> BoxFuture<'_, Reply> {
        let reply = match call.request {
            Request::Range { bytes, .. } => Reply {
                answer: Answer::Bytes,
                body: self.0.slice(..bytes as usize),
            },
            _ => Answer::Done.into(),
        };
        Box::pin(async move { reply })
    }
}

fn call(request: Request, body: Bytes) -> Call {
    let context = Context {
        operation: [1; 16],
        attempt: 0,
        purpose: Purpose::Write,
    };
    Call {
        context,
        request,
        body,
    }
}

fn range(bytes: u32) -> Call {
    let key = ShardKey {
        pack: PackId([3; 32]),
        index: 0,
    };
    let request = Request::Range {
        drive: [1; 16],
        key,
        offset: 0,
        bytes,
    };
    call(request, Bytes::new())
}

/// Its name, calls, bytes of each, and the call.
type Load = (&'static str, usize, u32, Box<dyn Fn() -> Call>);

/// Makes so many calls of the peers by turns.
async fn run(carrier: &Quic, peers: &[PeerId], calls: usize, make: impl Fn() -> Call) {
    let asked = peers
        .iter()
        .cycle()
        .take(calls)
        .map(|peer| carrier.call(*peer, make()));
    let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some(reply) = asked.next().await {
        if let Err(error) = reply {
            println!("a call failed: {error}");
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if !measures() {
        println!("carrier measures a release build, under `cargo bench`; nothing done");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let _entered = runtime.enter();
    let (mut book, mut peers) = (HashMap::new(), Vec::new());
    for number in 0..PEERS {
        let key = PeerKey::from_seed(&[number + 1; 32]);
        let nobody: Addresses = Arc::new(|_| None);
        let quic = Quic::open(&key, QuicConfig::new(ANY), nobody)?;
        book.insert(key.id(), quic.local_address()?);
        peers.push(key.id());
        let shard = Bytes::from(vec![0; SHARD_BYTES as usize]);
        runtime.spawn(async move { quic.serve(Arc::new(Still(shard))).await });
    }
    let addresses: Addresses = Arc::new(move |peer| book.get(peer).copied());
    let carrier = Quic::open(&PeerKey::from_seed(&[99; 32]), QuicConfig::new(ANY), addresses)?;
    let shard = Bytes::from(vec![7; SHARD_BYTES as usize]);
    // A delete carries any body up to a mebibyte; the service looks at none.
    let half = shard.slice(..SHARD_BYTES as usize / 2);
    let loads: [Load; 3] = [
        (
            "to peers, 1 MiB",
            2_048,
            1 << 20,
            Box::new(move || call(Request::Delete, half.clone())),
        ),
        (
            "from peers, 2 MiB",
            1_024,
            SHARD_BYTES,
            Box::new(|| range(SHARD_BYTES)),
        ),
        ("from peers, 4 KiB", 50_000, 4_096, Box::new(|| range(4_096))),
    ];
    for (name, calls, bytes, make) in loads {
        runtime.block_on(run(&carrier, &peers, calls / 10, &make));
        let spent = Clock::Process.measure(|| runtime.block_on(run(&carrier, &peers, calls, &make)));
        let gib = calls as f64 * f64::from(bytes) / f64::from(1 << 30);
        println!(
            "{name:<20} {:>6.2} CPU-s per GiB, {:>7.3} CPU-s per 1,000 calls, {:>6.0} MiB/s",
            spent.cpu.as_secs_f64() / gib,
            spent.cpu.as_secs_f64() / (calls as f64 / 1_000.0),
            gib * 1_024.0 / spent.wall.as_secs_f64(),
        );
    }
    Ok(())
}
