//! Credentials and signed statements.
//!
//! Source: FORMAT.md sections 4 and 6; RFC 8785 for the canonical JSON.

use scopes::{CollectorDelegation, Credential, DeleteOrder, PublicKey, Statement, Unverified, VaultId};
use vault::credential::{SealedCredential, is_credential};
use vault::keyfile::Keyfile;

use crate::strict;

/// The input as a credential, as a sealed one, as the envelope of each statement, as a public key and as a key file.
pub fn credential(input: &[u8]) -> bool {
    let mut taken = false;
    let encode = |credential: &Credential| credential.encode().unwrap_or_default();
    if let Some(credential) = strict(input, Credential::decode(input), encode) {
        let ends = credential.window.expires_ms.unwrap_or(u64::MAX);
        let status = credential.status_at(ends);
        let open_ended = credential.window.expires_ms.is_none();
        assert!(
            open_ended || status != scopes::CredentialStatus::Live,
            "in force at its own end"
        );
        taken = true;
    }
    if let Some(sealed) = strict(input, SealedCredential::decode(input), SealedCredential::encode) {
        assert!(is_credential(input));
        let opened = sealed.open(VaultId([1; 16]), "AKIDWHICHNOBODYHAS0000000000");
        assert!(
            opened.is_err(),
            "a credential opens with an id that it was not sealed under"
        );
        taken = true;
    }
    taken |= envelope::<CollectorDelegation>(input) | envelope::<DeleteOrder>(input);
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(key) = text.parse::<PublicKey>()
    {
        assert_eq!(key.to_string(), text, "a public key has two spellings");
        taken = true;
    }
    // A plain key file only: the other form spends as much memory and time as its header asks for, which is Argon2's
    // purpose.
    if let Ok(keyfile) = Keyfile::open(input, None) {
        assert!(
            keyfile.encode().as_slice() == input,
            "a key file has two encodings"
        );
        taken = true;
    }
    taken
}

/// What the named signer's key verifies encodes to the same envelope; no other key verifies it.
fn envelope<T: Statement>(input: &[u8]) -> bool {
    let Ok(unverified) = Unverified::<T>::decode(input) else {
        return false;
    };
    let signed = unverified.verify(unverified.claimed_signer());
    let encode = |signed: &scopes::Signed<T>| signed.encode().unwrap_or_default();
    let taken = strict(input, signed, encode).is_some();
    let other = scopes::Wallet::from_seed(&[0x77; 32]).public_key();
    assert!(other == *unverified.claimed_signer() || unverified.verify(&other).is_err());
    taken
}
