//! Which scope a pack is of, by what the headers of its shards say: it is in no hash.
//!
//! Invariant: of peers two have to agree, unless only one says anything; a drive of this machine is believed.

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct ScopeVotes {
    said: Vec<[u8; 16]>,
    settled: Option<[u8; 16]>,
}

impl ScopeVotes {
    /// Takes what a header says, of a drive of this machine or of a peer.
    pub(super) fn add(&mut self, scope: [u8; 16], local: bool) {
        if self.settled.is_none() && (local || self.said.contains(&scope)) {
            self.settled = Some(scope);
        }
        self.said.push(scope);
    }

    /// The scope, once no more headers are needed.
    pub(super) fn settled(&self) -> Option<[u8; 16]> {
        self.settled
    }

    /// The scope when there are no more headers.
    pub(super) fn outcome(&self) -> Option<[u8; 16]> {
        match self.said.as_slice() {
            [only] => Some(*only),
            _ => self.settled,
        }
    }
}
