//! Which words between members are sent, and which can wait for the next one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::disk::SimDisk;
use futures::future::BoxFuture;
use openraft::{CommittedLeaderId, EntryPayload};

use super::*;
use crate::ledger::LedgerSizes;
use crate::offload::Offload;
use crate::peer::{CallError, PeerKey, Reply};

const HEARTBEAT: Duration = Duration::from_millis(250);

/// A member that takes everything.
#[derive(Default)]
struct Willing(AtomicU64);

impl Transport for Willing {
    fn call(&self, _: PeerId, _: Call) -> BoxFuture<'_, Result<Reply, CallError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let body = TellReply::Entries(AppendEntriesResponse::Success).encode().into();
        Box::pin(std::future::ready(Ok(Reply {
            answer: Answer::Bytes,
            body,
        })))
    }
}

struct Told {
    willing: Arc<Willing>,
    network: Network,
}

impl Told {
    fn new() -> Self {
        let willing = Arc::new(Willing::default());
        let disk = Arc::new(SimDisk::unrecorded(1));
        let sizes = LedgerSizes::usual();
        let replica = Replica::open(
            disk,
            Path::new("/copy"),
            Arc::new(|| 7),
            Offload::default(),
            sizes,
        );
        let network = Network {
            transport: Arc::clone(&willing) as Arc<dyn Transport>,
            replica: Arc::new(replica.unwrap()),
        };
        Self { willing, network }
    }

    async fn line(&mut self) -> Line {
        let peer = PeerKey::from_seed(&[3; 32]).id();
        self.network.new_client(1, &Voter(Some(peer))).await
    }

    /// Says that entries up to `prev` are there and gives so many more; whether anything was sent.
    async fn sends(&self, line: &mut Line, term: u64, prev: u64, more: u64) -> bool {
        let before = self.willing.0.load(Ordering::Relaxed);
        let id = |index| LogId::new(CommittedLeaderId::new(term, 9), index);
        let entry = |index| openraft::Entry {
            log_id: id(index),
            payload: EntryPayload::Blank,
        };
        let rpc = AppendEntriesRequest {
            vote: Vote::new_committed(term, 9),
            prev_log_id: Some(id(prev)),
            leader_commit: None,
            entries: (prev + 1..=prev + more).map(entry).collect(),
        };
        let answer = line.append_entries(rpc, RPCOption::new(HEARTBEAT)).await;
        assert!(matches!(answer, Ok(AppendEntriesResponse::Success)), "{answer:?}");
        self.willing.0.load(Ordering::Relaxed) > before
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_without_entries_waits_right_behind_one_that_was_taken_and_is_sent_later() {
    let mut told = Told::new();
    let mut line = told.line().await;
    assert!(told.sends(&mut line, 1, 4, 2).await);
    assert!(!told.sends(&mut line, 1, 6, 0).await);
    assert!(told.sends(&mut line, 1, 6, 1).await, "entries never wait");
    tokio::time::advance(HEARTBEAT / QUIET_PART).await;
    assert!(told.sends(&mut line, 1, 7, 0).await);
    assert!(!told.sends(&mut line, 1, 7, 0).await);
}

#[tokio::test(start_paused = true)]
async fn a_word_is_sent_at_once_that_says_more_than_the_member_has_confirmed() {
    let mut told = Told::new();
    let mut line = told.line().await;
    assert!(told.sends(&mut line, 1, 4, 0).await, "nothing was taken before");
    assert!(
        told.sends(&mut line, 1, 5, 0).await,
        "an entry that it never named"
    );
    assert!(told.sends(&mut line, 2, 5, 0).await, "another leader");
    let mut question = told.line().await;
    assert!(told.sends(&mut question, 2, 5, 0).await, "a line of its own");
}
