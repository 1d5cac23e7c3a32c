//! Access control lists, as far as they have a meaning where everything belongs to its vault's owner.
//!
//! A list grants permissions to the owner, to everyone, or to everyone with a credential; the canned lists are such lists. Grants to
//! other accounts are not here. Whether a list counts at all is decided in `access.rs`. Source: "Access control list (ACL)
//! overview" of the S3 user guide.

use std::fmt;

use crate::policy::Who;

/// Who a grant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grantee {
    /// The vault's owner.
    Owner,
    /// Everyone.
    Everyone,
    /// Everyone with a credential of some vault here.
    Authenticated,
}

/// What a grant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// All of them.
    FullControl,
    /// Of a bucket: listing it; of an object: reading it.
    Read,
    /// Of a bucket: writing and deleting objects.
    Write,
    /// Reading the list itself.
    ReadAcl,
    /// Changing the list itself.
    WriteAcl,
}

/// The words that lists are stored in, and S3's names of the permissions.
const PERMISSIONS: [(Permission, &str); 5] = [
    (Permission::FullControl, "FULL_CONTROL"),
    (Permission::Read, "READ"),
    (Permission::Write, "WRITE"),
    (Permission::ReadAcl, "READ_ACP"),
    (Permission::WriteAcl, "WRITE_ACP"),
];

/// The words that lists are stored in.
const GRANTEES: [(Grantee, &str); 3] = [
    (Grantee::Owner, "owner"),
    (Grantee::Everyone, "everyone"),
    (Grantee::Authenticated, "authenticated"),
];

/// The most grants of a list: S3's limit.
pub(crate) const GRANTS_MAX: usize = 100;

impl Permission {
    /// By S3's name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        PERMISSIONS
            .iter()
            .find(|(_, have)| *have == name)
            .map(|(one, _)| *one)
    }

    /// S3's name.
    pub(crate) fn name(self) -> &'static str {
        PERMISSIONS
            .iter()
            .find(|(one, _)| *one == self)
            .map_or("", |(_, name)| name)
    }
}

/// A list of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acl(Vec<(Grantee, Permission)>);

impl Acl {
    /// The owner's alone.
    pub(crate) fn private() -> Self {
        Self(vec![(Grantee::Owner, Permission::FullControl)])
    }

    /// A list of these grants.
    pub(crate) const fn new(grants: Vec<(Grantee, Permission)>) -> Self {
        Self(grants)
    }

    /// The canned list of this name. The two that name the bucket's owner mean the vault's, who owns the object too.
    pub(crate) fn canned(name: &str) -> Option<Self> {
        let more: &[(Grantee, Permission)] = match name {
            "private" | "bucket-owner-read" | "bucket-owner-full-control" => &[],
            "public-read" => &[(Grantee::Everyone, Permission::Read)],
            "public-read-write" => &[
                (Grantee::Everyone, Permission::Read),
                (Grantee::Everyone, Permission::Write),
            ],
            "authenticated-read" => &[(Grantee::Authenticated, Permission::Read)],
            _ => return None,
        };
        // The owner's last, as S3 has it.
        let owner = Self::private().0;
        Some(Self(more.iter().copied().chain(owner).collect()))
    }

    /// The grants.
    pub(crate) fn grants(&self) -> &[(Grantee, Permission)] {
        &self.0
    }

    /// Whether somebody who is not of the vault has a permission by it.
    pub(crate) fn allows(&self, who: Who<'_>, wanted: Permission) -> bool {
        self.0.iter().any(|(grantee, permission)| {
            let meant = match grantee {
                Grantee::Owner => false,
                Grantee::Everyone => true,
                Grantee::Authenticated => who != Who::Anonymous,
            };
            meant && (*permission == wanted || *permission == Permission::FullControl)
        })
    }

    /// Whether it opens something to others than the owner.
    pub(crate) fn is_public(&self) -> bool {
        self.0.iter().any(|(grantee, _)| *grantee != Grantee::Owner)
    }

    /// Reads a stored list; what cannot be read grants nothing.
    pub(crate) fn stored(text: &str) -> Self {
        let one = |word: &str| {
            let (grantee, permission) = word.split_once(':')?;
            let grantee = GRANTEES.iter().find(|(_, name)| *name == grantee)?.0;
            Some((grantee, Permission::parse(permission)?))
        };
        let grants: Option<Vec<_>> = text.split_terminator(',').map(one).collect();
        Self(grants.unwrap_or_default())
    }
}

/// The stored form.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (grantee, permission)) in self.0.iter().enumerate() {
            let name = GRANTEES
                .iter()
                .find(|(one, _)| one == grantee)
                .map_or("", |(_, name)| name);
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{name}:{}", permission.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_and_grant_what_they_say() {
        for name in [
            "private",
            "public-read",
            "public-read-write",
            "authenticated-read",
        ] {
            let acl = Acl::canned(name).unwrap();
            assert_eq!(Acl::stored(&acl.to_string()), acl);
            let (anybody, vault) = (Who::Anonymous, Who::Vault("v-2"));
            assert_eq!(acl.allows(anybody, Permission::Read), name.starts_with("public"));
            assert_eq!(acl.allows(vault, Permission::Read), name != "private");
            assert_eq!(
                acl.allows(anybody, Permission::Write),
                name == "public-read-write"
            );
            assert!(!acl.allows(vault, Permission::ReadAcl) && !acl.allows(vault, Permission::WriteAcl));
            assert_eq!(acl.is_public(), name != "private");
        }
        assert_eq!(Acl::canned("public"), None);
        assert_eq!(Acl::stored("").grants(), []);
        // A list that cannot be read opens nothing, not even in part.
        assert_eq!(Acl::stored("everyone:READ,martians:READ").grants(), []);
    }
}
