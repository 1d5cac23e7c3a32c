//! ListObjects, versions 1 and 2. Order, groups and paging are the index's; encodings and tokens are here.

use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, CommonPrefix, ETag, EncodingType, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, Owner,
};
use s3s::{S3Request, S3Response};
use vault::index::{ListPage, ListQuery, ListedObject};

use super::buckets::owner;
use super::object::{kind_name, sent_algorithm, signed, timestamp};
use super::{Answer, Asked, Halt, Operations};
use crate::auth::canonical::{decode_utf8, encode, encode_path};
use crate::errors::Refusal;

/// How names are written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn parse(asked: Option<&EncodingType>) -> Result<Self, Halt> {
        match asked.map(EncodingType::as_str) {
            None | Some("") => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => Err(Refusal::invalid_argument("Invalid Encoding Method specified in Request").into()),
        }
    }

    pub(super) fn write(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => encode_path(text),
        }
    }

    pub(super) fn name(self) -> Option<EncodingType> {
        (self == Self::Url).then(|| EncodingType::from_static(EncodingType::URL))
    }

    pub(super) fn groups(self, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
        let write = |prefix: &String| CommonPrefix {
            prefix: Some(self.write(prefix)),
        };
        (!prefixes.is_empty()).then(|| prefixes.iter().map(write).collect())
    }
}

/// How many items a page may have: at most 1,000, whatever was asked for.
pub(super) fn page_size(asked: Option<i32>, name: &str) -> Result<usize, Halt> {
    match asked {
        None => Ok(PAGE_MAX),
        Some(n) => match usize::try_from(n) {
            Ok(n) => Ok(n.min(PAGE_MAX)),
            Err(_) => {
                let message = format!("Argument {name} must be an integer between 0 and 2147483647");
                Err(Refusal::invalid_argument(message).into())
            }
        },
    }
}

impl Operations {
    pub(super) async fn list_objects(
        &self,
        asked: Asked,
        request: S3Request<ListObjectsInput>,
    ) -> Answer<ListObjectsOutput> {
        let input = request.input;
        let encoding = Encoding::parse(input.encoding_type.as_ref())?;
        let max_keys = page_size(input.max_keys, "max-keys")?;
        let marker = input.marker.clone().filter(|marker| !marker.is_empty());
        let query = query(input.prefix.as_ref(), input.delimiter.as_ref(), marker, max_keys);
        let bucket = asked.bucket().await?;
        let page = asked.session.list(&bucket, &query).await?;
        let owner = owner(&asked);
        let written = |text: &String| encoding.write(text);
        let output = ListObjectsOutput {
            name: Some(bucket.name),
            prefix: Some(encoding.write(&query.prefix)),
            marker: Some(input.marker.as_ref().map(written).unwrap_or_default()),
            max_keys: i32::try_from(max_keys).ok(),
            is_truncated: Some(page.truncated),
            // Without a delimiter the last key is the marker, and S3 leaves it out.
            next_marker: page
                .next
                .as_ref()
                .filter(|_| input.delimiter.is_some())
                .map(written),
            common_prefixes: encoding.groups(&page.common_prefixes),
            delimiter: said_delimiter(input.delimiter.as_ref(), encoding),
            encoding_type: encoding.name(),
            contents: contents(&page, encoding, Some(&owner)),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn list_objects_v2(
        &self,
        asked: Asked,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let encoding = Encoding::parse(input.encoding_type.as_ref())?;
        let max_keys = page_size(input.max_keys, "max-keys")?;
        let start_after = match input
            .continuation_token
            .as_ref()
            .filter(|token| !token.is_empty())
        {
            Some(token) => Some(read_token(token)?),
            None => input.start_after.clone().filter(|start| !start.is_empty()),
        };
        let query = query(
            input.prefix.as_ref(),
            input.delimiter.as_ref(),
            start_after,
            max_keys,
        );
        let bucket = asked.bucket().await?;
        let page = asked.session.list(&bucket, &query).await?;
        let owner = input.fetch_owner.unwrap_or(false).then(|| owner(&asked));
        let written = |text: &String| encoding.write(text);
        let count = page.objects.len() + page.common_prefixes.len();
        let output = ListObjectsV2Output {
            name: Some(bucket.name),
            prefix: Some(encoding.write(&query.prefix)),
            max_keys: i32::try_from(max_keys).ok(),
            key_count: i32::try_from(count).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.truncated),
            next_continuation_token: page.next.as_deref().map(write_token),
            common_prefixes: encoding.groups(&page.common_prefixes),
            delimiter: said_delimiter(input.delimiter.as_ref(), encoding),
            encoding_type: encoding.name(),
            start_after: input.start_after.as_ref().map(written),
            contents: contents(&page, encoding, owner.as_ref()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

/// A delimiter that is empty groups nothing, and is not repeated.
fn said_delimiter(asked: Option<&String>, encoding: Encoding) -> Option<String> {
    asked
        .filter(|delimiter| !delimiter.is_empty())
        .map(|delimiter| encoding.write(delimiter))
}

fn query(
    prefix: Option<&String>,
    delimiter: Option<&String>,
    start_after: Option<String>,
    max_keys: usize,
) -> ListQuery {
    ListQuery {
        prefix: prefix.cloned().unwrap_or_default(),
        delimiter: delimiter.cloned().unwrap_or_default(),
        start_after,
        max_keys,
    }
}

fn contents(page: &ListPage, encoding: Encoding, owner: Option<&Owner>) -> Option<Vec<Object>> {
    let one = |listed: &ListedObject| {
        let object = &listed.object;
        let checksum = object.checksum.as_ref();
        let algorithm = checksum.map(|c| sent_algorithm(c.checksum.algorithm()).name());
        Object {
            checksum_algorithm: algorithm.map(|name| vec![ChecksumAlgorithm::from_static(name)]),
            checksum_type: checksum.map(|c| ChecksumType::from_static(kind_name(c.kind))),
            e_tag: Some(ETag::Strong(object.etag())),
            key: Some(encoding.write(&object.key)),
            last_modified: Some(timestamp(object.modified_ms)),
            owner: owner.cloned(),
            size: Some(signed(object.plaintext_bytes)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Default::default()
        }
    };
    (!page.objects.is_empty()).then(|| page.objects.iter().map(one).collect())
}

/// A continuation token: opaque to clients, and only the place to go on from to us. It gives no right.
fn write_token(next: &str) -> String {
    // An underscore stands for the percent sign, so it must not stand for itself.
    format!("1{}", encode(next).replace('_', "%5F").replace('%', "_"))
}

fn read_token(token: &str) -> Result<String, Halt> {
    let refused = || {
        Halt::from(Refusal::invalid_argument(
            "The continuation token provided is incorrect",
        ))
    };
    let body = token.strip_prefix('1').ok_or_else(refused)?;
    decode_utf8(&body.replace('_', "%")).map_err(|_| refused())
}

const PAGE_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_whatever_the_key_holds() {
        for key in ["a", "a/b c", "_%_%25", "ключ\u{1}\n", "x=&?#"] {
            let token = write_token(key);
            assert!(
                token
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
                "{token}"
            );
            assert_eq!(read_token(&token).unwrap(), key);
        }
        for bad in ["", "2abc", "1_", "1_zz", "1_ff"] {
            assert!(read_token(bad).is_err(), "{bad}");
        }
    }
}
