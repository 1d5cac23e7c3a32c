//! What shards are read and written for: each call to a peer names it, so that the records of both ends can be joined.
//!
//! It decides nothing and grants nothing. Invariant: what is done for a client's operation goes under that operation's id, and
//! what is done for nobody's under an id that no operation has.

use super::Cluster;
use super::remote::Operations;
use crate::peer::{Context, Purpose};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// The operation, as its record names it; none if each call is one of its own.
    pub operation: Option<[u8; 16]>,
    /// Which attempt at it, from 0.
    pub attempt: u16,
    /// What for.
    pub purpose: Purpose,
}

impl Cause {
    /// The first attempt at an operation.
    pub const fn of(operation: [u8; 16], purpose: Purpose) -> Self {
        Self {
            operation: Some(operation),
            attempt: 0,
            purpose,
        }
    }

    /// What a client's operation reads.
    pub const fn reading(operation: [u8; 16]) -> Self {
        Self::of(operation, Purpose::Read)
    }

    /// What a client's operation writes.
    pub const fn writing(operation: [u8; 16]) -> Self {
        Self::of(operation, Purpose::Write)
    }

    /// What no client asked for: collection, checkpoints of the index, what a start reads.
    pub const fn upkeep() -> Self {
        Self {
            operation: None,
            attempt: 0,
            purpose: Purpose::Collect,
        }
    }

    /// The next attempt at the same.
    #[must_use]
    pub const fn again(self) -> Self {
        Self {
            attempt: self.attempt.saturating_add(1),
            ..self
        }
    }

    /// The same, asked of others because one was too slow. What is done in the background keeps its purpose.
    pub(super) const fn hedged(self) -> Self {
        match self.purpose {
            Purpose::Read => Self {
                purpose: Purpose::Hedge,
                ..self
            },
            _ => self,
        }
    }

    pub(super) fn context(self, operations: &Operations) -> Context {
        Context {
            operation: self.operation.unwrap_or_else(|| operations.next()),
            attempt: self.attempt,
            purpose: self.purpose,
        }
    }
}

impl From<Purpose> for Cause {
    fn from(purpose: Purpose) -> Self {
        Self {
            operation: None,
            attempt: 0,
            purpose,
        }
    }
}

impl Cluster {
    /// The same cluster, whose reads and puts are done for this.
    #[must_use]
    pub fn because(&self, cause: Cause) -> Self {
        Self {
            inner: std::sync::Arc::clone(&self.inner),
            cause: Some(cause),
        }
    }

    /// What this is done for, if nobody said.
    pub(super) fn cause_or(&self, purpose: Purpose) -> Cause {
        self.cause.unwrap_or(purpose.into())
    }
}
