//! Objects posted by browser forms: from the fields to the same decision and the same write as a PUT.
//!
//! A signed form carries a policy under Signature Version 4; a form without a signature is a request of nobody in
//! particular. Only the fields count: of the request's own headers none reaches the object. Version 2 is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use scopes::Identity;

use super::admit::{Asker, Judged, PUT_BYTES_MAX, Passed, Plan, Refused, origin};
use super::{Circumstances, Gate, Gatekeeper, Inner, Passage, Target, now_ms, plain_xml};
use crate::answer::{AnswerBody, empty, escape, whole};
use crate::auth::canonical::{Query, encode, encode_path};
use crate::auth::payload::Payload;
use crate::auth::{AuthError, Place};
use crate::body::RawBody;
use crate::errors::Refusal;
use crate::form::policy::{PostError, check};
use crate::form::{FIELDS_BYTES_MAX, Form, FormError, open};
use crate::hold::Hold;
use crate::host::Peer;
use crate::key::{BucketName, ObjectKey};

/// How a form wants to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormAnswer {
    status: StatusCode,
    redirect: Option<String>,
    location: String,
    bucket: String,
    key: String,
}

/// Whether a request posts a form.
pub(super) fn is_form(method: &Method, headers: &HeaderMap) -> bool {
    let form = headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let start = value.as_bytes().trim_ascii_start().get(..19).unwrap_or_default();
        start.eq_ignore_ascii_case(b"multipart/form-data")
    });
    form && *method == Method::POST
}

impl<K: Gatekeeper, N: Inner> Gate<K, N> {
    /// Takes a form in: its fields are read, judged and turned into a PUT whose body is the file.
    pub(super) async fn admit_form(
        &self,
        mut parts: Parts,
        body: RawBody,
        (path, client, private): (&str, Peer, bool),
        passage: &Passage,
    ) -> Result<Passed, Refused> {
        let bucket_in_host = self.is_bucket_in_host(&parts.headers);
        let bucket =
            BucketName::parse(&self.bucket_named(&parts.headers, path)).map_err(|e| Refusal::from(&e))?;
        if !self.names_bucket_only(&parts.headers, path)
            || parts.uri.query().is_some_and(|query| !query.is_empty())
        {
            let message = "The specified method is not allowed against this resource.";
            return Err(Refusal::new(405, "MethodNotAllowed", message).into());
        }
        let (form, hold) = self.read_form(&parts.headers, body).await?;
        let (identity, bounds) = self.signer(&form.fields, bucket.as_str()).await?;
        let failed = |refusal: Refusal| Refused {
            refusal,
            identity: identity.clone(),
            operation: Some("PutObject"),
            bucket: Some(bucket.clone()),
        };
        let key = value(&form.fields, "key")
            .unwrap_or_default()
            .replace("${filename}", &form.filename);
        if key.is_empty() {
            let message = "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.";
            return Err(failed(Refusal::invalid_argument(message)));
        }
        let key = ObjectKey::parse(&key).map_err(|error| failed(Refusal::from(&error)))?;
        parts.headers = headers_of(&form, &parts.headers).map_err(failed)?;
        parts.method = Method::PUT;
        let target = Target {
            bucket: Some(bucket.clone()),
            key: Some(key),
        };
        let answer = answer_of(
            &form,
            &target,
            &origin(&parts.headers, client.tls),
            bucket_in_host,
        );
        let who = Asker {
            identity: identity.clone(),
            payload: Payload::Unsigned,
            chunks: None,
            place: None,
        };
        let query = Query::default();
        let passed = async {
            let circumstances = Circumstances::of(&parts.headers, &query, client, None::<Place>);
            let (vault, version) = self.judge(&who, "PutObject", &target, &query, &circumstances)?;
            let judged = Judged {
                operation: "PutObject",
                target,
                vault,
                version,
                circumstances,
                bucket_in_host,
                tls: client.tls,
                private,
                form: Some(answer),
            };
            let plan = Plan::of_form(&parts.headers)?;
            let (least, most) = bounds;
            let file = form.file.bounded((least, most.min(PUT_BYTES_MAX))).boxed_unsync();
            drop(hold);
            self.take_in((parts, file), &who, (judged, plan), &query, passage)
                .await
        };
        passed.await.map_err(failed)
    }

    /// Reads the fields, within the budget for bodies that are held in memory.
    async fn read_form(&self, headers: &HeaderMap, body: RawBody) -> Result<(Form, Hold), Refusal> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let hold = self.holds.clone().take(FIELDS_BYTES_MAX as u64).await;
        let hold = hold.ok_or_else(Refusal::slow_down)?;
        let form = open(content_type.unwrap_or_default(), body, self.config.body_patience).await;
        Ok((form.map_err(refused_form)?, hold))
    }

    /// Who signed the form, and which lengths its policy allows.
    async fn signer(&self, fields: &Fields, bucket: &str) -> Result<(Option<Identity>, (u64, u64)), Refusal> {
        if value(fields, "awsaccesskeyid").is_some() || value(fields, "signature").is_some() {
            return Err(Refusal::from(&AuthError::Version2));
        }
        if value(fields, "x-amz-security-token").is_some() {
            return Err(Refusal::from(&AuthError::SessionToken));
        }
        let signed = [
            "policy",
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-signature",
        ];
        if signed.iter().all(|name| value(fields, name).is_none()) {
            return Ok((None, (0, u64::MAX)));
        }
        let needed = |name: &str| {
            let missing =
                || Refusal::invalid_argument(format!("Bucket POST must contain a field named '{name}'."));
            value(fields, name).ok_or_else(missing)
        };
        let policy = needed("policy")?;
        if needed("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
            return Err(Refusal::from(&AuthError::Algorithm));
        }
        let claim = self
            .verifier
            .begin_form(
                needed("x-amz-credential")?,
                needed("x-amz-date")?,
                needed("x-amz-signature")?,
            )
            .map_err(|error| Refusal::from(&error))?;
        let found = self.keeper.credential(claim.access_key_id().to_owned()).await;
        let identity = found.and_then(|found| self.verifier.finish_form(&claim, policy, found, now_ms()));
        let identity = identity.map_err(|error| Refusal::from(&error))?;
        let document = STANDARD
            .decode(policy)
            .map_err(|_| PostError::Document("Invalid base64."));
        let bounds = document.and_then(|document| check(&document, fields, bucket, now_ms()));
        let bounds = bounds.map_err(|error| {
            let said = error.to_string();
            match error {
                PostError::Document(_) => Refusal::new(400, "InvalidPolicyDocument", said),
                PostError::Expired | PostError::Condition(_) | PostError::Extra(_) => {
                    Refusal::new(403, "AccessDenied", said)
                }
            }
        })?;
        Ok((Some(identity), bounds))
    }
}

/// Fields by name.
type Fields = [(String, String)];

/// A field's value.
fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(have, _)| have == name);
    found.map(|(_, value)| value.as_str())
}

/// The headers of the PUT that the fields stand for.
fn headers_of(form: &Form, sent: &HeaderMap) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    for name in [HOST, ORIGIN, REFERER, USER_AGENT] {
        if let Some(value) = sent.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    for (number, (field, text)) in form.fields.iter().enumerate() {
        if form
            .fields
            .iter()
            .take(number)
            .any(|(earlier, _)| earlier == field)
        {
            return Err(Refusal::invalid_argument(format!(
                "POST requires exactly one field named '{field}'"
            )));
        }
        let (name, text) = match field.as_str() {
            "acl" => ("x-amz-acl", text.clone()),
            "tagging" => ("x-amz-tagging", tags_of(text)?),
            kept if KEPT.contains(&kept) || KEPT_STARTS.iter().any(|start| kept.starts_with(start)) => {
                (kept, text.clone())
            }
            _ => continue,
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid_field(field))?;
        let text = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| invalid_field(field))?;
        headers.insert(name, text);
    }
    Ok(headers)
}

fn invalid_field(field: &str) -> Refusal {
    Refusal::invalid_argument(format!("The field '{field}' has a value that it cannot have"))
}

/// Tags in XML as a form has them, in the form of the header.
fn tags_of(xml: &str) -> Result<String, Refusal> {
    let mut reader = Reader::from_str(xml);
    let (mut tags, mut key, mut text) = (Vec::new(), None, String::new());
    loop {
        match reader.read_event().map_err(|_| Refusal::malformed_xml())? {
            Event::Start(_) => text.clear(),
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(name) => match plain_xml::character(&name)? {
                Some(character) => text.push(character),
                None => text.push_str(resolve_xml_entity(&name).ok_or_else(Refusal::malformed_xml)?),
            },
            Event::End(end) => match end.name().as_ref() {
                "Key" => key = Some(std::mem::take(&mut text)),
                "Value" => {
                    let key = key.take().ok_or_else(Refusal::malformed_xml)?;
                    tags.push(format!("{}={}", encode(&key), encode(&text)));
                }
                _ => {}
            },
            Event::Eof => return Ok(tags.join("&")),
            Event::DocType(_) => return Err(Refusal::malformed_xml()),
            _ => {}
        }
    }
}

fn answer_of(form: &Form, target: &Target, origin: &str, bucket_in_host: bool) -> FormAnswer {
    let bucket = target.bucket.as_ref().map_or("", BucketName::as_str);
    let key = target.key.as_ref().map_or("", ObjectKey::as_str);
    let location = if bucket_in_host {
        format!("{origin}/{}", encode_path(key))
    } else {
        format!("{origin}/{bucket}/{}", encode_path(key))
    };
    let redirect = value(&form.fields, "success_action_redirect").or_else(|| value(&form.fields, "redirect"));
    let redirect = redirect.filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    let status = match value(&form.fields, "success_action_status") {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    };
    FormAnswer {
        status,
        redirect: redirect.map(str::to_owned),
        location,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    }
}

impl FormAnswer {
    /// The answer of a write that went well, as the form wants it.
    pub(super) fn dress(&self, response: Response<AnswerBody>) -> Response<AnswerBody> {
        let (mut parts, _) = response.into_parts();
        let etag = parts
            .headers
            .get("etag")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        parts.headers.remove(http::header::CONTENT_LENGTH);
        let mut location = self.location.clone();
        parts.status = self.status;
        if let Some(redirect) = &self.redirect {
            let joint = if redirect.contains('?') { '&' } else { '?' };
            let (bucket, key, etag) = (encode(&self.bucket), encode(&self.key), encode(&etag));
            location = format!("{redirect}{joint}bucket={bucket}&key={key}&etag={etag}");
            parts.status = StatusCode::SEE_OTHER;
        }
        if let Ok(location) = HeaderValue::from_str(&location) {
            parts.headers.insert(LOCATION, location);
        }
        if parts.status != StatusCode::CREATED {
            return Response::from_parts(parts, empty());
        }
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag></PostResponse>",
            escape(&self.location),
            escape(&self.bucket),
            escape(&self.key),
            escape(&etag)
        );
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Response::from_parts(parts, whole(document))
    }
}

fn refused_form(error: FormError) -> Refusal {
    let said = error.to_string();
    match error {
        FormError::TooLong => Refusal::new(400, "MaxPostPreDataLengthExceeded", said),
        FormError::NoFile => Refusal::new(400, "IncorrectNumberOfFilesInPostRequest", said),
        FormError::Slow => Refusal::new(400, "RequestTimeout", said),
        FormError::Boundary | FormError::Malformed => Refusal::new(400, "MalformedPOSTRequest", said),
    }
}

/// Fields that stand for headers of the same names.
const KEPT: [&str; 9] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];
/// How the names of such fields begin.
const KEPT_STARTS: [&str; 4] = [
    "x-amz-meta-",
    "x-amz-server-side-encryption",
    "x-amz-checksum-",
    "x-amz-object-lock-",
];
