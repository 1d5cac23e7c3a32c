//! Consent: wallet keys and signatures, ids, signed statements, credentials, grants and their registry, and the one
//! verified identity that every access decision takes.
//!
//! This room is pure. It reads no clock, draws no randomness and opens no file: time is passed in as `now_ms`
//! (milliseconds since 1970, UTC) and random bytes as arguments.
//!
//! The invariants it keeps: rights are absent unless they were given ([`ScopeSet`] and [`OperationSet`] default to
//! nothing); the content of a statement cannot be read before its signature was checked ([`Unverified`]); what is handed on is
//! never more than what was given ([`registry`]); an [`Identity`] cannot be made from bytes.
//!
//! Sources: RFC 8032 (ed25519), SEC 1 and RFC 6979 (secp256k1), RFC 8785 (canonical JSON), engine/FORMAT.md sections 2 and 11.

pub mod calendar;
pub mod canonical;
mod credential;
pub mod epoch_key;
pub mod grant;
mod identity;
mod ids;
mod moment;
mod operation;
mod order;
pub mod registry;
pub mod revocation;
mod statement;
mod wallet;

pub use credential::{Credential, CredentialStatus, ScopeSet, Window};
pub use epoch_key::EpochKey;
pub use grant::{Grant, Metadata};
pub use identity::{CredentialName, Denied, Identity, Proof};
pub use ids::{ClusterId, GrantId, IdError, Salt, ScopeId, VaultId};
pub use moment::{Moment, NotAMoment};
pub use operation::{Operation, OperationSet, UnknownOperation};
pub use order::{
    CollectorDelegation, DeleteOrder, OrderRefused, PACKS_PER_ORDER_MAX, StrayCopy, StrayShard,
    check_delete_order,
};
pub use registry::Registry;
pub use revocation::Revocation;
pub use statement::{STATEMENT_BYTES_MAX, Signed, Statement, StatementError, Unverified};
pub use wallet::{Algorithm, KeyError, PublicKey, Signature, SignatureRefused, Wallet};
