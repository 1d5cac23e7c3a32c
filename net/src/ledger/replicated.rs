//! The ledger of several machines: openraft among the members, each with a log of what they agree on and a copy of the slots.
//!
//! It is the one module that names openraft. The leader alone decides appends, on its own copy and what it has decided since;
//! what members agree on are the appends decided, so that applying them is the same everywhere. Whatever is not a member
//! follows the members (`super::followed`).
//!
//! Invariants: an append is answered for only once a majority of the members holds it durably; an entry takes effect only in the
//! leader's term in which it was decided, right after what it was decided on.

mod agreement;
mod aside;
mod candidacy;
mod chance;
mod codec;
mod leading;
mod machine;
mod member;
mod membership;
mod network;
mod propose;
mod raft;
mod receive;
mod sending;
mod sharing;
#[cfg(test)]
pub(in crate::ledger) mod tests;
mod upkeep;

pub use agreement::AgreementOpenError;
pub use member::{Member, MemberConfig, MemberOpenError};
