//! Tags of objects: the calls, and the header that gives them with a write.
//!
//! Limits and refusals are those of the S3 API reference ("Categorizing your storage using tags").

use http::HeaderMap;
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};
use s3s::{S3Request, S3Response};

use super::versions::{amend, find_version, version_id};
use super::{Answer, Asked, Halt, Operations};
use crate::auth::canonical::Query;
use crate::errors::Refusal;

/// The most tags of an object.
pub(super) const OBJECT_TAGS_MAX: usize = 10;
/// The longest key and value of a tag, in characters.
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Tags as they are kept.
pub(super) type Tags = Vec<(String, String)>;

impl Operations {
    pub(super) async fn put_object_tagging(
        &self,
        asked: Asked,
        request: S3Request<PutObjectTaggingInput>,
    ) -> Answer<PutObjectTaggingOutput> {
        let tags = checked(request.input.tagging.tag_set, OBJECT_TAGS_MAX)?;
        let version_id = set(&asked, request.input.version_id.as_deref(), tags).await?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
    }

    pub(super) async fn delete_object_tagging(
        &self,
        asked: Asked,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> Answer<DeleteObjectTaggingOutput> {
        let version = request.input.version_id.as_deref();
        let version_id = set(&asked, version, Vec::new()).await?;
        Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
    }

    pub(super) async fn get_object_tagging(
        &self,
        asked: Asked,
        request: S3Request<GetObjectTaggingInput>,
    ) -> Answer<GetObjectTaggingOutput> {
        let bucket = asked.bucket().await?;
        let version = request.input.version_id.as_deref();
        let stored = find_version(&asked, &bucket, asked.key()?, version).await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: stored.object.tags.iter().map(shown).collect(),
            version_id: version_id(&bucket, &stored.object),
        }))
    }
}

/// Gives a version these tags in place of its own.
async fn set(asked: &Asked, version: Option<&str>, tags: Tags) -> Result<Option<String>, Halt> {
    let (bucket, key) = (asked.bucket().await?, asked.key()?);
    // A delete marker has its own answer.
    find_version(asked, &bucket, key, version).await?;
    let amended = amend(asked, (&bucket, key), version, move |amended| {
        amended.tags.clone_from(&tags);
        Ok(())
    });
    Ok(version_id(&bucket, &amended.await?.object))
}

/// A tag as S3 shows it.
pub(super) fn shown((key, value): &(String, String)) -> Tag {
    Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    }
}

/// Tags that may be kept, at most `most`.
pub(super) fn checked(tags: Vec<Tag>, most: usize) -> Result<Tags, Halt> {
    let pairs = tags.into_iter().map(|tag| {
        let key = tag.key.ok_or_else(Refusal::malformed_xml)?;
        Ok((key, tag.value.unwrap_or_default()))
    });
    check(pairs.collect::<Result<Tags, Refusal>>()?, most)
}

/// The tags that a write gives its object, if it names any.
pub(super) fn of_header(headers: &HeaderMap) -> Result<Option<Tags>, Halt> {
    let Some(header) = headers.get("x-amz-tagging") else {
        return Ok(None);
    };
    let invalid = || {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag \
                       name duplicates.";
        Halt::from(Refusal::invalid_argument(message))
    };
    let text = header.to_str().map_err(|_| invalid())?;
    // A form's way to write a space, which a query does not have.
    let text = text.replace('+', "%20");
    let query = Query::parse(Some(&text)).map_err(|_| invalid())?;
    let pairs = query
        .pairs()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut pairs: Tags = pairs.collect();
    pairs.sort();
    check(pairs, OBJECT_TAGS_MAX).map(Some)
}

fn check(tags: Tags, most: usize) -> Result<Tags, Halt> {
    let refused = |message: &'static str| Err(Halt::from(Refusal::new(400, "InvalidTag", message)));
    if tags.len() > most {
        let message = format!("There may be at most {most} tags");
        return Err(Refusal::new(400, "InvalidTag", message).into());
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            return refused("The TagKey you have provided is invalid");
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return refused("The TagValue you have provided is invalid");
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return refused("System tags cannot be added/updated by requester");
        }
        if tags.iter().take(at).any(|(other, _)| other == key) {
            return refused("Cannot provide multiple Tags with the same key");
        }
    }
    Ok(tags)
}
