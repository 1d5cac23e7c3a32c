//! The names that records give to operations: one list, which recording itself goes by.
//!
//! S3's operations have S3's names, from the table of rights; what only this gateway does is named here. Invariant: no record
//! is written under a name that [`names`] does not have.

use crate::access::TABLE;

/// A request that was refused before anybody knew what it asked for; also the sum of refusals that were only counted.
pub(crate) const REFUSED: &str = "Refused";
/// A request that is no operation this gateway knows.
pub(crate) const UNKNOWN: &str = "Unknown";
/// A start after a crash, before which records of reads may be missing.
pub(crate) const ACTIVITY_GAP: &str = "ActivityGap";
/// A credential made.
pub(crate) const CREATE_CREDENTIAL: &str = "CreateCredential";
/// A credential revoked.
pub(crate) const REVOKE_CREDENTIAL: &str = "RevokeCredential";
/// An index checkpoint written.
pub(crate) const INDEX_CHECKPOINT: &str = "IndexCheckpoint";
/// Dead packs removed by the collector.
pub(crate) const RETIRE_PACKS: &str = "RetirePacks";
/// The ledger made anew from the drives.
pub(crate) const VAULT_REBUILD: &str = "VaultRebuild";

/// What a bucket's lifecycle rules removed.
pub(crate) const LIFECYCLE: &str = "LifecycleExpiration";

const OWN: &[&str] = &[
    REFUSED,
    UNKNOWN,
    ACTIVITY_GAP,
    CREATE_CREDENTIAL,
    REVOKE_CREDENTIAL,
    INDEX_CHECKPOINT,
    RETIRE_PACKS,
    VAULT_REBUILD,
    LIFECYCLE,
];

/// Every name that a record can have, in order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = TABLE.iter().map(|(name, ..)| *name).collect();
    names.extend(OWN);
    names.sort_unstable();
    names
}

/// Whether a record can have this name.
pub fn is_recorded(name: &str) -> bool {
    OWN.contains(&name) || TABLE.iter().any(|(of_table, ..)| *of_table == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_once_and_nothing_else_is_recorded() {
        let names = names();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(names.iter().all(|name| is_recorded(name)));
        assert!(names.contains(&"PutObject") && names.contains(&"VaultRebuild"));
        assert!(!is_recorded("putobject") && !is_recorded(""));
    }
}
