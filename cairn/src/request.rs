//! What a command asks of the process that serves a data directory, or of itself when none does.
//!
//! One value for each operation of [`crate::operator`], as it travels over the control socket. Names of vaults and
//! scopes are texts here: whether they exist is the operator's question.

use serde::{Deserialize, Serialize};

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `cairn status`.
    Status,
    /// `cairn repair`.
    Repair {
        /// Drives to make anew, absolute.
        replace: Vec<String>,
        /// Also when packs become unreadable by it.
        accept_risk: bool,
    },
    /// `cairn scrub`.
    Scrub,
    /// `cairn gc`.
    Gc,
    /// `cairn verify --challenge`.
    Challenge {
        /// Shards of the sample, at most.
        samples: u64,
    },
    /// `cairn node admit`.
    NodeAdmit {
        /// The peer with its address.
        peer: String,
        /// Its failure domain, if it is told.
        domain: Option<String>,
    },
    /// `cairn node admit --gateway`.
    GatewayAdmit {
        /// The gateway's id.
        gateway: String,
    },
    /// `cairn node drain`.
    NodeDrain {
        /// The peer's id, or the beginning of it.
        peer: String,
        /// Whether it takes part again.
        undo: bool,
    },
    /// `cairn node remove`.
    NodeRemove {
        /// The peer's id, or the beginning of it.
        peer: String,
        /// Whether it is lost.
        lost: bool,
    },
    /// `cairn rebalance`.
    Rebalance {
        /// Whether nothing is to be moved.
        dry_run: bool,
    },
    /// `cairn key create`.
    KeyCreate(NewKey),
    /// `cairn key list`.
    KeyList {
        /// The vault; the only one if not given.
        vault: Option<String>,
    },
    /// `cairn key revoke`.
    KeyRevoke {
        /// The vault; the only one if not given.
        vault: Option<String>,
        /// The key.
        access_key_id: String,
    },
    /// `cairn key show`.
    KeyShow {
        /// The vault; the only one if not given.
        vault: Option<String>,
        /// The key; the vault's root key if not given.
        access_key_id: Option<String>,
    },
    /// `cairn vault create`.
    VaultCreate {
        /// Its local name.
        name: String,
    },
    /// `cairn vault list`.
    VaultList,
    /// `cairn scope create`.
    ScopeCreate {
        /// The vault; the only one if not given.
        vault: Option<String>,
        /// The scope.
        name: String,
    },
    /// `cairn scope list`.
    ScopeList {
        /// The vault; the only one if not given.
        vault: Option<String>,
    },
    /// `cairn activity list`.
    ActivityList(RecordQuery),
    /// `cairn activity show`.
    ActivityShow {
        /// The vault; the only one if not given.
        vault: Option<String>,
        /// The record.
        record_id: String,
    },
    /// `cairn activity receipt`.
    ActivityReceipt {
        /// The vault; the only one if not given.
        vault: Option<String>,
        /// The record.
        record_id: String,
    },
    /// `cairn verify --log`.
    ActivityVerify,
    /// The root key of a vault; after the answer the connection speaks HTTP to the S3 gateway.
    S3 {
        /// The vault; the only one if not given.
        vault: Option<String>,
    },
}

/// What `key create` makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The vault; the only one if not given.
    pub vault: Option<String>,
    /// Scope names, or `*` alone.
    pub scopes: Vec<String>,
    /// A comma list of operations, or `all`.
    pub operations: String,
    /// How long the key works, from its start.
    pub expires_ms: Option<u64>,
    /// When it starts, from now.
    pub starts_in_ms: Option<u64>,
    /// A name for people.
    pub label: String,
}

/// What `activity list` looks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordQuery {
    /// The vault; the only one if not given.
    pub vault: Option<String>,
    /// Only records at or after this time (ms since 1970).
    pub since_ms: Option<u64>,
    /// Only records of this operation.
    pub operation: Option<String>,
    /// Only records of the operation with this id.
    pub operation_id: Option<String>,
    /// At most so many, the newest.
    pub limit: u64,
}

/// How far a long operation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// What is counted.
    pub unit: String,
    /// What is being worked on.
    pub note: String,
}

/// Takes the steps of a long operation. Called from its inside: must not wait.
pub type OnStep<'a> = &'a (dyn Fn(Step) + Send + Sync);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_travel_as_one_flat_object() {
        let request = Request::KeyRevoke {
            vault: None,
            access_key_id: "A".to_owned(),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"op":"key-revoke","vault":null,"access_key_id":"A"}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn unknown_operations_and_fields_are_refused() {
        assert!(serde_json::from_str::<Request>(r#"{"op":"format-disk"}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"op":"key-list","vault":null,"extra":1}"#).is_err());
    }
}
