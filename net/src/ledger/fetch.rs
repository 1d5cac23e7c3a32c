//! Asking a member of the ledger, and taking a whole copy from one.
//!
//! It knows no leader and tries nobody twice; who is asked, and again, is for the caller. Invariant: a copy is handed on only with
//! every page of it.

use std::sync::Arc;
use std::time::Duration;

use super::LedgerError;
use super::frames::Lineage;
use super::replica::Replica;
use super::transfer::Incoming;
use super::wire::{LedgerCall, LedgerRefusal, LedgerReply};
use crate::peer::message::{Answer, Request};
use crate::peer::{Call, CallError, PeerId, Refusal, Transport};

/// How long one question may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a member's answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0} did not answer in time")]
    Late(PeerId),
    #[error("the peer refuses: {0}")]
    Peer(Refusal),
    #[error("the member refuses: {0}")]
    Member(LedgerRefusal),
    #[error("its answer makes no sense")]
    Nonsense,
    #[error(transparent)]
    Own(#[from] LedgerError),
}

/// Asks one member, of the ledger `of` or of [`ANY_LEDGER`](super::wire::ANY_LEDGER).
pub(crate) async fn ask(
    transport: &Arc<dyn Transport>,
    member: PeerId,
    (of, call): (&Lineage, &LedgerCall),
    patience: Duration,
) -> Result<LedgerReply, AskError> {
    let call = Call::of_ledger(Request::Ledger, call.encode(of));
    let calling = transport.call(member, call);
    let reply = tokio::time::timeout(patience, calling)
        .await
        .map_err(|_| AskError::Late(member))??;
    match reply.answer {
        Answer::Bytes => match LedgerReply::decode(&reply.body) {
            Ok(LedgerReply::Refused(refusal)) => Err(AskError::Member(refusal)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(AskError::Nonsense),
        },
        Answer::Refused(refusal) => Err(AskError::Peer(refusal)),
        _ => Err(AskError::Nonsense),
    }
}

/// Takes a whole copy from a member.
pub(super) async fn fetch(
    transport: &Arc<dyn Transport>,
    member: PeerId,
    replica: &Arc<Replica>,
) -> Result<Incoming, AskError> {
    let of = replica.pinned();
    let opened = ask(transport, member, (&of, &LedgerCall::OpenTransfer), PAGE_PATIENCE).await?;
    let LedgerReply::Transfer(transfer) = opened else {
        return Err(AskError::Nonsense);
    };
    let this = Arc::clone(replica);
    let mut incoming = replica.blocking(move || this.receive()).await?;
    let mut page = 0;
    loop {
        let call = LedgerCall::TransferPage { transfer, page };
        let LedgerReply::Page(frames) = ask(transport, member, (&of, &call), PAGE_PATIENCE).await? else {
            return Err(AskError::Nonsense);
        };
        if frames.0.is_empty() {
            return Ok(incoming);
        }
        let writing = replica.blocking(move || {
            incoming.write(&frames.0)?;
            Ok(incoming)
        });
        incoming = writing.await?;
        page = page.checked_add(1).ok_or(AskError::Nonsense)?;
    }
}
