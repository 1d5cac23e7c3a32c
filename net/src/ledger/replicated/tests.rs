//! Members in one process, each on a simulated disk, behind a transport that can cut them off from each other.

mod candidacy;
mod changes;
mod sharing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::disk::{Disk, SimDisk};
use engine::slots::{Address, Append, EntryKind, Expectation, Outcome, Sequence, Write};
use futures::future::BoxFuture;

use super::super::wire::{ANY_LEDGER, AppendReply, LedgerCall, LedgerRefusal, LedgerReply};
use super::{Member, MemberConfig};
use crate::ledger::{Ledger, LedgerSizes};
use crate::offload::Offload;
use crate::peer::message::{decode_answer, decode_call, encode_answer, encode_call};
use crate::peer::{Answer, Call, CallError, PeerId, PeerKey, Reply, Request, Transport};

static IDS: AtomicU64 = AtomicU64::new(1);

pub(in crate::ledger) fn peer(number: usize) -> PeerId {
    PeerKey::from_seed(&[number as u8 + 1; 32]).id()
}

/// The way between all of them.
#[derive(Default)]
pub(in crate::ledger) struct Wire {
    pub(in crate::ledger) members: Mutex<BTreeMap<PeerId, Arc<Member>>>,
    /// Those that nobody reaches and that reach nobody.
    away: Mutex<BTreeSet<PeerId>>,
    /// Pairs that do not reach each other.
    apart: Mutex<BTreeSet<(PeerId, PeerId)>>,
    /// Words between members so far.
    words: AtomicU64,
    /// Calls with several appends so far.
    pub(in crate::ledger) calls_of_several: AtomicU64,
}

/// One peer's end of the wire.
pub(in crate::ledger) struct End {
    pub(in crate::ledger) wire: Arc<Wire>,
    pub(in crate::ledger) own: PeerId,
}

impl Wire {
    pub(in crate::ledger) fn cut_off(&self, number: usize, away: bool) {
        let mut cut = self.away.lock().unwrap();
        if away {
            cut.insert(peer(number));
        } else {
            cut.remove(&peer(number));
        }
    }

    /// Takes the way between two away.
    fn set_apart(&self, one: usize, other: usize) {
        let mut apart = self.apart.lock().unwrap();
        apart.extend([(peer(one), peer(other)), (peer(other), peer(one))]);
    }

    async fn carry(&self, from: PeerId, to: PeerId, call: Call) -> Result<Reply, CallError> {
        let reachable = |wire: &Self| {
            let away = wire.away.lock().unwrap();
            let apart = wire.apart.lock().unwrap();
            !away.contains(&from) && !away.contains(&to) && !apart.contains(&(from, to))
        };
        let member = self.members.lock().unwrap().get(&to).cloned();
        let (true, Some(member)) = (reachable(self), member) else {
            let why = "cut off".to_owned();
            return Err(CallError::Unreachable { peer: to, why });
        };
        let head = encode_call(&call.context, &call.request);
        let (_, request) = decode_call(&head, call.body.len()).unwrap();
        let body = match request {
            Request::Agree => {
                self.words.fetch_add(1, Ordering::Relaxed);
                member.answer_member(from, &call.body).await.unwrap()
            }
            Request::Ledger => {
                let (of, asked) = LedgerCall::decode(&call.body).unwrap();
                if matches!(&asked, LedgerCall::Append { appends, .. } if appends.len() > 1) {
                    self.calls_of_several.fetch_add(1, Ordering::Relaxed);
                }
                member.answer(from, &of, asked).await.encode()
            }
            other => panic!("{other:?} is not for a ledger"),
        };
        if !reachable(self) {
            let why = "cut off meanwhile".to_owned();
            return Err(CallError::Broken { peer: to, why });
        }
        let answer = encode_answer(&Answer::Bytes);
        let body = Bytes::from(body);
        let answer = decode_answer(&answer, body.len()).unwrap();
        Ok(Reply { answer, body })
    }
}

impl Transport for End {
    fn call(&self, to: PeerId, call: Call) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(self.wire.carry(self.own, to, call))
    }
}

pub(in crate::ledger) struct Rig {
    pub(in crate::ledger) wire: Arc<Wire>,
    disks: Vec<SimDisk>,
}

pub(in crate::ledger) const LINEAGE: [u8; 16] = [7; 16];

impl Rig {
    /// Members that belong to nothing yet.
    pub(in crate::ledger) async fn new(members: usize) -> Self {
        let wire = Arc::new(Wire::default());
        let disks: Vec<SimDisk> = (0..members)
            .map(|number| SimDisk::unrecorded(number as u64))
            .collect();
        let rig = Self { wire, disks };
        for number in 0..members {
            rig.start(number).await;
        }
        rig
    }

    /// A ledger of all of them.
    pub(in crate::ledger) async fn begun(members: usize) -> Self {
        let rig = Self::new(members).await;
        let begin = LedgerCall::Begin {
            lineage: LINEAGE,
            after: Sequence(0),
        };
        assert_eq!(
            rig.member(0).answer(peer(0), &ANY_LEDGER, begin).await,
            LedgerReply::Done
        );
        let all = LedgerCall::SetMembers((0..members).map(peer).collect());
        assert_eq!(rig.ask(all).await, LedgerReply::Done);
        rig
    }

    pub(in crate::ledger) async fn start(&self, number: usize) {
        let disk: Arc<dyn Disk> = Arc::new(self.disks[number].clone());
        let config = MemberConfig {
            dir: PathBuf::from("/ledger"),
            peer: peer(number),
            transport: Arc::new(End {
                wire: Arc::clone(&self.wire),
                own: peer(number),
            }),
            fresh_log_id: Arc::new(|| IDS.fetch_add(1, Ordering::Relaxed)),
            offload: Offload::default(),
            heartbeat: Duration::from_millis(60),
            sizes: LedgerSizes::usual(),
        };
        let member = Member::open(disk, config).await.unwrap();
        self.wire.members.lock().unwrap().insert(peer(number), member);
    }

    pub(in crate::ledger) async fn stop(&self, number: usize) {
        let member = self.wire.members.lock().unwrap().remove(&peer(number)).unwrap();
        member.close().await;
    }

    pub(in crate::ledger) fn member(&self, number: usize) -> Arc<Member> {
        Arc::clone(&self.wire.members.lock().unwrap()[&peer(number)])
    }

    fn running(&self) -> Vec<Arc<Member>> {
        let away = self.wire.away.lock().unwrap().clone();
        let members = self.wire.members.lock().unwrap();
        let running = members.iter().filter(|(peer, _)| !away.contains(peer));
        running.map(|(_, member)| Arc::clone(member)).collect()
    }

    fn running_in_order(&self) -> Vec<Arc<Member>> {
        let members = self.wire.members.lock().unwrap();
        let away = self.wire.away.lock().unwrap();
        let numbers = 0..self.disks.len();
        let running = numbers.filter(|number| !away.contains(&peer(*number)));
        running
            .filter_map(|number| members.get(&peer(number)).cloned())
            .collect()
    }

    /// Asks whoever leads, until one does.
    pub(in crate::ledger) async fn ask(&self, call: LedgerCall) -> LedgerReply {
        let asking = async {
            loop {
                for member in self.running() {
                    match member.answer(peer(50), &ANY_LEDGER, call.clone()).await {
                        LedgerReply::Refused(LedgerRefusal::NotLeader { .. } | LedgerRefusal::Busy) => {}
                        reply => return reply,
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking)
            .await
            .expect("nobody leads")
    }

    async fn append(&self, append: Append) -> Outcome {
        let call = LedgerCall::Append {
            urgent: false,
            appends: vec![append],
        };
        match self.ask(call).await {
            LedgerReply::Outcomes(mut outcomes) => match outcomes.pop() {
                Some(AppendReply::Decided(outcome)) => outcome,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn lease(&self) -> u64 {
        let call = LedgerCall::TakeLease {
            holder: "test".to_owned(),
            now_ms: 5,
            above: 0,
        };
        match self.ask(call).await {
            LedgerReply::Lease { number, .. } => number,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until every running member has applied the same, and returns it.
    async fn settled(&self) -> Vec<(Address, Sequence, Bytes)> {
        self.settled_of(usize::MAX).await
    }

    /// The same for the first few.
    async fn settled_of(&self, first: usize) -> Vec<(Address, Sequence, Bytes)> {
        let waiting = async {
            loop {
                let LedgerReply::Index { sequence, .. } = self.ask(LedgerCall::ReadIndex).await else {
                    continue;
                };
                let mut members = self.running_in_order();
                members.truncate(first);
                if members.iter().all(|member| member.copy().position() == sequence) {
                    return (members, sequence);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (members, _) = tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("not settled");
        let mut states = Vec::new();
        for member in members {
            let mut snapshot = member.copy().snapshot().await.unwrap();
            let mut state = Vec::new();
            loop {
                let page = snapshot.next(1_000).await.unwrap();
                if page.is_empty() {
                    break;
                }
                state.extend(
                    page.into_iter()
                        .map(|entry| (entry.address, entry.sequence, entry.value)),
                );
            }
            state.sort();
            states.push(state);
        }
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "copies differ");
        states.pop().unwrap()
    }
}

pub(in crate::ledger) fn address(slot: u8) -> Address {
    Address {
        scope: [1; 16],
        kind: EntryKind::ObjectCurrent,
        slot: [slot; 16],
    }
}

pub(in crate::ledger) fn put(lease: u64, operation: u64, slot: u8, value: &[u8]) -> Append {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&operation.to_le_bytes());
    Append {
        operation: id,
        lease,
        vault: [2; 16],
        expectations: Vec::new(),
        writes: vec![Write {
            address: address(slot),
            value: Some(Bytes::copy_from_slice(value)),
        }],
        record: None,
    }
}

pub(in crate::ledger) fn swap(append: Append, expected: Expectation) -> Append {
    Append {
        expectations: vec![expected],
        ..append
    }
}
