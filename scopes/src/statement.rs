//! Signed statements: canonical JSON behind a domain, and a type that keeps unverified content out of reach.
//!
//! What is signed is `DOMAIN ‖ 00 ‖ canonical JSON of the statement`, so a signature over one kind of statement is
//! never one over another. The envelope that carries it is canonical JSON too:
//!
//! ```json
//! {"domain":"…","signature":{"algorithm":"ed25519","signer":"<hex>","value":"0x<hex>"},"statement":{…}}
//! ```
//!
//! A kind of statement may be [`Statement::FLAT`] instead: its own members and the same `signature` beside them, as the protocol shows its
//! grants. The domain is signed all the same; it is not written.
//!
//! The envelope's signer only says which key to look for. [`Unverified::verify`] takes the key that the caller
//! trusts, uses that key's algorithm, and refuses an envelope that names another. The statement is parsed after its
//! signature was checked, never before. Source: RFC 8785; the receipt shapes of the protocol.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, CanonicalError, hex_exact};
use crate::wallet::{KeyError, PublicKey, Signature, SignatureRefused, Wallet};

/// The longest envelope that is read of most statements, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// Something that a key signs. Its serde form must refuse unknown members (`deny_unknown_fields`).
pub trait Statement: Serialize + DeserializeOwned {
    /// What kind of statement this is; signed with it. Never two types with one domain.
    const DOMAIN: &'static str;

    /// Whether the signature stands among the statement's own members, none of which may be called `signature`.
    const FLAT: bool = false;

    /// The longest envelope that is read, in bytes.
    const BYTES_MAX: usize = STATEMENT_BYTES_MAX;

    /// Rules beyond the shape, checked when it is signed and when it is verified; the error names the member.
    ///
    /// # Errors
    /// The name of the member that breaks a rule.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether the statement says itself who may sign it, and this key is none of them. Checked as [`Self::check`] is.
    fn is_foreign(&self, _signer: &PublicKey) -> bool {
        false
    }
}

/// Why a statement is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StatementError {
    /// Longer than is read.
    #[error("a statement of {bytes} bytes; the limit is {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest of its kind.
        bytes_max: usize,
    },
    /// Not canonical JSON of the envelope or the statement.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A statement of another kind.
    #[error("a statement of another domain than {expected:?}")]
    Domain {
        /// The domain asked for.
        expected: &'static str,
    },
    /// The envelope's signer is no acceptable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature's text is not `0x` and 128 lower-case hex digits.
    #[error("a signature is \"0x\" and 128 lower-case hex digits")]
    SignatureForm,
    /// Signed by another key than the one trusted here.
    #[error("signed by {signer}, not by the key expected")]
    OtherSigner {
        /// The key that the envelope names.
        signer: PublicKey,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureRefused),
    /// Signed, but it breaks a rule of its kind.
    #[error("the statement's {member} is not acceptable")]
    Rule {
        /// The member at fault.
        member: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    domain: String,
    signature: EnvelopeSignature,
    statement: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    algorithm: String,
    signer: String,
    value: String,
}

/// A statement whose signature nobody has checked. Its content cannot be read.
#[derive(Clone, Debug)]
pub struct Unverified<T> {
    canonical: Vec<u8>,
    signer: PublicKey,
    signature: Signature,
    kind: PhantomData<fn() -> T>,
}

impl<T: Statement> Unverified<T> {
    /// Reads an envelope, strictly, without looking into the statement.
    ///
    /// # Errors
    /// Any [`StatementError`] of form; none of the signature, which is not looked at.
    pub fn decode(envelope: &[u8]) -> Result<Self, StatementError> {
        within::<T>(envelope.len())?;
        let (signature, statement) = match T::FLAT {
            true => split(canonical::decode(envelope)?)?,
            false => {
                let envelope: Envelope = canonical::decode(envelope)?;
                if envelope.domain != T::DOMAIN {
                    return Err(StatementError::Domain { expected: T::DOMAIN });
                }
                (envelope.signature, envelope.statement)
            }
        };
        let EnvelopeSignature {
            algorithm,
            signer,
            value,
        } = signature;
        let value = value
            .strip_prefix("0x")
            .and_then(hex_exact)
            .ok_or(StatementError::SignatureForm)?;
        Ok(Self {
            canonical: canonical::encode(&statement)?,
            signer: format!("{algorithm}:{signer}").parse()?,
            signature: Signature(value),
            kind: PhantomData,
        })
    }

    /// The key that the envelope names: a hint for finding the key to trust, and no evidence of anything.
    #[must_use]
    pub const fn claimed_signer(&self) -> &PublicKey {
        &self.signer
    }

    /// Checks it by the key that it names itself, for statements which prove that this key may say so.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_as_claimed(&self) -> Result<Signed<T>, StatementError> {
        self.verify(&self.signer)
    }

    /// Checks the signature by `signer`, the key that the caller trusts, then reads the statement.
    ///
    /// # Errors
    /// Another signer, a signature that does not hold, or a statement of the wrong shape.
    pub fn verify(&self, signer: &PublicKey) -> Result<Signed<T>, StatementError> {
        if self.signer != *signer {
            return Err(StatementError::OtherSigner { signer: self.signer });
        }
        signer.verify(&signing_bytes::<T>(&self.canonical), &self.signature)?;
        let statement: T = canonical::decode(&self.canonical)?;
        acceptable(&statement, signer)?;
        Ok(Signed {
            statement,
            canonical: self.canonical.clone(),
            signer: *signer,
            signature: self.signature,
        })
    }
}

/// A statement that its signer signed: made by signing, or by [`Unverified::verify`]. Not made from bytes.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    statement: T,
    canonical: Vec<u8>,
    signer: PublicKey,
    signature: Signature,
}

impl<T: Statement> Signed<T> {
    /// Signs `statement`.
    ///
    /// # Errors
    /// [`StatementError::Rule`] when the statement breaks a rule of its kind, or is too long.
    pub fn sign(statement: T, wallet: &Wallet) -> Result<Self, StatementError> {
        acceptable(&statement, &wallet.public_key())?;
        let canonical = canonical::encode(&statement)?;
        let signature = wallet.sign(&signing_bytes::<T>(&canonical));
        let signed = Self {
            statement,
            canonical,
            signer: wallet.public_key(),
            signature,
        };
        within::<T>(signed.encode()?.len())?;
        Ok(signed)
    }

    /// What was signed.
    #[must_use]
    pub const fn statement(&self) -> &T {
        &self.statement
    }

    /// Who signed it.
    #[must_use]
    pub const fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// The envelope, which [`Unverified::decode`] reads.
    ///
    /// # Errors
    /// None for a statement that was signed or verified; the encoder's are passed on.
    pub fn encode(&self) -> Result<Vec<u8>, StatementError> {
        let signature = EnvelopeSignature {
            algorithm: self.signer.algorithm().name().to_owned(),
            signer: hex::encode(self.signer.as_bytes()),
            value: format!("0x{}", self.signature),
        };
        let statement = serde_json::from_slice(&self.canonical).map_err(CanonicalError::from)?;
        Ok(match (T::FLAT, statement) {
            (true, Value::Object(mut members)) => {
                let signature = serde_json::to_value(signature).map_err(CanonicalError::from)?;
                members.insert(SIGNATURE.to_owned(), signature);
                canonical::encode(&members)?
            }
            (_, statement) => canonical::encode(&Envelope {
                domain: T::DOMAIN.to_owned(),
                signature,
                statement,
            })?,
        })
    }

    /// The exact bytes that were signed, but for the domain: the canonical JSON of the statement.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }
}

/// What a flat statement's signature is called.
const SIGNATURE: &str = "signature";

/// A flat envelope's signature, and what is left without it.
fn split(envelope: Value) -> Result<(EnvelopeSignature, Value), StatementError> {
    let Value::Object(mut members) = envelope else {
        return Err(CanonicalError::Json { line: 0, column: 0 }.into());
    };
    let signature = members.remove(SIGNATURE).unwrap_or(Value::Null);
    let signature = serde_json::from_value(signature).map_err(CanonicalError::from)?;
    Ok((signature, Value::Object(members)))
}

fn within<T: Statement>(bytes: usize) -> Result<(), StatementError> {
    let bytes_max = T::BYTES_MAX;
    match bytes > bytes_max {
        true => Err(StatementError::TooLong { bytes, bytes_max }),
        false => Ok(()),
    }
}

fn acceptable<T: Statement>(statement: &T, signer: &PublicKey) -> Result<(), StatementError> {
    statement
        .check()
        .map_err(|member| StatementError::Rule { member })?;
    match statement.is_foreign(signer) {
        true => Err(StatementError::Rule { member: SIGNATURE }),
        false => Ok(()),
    }
}

/// `DOMAIN ‖ 00 ‖ canonical bytes`. A domain holds no zero byte, so the border is unambiguous.
fn signing_bytes<T: Statement>(canonical: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(T::DOMAIN.len() + 1 + canonical.len());
    bytes.extend_from_slice(T::DOMAIN.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(canonical);
    bytes
}
