//! What clients send as documents, forms and odd headers, each read as its operation reads it: a door for the fuzz crate.
//!
//! Nothing is stored and nobody is asked. Each function says what would be kept, and where what is kept is shown again, also what
//! would be kept of that; the two have to be the same.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use s3s::dto::{AccessControlPolicy, BucketLifecycleConfiguration, CORSConfiguration, CopySource};
use s3s::xml::{Deserialize, Deserializer};

use super::{acl, bucket_cors, lifecycle, tagging};
use crate::acl::Acl;
use crate::copy_source;
use crate::cors::{CrossOrigin, Rule, stored};
use crate::form;
use crate::key::{BucketName, ObjectKey};
use crate::policy::{Facts, Policy, Values, Verdict, Who};

/// What would be kept, and what would be kept of it after it was given back.
pub type Kept = (String, String);

/// The vault id of the owner that lists are read for.
pub const OWNER: &str = "0707070707070707070707070707070707";

fn document<T: for<'xml> Deserialize<'xml>>(xml: &[u8]) -> Option<T> {
    let mut reader = Deserializer::new(xml);
    let document = T::deserialize(&mut reader).ok()?;
    reader.expect_eof().ok()?;
    Some(document)
}

/// A lifecycle configuration.
pub fn lifecycle_rules(xml: &[u8]) -> Option<Kept> {
    let wanted: BucketLifecycleConfiguration = document(xml)?;
    let rules = wanted.rules.into_iter().enumerate();
    let rules: Option<Vec<_>> = rules
        .map(|(number, rule)| lifecycle::checked(rule, number).ok())
        .collect();
    let text = crate::lifecycle::write(&rules?)?;
    let shown = crate::lifecycle::Rules::read(&text)?
        .into_iter()
        .map(lifecycle::shown);
    let again: Option<Vec<_>> = shown
        .enumerate()
        .map(|(number, rule)| lifecycle::checked(rule, number).ok())
        .collect();
    // What was shown and is refused then would be a defect, so it is not passed over here.
    let again = again.and_then(|rules| crate::lifecycle::write(&rules));
    Some((text, again.unwrap_or_default()))
}

/// A CORS configuration, and what its rules answer to a page of this origin.
pub fn cors_rules(xml: &[u8], origin: &str) -> Option<(Kept, Option<HeaderMap>)> {
    let wanted: CORSConfiguration = document(xml)?;
    let checked = |rules: Vec<s3s::dto::CORSRule>| -> Option<Vec<Rule>> {
        rules
            .into_iter()
            .map(|rule| bucket_cors::checked(rule).ok())
            .collect()
    };
    let text = serde_json::to_string(&checked(wanted.cors_rules)?).ok()?;
    let again = checked(stored(&text).into_iter().map(bucket_cors::said).collect());
    let again = again.and_then(|rules| serde_json::to_string(&rules).ok());
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ORIGIN, HeaderValue::from_str(origin).ok()?);
    let answer = CrossOrigin::of(&Method::GET, &headers).and_then(|asked| asked.answer(&stored(&text)));
    Some(((text, again.unwrap_or_default()), answer))
}

/// An access control list, as a document of [`OWNER`].
pub fn access_list(xml: &[u8]) -> Option<Kept> {
    let wanted: AccessControlPolicy = document(xml)?;
    let kept = acl::of_document(Some(OWNER.to_owned()), &wanted)
        .ok()?
        .to_string();
    let again = Acl::stored(&kept).to_string();
    Some((kept, again))
}

/// The header `x-amz-tagging`.
pub fn tags(header: &[u8]) -> Option<Vec<(String, String)>> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-tagging", HeaderValue::from_bytes(header).ok()?);
    tagging::of_header(&headers).ok()?
}

/// The header `x-amz-copy-source`, as the gate passes it on: a bucket and an object key.
pub fn copy_source(header: &str) -> Option<(BucketName, ObjectKey)> {
    match CopySource::parse(&copy_source::plain(header)).ok()? {
        CopySource::Bucket { bucket, key, .. } => {
            Some((BucketName::parse(&bucket).ok()?, ObjectKey::parse(&key).ok()?))
        }
        _ => None,
    }
}

/// A policy of the bucket `photos`: for each of some requests whether it allows it, denies it or says nothing.
pub fn bucket_policy(text: &str) -> Option<Vec<Option<bool>>> {
    let policy = Policy::parse(text, "photos").ok()?;
    let facts = [
        Values::Missing,
        Values::Unknown,
        Values::Are(vec!["10.0.0.1".to_owned()]),
    ];
    let mut said = vec![Some(policy.is_public())];
    for facts in &facts {
        for who in [Who::Anonymous, Who::Vault(OWNER)] {
            for (action, key) in [("s3:GetObject", Some("a/b")), ("s3:ListBucket", None)] {
                said.push(match policy.judge(who, action, ("photos", key), &Same(facts)) {
                    Verdict::Denied => Some(false),
                    Verdict::Allowed => Some(true),
                    Verdict::Silent => None,
                });
            }
        }
    }
    Some(said)
}

/// The same answer to every question.
struct Same<'a>(&'a Values);

impl Facts for Same<'_> {
    fn values(&self, _: &str) -> Values {
        self.0.clone()
    }
}

/// The fields of a form, the name of its file and the file.
pub type ReadForm = (Vec<(String, String)>, String, Option<Vec<u8>>);

/// A form with the boundary `xyz`, which arrives in pieces of so many bytes.
pub fn post_form(body: &[u8], piece: usize) -> Option<ReadForm> {
    let frames: Vec<_> = body
        .chunks(piece.max(1))
        .map(|part| Ok(Frame::data(Bytes::copy_from_slice(part))))
        .collect();
    let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    let read = async {
        let form = form::open("multipart/form-data; boundary=xyz", body, Duration::from_secs(1));
        let form = form.await.ok()?;
        let (mut file, mut content) = (form.file.into_data_stream(), Some(Vec::new()));
        while let Some(part) = file.next().await {
            match (part, &mut content) {
                (Ok(part), Some(content)) => content.extend_from_slice(&part),
                _ => content = None,
            }
        }
        Some((form.fields, form.filename, content))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.ok()?.block_on(read)
}

/// The policy document of a form with these fields: the bounds of the file's length, if it lets the form pass.
pub fn post_policy(document: &[u8], fields: &[(String, String)]) -> Option<(u64, u64)> {
    form::policy::check(document, fields, "photos", 1_000).ok()
}
