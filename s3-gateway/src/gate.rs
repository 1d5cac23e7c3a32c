//! The gate: every request is verified, named and measured here before anything else looks at it.
//!
//! What passes carries an `Admitted` in its extensions and nothing of its credentials: the part behind has no way
//! to authenticate by itself and denies whatever comes without one. Short bodies are read and checked whole here,
//! within limits that hold before a byte is kept; objects and parts stream on as a `CheckedBody`. Who it is, which
//! operation it is (`route.rs`) and whether they may (`access.rs`) is decided before a byte of a body is read; the right to
//! a copy's source behind the gate, for such a request has no body that anybody reads on.

mod admit;
mod cross_origin;
mod drain;
mod form;
mod forward;
mod plain_xml;
mod question;
mod traffic;

pub use form::FormAnswer;
pub use question::{Circumstances, Question};
pub use traffic::{STATUS_CLASSES, Traffic};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use scopes::{Identity, VaultId};

use crate::answer::{About, AnswerBody, finish, refuse};
use crate::auth::{AuthError, SigningCredential, Verifier, VerifierConfig};
use crate::body::{CheckedBody, DigestSlot, RawBody};
use crate::checksum::Algorithm;
use crate::conditions::{Preconditions, Ranged};
pub use crate::cors::CrossOrigin;
use crate::customer_key::CustomerKeys;
use crate::errors::Refusal;
use crate::hold::{Hold, Holds};
use crate::host::{Hosts, Peer};
use crate::key::{BucketName, ObjectKey};
use crate::operations;
use crate::session::RefusedOperation;

/// What the gate asks of the open vault: secrets, and a place for what it refused.
pub trait Gatekeeper: Send + Sync + 'static {
    /// The credential of an access key id, in force or not.
    fn credential(
        &self,
        access_key_id: String,
    ) -> BoxFuture<'_, Result<Option<SigningCredential>, AuthError>>;

    /// Whether what is asked may be done, now: the vault whose bucket it is about, or a refusal.
    fn decide(&self, question: &Question<'_>) -> Result<VaultId, Refusal>;

    /// What the rules of a bucket of this name say to a page of another origin.
    fn cross_origin(&self, bucket: &str, asked: &CrossOrigin) -> Option<HeaderMap>;

    /// Writes down an admitted operation that was carried out and that nothing else has written down.
    fn noted<'a>(&'a self, admitted: &'a Admitted) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Notes a refused operation.
    fn refused(&self, agent: Option<&Identity>, asked: RefusedOperation<'_>);
}

/// What stands behind the gate.
pub trait Inner: Send + Sync + 'static {
    /// Answers an admitted request.
    fn answer(&self, request: Request<ForwardBody>) -> BoxFuture<'_, Response<AnswerBody>>;
}

/// A body behind the gate.
pub enum ForwardBody {
    /// Read whole and checked.
    Whole(Bytes),
    /// Checked while it is read.
    Checked(Box<CheckedBody>),
}

/// What the gate is told.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// The gateway's region.
    pub region: String,
    /// Domains and proxies.
    pub hosts: Hosts,
    /// A name of this gateway for `x-amz-id-2`.
    pub host_id: String,
    /// How long a client may stop sending a body before it is cut off.
    pub body_patience: Duration,
}

/// The names a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The bucket.
    pub bucket: Option<BucketName>,
    /// The object key; never without a bucket.
    pub key: Option<ObjectKey>,
}

/// A request that passed the gate: who, what, and what was found out on the way.
#[derive(Debug, Clone)]
pub struct Admitted(Arc<Facts>);

/// The content of an `Admitted`.
#[derive(Debug)]
pub struct Facts {
    /// Who.
    pub identity: Identity,
    /// The vault whose bucket it is about: the identity's own, unless something was opened to it elsewhere.
    pub vault: VaultId,
    /// The version that the request names.
    pub version: Option<String>,
    /// What the decision was made on.
    pub circumstances: Circumstances,
    /// S3's name of the operation.
    pub operation: &'static str,
    /// A random id, in the answer as `x-amz-request-id`.
    pub operation_id: [u8; 16],
    /// The names in the request.
    pub target: Target,
    /// Conditions on the target.
    pub conditions: Preconditions,
    /// Conditions on the copy source.
    pub source_conditions: Preconditions,
    /// The range asked for.
    pub ranged: Ranged,
    /// Content headers and `x-amz-meta-*` under their lower-case names, in name order.
    pub metadata: Vec<(String, String)>,
    /// The customer's keys that came with it.
    pub keys: CustomerKeys,
    /// The body's length after decoding; known for objects and parts.
    pub body_bytes: Option<u64>,
    /// The checksum that is computed over the body because one came with it or was asked for.
    pub checksum: Option<Algorithm>,
    /// The body's digests, after its clean end.
    pub digests: DigestSlot,
    /// Scheme and host as the client wrote them.
    pub origin: String,
    /// Whether the host is the bucket's own.
    pub bucket_in_host: bool,
    /// How a browser form wants to be answered.
    pub form: Option<FormAnswer>,
    recorded: AtomicBool,
    // Given back when the request is over.
    _hold: Option<Hold>,
    refusal: Mutex<Option<Refusal>>,
}

impl std::ops::Deref for Admitted {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0
    }
}

impl Facts {
    /// Notes that the operation's record is made, so that the gate makes none.
    pub fn mark_recorded(&self) {
        self.recorded.store(true, Ordering::Relaxed);
    }

    /// The identity, if the request had one.
    pub fn asking(&self) -> Option<&Identity> {
        Some(&self.identity).filter(|identity| !identity.is_anonymous())
    }

    fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }

    /// Notes how the operation was refused, so that the answer says so in full.
    pub fn refuse(&self, refusal: Refusal) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    fn take_refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The gate in front of a service.
pub struct Gate<K, N> {
    config: GateConfig,
    verifier: Verifier,
    keeper: K,
    inner: N,
    traffic: Arc<Traffic>,
    holds: Holds,
}

/// A request on its way through the gate, for answers and the log.
struct Passage {
    operation_id: [u8; 16],
    request_id: String,
    resource: String,
    method: Method,
    /// The body's length as the client states it, without framing; 0 if it states none.
    bytes_in: u64,
    started: Instant,
}

impl<K: Gatekeeper, N: Inner> Gate<K, N> {
    /// Puts a gate in front of a service.
    pub fn new(config: GateConfig, keeper: K, inner: N) -> Self {
        let verifier = Verifier::new(VerifierConfig {
            region: config.region.clone(),
        });
        Self {
            config,
            verifier,
            keeper,
            inner,
            traffic: Arc::default(),
            holds: Holds::default(),
        }
    }

    /// The numbers for `/metrics`.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Answers one request.
    pub async fn serve(&self, request: Request<RawBody>, peer: Peer) -> Response<AnswerBody> {
        let wait = Waits::of(request.headers());
        let (request, rest) = drain::lend(request);
        let mut response = self.pass(request, peer).await;
        let ended = rest.drain(wait == Waits::WithBody).await;
        if !ended
            || wait == Waits::WithoutBody
            || (wait == Waits::WithBody && !response.status().is_success())
        {
            // What is left of a body would be taken for a request. And where the final answer comes in place of "100 Continue",
            // clients have been seen to take the next answer on the connection for a part of this one.
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert(http::header::CONNECTION, close);
        }
        response
    }

    async fn pass(&self, request: Request<RawBody>, peer: Peer) -> Response<AnswerBody> {
        let mut operation_id = [0; 16];
        // Without randomness nothing can be sealed either; the request then fails further in.
        let _ = getrandom::fill(&mut operation_id);
        let passage = Passage {
            operation_id,
            request_id: hex::encode(operation_id),
            resource: request.uri().path().to_owned(),
            method: request.method().clone(),
            bytes_in: stated_bytes(request.headers()).unwrap_or(0),
            started: Instant::now(),
        };
        let about = About {
            request_id: &passage.request_id,
            host_id: &self.config.host_id,
            resource: &passage.resource,
            head: passage.method == Method::HEAD,
        };
        let foreign = self.foreign(&request, peer);
        if passage.method == Method::OPTIONS {
            let response = self.preflight(foreign.as_ref(), &about).await;
            self.log(&passage, None, None, &response, None);
            return response;
        }
        let mut response = self.admitted_or_refused(request, peer, (&passage, &about)).await;
        self.let_see(foreign.as_ref(), &mut response);
        response
    }

    async fn admitted_or_refused(
        &self,
        request: Request<RawBody>,
        peer: Peer,
        (passage, about): (&Passage, &About<'_>),
    ) -> Response<AnswerBody> {
        match self.admit(request, peer, passage).await {
            Ok((request, admitted)) => {
                let in_bytes = admitted.body_bytes.unwrap_or(0);
                self.traffic.in_bytes.fetch_add(in_bytes, Ordering::Relaxed);
                let response = self.inner.answer(request).await;
                let (response, code) = self.ended(&admitted, response, about).await;
                self.log(
                    passage,
                    Some(admitted.operation),
                    Some(&admitted.identity),
                    &response,
                    code.as_deref(),
                );
                response
            }
            Err(refused) => {
                let response = refuse(&refused.refusal, about);
                let code = &*refused.refusal.code;
                let bucket = refused.bucket.as_ref().map(BucketName::as_str);
                let (identity, operation) = (refused.identity.as_ref(), refused.operation);
                self.keeper.refused(
                    identity,
                    RefusedOperation {
                        operation_id: passage.operation_id,
                        operation: operation.unwrap_or(operations::REFUSED),
                        bucket,
                        code,
                    },
                );
                self.traffic.refused.fetch_add(1, Ordering::Relaxed);
                self.log(passage, operation, identity, &response, Some(code));
                response
            }
        }
    }

    /// Completes an admitted request's answer, and writes down what nobody has: the one place that no request gets past.
    async fn ended(
        &self,
        admitted: &Admitted,
        response: Response<AnswerBody>,
        about: &About<'_>,
    ) -> (Response<AnswerBody>, Option<String>) {
        let (mut response, mut code) = finish(response, about).await;
        if let Some(refusal) = admitted.take_refusal()
            && code.as_deref() == Some(&*refusal.code)
        {
            let headers = std::mem::take(response.headers_mut());
            response = refuse(&refusal, about);
            for (name, value) in &headers {
                if !response.headers().contains_key(name) && name != http::header::CONTENT_LENGTH {
                    response.headers_mut().insert(name.clone(), value.clone());
                }
            }
            code = Some(refusal.code.into_owned());
        }
        if let Some(form) = admitted.form.as_ref().filter(|_| code.is_none()) {
            response = form.dress(response);
        }
        if admitted.is_recorded() {
            return (response, code);
        }
        if let Some(code) = &code {
            let bucket = admitted.target.bucket.as_ref().map(BucketName::as_str);
            self.keeper.refused(
                Some(&admitted.identity),
                RefusedOperation {
                    operation_id: admitted.operation_id,
                    operation: admitted.operation,
                    bucket,
                    code,
                },
            );
        } else if let Err(refusal) = self.keeper.noted(admitted).await {
            // No answer without its record.
            response = refuse(&refusal, about);
            code = Some(refusal.code.into_owned());
        }
        (response, code)
    }

    /// One line for each request. Never the path, the query, an object key or an access key id.
    fn log(
        &self,
        passage: &Passage,
        operation: Option<&str>,
        identity: Option<&Identity>,
        response: &Response<AnswerBody>,
        code: Option<&str>,
    ) {
        let status = response.status();
        let bytes_out = declared_bytes(response);
        self.traffic.count(operation, status, bytes_out);
        tracing::info!(
            target: "cairn::s3",
            method = passage.method.as_str(),
            operation = operation.unwrap_or("-"),
            status = status.as_u16(),
            code = code.unwrap_or("-"),
            bytes_in = passage.bytes_in,
            bytes_out,
            operation_id = %passage.request_id,
            credential = %identity.map(|i| i.credential_name().to_string()).unwrap_or_default(),
            micros = u64::try_from(passage.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        );
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What the headers of a request say of its body's length.
fn stated_bytes(headers: &http::HeaderMap) -> Option<u64> {
    let decoded = headers.get("x-amz-decoded-content-length");
    let stated = decoded.or_else(|| headers.get(http::header::CONTENT_LENGTH))?;
    stated.to_str().ok()?.parse().ok()
}

fn declared_bytes(response: &Response<AnswerBody>) -> u64 {
    let declared = response.headers().get(http::header::CONTENT_LENGTH);
    let declared = declared
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    declared
        .or_else(|| http_body::Body::size_hint(response.body()).exact())
        .unwrap_or(0)
}

/// Whether a client waits for "100 Continue" (RFC 9110, section 10.1.1) before it sends its body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    WithBody,
    WithoutBody,
}

impl Waits {
    fn of(headers: &http::HeaderMap) -> Self {
        let expects = headers.get(http::header::EXPECT);
        let waits = expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let empty = headers
            .get(http::header::CONTENT_LENGTH)
            .is_some_and(|value| value.as_bytes() == b"0");
        match (waits, empty) {
            (false, _) => Self::No,
            (true, false) => Self::WithBody,
            (true, true) => Self::WithoutBody,
        }
    }
}
