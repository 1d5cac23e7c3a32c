//! Consent: wallet keys and signatures, vault and scope ids, signed statements, credentials, and the one verified
//! identity that every access decision takes.
//!
//! This room is pure. It reads no clock, draws no randomness and opens no file: time is passed in as `now_ms`
//! (milliseconds since 1970, UTC) and random bytes as arguments.
//!
//! The invariants it keeps: rights are absent unless they were given ([`ScopeSet`] and [`OperationSet`] default to
//! nothing); the content of a statement cannot be read before its signature was checked ([`Unverified`]); an
//! [`Identity`] cannot be made from bytes.
//!
//! Sources: RFC 8032 (ed25519), RFC 8785 (canonical JSON), engine/FORMAT.md section 2 (ids).

pub mod calendar;
pub mod canonical;
mod credential;
mod identity;
mod ids;
mod operation;
mod order;
mod statement;
mod wallet;

pub use credential::{Credential, CredentialStatus, ScopeSet, Window};
pub use identity::{CredentialName, Denied, Identity, Proof};
pub use ids::{IdError, ScopeId, VaultId, VaultSalt};
pub use operation::{Operation, OperationSet, UnknownOperation};
pub use order::{
    CollectorDelegation, DeleteOrder, OrderRefused, PACKS_PER_ORDER_MAX, StrayCopy, StrayShard,
    check_delete_order,
};
pub use statement::{STATEMENT_BYTES_MAX, Signed, Statement, StatementError, Unverified};
pub use wallet::{Algorithm, KeyError, PublicKey, Signature, SignatureRefused, Wallet};
