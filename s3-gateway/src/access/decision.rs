//! The one access decision: credentials, bucket policy, access control lists and public access blocks, in this order.
//!
//! A credential first needs the right by itself, wherever the bucket is: nobody else can give it more than its owner did.
//! In its own vault that is enough unless the bucket's policy denies. A bucket that its vault does not have is looked for
//! in the other vaults, and a request without credentials looks in all: the oldest bucket of the name decides, by a policy or a
//! list that opens what is asked.
//! A vault's bucket that was never shared is not there for others, so that names tell nothing. The exception to every
//! policy: whoever may change the policy of their own bucket may, so that nobody locks themselves out.

use scopes::{Operation, VaultId};

use super::facts::Known;
use super::{Needs, TABLE, credential_allows};
use crate::acl::{Acl, Permission};
use crate::errors::Refusal;
use crate::gate::{Question, now_ms};
use crate::policy::{Policy, Verdict, Who};
use crate::session::{Bucket, Session, SessionError};
use crate::sessions::Sessions;
use crate::settings::{ACL, OWNER_ENFORCED, OWNERSHIP, POLICY, PUBLIC_ACCESS, PublicAccess};

/// Operations on a bucket's policy.
const OF_POLICY: [&str; 3] = ["DeleteBucketPolicy", "GetBucketPolicy", "PutBucketPolicy"];

/// Operations that nobody but the vault's own credentials can be given.
pub(super) const OF_OWNER: [&str; 6] = [
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketPolicy",
    "GetBucketPolicy",
    "ListBuckets",
    "PutBucketPolicy",
];

/// Decides a question of the table: the vault whose bucket it is about.
pub(crate) fn decide(sessions: &Sessions, question: &Question<'_>) -> Result<VaultId, Refusal> {
    let row = TABLE.iter().find(|(name, ..)| *name == question.operation);
    let (_, needs, action) = row.ok_or_else(Refusal::access_denied)?;
    let name = question.target.bucket.as_ref().map(|bucket| bucket.as_str());
    let action = named_version(question, action);
    let Some(identity) = question.identity else {
        let name = name.ok_or_else(Refusal::access_denied)?;
        return elsewhere(sessions, question, (*needs, action), name, None)?
            .ok_or_else(Refusal::access_denied);
    };
    credential_allows(identity, *needs, name, now_ms()).map_err(|denied| Refusal::from(&denied))?;
    let own = sessions.of(identity.vault()).ok_or_else(Refusal::access_denied)?;
    let Some(name) = name else {
        return Ok(own.vault());
    };
    if let Some(bucket) = own.peek_bucket(name).map_err(|error| Refusal::from(&error))? {
        let known = Known::of(question, &own, &bucket);
        let vault = identity.vault().to_string();
        let free = OF_POLICY.contains(&question.operation);
        return if !free && known.policy(Who::Vault(&vault), action) == Verdict::Denied {
            Err(Refusal::access_denied())
        } else {
            Ok(own.vault())
        };
    }
    if OF_OWNER.contains(&question.operation) {
        return Ok(own.vault());
    }
    // Where nobody shares a bucket of this name, their own vault says that it has none.
    let vault = elsewhere(sessions, question, (*needs, action), name, Some(own.vault()))?;
    Ok(vault.unwrap_or_else(|| own.vault()))
}

/// The action on a named version has a name of its own.
fn named_version(question: &Question<'_>, action: &'static str) -> &'static str {
    if question.version.is_none() {
        return action;
    }
    match action {
        "s3:DeleteObject" => "s3:DeleteObjectVersion",
        "s3:DeleteObjectTagging" => "s3:DeleteObjectVersionTagging",
        "s3:GetObject" => "s3:GetObjectVersion",
        "s3:GetObjectAcl" => "s3:GetObjectVersionAcl",
        "s3:GetObjectAttributes" => "s3:GetObjectVersionAttributes",
        "s3:GetObjectTagging" => "s3:GetObjectVersionTagging",
        "s3:PutObjectAcl" => "s3:PutObjectVersionAcl",
        "s3:PutObjectTagging" => "s3:PutObjectVersionTagging",
        other => other,
    }
}

/// The vault whose bucket of this name opens the question to whoever asks; nothing if that bucket was never shared.
///
/// The name alone chooses the vault: it is the oldest bucket's. What that one refuses no other grants.
fn elsewhere(
    sessions: &Sessions,
    question: &Question<'_>,
    (needs, action): (Needs, &str),
    name: &str,
    own: Option<VaultId>,
) -> Result<Option<VaultId>, Refusal> {
    if OF_OWNER.contains(&question.operation) {
        return Ok(None);
    }
    let mut named = Vec::new();
    for session in sessions.all() {
        if Some(session.vault()) == own {
            continue;
        }
        let bucket = session.peek_bucket(name).map_err(|error| Refusal::from(&error))?;
        named.extend(bucket.map(|bucket| (session, bucket)));
    }
    let Some((session, bucket)) = named
        .into_iter()
        .min_by_key(|(session, bucket)| (bucket.created_ms, session.vault()))
    else {
        return Ok(None);
    };
    let asking = own.map(|vault| vault.to_string());
    let who = asking.as_deref().map_or(Who::Anonymous, Who::Vault);
    let known = Known::of(question, &session, &bucket);
    if !configures(needs, question.operation) && known.is_open(who, action)? {
        return Ok(Some(session.vault()));
    }
    // A bucket that was never shared is not there for others.
    if is_shared(&bucket) {
        Err(Refusal::access_denied())
    } else {
        Ok(None)
    }
}

/// Whether an operation changes what a bucket is, or locks what is in it: no policy gives that to others.
pub(super) fn configures(needs: Needs, operation: &str) -> bool {
    let of_bucket = matches!(
        needs,
        Needs::Right(Operation::CreateBucket | Operation::DeleteBucket)
    );
    of_bucket || matches!(operation, "PutObjectRetention" | "PutObjectLegalHold")
}

/// Whether something was ever said about sharing a bucket.
fn is_shared(bucket: &Bucket) -> bool {
    [ACL, POLICY, PUBLIC_ACCESS, OWNERSHIP]
        .iter()
        .any(|name| bucket.settings.get(name).is_some())
}

impl<'a> Known<'a> {
    const fn of(question: &'a Question<'a>, session: &'a Session, bucket: &'a Bucket) -> Self {
        Self {
            question,
            session,
            bucket,
            prefix: None,
        }
    }

    /// What the bucket's policy says; one that cannot be read denies.
    fn policy(&self, who: Who<'_>, action: &str) -> Verdict {
        let Some(text) = self.bucket.settings.get(POLICY) else {
            return Verdict::Silent;
        };
        let Ok(policy) = Policy::parse(text, &self.bucket.name) else {
            return Verdict::Denied;
        };
        let on_bucket = self.prefix.is_some();
        let key = self.question.target.key.as_ref().filter(|_| !on_bucket);
        let verdict = policy.judge(
            who,
            action,
            (&self.bucket.name, key.map(|key| key.as_str())),
            self,
        );
        let restricted = PublicAccess::of(self.bucket).restrict_buckets && policy.is_public();
        if verdict == Verdict::Allowed && restricted {
            Verdict::Silent
        } else {
            verdict
        }
    }

    /// Whether it is opened to somebody who is not of the bucket's vault.
    ///
    /// # Errors
    /// What there is to say of an object that is not there to somebody who may list, and of what cannot be read now.
    fn is_open(&self, who: Who<'_>, action: &str) -> Result<bool, Refusal> {
        let (bucket, operation) = (self.bucket, self.question.operation);
        let lists =
            bucket.settings.get(OWNERSHIP) != Some(OWNER_ENFORCED) && !PublicAccess::of(bucket).ignore_acls;
        // Each key of a multi-delete is asked about by itself.
        if operation == "DeleteObjects" {
            return Ok(bucket.settings.get(POLICY).is_some()
                || (lists && self.by_list(who, Permission::Write, bucket.settings.get(ACL))));
        }
        let key = self.question.target.key.as_ref().map(|key| key.as_str());
        let version = self.question.version;
        let object = match key {
            None => None,
            Some(key) => {
                let found = self.session.peek_object(bucket, key, version);
                found.map_err(|error| Refusal::from(&error))?
            }
        };
        // A list lets others write over an object, and never takes an older version away.
        let of_list = permission_of(operation).filter(|_| operation != "DeleteObject" || version.is_none());
        let open = match (self.policy(who, action), of_list) {
            (Verdict::Denied, _) => return Ok(false),
            (Verdict::Allowed, _) => true,
            (Verdict::Silent, Some((of_object, permission))) => {
                let of_object_list = object.as_ref().and_then(|object| object.system(ACL));
                let list = if of_object {
                    of_object_list
                } else {
                    bucket.settings.get(ACL)
                };
                lists && self.by_list(who, permission, list)
            }
            (Verdict::Silent, None) => false,
        };
        let reads = matches!(operation, "GetObject" | "GetObjectAttributes" | "HeadObject");
        if !reads || object.is_some() {
            return Ok(open);
        }
        // Who may not list learns no more of a missing object than of one that is closed. It is said here, so that nothing
        // that is written meanwhile is given away.
        let missing = match version {
            None => SessionError::NoSuchKey,
            Some(_) => SessionError::NoSuchVersion,
        };
        if self.may_list(who, lists) {
            Err(Refusal::from(&missing))
        } else {
            Ok(false)
        }
    }

    fn by_list(&self, who: Who<'_>, permission: Permission, list: Option<&str>) -> bool {
        list.is_some_and(|list| Acl::stored(list).allows(who, permission))
    }

    fn may_list(&self, who: Who<'_>, lists: bool) -> bool {
        let listing = Self {
            prefix: self.question.target.key.as_ref().map(|key| key.as_str()),
            ..*self
        };
        match listing.policy(who, "s3:ListBucket") {
            Verdict::Denied => false,
            Verdict::Allowed => true,
            Verdict::Silent => {
                let acl = self.bucket.settings.get(ACL);
                lists && acl.is_some_and(|acl| Acl::stored(acl).allows(who, Permission::Read))
            }
        }
    }
}

/// What an access control list must grant for an operation, and whether the object's list or the bucket's.
pub(super) fn permission_of(operation: &str) -> Option<(bool, Permission)> {
    Some(match operation {
        "GetObject" | "GetObjectAttributes" | "HeadObject" => (true, Permission::Read),
        "GetObjectAcl" => (true, Permission::ReadAcl),
        "PutObjectAcl" => (true, Permission::WriteAcl),
        "HeadBucket" | "ListMultipartUploads" | "ListObjectVersions" | "ListObjects" | "ListObjectsV2" => {
            (false, Permission::Read)
        }
        "AbortMultipartUpload"
        | "CompleteMultipartUpload"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "DeleteObject"
        | "PostObject"
        | "PutObject"
        | "UploadPart"
        | "UploadPartCopy" => (false, Permission::Write),
        "GetBucketAcl" => (false, Permission::ReadAcl),
        _ => return None,
    })
}
