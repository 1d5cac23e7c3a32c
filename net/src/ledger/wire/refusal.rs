//! Why a member of the ledger did not do what it was asked (FORMAT.md section 10).
//!
//! Invariant: one refusal has one form.

use engine::codec::{DecodeError, Reader, Writer};

use super::{bad, put_peer, read_peer};
use crate::peer::PeerId;

/// Why a member did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerRefusal {
    /// Another member leads, or none does. What was asked may be done all the same.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, as far as this member knows.
        leader: Option<PeerId>,
    },
    /// The caller may not ask this.
    #[error("the caller may not ask this")]
    NotAllowed,
    /// There is no ledger here.
    #[error("this peer is no member of a ledger")]
    NoLedger,
    /// There is a ledger already.
    #[error("there is a ledger here already")]
    Begun,
    /// No such transfer, or not this page.
    #[error("there is no such transfer")]
    NoTransfer,
    /// Too much to do.
    #[error("the member has too much to do")]
    Busy,
    /// Its disk is full.
    #[error("the member's disk is full")]
    Full,
    /// It failed and will not answer before it was started again.
    #[error("the member has failed")]
    Failed,
    /// The call does not read.
    #[error("the call does not read")]
    Malformed,
    /// As many leases live as may live at one time.
    #[error("as many leases live as may live at one time")]
    TooManyLeases,
    /// The peer keeps another ledger than the caller asks: one that was given up, or the caller's was.
    #[error("the peer keeps another ledger")]
    OtherLedger,
}

impl LedgerRefusal {
    /// Those without content, in the order of their numbers from 2.
    const PLAIN: [Self; 10] = [
        Self::NotAllowed,
        Self::NoLedger,
        Self::Begun,
        Self::NoTransfer,
        Self::Busy,
        Self::Full,
        Self::Failed,
        Self::Malformed,
        Self::TooManyLeases,
        Self::OtherLedger,
    ];

    pub(super) fn encode(&self, writer: &mut Writer) {
        if let Self::NotLeader { leader } = self {
            writer.u8(1);
            writer.option_with(leader.as_ref(), put_peer);
            return;
        }
        let at = Self::PLAIN.iter().position(|plain| plain == self);
        writer.u8(u8::try_from(at.unwrap_or(0) + 2).unwrap_or(u8::MAX));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::NotLeader {
                leader: reader.option_with(read_peer)?,
            }),
            got => {
                let plain = usize::from(got).checked_sub(2).and_then(|at| Self::PLAIN.get(at));
                plain.copied().ok_or(bad("ledger refusal", got.into()))
            }
        }
    }
}
