//! What an operator carries by hand from one machine to another, so that peers come to know each other: an invitation to a new storage
//! peer, and where a peer answers.
//!
//! Nothing in it is secret: it names keys, and who has them is proven on the wire. Invariant: what parses prints the same.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use net::peer::PeerId;

/// The cluster that a storage peer is to belong to and the gateways that may call it: `CLUSTER@GATEWAY[,GATEWAY...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The cluster.
    pub cluster: [u8; 16],
    /// At least one, at most [`GATEWAYS_MAX`].
    pub gateways: Vec<PeerId>,
}

/// Most gateways of an invitation.
pub const GATEWAYS_MAX: usize = 16;

/// A peer and where it answers: `PEER_ID@ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAt {
    /// The peer.
    pub peer: PeerId,
    /// Its UDP port.
    pub address: SocketAddr,
}

/// What is typed is neither of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntroductionError {
    /// No invitation.
    #[error(
        "an invitation reads CLUSTER@ed25519:…, as `cairn status` and the first start of `cairn gateway` print it"
    )]
    Invitation,
    /// No peer with its address.
    #[error("a peer with its address reads ed25519:…@ADDRESS:PORT, as `cairn node` prints it when it starts")]
    PeerAt,
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", hex::encode(self.cluster))?;
        for (number, gateway) in self.gateways.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{gateway}")?;
        }
        Ok(())
    }
}

impl FromStr for Invitation {
    type Err = IntroductionError;

    fn from_str(text: &str) -> Result<Self, IntroductionError> {
        let refused = IntroductionError::Invitation;
        let (digits, names) = text.split_once('@').ok_or(refused)?;
        let mut cluster = [0; 16];
        hex::decode_to_slice(digits, &mut cluster).map_err(|_| refused)?;
        let gateways = names.split(',').take(GATEWAYS_MAX + 1);
        let gateways: Vec<PeerId> = gateways
            .map(|name| name.parse().map_err(|_| refused))
            .collect::<Result<_, _>>()?;
        let read = Self { cluster, gateways };
        let is_same = read.gateways.len() <= GATEWAYS_MAX && read.to_string() == text;
        is_same.then_some(read).ok_or(refused)
    }
}

impl fmt::Display for PeerAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.peer, self.address)
    }
}

impl FromStr for PeerAt {
    type Err = IntroductionError;

    fn from_str(text: &str) -> Result<Self, IntroductionError> {
        let refused = IntroductionError::PeerAt;
        let (peer, address) = text.split_once('@').ok_or(refused)?;
        Ok(Self {
            peer: peer.parse().map_err(|_| refused)?,
            address: address.parse().map_err(|_| refused)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        net::peer::PeerKey::from_seed(&[seed; 32]).id()
    }

    #[test]
    fn an_invitation_reads_back_and_nothing_else_does() {
        let invitation = Invitation {
            cluster: [0xab; 16],
            gateways: vec![peer(1), peer(2)],
        };
        let text = invitation.to_string();
        assert_eq!(text.parse(), Ok(invitation));
        let upper = text.replace("abab", "ABAB");
        for bad in [
            "",
            "@",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text},"),
            &upper,
        ] {
            assert_eq!(
                bad.parse::<Invitation>(),
                Err(IntroductionError::Invitation),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_peer_with_its_address_reads_back() {
        for address in ["10.0.0.1:7400", "[::1]:7400"] {
            let text = format!("{}@{address}", peer(1));
            assert_eq!(text.parse::<PeerAt>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "ed25519:00@1.2.3.4:5",
            &peer(1).to_string(),
            &format!("{}@host", peer(1)),
        ] {
            assert_eq!(bad.parse::<PeerAt>(), Err(IntroductionError::PeerAt), "{bad}");
        }
    }
}
