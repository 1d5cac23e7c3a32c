//! Two peers on loopback, and what one of them can do to the other.

mod calls;
mod hostile;
mod messages;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::drive::ShardKey;
use engine::pack::PackId;
use futures::future::BoxFuture;

use super::quic::{Addresses, Quic, QuicConfig};
use super::{Answer, Call, Context, OnSent, PeerId, PeerKey, Purpose, Reply, Request, Service};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A range so long that few shards have it.
const LONG: u32 = (2 << 20) - 7;

/// Who is where.
type Book = Arc<Mutex<HashMap<PeerId, SocketAddr>>>;

fn addresses(book: &Book) -> Addresses {
    let book = Arc::clone(book);
    Arc::new(move |peer| book.lock().unwrap().get(peer).copied())
}

fn config() -> QuicConfig {
    QuicConfig {
        call_patience: Duration::from_secs(20),
        ..QuicConfig::new(ANY)
    }
}

/// A peer that answers, and what it saw.
struct Peer {
    quic: Arc<Quic>,
    desk: Arc<Desk>,
    served: tokio::task::JoinHandle<()>,
}

impl Peer {
    fn start(seed: u8, book: &Book, config: QuicConfig) -> Self {
        let key = PeerKey::from_seed(&[seed; 32]);
        let quic = Arc::new(Quic::open(&key, config, addresses(book)).unwrap());
        book.lock()
            .unwrap()
            .insert(quic.id(), quic.local_address().unwrap());
        let desk = Arc::new(Desk {
            open: AtomicBool::new(true),
            ..Desk::default()
        });
        let (serving, service) = (Arc::clone(&quic), Arc::clone(&desk));
        let served = tokio::spawn(async move { serving.serve(service).await });
        Self { quic, desk, served }
    }

    async fn stop(self) {
        self.quic.close().await;
        self.served.await.unwrap();
    }
}

/// Answers a range with as many bytes of its offset's lowest byte; a body with its bytes; a list never.
#[derive(Default)]
struct Desk {
    open: AtomicBool,
    calls: AtomicUsize,
    last: Mutex<Option<(PeerId, Call)>>,
    /// How much of its answers' bodies was handed over, one after another.
    sent: Arc<Mutex<Vec<u64>>>,
}

impl Service for Desk {
    fn admits(&self, _caller: &PeerId) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn answer(&self, caller: PeerId, call: Call) -> BoxFuture<'_, Reply> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = Some((caller, call.clone()));
        Box::pin(async move {
            match call.request {
                Request::Range { offset, bytes, .. } => Reply {
                    answer: Answer::Bytes,
                    body: Bytes::from(vec![offset as u8; bytes as usize]),
                },
                Request::Delete => Reply {
                    answer: Answer::Bytes,
                    body: call.body,
                },
                Request::List { .. } => std::future::pending().await,
                _ => Answer::Done.into(),
            }
        })
    }

    fn answer_to_send(&self, caller: PeerId, call: Call) -> BoxFuture<'_, (Reply, Option<OnSent>)> {
        let sent = Arc::clone(&self.sent);
        Box::pin(async move {
            let reply = self.answer(caller, call).await;
            let on_sent: OnSent = Box::new(move |bytes| sent.lock().unwrap().push(bytes));
            (reply, Some(on_sent))
        })
    }
}

fn call(request: Request) -> Call {
    Call {
        context: Context {
            operation: [9; 16],
            attempt: 2,
            purpose: Purpose::Read,
        },
        request,
        body: Bytes::new(),
    }
}

fn range(offset: u32, bytes: u32) -> Call {
    call(Request::Range {
        drive: [1; 16],
        key: key(),
        offset,
        bytes,
    })
}

fn never() -> Call {
    call(Request::List {
        drive: [1; 16],
        vault: [2; 16],
        after: None,
        max: 1,
    })
}

fn key() -> ShardKey {
    ShardKey {
        pack: PackId([3; 32]),
        index: 4,
    }
}
