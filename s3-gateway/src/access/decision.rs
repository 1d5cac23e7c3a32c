//! The one access decision: credentials, bucket policy, access control lists and public access blocks, in this order.
//!
//! A credential first needs the right by itself, wherever the bucket is: nobody else can give it more than its owner did.
//! In its own vault that is enough unless the bucket's policy denies. A bucket that its vault does not have is looked for
//! in the other vaults, and a request without credentials looks in all; there a policy or a list must open what is asked.
//! A vault's bucket that was never shared is not there for others, so that names tell nothing. The exception to every
//! policy: whoever may change the policy of their own bucket may, so that nobody locks themselves out.

use scopes::VaultId;

use super::facts::Known;
use super::{TABLE, credential_allows};
use crate::acl::{Acl, Permission};
use crate::errors::Refusal;
use crate::gate::{Question, now_ms};
use crate::policy::{Policy, Verdict, Who};
use crate::session::{Bucket, Session};
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
        return opened(sessions, question, action, name, None).ok_or_else(Refusal::access_denied);
    };
    credential_allows(identity, *needs, name, now_ms()).map_err(|denied| Refusal::from(&denied))?;
    let own = sessions.of(identity.vault()).ok_or_else(Refusal::access_denied)?;
    let Some(name) = name else {
        return Ok(own.vault());
    };
    if let Some(bucket) = own.peek_bucket(name) {
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
    match opened(sessions, question, action, name, Some(own.vault())) {
        Some(vault) => Ok(vault),
        None if others(sessions, name, Some(own.vault())).any(|(_, bucket)| is_shared(&bucket)) => {
            Err(Refusal::access_denied())
        }
        // Their own vault says that it has no such bucket.
        None => Ok(own.vault()),
    }
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

/// The other vaults that have a bucket of this name, the oldest bucket first, so that no later one takes its place.
fn others(sessions: &Sessions, name: &str, own: Option<VaultId>) -> impl Iterator<Item = (Session, Bucket)> {
    let all = sessions.all().into_iter();
    let elsewhere = all.filter(|session| Some(session.vault()) != own);
    let mut found: Vec<(Session, Bucket)> = elsewhere
        .filter_map(|session| session.peek_bucket(name).map(|bucket| (session, bucket)))
        .collect();
    found.sort_by_key(|(_, bucket)| bucket.created_ms);
    found.into_iter()
}

/// The vault in whose bucket of this name the question is opened to whoever asks.
fn opened(
    sessions: &Sessions,
    question: &Question<'_>,
    action: &str,
    name: &str,
    own: Option<VaultId>,
) -> Option<VaultId> {
    if OF_OWNER.contains(&question.operation) {
        return None;
    }
    let asking = own.map(|vault| vault.to_string());
    let who = asking.as_deref().map_or(Who::Anonymous, Who::Vault);
    let mut candidates = others(sessions, name, own);
    candidates
        .find(|(session, bucket)| Known::of(question, session, bucket).is_open(who, action))
        .map(|(session, _)| session.vault())
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
    fn is_open(&self, who: Who<'_>, action: &str) -> bool {
        let (bucket, operation) = (self.bucket, self.question.operation);
        let key = self.question.target.key.as_ref().map(|key| key.as_str());
        // Each key of a multi-delete is asked about by itself.
        if operation == "DeleteObjects" {
            return is_shared(bucket);
        }
        let (mut lists, reads) = (
            true,
            matches!(operation, "GetObject" | "GetObjectAttributes" | "HeadObject"),
        );
        let object = key.and_then(|key| self.session.peek_object(bucket, key, self.question.version));
        if bucket.settings.get(OWNERSHIP) == Some(OWNER_ENFORCED) || PublicAccess::of(bucket).ignore_acls {
            lists = false;
        }
        let by_list = || {
            let (of_object, permission) = permission_of(operation)?;
            let stored = if of_object {
                object.as_ref()?.system(ACL)
            } else {
                bucket.settings.get(ACL)
            };
            Some(Acl::stored(stored?).allows(who, permission))
        };
        let open = match self.policy(who, action) {
            Verdict::Denied => return false,
            Verdict::Allowed => true,
            Verdict::Silent => lists && by_list().unwrap_or(false),
        };
        // Who may not list learns no more of a missing object than of one that is closed.
        if reads && object.is_none() {
            self.may_list(who, lists)
        } else {
            open
        }
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
        "PutBucketAcl" => (false, Permission::WriteAcl),
        _ => return None,
    })
}
