//! Who may do what: one table from S3 operations to rights.
//!
//! `decision.rs` asks the table first, on the bucket name of the request and before anything is looked up, so a refusal says
//! nothing about what exists; then what the bucket itself says. An operation that is not in the table is refused, and so is
//! a request that did not come through the gate. A copy also needs the right to read its source.

mod decision;
mod facts;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decision::decide;
pub(crate) use table::TABLE;

use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::{CopyObjectInput, CopySource, UploadPartCopyInput};
use s3s::{S3Request, S3Result};
use scopes::{Denied, Identity, Operation};

use crate::errors::Refusal;
use crate::gate::{Admitted, Question, Target};
use crate::key::{BucketName, ObjectKey};
use crate::service::Halt;
use crate::session::RefusedOperation;
use crate::sessions::Sessions;

/// What a credential must be allowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// This operation in the bucket.
    Right(Operation),
    /// Any operation in the bucket: for facts about the bucket that every client asks first.
    AnyRight,
    /// A credential in force; the answer is filtered.
    InForce,
}

/// The operations whose success the session writes down itself, with the append that makes it true or before the bytes that
/// it reads. A CreateBucket does so only when it makes one. The gate writes down everything else.
pub(crate) const RECORDED: &[&str] = &[
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjects",
    "GetObject",
    "PutBucketVersioning",
    "PutObject",
    "PutObjectAcl",
    "PutObjectLegalHold",
    "PutObjectLockConfiguration",
    "PutObjectRetention",
    "PutObjectTagging",
    "UploadPart",
    "UploadPartCopy",
];

/// What a credential gives by itself: one row for one bucket.
pub(crate) fn credential_allows(
    identity: &Identity,
    needs: Needs,
    bucket: Option<&str>,
    now_ms: u64,
) -> Result<(), Denied> {
    match (needs, bucket) {
        (Needs::InForce, _) => identity.in_force(now_ms),
        (Needs::Right(operation), Some(bucket)) => identity.allows(operation, bucket, now_ms),
        (Needs::AnyRight, Some(bucket)) => {
            let mut last = Err(Denied::Scope);
            for operation in Operation::ALL {
                last = identity.allows(operation, bucket, now_ms);
                if last.is_ok() {
                    return last;
                }
            }
            last
        }
        (Needs::Right(_) | Needs::AnyRight, None) => Err(Denied::Scope),
    }
}

/// The table as s3s asks for it.
pub(crate) struct Access {
    sessions: Sessions,
}

impl Access {
    pub(crate) const fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }

    /// Writes down that a copy's source was refused: the gate would name the other bucket.
    fn refuse_source(
        &self,
        admitted: &Admitted,
        operation: &'static str,
        bucket: &str,
        refusal: Refusal,
    ) -> Halt {
        if let Some(session) = self.sessions.of(admitted.identity.vault()) {
            let asked = RefusedOperation {
                operation_id: admitted.operation_id,
                operation,
                bucket: Some(bucket),
                code: &refusal.code,
            };
            session.refused(Some(&admitted.identity), asked);
            admitted.mark_recorded();
        }
        refusal.into()
    }

    /// A copy's source, decided as a read of it.
    fn check_source<T>(
        &self,
        request: &S3Request<T>,
        operation: &'static str,
        source: &CopySource,
    ) -> Result<(), Halt> {
        let admitted = request
            .extensions
            .get::<Admitted>()
            .ok_or_else(Refusal::access_denied)?;
        let bucket = match source {
            CopySource::Bucket { bucket, .. } => bucket,
            CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
                return Err(Refusal::not_implemented("Access points are not implemented").into());
            }
        };
        let CopySource::Bucket { key, version_id, .. } = source else {
            return Err(Refusal::access_denied().into());
        };
        let target = Target {
            bucket: Some(BucketName::parse(bucket).map_err(|error| Refusal::from(&error))?),
            key: Some(ObjectKey::parse(key).map_err(|error| Refusal::from(&error))?),
        };
        let question = Question {
            identity: admitted.asking(),
            operation: "GetObject",
            target: &target,
            version: version_id.as_deref(),
            circumstances: &admitted.circumstances,
        };
        let decided = decide(&self.sessions, &question);
        let refused = |refusal| Err(self.refuse_source(admitted, operation, bucket, refusal));
        if !is_owner(&request.headers, "x-amz-source-expected-bucket-owner", admitted) {
            return refused(Refusal::from(&Denied::Scope));
        }
        match decided {
            Ok(vault) if vault == admitted.vault => Ok(()),
            // Its bytes would have to leave the vault that they are sealed in.
            Ok(_) => refused(Refusal::not_implemented(
                "Copies between vaults are not implemented",
            )),
            Err(refusal) => refused(refusal),
        }
    }

    fn check_operation(&self, context: &mut S3AccessContext<'_>) -> Result<(), Halt> {
        let admitted = context
            .extensions_mut()
            .get::<Admitted>()
            .cloned()
            .ok_or_else(Refusal::access_denied)?;
        // One parse: what the gate measured and judged and what s3s routes must be the same operation on the same names.
        let (path, target) = (context.s3_path(), &admitted.target);
        let same = context.s3_op().name() == admitted.operation
            && path.get_bucket_name() == target.bucket.as_ref().map(BucketName::as_str)
            && path.get_object_key() == target.key.as_ref().map(ObjectKey::as_str);
        if !same {
            return Err(Refusal::access_denied().into());
        }
        if !is_owner(context.headers(), "x-amz-expected-bucket-owner", &admitted) {
            return Err(Refusal::from(&Denied::Scope).into());
        }
        // The gate asked before it read the body, which takes its time.
        let decided = decide(
            &self.sessions,
            &Question {
                identity: admitted.asking(),
                operation: admitted.operation,
                target: &admitted.target,
                version: admitted.version.as_deref(),
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

/// Whether the vault is the one that a header expects, if it does. A copy's source is of the same vault as its target.
fn is_owner(headers: &http::HeaderMap, name: &str, admitted: &Admitted) -> bool {
    headers
        .get_all(name)
        .iter()
        .all(|owner| owner.as_bytes() == admitted.vault.to_string().as_bytes())
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        Ok(self.check_operation(context)?)
    }

    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        Ok(self.check_source(request, "CopyObject", &request.input.copy_source)?)
    }

    async fn upload_part_copy(&self, request: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        Ok(self.check_source(request, "UploadPartCopy", &request.input.copy_source)?)
    }
}
