//! The ways between gateways and storage peers, and what goes wrong on them: loss, delay, order, requests that come twice, cut ways, and
//! peers that lie.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use net::peer::message::{decode_answer, decode_call, encode_answer, encode_call};
use net::peer::{Answer, Call, CallError, PeerId, Refusal, Reply, Request, Service, Transport};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::world::{Conduct, End, World};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The calls of one start of a gateway or a peer.
pub struct Wire {
    pub world: Arc<World>,
    pub caller: End,
    pub life: u64,
}

/// A call that nobody waits for any more is given up at the other end, if that hears of it.
struct UnderWay(AbortHandle, bool);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.1 {
            self.0.abort();
        }
    }
}

/// A request in short.
fn kind(request: &Request) -> &'static str {
    match request {
        Request::Drives => "drives",
        Request::Put { .. } => "put",
        Request::Range { .. } => "range",
        Request::Has { .. } => "has",
        Request::List { .. } => "list",
        Request::Delegate => "delegate",
        Request::Delete => "delete",
        Request::Challenge { .. } => "challenge",
        Request::Headers { .. } => "headers",
        Request::EndLeases { .. } | Request::Leases { .. } => "end leases",
        Request::Scrub { .. } => "scrub",
        Request::Compact { .. } => "compact",
        Request::Trim { .. } => "trim",
        Request::Restore { .. } => "restore",
        Request::Agree => "agree",
        Request::Ledger => "ledger",
    }
}

/// What a peer that behaves so says instead.
fn twist(conduct: Conduct, asked: &Request, mut reply: Reply) -> Reply {
    match (conduct, asked) {
        (Conduct::Altered, Request::Range { .. }) if reply.answer == Answer::Bytes => {
            reply.body = reply.body.iter().map(|byte| byte ^ 1).collect::<Vec<_>>().into();
        }
        (Conduct::Short, Request::Range { .. }) => {
            reply.body = reply.body.slice(..reply.body.len().saturating_sub(1));
        }
        (Conduct::Boaster, Request::Has { keys, .. }) => reply = Answer::Held(vec![true; keys.len()]).into(),
        (Conduct::Boaster, Request::Range { .. }) => reply = Answer::Refused(Refusal::Absent).into(),
        (Conduct::Fencer, Request::Put { .. }) => {
            reply = Answer::Refused(Refusal::LeaseEnded { lowest_live: 9 }).into();
        }
        _ => {}
    }
    reply
}

impl Wire {
    /// Brings a request to a peer and its answer back; none if either got lost.
    async fn deliver(
        world: Arc<World>,
        caller: End,
        number: usize,
        call: Call,
    ) -> Option<Result<Reply, CallError>> {
        let way = (caller, End::Peer(number));
        let peer = world.peer_ids[number];
        tokio::time::sleep(world.delay()?).await;
        if call.request == Request::Ledger && !world.is_calm() && world.random.chance(20) {
            // A process that stood still has it in a buffer, and goes on long after its caller gave up.
            tokio::time::sleep(world.random.ms(1_000, 15_000)).await;
        }
        if !world.comes_through(way) {
            return None;
        }
        let (node, life, conduct) = {
            let peers = world.peers();
            let there = &peers[number];
            (there.node.clone(), there.life, there.conduct)
        };
        let name = kind(&call.request);
        let Some(node) = node else {
            let why = "no process".to_owned();
            return Some(Err(CallError::Unreachable { peer, why }));
        };
        world
            .trace
            .step(name, &[caller.code(), number as u64, call.body.len() as u64]);
        if conduct == Conduct::Slow {
            tokio::time::sleep(world.random.ms(500, 6_000)).await;
        }
        let head = encode_call(&call.context, &call.request);
        let Ok((context, request)) = decode_call(&head, call.body.len()) else {
            world
                .trace
                .wrong(format!("a call does not decode: {:?}", call.request));
            return None;
        };
        let asked = request.clone();
        let body = call.body;
        let answering = Call {
            context,
            request,
            body,
        };
        let reply = twist(conduct, &asked, node.answer(world.id_of(caller), answering).await);
        drop(node);
        let head = encode_answer(&reply.answer);
        tokio::time::sleep(world.delay()?).await;
        // A process that has died says nothing more.
        if world.peers()[number].life != life || world.peers()[number].node.is_none() {
            let why = "the process is gone".to_owned();
            return Some(Err(CallError::Broken { peer, why }));
        }
        if !world.comes_through(way) {
            return None;
        }
        world
            .trace
            .step("answer", &[caller.code(), number as u64, reply.body.len() as u64]);
        let body = reply.body;
        let answer = decode_answer(&head, body.len());
        Some(answer.map(|answer| Reply { answer, body }).map_err(|_| {
            let why = "an answer does not decode".to_owned();
            CallError::Broken { peer, why }
        }))
    }

    async fn carry(&self, peer: PeerId, call: Call) -> Result<Reply, CallError> {
        let world = &self.world;
        let Some(number) = world.peer_ids.iter().position(|known| *known == peer) else {
            return Err(CallError::NoAddress(peer));
        };
        if world.life_of(self.caller) != self.life {
            let why = "the caller is gone".to_owned();
            return Err(CallError::Unreachable { peer, why });
        }
        // What asks the ledger to append is no call that may come twice by itself, and QUIC brings none twice.
        let may_repeat = call.request != Request::Ledger;
        if may_repeat && !world.is_calm() && world.random.chance(10) {
            // The same once more, as a path that repeats packets would have it: whoever answers must not mind.
            let again = Self::deliver(Arc::clone(world), self.caller, number, call.clone());
            let after = world.random.ms(0, 3_000);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                again.await;
            });
        }
        let (sender, answer) = oneshot::channel();
        let delivered = Self::deliver(Arc::clone(world), self.caller, number, call);
        let task = tokio::spawn(async move {
            if let Some(reply) = delivered.await {
                let _ = sender.send(reply);
            }
        });
        let hears = world.random.chance(500);
        let _under_way = UnderWay(task.abort_handle(), hears);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(reply)) => reply,
            // Lost on the way: nobody says so.
            Ok(Err(_)) => {
                tokio::time::sleep(PATIENCE).await;
                Err(CallError::Late { peer, ms: 10_000 })
            }
            Err(_) => Err(CallError::Late { peer, ms: 10_000 }),
        }
    }
}

impl Transport for Wire {
    fn call(&self, peer: PeerId, call: Call) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(self.carry(peer, call))
    }
}

/// What a peer itself says, without any way between.
pub async fn ask_directly(world: &World, number: usize, request: Request, body: Bytes) -> Option<Reply> {
    let node = world.peers()[number].node.clone()?;
    let context = net::peer::Context {
        operation: [0; 16],
        attempt: 0,
        purpose: net::peer::Purpose::Repair,
    };
    let call = Call {
        context,
        request,
        body,
    };
    Some(node.answer(world.gateway_ids[0], call).await)
}
