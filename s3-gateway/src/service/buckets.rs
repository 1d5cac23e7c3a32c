//! Buckets: create, delete, head, list, location.

use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput, Owner,
};
use s3s::{S3Request, S3Response};

use super::bucket_settings::checked_ownership;
use super::object::timestamp;
use super::{Answer, Asked, Halt, Operations, acl, lock};
use vault::object::Settings;

use crate::access::{Needs, credential_allows};
use crate::errors::Refusal;
use crate::gate::now_ms;
use crate::session::SessionError;
use crate::settings::{ACL, OWNER_ENFORCED, OWNERSHIP};

impl Operations {
    pub(super) async fn create_bucket(
        &self,
        asked: Asked,
        request: S3Request<CreateBucketInput>,
    ) -> Answer<CreateBucketOutput> {
        let input = &request.input;
        self.check_location(input)?;
        let name = asked.bucket_name()?;
        let mut settings = Settings::default();
        if let Some(ownership) = &input.object_ownership {
            settings.set(OWNERSHIP, checked_ownership(ownership)?);
        }
        if let Some(list) = acl::of_headers(&asked, &request.headers)? {
            if settings.get(OWNERSHIP) == Some(OWNER_ENFORCED) && list.is_public() {
                return Err(acl::conflict().into());
            }
            settings.set(ACL, list.to_string());
        }
        if input.object_lock_enabled_for_bucket == Some(true) {
            lock::enable(&mut settings);
        }
        match asked
            .session
            .create_bucket_with(&asked.caller, name, settings)
            .await
        {
            Ok(_) => asked.admitted.mark_recorded(),
            // As S3 does in its oldest region, which clients use by default.
            Err(SessionError::BucketExists) if self.region == "us-east-1" => {}
            Err(error) => return Err(error.into()),
        }
        let output = CreateBucketOutput {
            location: Some(format!("/{name}")),
        };
        Ok(S3Response::new(output))
    }

    fn check_location(&self, input: &CreateBucketInput) -> Result<(), Halt> {
        let configuration = input.create_bucket_configuration.as_ref();
        let constraint = configuration.and_then(|c| c.location_constraint.as_ref());
        match constraint.map(BucketLocationConstraint::as_str) {
            None | Some("") => Ok(()),
            Some(region) if region == self.region => Ok(()),
            Some(region) => {
                let message = format!("The specified location constraint '{region}' is not valid here");
                Err(Refusal::new(400, "InvalidLocationConstraint", message).into())
            }
        }
    }

    pub(super) async fn delete_bucket(
        &self,
        asked: Asked,
        _request: S3Request<DeleteBucketInput>,
    ) -> Answer<DeleteBucketOutput> {
        asked
            .session
            .delete_bucket(&asked.caller, asked.bucket_name()?.as_str())
            .await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(super) async fn head_bucket(
        &self,
        asked: Asked,
        _request: S3Request<HeadBucketInput>,
    ) -> Answer<HeadBucketOutput> {
        asked.bucket().await?;
        let output = HeadBucketOutput {
            bucket_region: Some(self.region.clone()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn get_bucket_location(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketLocationInput>,
    ) -> Answer<GetBucketLocationOutput> {
        asked.bucket().await?;
        // The oldest region has no name here.
        let region =
            (self.region != "us-east-1").then(|| BucketLocationConstraint::from(self.region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: region,
        }))
    }

    pub(super) async fn list_buckets(
        &self,
        asked: Asked,
        request: S3Request<ListBucketsInput>,
    ) -> Answer<ListBucketsOutput> {
        let input = request.input;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let after = input.continuation_token.unwrap_or_default();
        let most = match input.max_buckets {
            None => usize::MAX,
            Some(n @ 1..=10_000) => usize::try_from(n).unwrap_or(usize::MAX),
            Some(_) => return Err(Refusal::invalid_argument("max-buckets must be from 1 to 10000").into()),
        };
        let identity = &asked.admitted.identity;
        let mut buckets = asked.session.buckets().await?;
        buckets.retain(|bucket| {
            bucket.name.starts_with(prefix)
                && bucket.name > after
                && credential_allows(identity, Needs::AnyRight, Some(&bucket.name), now_ms()).is_ok()
        });
        buckets.sort_by(|a, b| a.name.cmp(&b.name));
        let more = buckets.len() > most;
        buckets.truncate(most);
        let output = ListBucketsOutput {
            continuation_token: buckets.last().filter(|_| more).map(|bucket| bucket.name.clone()),
            owner: Some(owner(&asked)),
            prefix: input.prefix.clone(),
            buckets: Some(
                buckets
                    .into_iter()
                    .map(|bucket| Bucket {
                        creation_date: Some(timestamp(bucket.created_ms)),
                        name: Some(bucket.name),
                        ..Default::default()
                    })
                    .collect(),
            ),
        };
        Ok(S3Response::new(output))
    }
}

/// The owner of everything in a vault, by the vault's id.
pub(super) fn owner(asked: &Asked) -> Owner {
    let id = asked.session.vault().to_string();
    Owner {
        display_name: Some(asked.session.name().to_owned()),
        id: Some(id),
    }
}
