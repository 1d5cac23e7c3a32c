//! Credentials: what one S3 access key may do, in which scopes, and when.
//!
//! A credential holds no secret; the vault room seals it beside the access key's secret. Its rights are what was put
//! in and nothing else: the default of every part is no right at all. Status is derived when it is asked for, never
//! stored.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::canonical::{self, CanonicalError};
use crate::ids::{GrantId, VaultId};
use crate::operation::OperationSet;

/// The scopes that a credential reaches, by name. Empty by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeSet {
    /// Every scope of the vault, those to come included.
    All,
    /// These names only. Written sorted and without repeats, however they stand here.
    Named(Vec<String>),
}

impl Default for ScopeSet {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl ScopeSet {
    /// The set of these names.
    pub fn named<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self::Named(names)
    }

    /// Whether the scope of this name is in the set.
    #[must_use]
    pub fn contains(&self, scope_name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == scope_name),
        }
    }
}

/// `"all"`, or an array of names; a scope that is called `all` stands in an array.
impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Named(names) => {
                let sorted: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
                serializer.collect_seq(sorted)
            }
        }
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Names(Vec<String>),
        }
        match Form::deserialize(deserializer)? {
            Form::Word(word) if word == "all" => Ok(Self::All),
            Form::Word(_) => Err(D::Error::custom("scopes are \"all\" or a list of names")),
            Form::Names(names) => Ok(Self::named(names)),
        }
    }
}

/// A window of time, in milliseconds since 1970, UTC. A missing bound is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first instant inside.
    #[serde(with = "canonical::decimal_option")]
    pub not_before_ms: Option<u64>,
    /// The first instant after the end.
    #[serde(with = "canonical::decimal_option")]
    pub expires_ms: Option<u64>,
}

impl Window {
    /// Whether `now_ms` is inside.
    #[must_use]
    pub fn contains(&self, now_ms: u64) -> bool {
        self.not_before_ms.is_none_or(|start| now_ms >= start)
            && self.expires_ms.is_none_or(|end| now_ms < end)
    }
}

/// What a credential is worth at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialStatus {
    /// In force.
    Live,
    /// Its window has ended.
    Expired,
    /// Its window has not begun.
    NotYetValid,
    /// Taken back; this comes before the others.
    Revoked,
}

/// What one S3 access key may do. See engine/FORMAT.md section 4 for how it is sealed and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The vault it is bound to.
    pub vault: VaultId,
    /// The scopes it reaches.
    pub scopes: ScopeSet,
    /// What it may do there.
    pub operations: OperationSet,
    /// When.
    pub window: Window,
    /// Taken back for good.
    pub revoked: bool,
    /// When it was made, in milliseconds since 1970, UTC.
    #[serde(with = "canonical::decimal")]
    pub created_ms: u64,
    /// The owner's note to tell credentials apart.
    pub label: String,
    /// Whether the owner made it for its own use (the root credential of a vault). A mark for listings: it widens
    /// no right.
    pub owner: bool,
    /// The grant that it was made under: it is worth nothing without a decision about that very grant. Left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
}

impl Credential {
    /// A credential of `vault` without any right.
    #[must_use]
    pub fn without_rights(vault: VaultId, created_ms: u64) -> Self {
        Self {
            vault,
            scopes: ScopeSet::default(),
            operations: OperationSet::NONE,
            window: Window::default(),
            revoked: false,
            created_ms,
            label: String::new(),
            owner: false,
            grant: None,
        }
    }

    /// The status at `now_ms`.
    #[must_use]
    pub fn status_at(&self, now_ms: u64) -> CredentialStatus {
        if self.revoked {
            CredentialStatus::Revoked
        } else if self.window.expires_ms.is_some_and(|end| now_ms >= end) {
            CredentialStatus::Expired
        } else if self.window.not_before_ms.is_some_and(|start| now_ms < start) {
            CredentialStatus::NotYetValid
        } else {
            CredentialStatus::Live
        }
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// None for values of this type today; the encoder's are passed on.
    pub fn encode(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes, and no other spelling of the same credential.
    ///
    /// # Errors
    /// [`CanonicalError`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes)
    }
}
