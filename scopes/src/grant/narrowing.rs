//! `child ⊆ parent`: what is handed on is never more than what was given.
//!
//! It compares what stands in the clear. Of a prefix that is only whether there is one; who opens the sealed parts compares them
//! ([`crate::registry::Granted::open`]).
//!
//! Invariant: whatever a set of [`Rights`] that fits another allows, the other allows too.

use super::{Budget, Commitment};
use crate::ids::ScopeId;
use crate::operation::{Operation, OperationSet};

/// What one version of a grant gives; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What may be done.
    pub operations: OperationSet,
    /// Where: ascending, each once.
    pub scopes: Box<[ScopeId]>,
    /// The first instant inside, in milliseconds since 1970, UTC.
    pub not_before_ms: u64,
    /// The first instant after the end, in milliseconds since 1970, UTC.
    pub expires_ms: u64,
    /// How much.
    pub budget: Budget,
    /// How often it may be handed on.
    pub depth_left: u8,
    /// Whether object keys have to begin with something.
    pub prefix: Option<Commitment>,
}

/// In what a child asks for more than its parent gives.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Limit {
    /// An operation that the parent does not allow.
    #[error("operations")]
    Operations,
    /// A scope that the parent does not reach.
    #[error("scopes")]
    Scopes,
    /// It begins before the parent.
    #[error("not_before")]
    NotBefore,
    /// It ends after the parent.
    #[error("expires_at")]
    Expires,
    /// A version of it may end after every version of the parent.
    #[error("ends_by")]
    EndsBy,
    /// It may use more bytes.
    #[error("the budget of bytes")]
    Bytes,
    /// It may make more requests.
    #[error("the budget of requests")]
    Requests,
    /// The parent may not be handed on, or not so often.
    #[error("depth_left")]
    Depth,
    /// It has no prefix, or one that does not begin with the parent's.
    #[error("the prefix")]
    Prefix,
    /// It is of another vault than the parent.
    #[error("the vault")]
    Vault,
    /// Its issuer is not the parent's agent.
    #[error("the issuer")]
    Issuer,
}

impl Rights {
    /// Whether this operation in this scope is among them, at any time.
    #[must_use]
    pub fn reach(&self, operation: Operation, scope: ScopeId) -> bool {
        self.operations.contains(operation) && self.scopes.binary_search(&scope).is_ok()
    }

    /// Whether everything here is within `parent`, and `parent` may be handed on this often.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    pub fn fit(&self, parent: &Self) -> Result<(), Limit> {
        let within = |child: Option<u64>, parent: Option<u64>| match (child, parent) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(child), Some(parent)) => child <= parent,
        };
        let all_operations = self
            .operations
            .iter()
            .all(|operation| parent.operations.contains(operation));
        let all_scopes = self
            .scopes
            .iter()
            .all(|scope| parent.scopes.binary_search(scope).is_ok());
        let limits = [
            (Limit::Operations, all_operations),
            (Limit::Scopes, all_scopes),
            (Limit::NotBefore, self.not_before_ms >= parent.not_before_ms),
            (Limit::Expires, self.expires_ms <= parent.expires_ms),
            (Limit::Bytes, within(self.budget.bytes, parent.budget.bytes)),
            (
                Limit::Requests,
                within(self.budget.requests, parent.budget.requests),
            ),
            (Limit::Prefix, self.prefix.is_some() || parent.prefix.is_none()),
            (Limit::Depth, self.depth_left < parent.depth_left),
        ];
        match limits.iter().find(|(_, holds)| !holds) {
            Some((limit, _)) => Err(*limit),
            None => Ok(()),
        }
    }
}
