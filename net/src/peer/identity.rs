//! Who a peer is: one ed25519 key, for QUIC and for everything that the peer signs.
//!
//! It decides nothing about what a peer may do. Invariant: a [`PeerId`] is a key that [`PublicKey::ed25519`] accepts, so it has
//! one spelling, and the secret of a [`PeerKey`] leaves it only for what signs as this peer, TLS and the peer's log, wiped after use.

use std::fmt;
use std::str::FromStr;

use scopes::{KeyError, PublicKey, Wallet};
use zeroize::Zeroizing;

/// The start of the SubjectPublicKeyInfo of an ed25519 key, before its 32 bytes (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// The start of the PKCS #8 form of an ed25519 secret, before its 32 bytes (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A peer's name: its public key. Text: `ed25519:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId(PublicKey);

impl PeerId {
    /// Checks the 32 bytes of a key.
    ///
    /// # Errors
    /// What [`PublicKey::ed25519`] refuses.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        PublicKey::ed25519(bytes).map(Self)
    }

    /// The key that the peer signs with.
    pub fn public_key(&self) -> &PublicKey {
        &self.0
    }

    /// Reads a SubjectPublicKeyInfo; only an ed25519 key in its one spelling is a peer's.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        let bytes = der.strip_prefix(&SPKI_PREFIX)?;
        Self::from_bytes(bytes.try_into().ok()?).ok()
    }

    /// The SubjectPublicKeyInfo, 44 bytes.
    pub(super) fn spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX, self.0.as_bytes()].concat()
    }
}

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Self)
    }
}

/// A peer's key pair. Shown by nothing.
pub struct PeerKey(Wallet);

impl PeerKey {
    /// The key of 32 secret bytes, which the caller drew from the operating system's randomness.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Wallet::from_seed(seed))
    }

    /// The public half.
    pub fn id(&self) -> PeerId {
        PeerId(self.0.public_key())
    }

    /// The secret, for what else this peer signs.
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.0.seed()
    }

    /// The secret as TLS libraries take it.
    pub(super) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(&*self.0.seed());
        der
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_of_an_ed25519_key_is_a_peers_name() {
        let id = PeerKey::from_seed(&[7; 32]).id();
        let spki = id.spki();
        assert_eq!(PeerId::from_spki(&spki), Some(id));
        assert_eq!(id.to_string().parse(), Ok(id));
        for at in 0..SPKI_PREFIX.len() {
            let mut other = spki.clone();
            other[at] ^= 1;
            assert_eq!(PeerId::from_spki(&other), None, "byte {at}");
        }
        assert_eq!(PeerId::from_spki(&spki[..43]), None);
        assert_eq!(PeerId::from_spki(&[&spki[..], &[0]].concat()), None);
        let all_zero = [&SPKI_PREFIX[..], &[0; 32]].concat();
        assert_eq!(PeerId::from_spki(&all_zero), None, "a key of small order");
    }

    #[test]
    fn what_is_shown_of_a_key_is_its_public_half() {
        let key = PeerKey::from_seed(&[7; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("PeerKey({})", key.id()));
        assert!(!shown.contains("0707"));
    }
}
