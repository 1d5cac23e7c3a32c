//! Admission: the checks of a request's head and body, in the order in which they may be made.
//!
//! Before the signature holds, nothing is read but the head, and nothing is said but why it does not hold.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use scopes::{Identity, VaultId};

use super::form::is_form;
use super::forward::{hoist, plain_copy_source, rewrite, take_metadata};
use super::plain_xml;
use super::{
    Admitted, Circumstances, Facts, FormAnswer, ForwardBody, Gate, Gatekeeper, Inner, Passage, Question,
    Target, now_ms,
};
use crate::auth::canonical::{Query, decode_utf8};
use crate::auth::chunked::Decoder;
use crate::auth::payload::Payload;
use crate::auth::signing::ChunkSigner;
use crate::auth::{AuthError, Place, Request as SignedRequest};
use crate::body::{CheckedBody, Expected, RawBody};
use crate::checksum::{Algorithm, ChecksumError, Declared};
use crate::conditions::{Preconditions, Ranged};
use crate::customer_key::CustomerKeys;
use crate::errors::Refusal;
use crate::hold::{Hold, Holds};
use crate::host::Peer;
use crate::key::{BucketName, NameError, ObjectKey};
use crate::operations;
use crate::route::{self, Level};

/// The largest object of one PUT and the largest part, in bytes.
pub(super) const PUT_BYTES_MAX: u64 = 5 << 30;
/// The largest XML body of a multi-delete or a completion, in bytes.
pub(super) const LONG_XML_BYTES_MAX: usize = 2 << 20;
/// The largest body of everything else that is not an object, in bytes.
pub(super) const SHORT_XML_BYTES_MAX: usize = 64 << 10;

/// A request that did not pass.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) identity: Option<Identity>,
    pub(super) operation: Option<&'static str>,
    pub(super) bucket: Option<BucketName>,
}

impl<T: Into<Refusal>> From<T> for Refused {
    fn from(refusal: T) -> Self {
        Self {
            refusal: refusal.into(),
            identity: None,
            operation: None,
            bucket: None,
        }
    }
}

pub(super) type Passed = (Request<ForwardBody>, Admitted);

impl<K: Gatekeeper, N: Inner> Gate<K, N> {
    /// Verifies a request and makes it ready for the part behind.
    pub(super) async fn admit(
        &self,
        request: Request<RawBody>,
        peer: Peer,
        passage: &Passage,
    ) -> Result<Passed, Refused> {
        let (mut parts, body) = request.into_parts();
        let client = self.config.hosts.settle(&mut parts.headers, peer);
        refuse_out_of_scope(&parts.method)?;
        let path = decode_utf8(parts.uri.path()).map_err(|e| Refusal::from(&e))?;
        if parts.uri.query().is_none() && is_form(&parts.method, &parts.headers) {
            let private = self.config.hosts.is_private(peer, client);
            return self
                .admit_form(parts, body, (&path, client, private), passage)
                .await;
        }
        let query = Query::parse(parts.uri.query()).map_err(|e| Refusal::from(&e))?;
        let signed = SignedRequest {
            method: &parts.method,
            path: if path.is_empty() { "/" } else { &path },
            query: &query,
            headers: &parts.headers,
        };
        let who = self.who(&signed).await.map_err(|e| Refusal::from(&e))?;
        let (mut operation, mut bucket) = (None, None);
        let passed = async {
            if let Some(place) = who.place {
                hoist(&mut parts.headers, &query, place)?;
            }
            plain_copy_source(&mut parts.headers)?;
            let names = self.names(&parts.headers, &path);
            let copies = parts.headers.contains_key("x-amz-copy-source");
            let routed = route::operation(&parts.method, names.level(), &query, copies);
            operation = routed.as_ref().ok().copied();
            let target = names.target(&mut bucket).map_err(|e| Refusal::from(&e))?;
            let routed = match (&who.identity, routed) {
                // Nobody learns from the gate what there is.
                (None, Err(_)) => return Err(Refusal::access_denied()),
                (_, routed) => routed?,
            };
            let circumstances = Circumstances::of(&parts.headers, &query, client, who.place);
            // Before a byte of the body is read.
            let (vault, version) = self.judge(&who, routed, &target, &query, &circumstances)?;
            let judged = Judged {
                operation: routed,
                target,
                vault,
                version,
                circumstances,
                bucket_in_host: names.bucket_in_host,
                tls: client.tls,
                private: self.config.hosts.is_private(peer, client),
                form: None,
            };
            let plan = Plan::new(routed, &parts.headers, who.payload)?;
            self.take_in((parts, body), &who, (judged, plan), &query, passage)
                .await
        }
        .await;
        passed.map_err(|refusal| Refused {
            refusal,
            identity: who.identity,
            operation: operation.or(Some(operations::UNKNOWN)),
            bucket,
        })
    }

    /// Takes a request in that was let through: its body is put under check, its head made ready for the part behind.
    pub(super) async fn take_in(
        &self,
        (mut parts, body): (Parts, RawBody),
        who: &Asker,
        (judged, plan): (Judged, Plan),
        query: &Query,
        passage: &Passage,
    ) -> Result<Passed, Refusal> {
        let keys = CustomerKeys::take(&mut parts.headers, judged.operation, judged.private)
            .map_err(|error| Refusal::from(&error))?;
        let origin = origin(&parts.headers, judged.tls);
        let hold = plan.hold(&self.holds).await?;
        let body = plan.check(body, who, self.config.body_patience);
        let body = body.with_holds(self.holds.clone());
        let digests = body.slot();
        let body = match plan.open(body).await? {
            // The one body that is no XML.
            ForwardBody::Whole(bytes) if judged.operation != "PutBucketPolicy" => {
                ForwardBody::Whole(plain_xml::plain(bytes, LONG_XML_BYTES_MAX)?)
            }
            body => body,
        };
        rewrite(&mut parts, query, &judged.target, &body, plan.bytes)?;
        let metadata = take_metadata(&mut parts.headers)?;
        let headers = &mut parts.headers;
        let vault = judged.vault;
        let facts = Facts {
            identity: who.identity.clone().unwrap_or_else(|| Identity::anonymous(vault)),
            vault,
            version: judged.version,
            circumstances: judged.circumstances,
            operation_id: passage.operation_id,
            target: judged.target,
            conditions: Preconditions::take(headers),
            source_conditions: Preconditions::take_copy_source(headers),
            ranged: Ranged::take(headers),
            metadata,
            keys,
            body_bytes: plan.bytes,
            checksum: plan.declared.wanted(),
            digests,
            origin,
            bucket_in_host: judged.bucket_in_host,
            form: judged.form,
            recorded: AtomicBool::new(false),
            _hold: hold,
            operation: judged.operation,
            refusal: Mutex::new(None),
        };
        let admitted = Admitted(Arc::new(facts));
        parts.extensions.insert(admitted.clone());
        Ok((Request::from_parts(parts, body), admitted))
    }

    /// Asks for the access decision: the vault whose bucket it is about, and the version that the request names.
    pub(super) fn judge(
        &self,
        who: &Asker,
        operation: &'static str,
        target: &Target,
        query: &Query,
        circumstances: &Circumstances,
    ) -> Result<(VaultId, Option<String>), Refusal> {
        let twice = |_| Refusal::invalid_argument("versionId was given twice");
        let version = query.unique("versionId").map_err(twice)?;
        let vault = self.keeper.decide(&Question {
            identity: who.identity.as_ref(),
            operation,
            target,
            version,
            circumstances,
        })?;
        Ok((vault, version.map(str::to_owned)))
    }

    /// Whose request it is, if its signature holds.
    async fn who(&self, signed: &SignedRequest<'_>) -> Result<Asker, AuthError> {
        let pending = match self.verifier.begin(signed, now_ms()) {
            Err(AuthError::Anonymous) => {
                return Ok(Asker {
                    identity: None,
                    payload: self.verifier.payload_of_nobody(signed.headers)?,
                    chunks: None,
                    place: None,
                });
            }
            pending => pending?,
        };
        let found = self.keeper.credential(pending.access_key_id().to_owned()).await?;
        let verified = self.verifier.finish(pending, found)?;
        Ok(Asker {
            identity: Some(verified.identity),
            payload: verified.payload,
            chunks: Some(verified.chunks),
            place: Some(verified.place),
        })
    }

    /// The bucket that a request names; empty if it names none.
    pub(super) fn bucket_named(&self, headers: &HeaderMap, path: &str) -> String {
        self.names(headers, path).bucket.into_owned()
    }

    /// Whether the host names the bucket.
    pub(super) fn is_bucket_in_host(&self, headers: &HeaderMap) -> bool {
        self.names(headers, "").bucket_in_host
    }

    /// Whether a request names a bucket and no object.
    pub(super) fn names_bucket_only(&self, headers: &HeaderMap, path: &str) -> bool {
        self.names(headers, path).level() == Level::Bucket
    }

    /// The names in the host and the path.
    fn names<'a>(&self, headers: &HeaderMap, path: &'a str) -> Names<'a> {
        let host = headers
            .get(HOST)
            .and_then(|h| h.to_str().ok())
            .unwrap_or_default();
        let rest = path.strip_prefix('/').unwrap_or(path);
        match self.config.hosts.bucket(host) {
            Some(bucket) => Names {
                bucket: bucket.into(),
                key: rest,
                bucket_in_host: true,
            },
            None => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                Names {
                    bucket: bucket.into(),
                    key,
                    bucket_in_host: false,
                }
            }
        }
    }
}

/// Who asks, as far as the head says it.
pub(super) struct Asker {
    /// None without credentials.
    pub(super) identity: Option<Identity>,
    pub(super) payload: Payload,
    pub(super) chunks: Option<ChunkSigner>,
    pub(super) place: Option<Place>,
}

/// A request that may be made, and what is known of it by then.
pub(super) struct Judged {
    pub(super) operation: &'static str,
    pub(super) target: Target,
    pub(super) vault: VaultId,
    pub(super) version: Option<String>,
    pub(super) circumstances: Circumstances,
    pub(super) bucket_in_host: bool,
    pub(super) tls: bool,
    /// Whether nobody on the way can read what the client sends.
    pub(super) private: bool,
    pub(super) form: Option<FormAnswer>,
}

/// The bucket and the object key that a request names, and whether the host named the bucket.
struct Names<'a> {
    bucket: Cow<'a, str>,
    key: &'a str,
    bucket_in_host: bool,
}

impl Names<'_> {
    fn level(&self) -> Level {
        match (self.bucket.is_empty(), self.key.is_empty()) {
            (true, true) => Level::Service,
            (false, true) => Level::Bucket,
            (_, false) => Level::Object,
        }
    }

    /// Parses the names; the bucket is handed out even if the object key is none.
    fn target(&self, bucket: &mut Option<BucketName>) -> Result<Target, NameError> {
        if self.level() == Level::Service {
            return Ok(Target::default());
        }
        *bucket = Some(BucketName::parse(&self.bucket)?);
        let key = (!self.key.is_empty()).then(|| ObjectKey::parse(self.key));
        Ok(Target {
            bucket: bucket.clone(),
            key: key.transpose()?,
        })
    }
}

/// What needs no signature to be refused.
fn refuse_out_of_scope(method: &Method) -> Result<(), Refusal> {
    if ![
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::POST,
        Method::DELETE,
    ]
    .contains(method)
    {
        let message = "The specified method is not allowed against this resource.";
        return Err(Refusal::new(405, "MethodNotAllowed", message));
    }
    Ok(())
}

pub(super) fn origin(headers: &HeaderMap, tls: bool) -> String {
    let host = headers
        .get(HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("localhost");
    format!("{}://{host}", if tls { "https" } else { "http" })
}

/// How a request's body is read.
pub(super) struct Plan {
    /// Its length after decoding, when known.
    bytes: Option<u64>,
    /// `Some`: it is read whole, at most so long. `None`: it streams.
    limit: Option<usize>,
    declared: Declared,
}

impl Plan {
    fn new(operation: &str, headers: &HeaderMap, payload: Payload) -> Result<Self, Refusal> {
        let limit = limit(operation);
        let declared = declared(operation, headers, limit.is_none()).map_err(|e| Refusal::from(&e))?;
        if declared.trailer.is_some() && !payload.has_trailer() {
            let message = "x-amz-trailer was sent with a body that can carry no trailer";
            return Err(Refusal::invalid_request(message));
        }
        let bytes = if payload.is_chunked() {
            Some(length(headers, "x-amz-decoded-content-length")?.ok_or_else(Refusal::missing_length)?)
        } else {
            length(headers, CONTENT_LENGTH.as_str())?
        };
        let plan = Self {
            bytes,
            limit,
            declared,
        };
        match (plan.limit, bytes) {
            (Some(limit), Some(bytes)) if bytes > limit as u64 => {
                Err(Refusal::message_too_long(limit as u64))
            }
            (None, Some(bytes)) if bytes > PUT_BYTES_MAX => {
                Err(Refusal::entity_too_large(bytes, PUT_BYTES_MAX))
            }
            (None, None) => Err(Refusal::missing_length()),
            _ => Ok(plan),
        }
    }

    /// For the file of a form, whose length nobody says beforehand.
    pub(super) fn of_form(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            bytes: None,
            limit: None,
            declared: declared("PutObject", headers, true).map_err(|e| Refusal::from(&e))?,
        })
    }

    /// Memory for a body that is read whole.
    async fn hold(&self, holds: &Holds) -> Result<Option<Hold>, Refusal> {
        let Some(limit) = self.limit else {
            return Ok(None);
        };
        let hold = holds.clone().take(self.bytes.unwrap_or(limit as u64)).await;
        hold.map(Some).ok_or_else(Refusal::slow_down)
    }

    fn check(&self, raw: RawBody, who: &Asker, patience: std::time::Duration) -> CheckedBody {
        let expected = Expected {
            // Without any length a body that is read whole is its own measure.
            bytes: self.bytes,
            sha256: match who.payload {
                Payload::Hash(hash) => Some(hash),
                _ => None,
            },
            declared: self.declared.clone(),
            md5: self.limit.is_none(),
        };
        let decoder = match &who.chunks {
            Some(signer) => Decoder::new(who.payload, signer.clone()),
            None => who.payload.is_chunked().then(Decoder::unsigned),
        };
        CheckedBody::new(raw, decoder, expected, patience)
    }

    async fn open(&self, body: CheckedBody) -> Result<ForwardBody, Refusal> {
        Ok(match self.limit {
            None => ForwardBody::Checked(Box::new(body)),
            Some(limit) => ForwardBody::Whole(body.collect(limit).await.map_err(|e| Refusal::from(&e))?),
        })
    }
}

/// What the headers say of the body's digests.
fn declared(operation: &str, headers: &HeaderMap, streams: bool) -> Result<Declared, ChecksumError> {
    if operation == "CompleteMultipartUpload" {
        // The checksum headers of a completion are the object's, not the body's.
        let mut own = headers.clone();
        Algorithm::ALL.into_iter().for_each(|algorithm| {
            own.remove(algorithm.header());
        });
        return Declared::from_headers(&own);
    }
    let declared = Declared::from_headers(headers)?;
    let sent = declared
        .value
        .as_ref()
        .map(|value| value.algorithm)
        .or(declared.trailer);
    // An object whose checksum was announced must come with it.
    if streams && declared.algorithm.is_some() && declared.algorithm != sent {
        return Err(ChecksumError::Disagree);
    }
    Ok(declared)
}

/// How long a body may be that is read whole; `None` for the objects and parts that stream.
fn limit(operation: &str) -> Option<usize> {
    match operation {
        "PutObject" | "UploadPart" => None,
        "CompleteMultipartUpload" | "DeleteObjects" => Some(LONG_XML_BYTES_MAX),
        _ => Some(SHORT_XML_BYTES_MAX),
    }
}

/// A header that states a length.
fn length(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    let number = digits
        .and_then(|v| v.parse().ok())
        .filter(|_| values.next().is_none());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Refusal::invalid_argument(format!("{name} is not a length"))),
    }
}
