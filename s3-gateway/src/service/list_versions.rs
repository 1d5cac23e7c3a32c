//! ListObjectVersions for buckets whose objects have one version each, `null`. Order, groups and paging are the index's.

use s3s::dto::{
    ETag, ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersion, ObjectVersionStorageClass,
};
use s3s::{S3Request, S3Response};
use vault::index::{ListPage, ListQuery, ListedObject};

use super::buckets::owner;
use super::list::{Encoding, page_size};
use super::object::{signed, timestamp};
use super::{Answer, Asked, Operations};
use crate::errors::Refusal;

/// S3's name of the only version of an object in a bucket that was never versioned.
const NULL_VERSION: &str = "null";

impl Operations {
    pub(super) async fn list_object_versions(
        &self,
        asked: Asked,
        request: S3Request<ListObjectVersionsInput>,
    ) -> Answer<ListObjectVersionsOutput> {
        let input = request.input;
        let encoding = Encoding::parse(input.encoding_type.as_ref())?;
        let max_keys = page_size(input.max_keys, "max-keys")?;
        let marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
        if marker.is_none() && input.version_id_marker.as_ref().is_some_and(|id| !id.is_empty()) {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(Refusal::invalid_argument(message).into());
        }
        let query = ListQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            start_after: marker,
            max_keys,
        };
        let bucket = asked.bucket().await?;
        let page = asked.session.list(&bucket, &query).await?;
        let written = |text: &String| encoding.write(text);
        let output = ListObjectVersionsOutput {
            name: Some(bucket.name),
            prefix: Some(encoding.write(&query.prefix)),
            key_marker: Some(input.key_marker.as_ref().map(written).unwrap_or_default()),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            max_keys: i32::try_from(max_keys).ok(),
            is_truncated: Some(page.truncated),
            next_key_marker: page.next.as_ref().map(written),
            next_version_id_marker: page.next.as_ref().map(|_| NULL_VERSION.to_owned()),
            common_prefixes: encoding.groups(&page.common_prefixes),
            delimiter: input.delimiter.as_ref().map(written),
            encoding_type: encoding.name(),
            versions: versions(&page, encoding, &asked),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

fn versions(page: &ListPage, encoding: Encoding, asked: &Asked) -> Option<Vec<ObjectVersion>> {
    let one = |listed: &ListedObject| ObjectVersion {
        e_tag: Some(ETag::Strong(listed.object.etag())),
        is_latest: Some(true),
        key: Some(encoding.write(&listed.object.key)),
        last_modified: Some(timestamp(listed.object.modified_ms)),
        owner: Some(owner(asked)),
        size: Some(signed(listed.object.plaintext_bytes)),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        version_id: Some(NULL_VERSION.to_owned()),
        ..Default::default()
    };
    (!page.objects.is_empty()).then(|| page.objects.iter().map(one).collect())
}
