//! The verified identity: who a request comes from, once that was proved, and what it may do.
//!
//! Every access decision in the project takes an [`Identity`] and nothing weaker. It has no public fields, no
//! `Default` and no `Deserialize`; the one way to make it is [`Identity::verified`], which takes a [`Proof`], and a
//! proof's constructors are named after what their caller asserts. Searching the sources for those names therefore
//! lists every place that the safety of access control rests on.
//!
//! An agent's identity stands on a grant as well: a credential that was made under one allows nothing without the registry's decision about that very
//! grant, operation and scope ([`Identity::under`]), and no more with it. A copy needs two decisions: to read the source and to write the target.
//!
//! It is not a session: it holds the credential as it was read when the request was verified, and long operations
//! fetch it again.

use std::fmt;
use std::str::FromStr;

use crate::canonical::hex_exact;
use crate::credential::{Credential, CredentialStatus};
use crate::grant::Limit;
use crate::ids::{GrantId, IdError, VaultId};
use crate::operation::Operation;
use crate::registry::{Granted, Opened};

/// What a caller asserts about the request that it makes an [`Identity`] for.
///
/// The value is used up by [`Identity::verified`], so one check makes one identity.
///
/// ```compile_fail
/// let proof = scopes::Proof { by: () }; // fields are private
/// ```
#[derive(Debug)]
#[must_use = "a proof is worth nothing until it makes an identity"]
pub struct Proof {
    by: Asserted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asserted {
    RequestSignature,
    AgentKey,
    RootKeyHeld,
    Nothing,
}

impl Proof {
    /// The caller asserts: the request's signature (SigV4: header, query or every chunk as it arrives), over its
    /// method, path, query, signed headers, region, date and payload hash, was checked in constant time against the
    /// secret of the very credential that is given to [`Identity::verified`], and the request's time was in bounds.
    pub const fn signature_verified() -> Self {
        Self {
            by: Asserted::RequestSignature,
        }
    }

    /// The caller asserts: the request's signature by the key of the very agent that the decision names, over audience, method, path, query,
    /// body hash, time and a nonce that was not seen before, was checked, and the request's time was in bounds.
    pub const fn agent_key_verified() -> Self {
        Self {
            by: Asserted::AgentKey,
        }
    }

    /// The caller asserts: this process read the vault's root key itself and acts for the person who started it, on
    /// a command given locally (`cairn put`, `cairn vault rebuild`). Never for anything that came over a socket.
    pub const fn root_key_held() -> Self {
        Self {
            by: Asserted::RootKeyHeld,
        }
    }
}

/// The name of a credential in records and logs: a keyed hash of its access key id, 16 hex digits in text.
/// It identifies without being of use to anyone who reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialName(pub [u8; 8]);

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CredentialName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hex_exact(text).map(Self).ok_or(IdError::Credential)
    }
}

/// A verified requester. See the module's comment for why it can be trusted.
///
/// ```compile_fail
/// fn from_wire(bytes: &[u8]) -> scopes::Identity {
///     serde_json::from_slice(bytes).unwrap() // an identity does not come from bytes
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Identity {
    credential: Credential,
    name: CredentialName,
    by: Asserted,
    decisions: Vec<Decision>,
}

/// The most decisions of one request: a copy's.
const DECISIONS_MAX: usize = 2;

/// A decision and the name of its scope.
#[derive(Clone, Debug)]
struct Decision {
    scope_name: String,
    opened: Opened,
}

/// Why an operation is not allowed.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    /// The credential's window has ended.
    #[error("the credential expired at {expires_ms} ms")]
    Expired {
        /// Its end, in milliseconds since 1970, UTC.
        expires_ms: u64,
    },
    /// The credential's window has not begun.
    #[error("the credential is not valid before {not_before_ms} ms")]
    NotYetValid {
        /// Its start, in milliseconds since 1970, UTC.
        not_before_ms: u64,
    },
    /// The credential was taken back.
    #[error("the credential was revoked")]
    Revoked,
    /// The credential does not have this operation.
    #[error("the credential does not allow {operation}")]
    Operation {
        /// What was asked.
        operation: Operation,
    },
    /// The credential does not reach this scope.
    #[error("the credential does not reach this scope")]
    Scope,
    /// There is no such grant, or not of this agent, or what it stands on is not known.
    #[error("the grant is not known")]
    Unknown,
    /// The newest version of the grant, or of one that it stands on, has two contents.
    #[error("the grant has two contents of one version")]
    Forked,
    /// The grant gives more than the one that it stands on gives now.
    #[error("the grant gives more than its parent: {limit}")]
    Wider {
        /// In what.
        limit: Limit,
    },
    /// A credential of a grant, and no decision about this operation in this scope under that grant.
    #[error("no decision about this was made under the grant")]
    Undecided,
    /// A decision about another grant than the credential's.
    #[error("the credential is not of the grant {grant}")]
    OtherGrant {
        /// What the decision is about.
        grant: GrantId,
    },
    /// The object key does not begin with the grant's prefix, or nothing shows what that is.
    #[error("not under the prefix of the grant")]
    Prefix,
    /// What the ledger said is too old to decide on.
    #[error("the ledger was last heard of {heard_ms_ago} ms ago")]
    Stale {
        /// How old.
        heard_ms_ago: u64,
    },
    /// The registry has not applied yet what the asker knows of.
    #[error("the registry is at {epoch}, and {asked} was asked for")]
    Behind {
        /// What it applied.
        epoch: u64,
        /// What it should have.
        asked: u64,
    },
    /// A budget is used up, or would be.
    #[error("{limit} of {budget} is used up: {used}")]
    Budget {
        /// Which.
        limit: Limit,
        /// What was used.
        used: u64,
        /// What there is.
        budget: u64,
    },
}

impl Decision {
    fn is_about(&self, operation: Operation, scope_name: &str) -> bool {
        self.opened.granted().operation() == operation && self.scope_name == scope_name
    }
}

impl Identity {
    /// The identity behind a request that was proved to come from the holder of `credential`.
    #[must_use]
    pub fn verified(credential: &Credential, name: CredentialName, proof: Proof) -> Self {
        Self {
            credential: credential.clone(),
            name,
            by: proof.by,
            decisions: Vec::new(),
        }
    }

    /// An agent that signed its request with its own key and has no credential: it may do what decisions say that it is put [`Self::under`], and
    /// nothing else. The decision given here is the first of them; `scope_name` is the caller's word for its scope.
    #[must_use]
    pub fn of_agent(opened: Opened, scope_name: &str, proof: Proof) -> Self {
        let granted = *opened.granted();
        Self {
            credential: Credential {
                grant: Some(granted.grant()),
                ..Credential::without_rights(granted.vault(), 0)
            },
            name: CredentialName([0; 8]),
            by: proof.by,
            decisions: vec![Decision {
                scope_name: scope_name.to_owned(),
                opened,
            }],
        }
    }

    /// The same requester with a decision about its grant; one about the same operation and scope takes the place of the one before. The caller asserts
    /// that `scope_name` is the name of the decision's scope in its vault.
    ///
    /// # Errors
    /// [`Denied::Scope`] for a decision about another vault, [`Denied::OtherGrant`] for one about another grant than the credential's, also if it has none;
    /// [`Denied::Undecided`] for more than two.
    pub fn under(mut self, opened: Opened, scope_name: &str) -> Result<Self, Denied> {
        let granted = opened.granted();
        let (grant, operation) = (granted.grant(), granted.operation());
        if self.vault() != granted.vault() {
            return Err(Denied::Scope);
        }
        if self.credential.grant != Some(grant) {
            return Err(Denied::OtherGrant { grant });
        }
        self.decisions
            .retain(|made| !made.is_about(operation, scope_name));
        if self.decisions.len() >= DECISIONS_MAX {
            return Err(Denied::Undecided);
        }
        self.decisions.push(Decision {
            scope_name: scope_name.to_owned(),
            opened,
        });
        Ok(self)
    }

    /// A decision that it acts under, if it is an agent: all are about one grant.
    #[must_use]
    pub fn granted(&self) -> Option<&Granted> {
        self.decisions.first().map(|made| made.opened.granted())
    }

    /// Nobody in particular, asking something of this vault: no operation, no scope, and so no right of its own. What such a
    /// requester may do, somebody else has opened to everyone.
    #[must_use]
    pub fn anonymous(vault: VaultId) -> Self {
        Self {
            credential: Credential::without_rights(vault, 0),
            name: CredentialName([0; 8]),
            by: Asserted::Nothing,
            decisions: Vec::new(),
        }
    }

    /// Whether it is nobody in particular.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.by, Asserted::Nothing)
    }

    /// The vault that this identity is of.
    #[must_use]
    pub const fn vault(&self) -> VaultId {
        self.credential.vault
    }

    /// The credential's name for records and logs.
    #[must_use]
    pub const fn credential_name(&self) -> CredentialName {
        self.name
    }

    /// The credential as it was when the request was verified.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The `agent` of a record: an agent's key, or `credential:` and the credential's name, or `owner:` and it for a local command, or `anonymous`.
    #[must_use]
    pub fn agent(&self) -> String {
        if let Some(granted) = self.granted() {
            return granted.agent().to_string();
        }
        match self.by {
            Asserted::RequestSignature | Asserted::AgentKey => format!("credential:{}", self.name),
            Asserted::RootKeyHeld => format!("owner:{}", self.name),
            Asserted::Nothing => "anonymous".to_owned(),
        }
    }

    /// Whether `operation` may be done in the scope of this name at `now_ms`, whatever the object key: a grant with a prefix does not allow that.
    ///
    /// # Errors
    /// The first reason against it: revoked, expired, not yet valid, operation, scope, no decision, prefix.
    pub fn allows(&self, operation: Operation, scope_name: &str, now_ms: u64) -> Result<(), Denied> {
        self.allows_under(operation, scope_name, "", now_ms)
    }

    /// Whether `operation` may be done at `now_ms` to object keys in the scope of this name that begin with `key`: an object's key, or
    /// the prefix of a list.
    ///
    /// # Errors
    /// As [`Self::allows`].
    pub fn allows_under(
        &self,
        operation: Operation,
        scope_name: &str,
        key: &str,
        now_ms: u64,
    ) -> Result<(), Denied> {
        self.in_force(now_ms)?;
        // Whoever signs with the agent's own key has no rights by name.
        if self.by != Asserted::AgentKey {
            if !self.credential.operations.contains(operation) {
                return Err(Denied::Operation { operation });
            }
            if !self.credential.scopes.contains(scope_name) {
                return Err(Denied::Scope);
            }
        }
        if self.credential.grant.is_none() {
            return match self.by {
                Asserted::AgentKey => Err(Denied::Undecided),
                _ => Ok(()),
            };
        }
        let mut made = self.decisions.iter();
        let made = made.find(|made| made.is_about(operation, scope_name));
        let opened = &made.ok_or(Denied::Undecided)?.opened;
        if !opened.granted().is_in_force(now_ms) {
            return Err(Denied::Undecided);
        }
        match key.starts_with(opened.prefix()) {
            true => Ok(()),
            false => Err(Denied::Prefix),
        }
    }

    /// Whether the credential is in force at `now_ms`, whatever it then may do: for answers that are filtered by
    /// [`Self::allows`] afterwards, such as the list of scopes.
    ///
    /// # Errors
    /// Revoked, expired or not yet valid.
    pub fn in_force(&self, now_ms: u64) -> Result<(), Denied> {
        let window = self.credential.window;
        match self.credential.status_at(now_ms) {
            CredentialStatus::Live => Ok(()),
            CredentialStatus::Revoked => Err(Denied::Revoked),
            CredentialStatus::Expired => Err(Denied::Expired {
                expires_ms: window.expires_ms.unwrap_or_default(),
            }),
            CredentialStatus::NotYetValid => Err(Denied::NotYetValid {
                not_before_ms: window.not_before_ms.unwrap_or_default(),
            }),
        }
    }
}
