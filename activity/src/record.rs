//! The record of one operation: its fields, its one byte form, its signatures and its blinded commitment.
//!
//! The fields are those of the receipt that the protocol shows (`record_id`, `agent`, `vault_scope`, `operation`,
//! `compute`, `result_hash`, `signatures`), plus `grant_id`, `bytes`, `time`, `operation_id`, `attempt`, `purpose`
//! and `status`. Bytes are canonical JSON (RFC 8785). 64-bit integers are decimal strings (`bytes`); `cpu_ms`,
//! `gpu_units` and `attempt` are JSON numbers as in the shape shown, and stay below 2^53. There are no fractions.
//!
//! A record names an operation and a scope, never an object. Whether it is true is for validators; this room says
//! only who signed it and that it was not changed since.

use std::fmt;
use std::str::FromStr;

use memchr::memmem;
use scopes::canonical::{self, CanonicalError, NUMBER_MAX, decimal, hex_exact};
use scopes::{PublicKey, Signature, VaultId, Wallet};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

use crate::timestamp::Timestamp;

/// The longest canonical record, in bytes.
pub const RECORD_BYTES_MAX: usize = 8_192;

/// What a gateway signs of a record stands behind this and a zero byte.
const DOMAIN: &str = "cairn v1 activity record";

/// How a record without signatures says so. It is never the first member.
const NO_SIGNATURES: &[u8] = b",\"signatures\":[]";

/// The longest text field, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The most signatures that a record carries.
const SIGNATURES_MAX: usize = 16;

/// Why bytes are no record, or a record cannot be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Longer than any record.
    #[error("a record of {bytes} bytes; the limit is {RECORD_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not canonical JSON of a record.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A field breaks its rule.
    #[error("the record's {field} is not acceptable")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// A signature that is malformed or does not hold.
    #[error("signature {index} of the record does not verify")]
    Signature {
        /// Its place in the list.
        index: usize,
    },
}

/// Implements serde of a type as its `Display` and `FromStr` text.
macro_rules! as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(D::Error::custom)
            }
        }
    };
}

/// The id of a record: 16 random bytes, in text `dac-` and the hex in groups of 8, 4, 4, 4 and 12.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 16]);

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dac")?;
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 0 | 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let digits = text.strip_prefix("dac-").map(|rest| rest.replace('-', ""));
        let id = digits.and_then(|digits| hex_exact(&digits)).map(Self);
        id.filter(|id| id.to_string() == text)
            .ok_or(RecordError::Field { field: "record_id" })
    }
}

as_text!(RecordId);

/// The id of a client's operation, which its attempts share: 16 random bytes, 32 hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub [u8; 16]);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OperationId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        hex_exact(text).map(Self).ok_or(RecordError::Field {
            field: "operation_id",
        })
    }
}

as_text!(OperationId);

/// The hash of what an operation returned or stored, its algorithm as prefix; `none` when there is nothing to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultHash {
    /// The operation had no result bytes.
    None,
    /// BLAKE3, 32 bytes.
    Blake3([u8; 32]),
}

impl fmt::Display for ResultHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Blake3(hash) => write!(f, "blake3:{}", hex::encode(hash)),
        }
    }
}

impl FromStr for ResultHash {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        if text == "none" {
            return Ok(Self::None);
        }
        let hash = text.strip_prefix("blake3:").and_then(hex_exact).map(Self::Blake3);
        hash.ok_or(RecordError::Field { field: "result_hash" })
    }
}

as_text!(ResultHash);

/// What an operation was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A client read or listed.
    Read,
    /// A client changed something.
    Write,
    /// A second read of the same bytes, to be faster.
    Hedge,
    /// Bringing shards back.
    Repair,
    /// Collection.
    Gc,
    /// A proof that bytes are still there.
    Challenge,
}

/// What an operation burned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    /// Processor time in milliseconds, below 2^53; 0 where it was not measured, as in gateways, whose operations share threads.
    pub cpu_ms: u64,
    /// Whole units of GPU work, below 2^53. Storage uses none.
    pub gpu_units: u64,
}

/// A record. Its fields are public: it is a statement by whoever signs it, and [`Self::parse`] checks its form.
// In the order of their names, which is the order of canonical JSON: a record is then written in one go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Who asked, as the verified identity names it; `anonymous` when nobody was verified.
    pub agent: String,
    /// Which attempt at the operation, from 1.
    pub attempt: u32,
    /// Plaintext bytes that went in or out.
    #[serde(with = "decimal")]
    pub bytes: u64,
    /// What it burned.
    pub compute: Compute,
    /// The grant that allowed it; none under a credential.
    pub grant_id: Option<String>,
    /// What was asked, such as `PutObject`.
    pub operation: String,
    /// The client operation it belongs to.
    pub operation_id: OperationId,
    /// What for.
    pub purpose: Purpose,
    /// Names this record, once.
    pub record_id: RecordId,
    /// The hash of the result.
    pub result_hash: ResultHash,
    /// `ed25519:<key hex>:<signature hex>`, each over the record without this member.
    pub signatures: Vec<String>,
    /// `ok`, or the S3 error code.
    pub status: String,
    /// When it ended.
    pub time: Timestamp,
    /// Vault and scope, as [`vault_scope`] writes them. A gateway names the scope, a node gives its id.
    pub vault_scope: String,
}

impl Record {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`RecordError`] when a field breaks its rule or the whole is too long.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        // RFC 8785 asks for sorted members, which these are; for escapes, which are serde_json's; and for a form of fractions,
        // of which there are none. What it costs counts: every operation pays for it.
        let bytes = serde_json::to_vec(self).map_err(CanonicalError::from)?;
        debug_assert_eq!(canonical::encode(self).as_ref(), Ok(&bytes));
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads canonical bytes, and no other spelling of the same record. Signatures are not looked at.
    ///
    /// # Errors
    /// [`RecordError`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        let record: Self = canonical::decode(bytes)?;
        record.check()?;
        Ok(record)
    }

    /// Adds the signature of `wallet`.
    ///
    /// # Errors
    /// [`RecordError`] when the record cannot be written.
    pub fn sign(&mut self, wallet: &Wallet) -> Result<(), RecordError> {
        let signature = wallet.sign(&self.signing_bytes()?);
        self.signatures
            .push(format!("{}:{signature}", wallet.public_key()));
        Ok(())
    }

    /// Signs a record that nobody signed yet, and returns its canonical bytes: what [`Self::sign`] and
    /// [`Self::canonical_bytes`] give, with one encoding instead of two, for each operation pays for it.
    ///
    /// # Errors
    /// [`RecordError`] when the record cannot be written or is signed already.
    pub fn sign_first(&mut self, wallet: &Wallet) -> Result<Vec<u8>, RecordError> {
        let unsigned = self.canonical_bytes()?;
        // Inside a string each quote has a backslash before it, so this is the member and nothing else.
        let at = memmem::find(&unsigned, NO_SIGNATURES).ok_or(RecordError::Field { field: "signatures" })?;
        let (before, rest) = unsigned.split_at(at);
        let after = rest.get(NO_SIGNATURES.len()..).unwrap_or_default();
        let signature = wallet.sign(&[DOMAIN.as_bytes(), &[0], before, after].concat());
        let text = format!("{}:{signature}", wallet.public_key());
        let bytes = [before, b",\"signatures\":[\"", text.as_bytes(), b"\"]", after].concat();
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        self.signatures.push(text);
        Ok(bytes)
    }

    /// Checks every signature and returns the keys that made them, in order. An unsigned record has none.
    ///
    /// # Errors
    /// [`RecordError::Signature`] for the first that is malformed or does not hold.
    pub fn signers(&self) -> Result<Vec<PublicKey>, RecordError> {
        let message = self.signing_bytes()?;
        let check = |(index, text): (usize, &String)| {
            let refused = RecordError::Signature { index };
            let (key, signature) = signature_parts(text).ok_or(refused)?;
            let refused = RecordError::Signature { index };
            key.verify(&message, &signature)
                .map(|()| key)
                .map_err(|_| refused)
        };
        self.signatures.iter().enumerate().map(check).collect()
    }

    /// `DOMAIN ‖ 00 ‖ canonical JSON of the record without its signatures`.
    fn signing_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let mut value = serde_json::to_value(self).map_err(CanonicalError::from)?;
        if let Some(members) = value.as_object_mut() {
            members.remove("signatures");
        }
        let mut bytes = DOMAIN.as_bytes().to_vec();
        bytes.push(0);
        bytes.extend(canonical::encode(&value)?);
        Ok(bytes)
    }

    fn check(&self) -> Result<(), RecordError> {
        let texts = [
            ("agent", Some(&self.agent)),
            ("vault_scope", Some(&self.vault_scope)),
            ("operation", Some(&self.operation)),
            ("status", Some(&self.status)),
            ("grant_id", self.grant_id.as_ref()),
        ];
        for (field, text) in texts {
            if text.is_some_and(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX) {
                return Err(RecordError::Field { field });
            }
        }
        if self.compute.cpu_ms > NUMBER_MAX || self.compute.gpu_units > NUMBER_MAX {
            return Err(RecordError::Field { field: "compute" });
        }
        if self.signatures.len() > SIGNATURES_MAX
            || self.signatures.iter().any(|s| signature_parts(s).is_none())
        {
            return Err(RecordError::Field { field: "signatures" });
        }
        Ok(())
    }
}

fn signature_parts(text: &str) -> Option<(PublicKey, Signature)> {
    let (key, signature) = text.rsplit_once(':')?;
    Some((key.parse().ok()?, signature.parse().ok()?))
}

/// The `vault_scope` of a record: the vault id, ` / `, and the scope's name or id.
#[must_use]
pub fn vault_scope(vault: VaultId, scope: &str) -> String {
    format!("{vault} / {scope}")
}

/// The public trace of a record: `SHA-256(blind ‖ record)`. The 32 random bytes of `blind` keep anyone who guesses
/// the record from confirming the guess.
#[must_use]
pub fn commitment(blind: &[u8; 32], record: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(blind)
        .chain_update(record)
        .finalize()
        .into()
}
