//! Grants: an owner's signed consent, or an agent's to another agent within it.
//!
//! A grant has the shape that the protocol shows, and is explicit where that is free: operations, scope ids, budgets, a beginning, an
//! end, how often it may be handed on. It is a flat statement (see [`crate::Statement::FLAT`]), so [`verify`] is the way to its content. What
//! nodes must not read (names, a prefix, scope keys) travels sealed in [`Wrapped`], which this room does not open. What a grant
//! is worth now is the registry's to say, not the grant's.
//!
//! The invariants of a grant that was signed or verified: the vault's id proves its owner, and the grant's id proves issuer, agent, parent
//! and cluster, so that all versions of an id agree on them and nobody else can make one; it was signed by its issuer;
//! every list is bounded, in order and without repeats.
//!
//! Source: the protocol's receipt shapes; RFC 8785; engine/FORMAT.md section 11.

mod narrowing;
mod prefix;
mod wrapped;

use serde::{Deserialize, Serialize};

use crate::canonical::{decimal, decimal_option};
use crate::ids::{ClusterId, GrantId, Salt, ScopeId, VaultId, first_16};
use crate::moment::Moment;
use crate::operation::OperationSet;
use crate::statement::{Signed, Statement, StatementError, Unverified};
use crate::wallet::PublicKey;

pub use narrowing::{Limit, Rights};
pub use prefix::{Commitment, PREFIX_BYTES_MAX, Prefix};
pub use wrapped::{SEALED_BYTES_MAX, Wrapped};

/// The longest grant, signature included, in bytes.
pub const GRANT_BYTES_MAX: usize = 96 * 1024;

/// The most scopes of a grant.
pub const SCOPES_PER_GRANT_MAX: usize = 64;

/// How often a grant may be handed on: an owner's grant and at most so many below it.
pub const DEPTH_MAX: u8 = 4;

/// What a grant may use up in all. None is no bound of this grant's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Bytes read and written.
    #[serde(with = "decimal_option")]
    pub bytes: Option<u64>,
    /// Requests.
    #[serde(with = "decimal_option")]
    pub requests: Option<u64>,
}

/// The grant that another was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its id.
    pub grant_id: GrantId,
    /// The version that the issuer saw; the newest one counts.
    #[serde(with = "decimal")]
    pub version: u64,
}

/// What the grant is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Scopes by id, ascending, each once.
    pub scopes: Vec<ScopeEntry>,
}

/// One scope, as the protocol writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeEntry {
    /// Where.
    pub context: Context,
}

/// `vault[scope]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The grant's vault.
    #[serde(rename = "vaultId")]
    pub vault: VaultId,
    /// A scope of it.
    #[serde(rename = "scopeId")]
    pub scope: ScopeId,
}

/// One version of a grant. Its members are public to be made; nothing in it counts before it is a `Signed<Grant>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who may: the agent's key.
    pub agent_service_pub_key: PublicKey,
    /// Whose data it is: the wallet that owns the vault, also in what agents hand on.
    pub user_pub_key: PublicKey,
    /// Who gives: the owner, or the agent of the parent.
    pub issuer_pub_key: PublicKey,
    /// The cluster that it is for.
    pub cluster_id: ClusterId,
    /// The vault.
    pub vault_id: VaultId,
    /// What went into the vault's id beside the owner's key.
    pub vault_salt: Salt,
    /// Its id, the same in every version.
    pub grant_id: GrantId,
    /// What makes the id unique.
    pub grant_nonce: Salt,
    /// From 1; a higher version takes the place of a lower one.
    #[serde(with = "decimal")]
    pub version: u64,
    /// Taken back, for good. Nothing here makes such a version, since taking back is a statement of its own ([`crate::Revocation`]); whoever
    /// signs one is believed.
    pub revoked: bool,
    /// When this version was made.
    pub created_at: Moment,
    /// The first second inside.
    pub not_before: Moment,
    /// The first second after the end.
    pub expires_at: Moment,
    /// When every version has ended, this and any to come. It is part of the id: once it has passed nothing of this id can count again, so that
    /// the registry may forget the grant and what was said of it.
    pub ends_by: Moment,
    /// What may be done.
    pub operations: OperationSet,
    /// How much.
    pub budget: Budget,
    /// How often it may be handed on.
    pub depth_left: u8,
    /// Where.
    pub metadata: Metadata,
    /// That object keys begin with a prefix, which the sealed part tells; none for every key.
    pub prefix_commitment: Option<Commitment>,
    /// None in an owner's grant.
    pub parent: Option<Parent>,
    /// What only the agent reads.
    pub wrapped: Option<Wrapped>,
}

impl Statement for Grant {
    const DOMAIN: &'static str = "cairn v1 grant";
    const FLAT: bool = true;
    const BYTES_MAX: usize = GRANT_BYTES_MAX;

    fn check(&self) -> Result<(), &'static str> {
        let scopes = &self.metadata.scopes;
        let rules = [
            (
                "vault_id",
                self.vault_id == VaultId::derive(&self.user_pub_key, &self.vault_salt),
            ),
            ("grant_id", self.grant_id == self.id_of()),
            ("version", self.version >= 1),
            ("expires_at", self.not_before < self.expires_at),
            ("ends_by", self.expires_at <= self.ends_by),
            ("operations", self.operations != OperationSet::NONE),
            ("depth_left", self.depth_left <= DEPTH_MAX),
            ("metadata", self.scopes_are_well_formed() && !scopes.is_empty()),
            // Whoever is not the owner gives what it was given.
            (
                "parent",
                self.parent.is_none() == (self.issuer_pub_key == self.user_pub_key),
            ),
            (
                "parent",
                self.parent
                    .is_none_or(|parent| parent.version >= 1 && self.depth_left < DEPTH_MAX),
            ),
            (
                "wrapped",
                self.wrapped.as_ref().is_none_or(Wrapped::is_acceptable),
            ),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            Some((member, _)) => Err(member),
            None => Ok(()),
        }
    }

    fn is_foreign(&self, signer: &PublicKey) -> bool {
        *signer != self.issuer_pub_key
    }
}

impl Grant {
    /// The id that a grant with these immutable members has: the first 16 bytes of `derive_key("cairn v1 grant id", issuer ‖ agent ‖
    /// cluster ‖ vault ‖ 00, or 01 and the parent's id ‖ nonce ‖ ends_by in seconds, u64)`, keys behind their algorithm's number.
    #[must_use]
    pub fn id_of(&self) -> GrantId {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 grant id");
        hasher.update(&self.issuer_pub_key.prefixed_bytes());
        hasher.update(&self.agent_service_pub_key.prefixed_bytes());
        hasher.update(&self.cluster_id.0).update(&self.vault_id.0);
        match &self.parent {
            None => hasher.update(&[0]),
            Some(parent) => hasher.update(&[1]).update(&parent.grant_id.0),
        };
        hasher.update(&self.grant_nonce.0);
        hasher.update(&(self.ends_by.ms() / 1_000).to_le_bytes());
        GrantId(first_16(&hasher))
    }

    /// What it gives.
    #[must_use]
    pub fn rights(&self) -> Rights {
        Rights {
            operations: self.operations,
            scopes: self
                .metadata
                .scopes
                .iter()
                .map(|entry| entry.context.scope)
                .collect(),
            not_before_ms: self.not_before.ms(),
            expires_ms: self.expires_at.ms(),
            budget: self.budget,
            depth_left: self.depth_left,
            prefix: self.prefix_commitment,
        }
    }

    /// The vault-wide scope is the owner's own: it has what the vault itself is made of.
    fn scopes_are_well_formed(&self) -> bool {
        let scopes = &self.metadata.scopes;
        let own = ScopeId::vault_wide(self.vault_id);
        scopes.len() <= SCOPES_PER_GRANT_MAX
            && scopes
                .iter()
                .all(|entry| entry.context.vault == self.vault_id && entry.context.scope != own)
            && scopes.is_sorted_by(|a, b| a.context < b.context)
    }
}

impl Metadata {
    /// These scopes of a vault, in any order.
    pub fn of(vault: VaultId, scopes: impl IntoIterator<Item = ScopeId>) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().map(|scope| Context { vault, scope }).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let scopes = scopes.into_iter().map(|context| ScopeEntry { context }).collect();
        Self { scopes }
    }
}

/// Reads a grant and checks it by the key that it was signed with, which has to be one that the grant says may sign it. The owner's
/// grants are thereby known to be the word of whoever owns the vault; what agents hand on stands on its parents, which the
/// registry looks at.
///
/// # Errors
/// [`StatementError`]; the content is not available then.
pub fn verify(envelope: &[u8]) -> Result<Signed<Grant>, StatementError> {
    Unverified::<Grant>::decode(envelope)?.verify_as_claimed()
}

/// Why a list of grants is refused whole.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListRefused {
    /// One of it does not hold.
    #[error("grant {index} of the list: {error}")]
    Grant {
        /// Its place, from 0.
        index: usize,
        /// Why.
        error: StatementError,
    },
    /// It is longer than the caller has time for.
    #[error("a list of {grants} grants; the limit is {grants_max}")]
    TooLong {
        /// How long.
        grants: usize,
        /// The longest that was asked for.
        grants_max: usize,
    },
}

/// Verifies at most `grants_max` grants that come together, from a file or another cluster's export: all of them, or none counts.
///
/// # Errors
/// The first that does not hold, or a list that is too long, of which nothing was looked at.
pub fn verify_all<E: AsRef<[u8]>>(
    envelopes: &[E],
    grants_max: usize,
) -> Result<Vec<Signed<Grant>>, ListRefused> {
    let grants = envelopes.len();
    if grants > grants_max {
        return Err(ListRefused::TooLong { grants, grants_max });
    }
    let each = envelopes.iter().enumerate();
    each.map(|(index, envelope)| {
        verify(envelope.as_ref()).map_err(|error| ListRefused::Grant { index, error })
    })
    .collect()
}
