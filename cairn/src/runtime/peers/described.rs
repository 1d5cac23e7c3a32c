//! What storage peers say of themselves, each asked for itself, whatever the ledger does.
//!
//! It changes nothing. Invariant: one that is asked is waited for no longer than a call may take.

use std::collections::BTreeSet;

use net::ledger::wire::{ANY_LEDGER, LedgerCall, LedgerRefusal, LedgerReply};
use net::membership::PeerEntry;
use net::peer::{Call, PeerId, Request};

use super::super::RuntimeError;
use super::PeerNodes;
use super::membership::present;
use super::settle::{CALL_WAIT, ask_ledger, ids};

/// The first one that answers.
pub(in crate::runtime) async fn first_to_answer(peers: &PeerNodes) -> Option<PeerId> {
    for peer in ids(peers) {
        if describe(peers, peer).await.is_ok() {
            return Some(peer);
        }
    }
    None
}

/// What a peer says of itself.
pub(crate) async fn describe(peers: &PeerNodes, peer: PeerId) -> Result<PeerEntry, RuntimeError> {
    let address = peers.addresses.of(&peer).map(|address| address.to_string());
    let refused = |why: &str| RuntimeError::PeerAway {
        peer,
        own: peers.own,
        address: address.clone().unwrap_or_default(),
        why: why.to_owned(),
    };
    let transport = peers.transport();
    let calling = transport.call(
        peer,
        Call::of_ledger(Request::Ledger, LedgerCall::Describe.encode(&ANY_LEDGER)),
    );
    let reply = match tokio::time::timeout(CALL_WAIT, calling).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err(refused(&error.to_string())),
        Err(_) => return Err(refused("it does not answer in time")),
    };
    match LedgerReply::decode(&reply.body) {
        Ok(LedgerReply::Peers(said)) => {
            let own = said
                .into_iter()
                .find(|entry| entry.peer == peer && !entry.drives.is_empty());
            own.ok_or_else(|| refused("it has no drives"))
        }
        Ok(LedgerReply::Refused(LedgerRefusal::NotAllowed)) => {
            Err(refused("it was not invited by this gateway"))
        }
        _ => Err(refused("its answer does not read")),
    }
}

/// Those that answer now.
pub(super) async fn answering(peers: &PeerNodes) -> BTreeSet<PeerId> {
    let nodes: Vec<PeerId> = present(&peers.known()).map(|entry| entry.peer).collect();
    let asked = nodes.into_iter().map(|peer| async move {
        let reply = ask_ledger(peers, peer, &LedgerCall::Describe).await;
        reply.map(|_| peer)
    });
    futures::future::join_all(asked)
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// Which of them do not answer this gateway, where, and why.
pub(super) async fn why_silent(peers: &PeerNodes) -> String {
    let asked = ids(peers).into_iter().map(|peer| describe(peers, peer));
    let mut silent = Vec::new();
    for (peer, said) in ids(peers).into_iter().zip(futures::future::join_all(asked).await) {
        if let Err(RuntimeError::PeerAway { address, why, .. }) = said {
            silent.push(format!("{peer} at {address}: {why}"));
        }
    }
    match silent.is_empty() {
        true => "all storage peers answer".to_owned(),
        false => silent.join("; "),
    }
}
