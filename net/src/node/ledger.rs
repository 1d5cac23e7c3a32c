//! What a node has to do with the ledger: it is asked as a member if it is one, and it asks the members every few seconds who the
//! peers are, by which it also knows that it is not cut off.
//!
//! Invariant: members alone speak as members and gateways alone write; a peer may say of itself where it is, and no more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::directory::Directory;
use crate::cluster::Standing;
use crate::ledger::wire::{LedgerCall, LedgerRefusal, LedgerReply};
use crate::ledger::{AskError, Lineage, Member, ask};
use crate::membership::{PeerEntry, Role};
use crate::peer::{Answer, Call, PeerId, Refusal, Reply, Request, Transport};

/// How often the members are asked who the peers are.
const EVERY: Duration = Duration::from_secs(2);
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a node needs for the ledger.
pub struct NodeLedger {
    /// Its part in the agreement: a member of nothing until it is made one.
    pub member: Arc<Member>,
    /// Whom it knows.
    pub directory: Arc<Directory>,
    /// The way to the other peers.
    pub transport: Arc<dyn Transport>,
    /// What it says of itself.
    pub own: PeerEntry,
}

impl std::fmt::Debug for NodeLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeLedger({})", self.own.peer)
    }
}

impl NodeLedger {
    /// Begins to ask the members. Ends when it is dropped.
    pub fn start(
        member: Arc<Member>,
        directory: Arc<Directory>,
        transport: Arc<dyn Transport>,
        own: PeerEntry,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            member,
            directory,
            transport,
            own,
        });
        tokio::spawn(keep_asking(Arc::downgrade(&this)));
        this
    }

    /// Answers what is asked of the ledger; `None` for everything else.
    pub(super) async fn answer(&self, caller: PeerId, call: &Call) -> Option<Result<Reply, Refusal>> {
        let body = match call.request {
            Request::Agree if self.directory.is_node(&caller) => self
                .member
                .answer_member(caller, &call.body)
                .await
                .ok_or(Refusal::Malformed),
            Request::Agree => Err(Refusal::NotAllowed),
            Request::Ledger => match LedgerCall::decode(&call.body) {
                Ok((of, asked)) => Ok(self.answer_ledger(caller, &of, asked).await.encode()),
                Err(_) => Err(Refusal::Malformed),
            },
            _ => return None,
        };
        Some(body.map(|body| Reply {
            answer: Answer::Bytes,
            body: Bytes::from(body),
        }))
    }

    async fn answer_ledger(&self, caller: PeerId, of: &Lineage, call: LedgerCall) -> LedgerReply {
        let (gateway, node) = (
            self.directory.is_gateway(&caller),
            self.directory.is_node(&caller),
        );
        let may = match &call {
            LedgerCall::Join(entry) => entry.peer == caller,
            LedgerCall::ReadIndex
            | LedgerCall::Peers
            | LedgerCall::Members { .. }
            | LedgerCall::OpenTransfer
            | LedgerCall::TransferPage { .. } => gateway || node,
            _ => gateway,
        };
        if !may {
            return LedgerReply::Refused(LedgerRefusal::NotAllowed);
        }
        match call {
            LedgerCall::Introduce(peers) => {
                self.directory.introduce(peers);
                LedgerReply::Done
            }
            LedgerCall::Join(entry) => self.joins(of, *entry).await,
            LedgerCall::Describe => LedgerReply::Peers(vec![self.own.clone()]),
            // A second one beside the first would be another truth.
            LedgerCall::Begin { .. } if self.directory.has_ledger() => {
                LedgerReply::Refused(LedgerRefusal::Begun)
            }
            call => self.member.answer(caller, of, call).await,
        }
    }

    /// A peer says where it is now, and which drives it has.
    async fn joins(&self, of: &Lineage, said: PeerEntry) -> LedgerReply {
        let known = match self.member.known_peers().await {
            Ok(known) => known,
            Err(refusal) => return LedgerReply::Refused(refusal),
        };
        let Some(known) = known.iter().find(|known| known.peer == said.peer) else {
            return LedgerReply::Refused(LedgerRefusal::NotAllowed);
        };
        let now = PeerEntry {
            addresses: said.addresses,
            drives: match known.drives.is_empty() {
                // Which it has is settled when it first says so: packs lie on them.
                true => said.drives,
                false => known.drives.clone(),
            },
            ..known.clone()
        };
        if now == *known {
            return LedgerReply::Done;
        }
        let call = LedgerCall::SetPeer(Box::new(now));
        self.member.answer(self.own.peer, of, call).await
    }

    /// Asks who the peers are, and says where this one is if the ledger has it elsewhere. Whether somebody answered.
    async fn look(&self, turn: usize) -> bool {
        let nodes: Vec<PeerId> = {
            let peers = self.directory.peers();
            let nodes = peers
                .iter()
                .filter(|peer| peer.role == Role::Node && peer.standing != Standing::Gone);
            nodes.map(|peer| peer.peer).collect()
        };
        let mut asked = nodes.get(turn % nodes.len().max(1)).copied();
        // Whoever is asked refers to the leader.
        for _ in 0..3 {
            let Some(member) = asked.take() else { return false };
            let sent = Instant::now();
            match self.ask(member, &LedgerCall::Peers).await {
                Ok(LedgerReply::Peers(peers)) => {
                    let own = peers.iter().find(|peer| peer.peer == self.own.peer);
                    let moved =
                        own.is_some_and(|own| own.addresses != self.own.addresses || own.drives.is_empty());
                    self.directory.told(peers, sent);
                    if moved {
                        let join = LedgerCall::Join(Box::new(self.own.clone()));
                        // Said again the next time if it was not heard.
                        let _ = self.ask(member, &join).await;
                    }
                    return true;
                }
                Err(AskError::Member(LedgerRefusal::NotLeader { leader })) => asked = leader,
                _ => return false,
            }
        }
        false
    }

    async fn ask(&self, member: PeerId, call: &LedgerCall) -> Result<LedgerReply, AskError> {
        // One that keeps a part of a ledger hears of no other.
        let of = self.member.lineage();
        if member != self.own.peer {
            return ask(&self.transport, member, (&of, call), PATIENCE).await;
        }
        match self.answer_ledger(self.own.peer, &of, call.clone()).await {
            LedgerReply::Refused(refusal) => Err(AskError::Member(refusal)),
            reply => Ok(reply),
        }
    }
}

async fn keep_asking(weak: Weak<NodeLedger>) {
    let mut turn = 0usize;
    loop {
        let Some(this) = weak.upgrade() else { return };
        let mut answered = false;
        for _ in 0..4 {
            answered = this.look(turn).await;
            if answered {
                break;
            }
            turn = turn.wrapping_add(1);
        }
        let wait = match answered {
            true => EVERY,
            false => EVERY / 4,
        };
        let directory = Arc::clone(&this.directory);
        drop(this);
        let _ = tokio::time::timeout(wait, directory.introduced.notified()).await;
    }
}
