//! Access control lists in S3's words: the calls that read and set them, and the headers that come with a write.
//!
//! Everything belongs to the vault's owner, so a list may grant to the owner, to everyone and to everyone with a credential.
//! Whether a list may be set is decided on the bucket's ownership controls and its public access block.

use http::HeaderMap;
use s3s::dto::{
    AccessControlPolicy, GetBucketAclInput, GetBucketAclOutput, GetObjectAclInput, GetObjectAclOutput, Grant,
    Grantee as GranteeXml, Owner, Permission as PermissionXml, PutBucketAclInput, PutBucketAclOutput,
    PutObjectAclInput, PutObjectAclOutput, Type,
};
use s3s::{S3Request, S3Response};

use super::buckets::owner;
use super::versions::{amend, find_version};
use super::{Answer, Asked, Halt, Operations, SessionBucket};
use crate::acl::{Acl, GRANTS_MAX, Grantee, Permission};
use crate::errors::Refusal;
use crate::settings::{ACL, OWNER_ENFORCED, OWNERSHIP, PublicAccess};

const EVERYONE: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/// The header of a canned list.
const CANNED: &str = "x-amz-acl";
/// The headers that grant a permission each.
const GRANTS: [(&str, Permission); 5] = [
    ("x-amz-grant-full-control", Permission::FullControl),
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcl),
    ("x-amz-grant-write-acp", Permission::WriteAcl),
];

/// The list that the headers of a request ask for.
///
/// # Errors
/// Unknown names, contradictions, and grants to other accounts.
pub(super) fn of_headers(asked: &Asked, headers: &HeaderMap) -> Result<Option<Acl>, Halt> {
    let mut grants = Vec::new();
    for (name, permission) in GRANTS {
        for value in headers.get_all(name) {
            let value = value.to_str().map_err(|_| unknown_grantee())?;
            for grantee in value.split(',') {
                grants.push((header_grantee(asked, grantee.trim())?, permission));
            }
        }
    }
    let canned = headers
        .get(CANNED)
        .map(|value| value.to_str().unwrap_or_default());
    match (canned, grants.is_empty()) {
        (None, true) => Ok(None),
        (None, false) if grants.len() > GRANTS_MAX => Err(malformed()),
        (None, false) => Ok(Some(Acl::new(grants))),
        (Some(_), false) => {
            let message = "Specifying both Canned ACLs and Header Grants is not allowed";
            Err(Refusal::invalid_request(message).into())
        }
        (Some("aws-exec-read" | "log-delivery-write"), true) => Err(foreign()),
        (Some(name), true) => match Acl::canned(name) {
            Some(acl) => Ok(Some(acl)),
            None => Err(Refusal::invalid_argument("The canned ACL is not known").into()),
        },
    }
}

/// What is noted of an object that is written with these headers.
pub(super) fn noted(
    asked: &Asked,
    headers: &HeaderMap,
    bucket: &SessionBucket,
) -> Result<Option<(String, String)>, Halt> {
    let Some(acl) = of_headers(asked, headers)? else {
        return Ok(None);
    };
    let owners = headers
        .get(CANNED)
        .is_some_and(|name| name.as_bytes() == b"bucket-owner-full-control");
    if !owners {
        check(&acl, bucket)?;
    }
    may_open(asked, &acl)?;
    // The owner's alone is what an object has without a list.
    Ok((acl != Acl::private()).then(|| (ACL.to_owned(), acl.to_string())))
}

/// Opening an object to others is more than writing it: it needs the right to configure the bucket, and stays when the key that did it
/// is gone.
fn may_open(asked: &Asked, acl: &Acl) -> Result<(), Halt> {
    if acl.is_public() {
        super::lock::check_configures(asked)?;
    }
    Ok(())
}

/// A bucket whose lists count for nothing has none that opens something.
pub(super) fn conflict() -> Refusal {
    let message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    Refusal::new(400, "InvalidBucketAclWithObjectOwnership", message)
}

/// Whether a list may be set in a bucket. Where lists count for nothing, only the one that says so is taken.
fn check(acl: &Acl, bucket: &SessionBucket) -> Result<(), Halt> {
    if bucket.settings.get(OWNERSHIP) == Some(OWNER_ENFORCED) {
        let message = "The bucket does not allow ACLs";
        return Err(Refusal::new(400, "AccessControlListNotSupported", message).into());
    }
    if PublicAccess::of(bucket).block_acls && acl.is_public() {
        return Err(Refusal::access_denied().into());
    }
    Ok(())
}

impl Operations {
    pub(super) async fn get_bucket_acl(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketAclInput>,
    ) -> Answer<GetBucketAclOutput> {
        let bucket = asked.bucket().await?;
        let acl = bucket.settings.get(ACL).map_or_else(Acl::private, Acl::stored);
        Ok(S3Response::new(GetBucketAclOutput {
            grants: Some(grants(&asked, &acl)),
            owner: Some(owner(&asked)),
        }))
    }

    pub(super) async fn put_bucket_acl(
        &self,
        asked: Asked,
        request: S3Request<PutBucketAclInput>,
    ) -> Answer<PutBucketAclOutput> {
        let acl = wanted(
            &asked,
            &request.headers,
            request.input.access_control_policy.as_ref(),
        )?;
        let bucket = asked.bucket().await?;
        check(&acl, &bucket)?;
        asked.set(ACL, Some(acl.to_string())).await?;
        Ok(S3Response::new(PutBucketAclOutput::default()))
    }

    pub(super) async fn get_object_acl(
        &self,
        asked: Asked,
        request: S3Request<GetObjectAclInput>,
    ) -> Answer<GetObjectAclOutput> {
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let stored = find_version(&asked, &bucket, key, request.input.version_id.as_deref()).await?;
        let acl = stored.object.system(ACL).map_or_else(Acl::private, Acl::stored);
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(grants(&asked, &acl)),
            owner: Some(owner(&asked)),
            ..Default::default()
        }))
    }

    pub(super) async fn put_object_acl(
        &self,
        asked: Asked,
        request: S3Request<PutObjectAclInput>,
    ) -> Answer<PutObjectAclOutput> {
        let acl = wanted(
            &asked,
            &request.headers,
            request.input.access_control_policy.as_ref(),
        )?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        check(&acl, &bucket)?;
        may_open(&asked, &acl)?;
        amend(
            &asked,
            (&bucket, key),
            request.input.version_id.as_deref(),
            move |amended| {
                amended.system.retain(|(name, _)| name != ACL);
                if acl != Acl::private() {
                    amended.system.push((ACL.to_owned(), acl.to_string()));
                }
                Ok(())
            },
        )
        .await?;
        Ok(S3Response::new(PutObjectAclOutput::default()))
    }
}

/// The list that a call sets: by headers or by a document, not by both.
fn wanted(asked: &Asked, headers: &HeaderMap, document: Option<&AccessControlPolicy>) -> Result<Acl, Halt> {
    match (of_headers(asked, headers)?, document) {
        (Some(acl), None) => Ok(acl),
        (None, Some(document)) => of_document(owner(asked).id, document),
        (Some(_), Some(_)) => {
            let message = "This request does not support content";
            Err(Refusal::new(400, "UnexpectedContent", message).into())
        }
        (None, None) => {
            let message = "Your request was missing a required header: x-amz-acl";
            Err(Refusal::new(400, "MissingSecurityHeader", message).into())
        }
    }
}

/// What a document grants in a bucket of this owner.
pub(super) fn of_document(own: Option<String>, document: &AccessControlPolicy) -> Result<Acl, Halt> {
    if document
        .owner
        .as_ref()
        .is_some_and(|owner| owner.id.is_some() && owner.id != own)
    {
        return Err(Refusal::access_denied().into());
    }
    let listed = document.grants.as_deref().unwrap_or_default();
    if listed.len() > GRANTS_MAX {
        return Err(malformed());
    }
    let one = |grant: &Grant| {
        let (Some(grantee), Some(permission)) = (&grant.grantee, &grant.permission) else {
            return Err(malformed());
        };
        let permission = Permission::parse(permission.as_str()).ok_or_else(malformed)?;
        let grantee = match (grantee.type_.as_str(), &grantee.id, &grantee.uri) {
            (Type::CANONICAL_USER, id @ Some(_), None) if *id == own => Grantee::Owner,
            (Type::CANONICAL_USER, Some(id), None) => return Err(other_account(id)),
            (Type::GROUP, None, Some(uri)) => group(uri)?,
            (Type::AMAZON_CUSTOMER_BY_EMAIL, ..) => return Err(foreign()),
            _ => return Err(malformed()),
        };
        Ok((grantee, permission))
    };
    Ok(Acl::new(listed.iter().map(one).collect::<Result<_, _>>()?))
}

/// `id="…"` or `uri="…"`.
fn header_grantee(asked: &Asked, text: &str) -> Result<Grantee, Halt> {
    let (kind, value) = text.split_once('=').ok_or_else(unknown_grantee)?;
    let value = value.trim().trim_matches('"');
    match kind.trim() {
        "id" if Some(value) == owner(asked).id.as_deref() => Ok(Grantee::Owner),
        "id" => Err(other_account(value)),
        "uri" => group(value),
        "emailAddress" => Err(foreign()),
        _ => Err(unknown_grantee()),
    }
}

fn group(uri: &str) -> Result<Grantee, Halt> {
    match uri {
        EVERYONE => Ok(Grantee::Everyone),
        AUTHENTICATED => Ok(Grantee::Authenticated),
        "http://acs.amazonaws.com/groups/s3/LogDelivery" => Err(foreign()),
        _ => Err(Refusal::invalid_argument("Invalid group uri").into()),
    }
}

/// An account that exists could be granted something elsewhere; one that cannot exist is a mistake.
fn other_account(id: &str) -> Halt {
    if id.parse::<scopes::VaultId>().is_ok() {
        foreign()
    } else {
        Refusal::invalid_argument("Invalid id").into()
    }
}

fn foreign() -> Halt {
    Refusal::not_implemented("Grants to other accounts are not implemented; a bucket policy can name them")
        .into()
}

fn unknown_grantee() -> Halt {
    Refusal::invalid_argument("Argument format not recognized").into()
}

fn malformed() -> Halt {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    Refusal::new(400, "MalformedACLError", message).into()
}

fn grants(asked: &Asked, acl: &Acl) -> Vec<Grant> {
    let one = |(grantee, permission): &(Grantee, Permission)| Grant {
        grantee: Some(said(asked, *grantee)),
        permission: Some(PermissionXml::from_static(permission.name())),
    };
    acl.grants().iter().map(one).collect()
}

fn said(asked: &Asked, grantee: Grantee) -> GranteeXml {
    let named = |kind: &'static str, uri: Option<&str>, owner: Option<Owner>| {
        let (id, display_name) = owner.map_or((None, None), |owner| (owner.id, owner.display_name));
        GranteeXml {
            display_name,
            email_address: None,
            id,
            type_: Type::from_static(kind),
            uri: uri.map(str::to_owned),
        }
    };
    match grantee {
        Grantee::Owner => named(Type::CANONICAL_USER, None, Some(owner(asked))),
        Grantee::Everyone => named(Type::GROUP, Some(EVERYONE), None),
        Grantee::Authenticated => named(Type::GROUP, Some(AUTHENTICATED), None),
    }
}
