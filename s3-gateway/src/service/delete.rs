//! DeleteObject and DeleteObjects.

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error,
    ObjectIdentifier,
};
use s3s::{S3Request, S3Response};

use super::lock::may_bypass;
use super::object::write_condition;
use super::versions::parse_version;
use super::{Answer, Asked, Halt, Key, Operations, SessionBucket};
use crate::access;
use crate::errors::Refusal;
use crate::gate::{Question, Target};
use crate::session::{Caller, Condition, Deleted, Doomed, ETagMatch, RefusedOperation, SessionError};
use crate::settings::POLICY;

impl Operations {
    pub(super) async fn delete_object(
        &self,
        asked: Asked,
        request: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        let input = &request.input;
        if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(unsupported());
        }
        let condition = write_condition(&asked.admitted.conditions)?;
        let bucket = asked.bucket().await?;
        let (session, caller, key) = (&asked.session, &asked.caller, asked.key()?);
        let deleted = match &input.version_id {
            None => session.delete_object(caller, &bucket, key, condition).await?,
            Some(version) => {
                let version = Doomed {
                    version: parse_version(version)?,
                    only: None,
                    bypass_governance: may_bypass(&asked, input.bypass_governance_retention)?,
                };
                session
                    .delete_version(caller, &bucket, key, version, condition)
                    .await?
            }
        };
        // Deleting what is not there is done already.
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.delete_marker.then_some(true),
            version_id: deleted.version.map(|version| version.to_string()),
            ..Default::default()
        }))
    }

    pub(super) async fn delete_objects(
        &self,
        asked: Asked,
        request: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        let named = request.input.delete.objects;
        if named.is_empty() || named.len() > KEYS_MAX {
            return Err(Refusal::malformed_xml().into());
        }
        let has_digest = asked
            .admitted
            .digests
            .get()
            .is_some_and(|d| d.md5.is_some() || d.checksum.is_some());
        let signed = request.headers.contains_key("content-md5") || has_digest;
        if !signed {
            let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
            return Err(Refusal::invalid_request(message).into());
        }
        let bucket = asked.bucket().await?;
        let bypass_governance = may_bypass(&asked, request.input.bypass_governance_retention)?;
        let quiet = request.input.delete.quiet.unwrap_or(false);
        let mut errors = Vec::new();
        let (mut names, mut keys) = (Vec::new(), Vec::new());
        for named in named {
            let wanted = one(&named, bypass_governance);
            match wanted.and_then(|wanted| {
                self.may_delete(&asked, &bucket, &wanted.0, &named)
                    .map(|()| wanted)
            }) {
                Ok(wanted) => {
                    keys.push(wanted);
                    names.push(named);
                }
                Err(halt) => errors.push(failed(named, halt)),
            }
        }
        let outcomes = asked.session.delete_objects(&asked.caller, &bucket, keys).await;
        let mut deleted = Vec::new();
        for (name, outcome) in names.into_iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => deleted.push(said(name, &outcome)),
                Err(SessionError::NoSuchKey) => deleted.push(DeletedObject {
                    key: Some(name.key),
                    ..Default::default()
                }),
                Err(error) => errors.push(failed(name, error.into())),
            }
        }
        for error in &errors {
            // Each key is an operation of its own; those that were deleted have their records.
            let (identity, code) = (&asked.admitted.identity, error.code.as_deref());
            let refused = RefusedOperation {
                operation_id: Caller::new(identity.clone()).operation_id,
                operation: "DeleteObject",
                bucket: Some(&bucket.name),
                code: code.unwrap_or_default(),
            };
            asked.session.refused(Some(identity), refused);
        }
        if quiet {
            deleted.clear();
        }
        let output = DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

impl Operations {
    /// Each key of a multi-delete is decided by itself where more than the credential's rights count.
    fn may_delete(
        &self,
        asked: &Asked,
        bucket: &SessionBucket,
        key: &Key,
        named: &ObjectIdentifier,
    ) -> Result<(), Halt> {
        let admitted = &asked.admitted;
        if bucket.settings.get(POLICY).is_none() && asked.is_of_the_vault() {
            return Ok(());
        }
        let target = Target {
            bucket: admitted.target.bucket.clone(),
            key: Some(key.clone()),
        };
        let decided = access::decide(
            &self.sessions,
            &Question {
                identity: admitted.asking(),
                operation: "DeleteObject",
                target: &target,
                version: named.version_id.as_deref().filter(|id| !id.is_empty()),
                circumstances: &admitted.circumstances,
            },
        )?;
        if decided == admitted.vault {
            Ok(())
        } else {
            Err(Refusal::access_denied().into())
        }
    }
}

/// What became of one key, as S3 says it: a marker that was made under its own id, one that was deleted under the id that was
/// asked for.
fn said(named: ObjectIdentifier, outcome: &Deleted) -> DeletedObject {
    let marker = outcome.delete_marker.then_some(true);
    let version = outcome.version.map(|version| version.to_string());
    DeletedObject {
        delete_marker: marker,
        delete_marker_version_id: version.filter(|_| outcome.delete_marker),
        key: Some(named.key),
        version_id: named.version_id,
    }
}

fn one(named: &ObjectIdentifier, bypass_governance: bool) -> Result<(Key, Option<Doomed>, Condition), Halt> {
    let version = named.version_id.as_deref().filter(|id| !id.is_empty());
    if named.size.is_some() || named.last_modified_time.is_some() {
        return Err(unsupported());
    }
    let condition = match &named.e_tag {
        Some(tag) if tag.value() == "*" => Condition::IfMatch(ETagMatch::Any),
        Some(tag) => Condition::IfMatch(ETagMatch::Tag(tag.value().to_owned())),
        None => Condition::None,
    };
    Ok((
        Key::parse(&named.key)?,
        version
            .map(|version| {
                Ok::<_, Halt>(Doomed {
                    version: parse_version(version)?,
                    only: None,
                    bypass_governance,
                })
            })
            .transpose()?,
        condition,
    ))
}

fn failed(named: ObjectIdentifier, halt: Halt) -> Error {
    Error {
        code: Some(halt.refusal.code.into_owned()),
        key: Some(named.key),
        message: Some(halt.refusal.message.into_owned()),
        version_id: named.version_id,
    }
}

fn unsupported() -> Halt {
    Refusal::not_implemented("Conditions on size and time are not implemented").into()
}

const KEYS_MAX: usize = 1000;
