//! A client that signs for itself, a book of credentials, and a service that says what reached it.
//!
//! The signer shares no code with the gateway's verifier, so that both would have to be wrong in the same way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use s3_gateway::answer::{AnswerBody, whole};
use s3_gateway::auth::{AuthError, SigningCredential};
use s3_gateway::body::RawBody;
use s3_gateway::errors::Refusal;
use s3_gateway::gate::CrossOrigin;
use s3_gateway::gate::{Admitted, ForwardBody, Gate, GateConfig, Gatekeeper, Inner, Question};
use s3_gateway::host::{Hosts, Peer};
use s3_gateway::session::RefusedOperation;
use scopes::{Credential, CredentialName, Identity, OperationSet, ScopeSet, VaultId};
use sha2::{Digest as _, Sha256};
use time::UtcDateTime;
use zeroize::Zeroizing;

pub(crate) const KEY: &str = "CAIRNTESTKEY";
pub(crate) const SECRET: &str = "a secret of the tests";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const HOST: &str = "127.0.0.1:9000";

/// One credential, which may be changed, and what was noted as refused.
#[derive(Clone)]
pub(crate) struct Book {
    pub(crate) credential: Arc<Mutex<Credential>>,
    pub(crate) refused: Arc<Mutex<Vec<String>>>,
}

impl Book {
    pub(crate) fn new() -> Self {
        let mut credential = Credential::without_rights(VaultId([1; 16]), 0);
        credential.operations = OperationSet::all();
        credential.scopes = ScopeSet::All;
        Self {
            credential: Arc::new(Mutex::new(credential)),
            refused: Arc::default(),
        }
    }
}

impl Gatekeeper for Book {
    fn credential(&self, id: String) -> BoxFuture<'_, Result<Option<SigningCredential>, AuthError>> {
        let found = (id == KEY).then(|| SigningCredential {
            secret: Zeroizing::new(SECRET.as_bytes().to_vec()),
            credential: self.credential.lock().unwrap().clone(),
            name: CredentialName([9; 8]),
        });
        Box::pin(std::future::ready(Ok(found)))
    }

    fn decide(&self, question: &Question<'_>) -> Result<VaultId, Refusal> {
        let identity = question.identity.ok_or_else(Refusal::access_denied)?;
        let bucket = question.target.bucket.as_ref().map_or("", |name| name.as_str());
        let allowed = identity.allows(scopes::Operation::Write, bucket, 0);
        allowed.map_err(|denied| Refusal::from(&denied))?;
        Ok(identity.vault())
    }

    fn cross_origin(&self, _: &str, _: &CrossOrigin) -> Option<HeaderMap> {
        None
    }

    fn noted<'a>(&'a self, _: &'a Admitted) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn refused(&self, _: Option<&Identity>, asked: RefusedOperation<'_>) {
        self.refused.lock().unwrap().push(asked.code.to_owned());
    }
}

/// What reached the inside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) checksum: Option<String>,
    pub(crate) metadata: Vec<(String, String)>,
}

/// Reads the body to its end, as an object's handler does, and keeps what it saw.
#[derive(Clone, Default)]
pub(crate) struct Inside(pub(crate) Arc<Mutex<Vec<Seen>>>);

impl Inner for Inside {
    fn answer(&self, request: Request<ForwardBody>) -> BoxFuture<'_, Response<AnswerBody>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let admitted = parts.extensions.get::<Admitted>().cloned().unwrap();
            let mut seen = Seen {
                uri: parts.uri.to_string(),
                headers: parts.headers,
                ..Seen::default()
            };
            seen.metadata.clone_from(&admitted.metadata);
            let mut failed = None;
            match body {
                ForwardBody::Whole(bytes) => seen.body.extend_from_slice(&bytes),
                ForwardBody::Checked(mut body) => {
                    while let Some(frame) = body.frame().await {
                        match frame {
                            Ok(frame) => seen.body.extend_from_slice(&frame.into_data().unwrap()),
                            Err(error) => failed = Some(Refusal::from(&error)),
                        }
                    }
                }
            }
            if let Some(digests) = admitted.digests.get() {
                seen.md5 = digests.md5;
                seen.checksum = digests.checksum.as_ref().map(|value| value.to_base64());
            }
            self.0.lock().unwrap().push(seen);
            let mut response = Response::new(whole(""));
            if let Some(refusal) = failed {
                *response.status_mut() = http::StatusCode::from_u16(refusal.status).unwrap();
                *response.body_mut() = whole(format!("<Error><Code>{}</Code></Error>", refusal.code));
            }
            response
        })
    }
}

/// A gate over both.
pub(crate) struct Bench {
    pub(crate) gate: Arc<Gate<Book, Inside>>,
    pub(crate) book: Book,
    pub(crate) inside: Inside,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_hosts(Hosts::new(
            &["s3.example.org".to_owned()],
            &["10.0.0.1".parse().unwrap()],
        ))
    }

    pub(crate) fn with_hosts(hosts: Hosts) -> Self {
        let config = GateConfig {
            region: REGION.to_owned(),
            hosts,
            host_id: "bench".to_owned(),
            body_patience: Duration::from_millis(300),
        };
        let (book, inside) = (Book::new(), Inside::default());
        Self {
            gate: Arc::new(Gate::new(config, book.clone(), inside.clone())),
            book,
            inside,
        }
    }

    pub(crate) async fn send(&self, request: Request<RawBody>) -> Reply {
        self.send_from("127.0.0.1", request).await
    }

    pub(crate) async fn send_from(&self, address: &str, request: Request<RawBody>) -> Reply {
        let peer = Peer {
            address: address.parse().unwrap(),
            tls: false,
        };
        Reply::of(self.gate.serve(request, peer).await).await
    }

    /// What reached the inside last; the list is emptied.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.inside.0.lock().unwrap().drain(..).next_back()
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) async fn of(response: Response<AnswerBody>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text,
            body,
        }
    }

    /// A header as text; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What stands in the elements of this name.
    pub(crate) fn all(&self, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let parts = self.text.split(&open).skip(1);
        parts
            .filter_map(|part| part.split_once(&close).map(|(text, _)| text.to_owned()))
            .collect()
    }

    pub(crate) fn code(&self) -> String {
        let between = self
            .text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"));
        between.map(|(code, _)| code.to_owned()).unwrap_or_default()
    }

    pub(crate) fn outcome(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

pub(crate) fn hmac(key: &[u8], data: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().into()
}

/// A value as it is signed: trimmed, runs of spaces as one.
fn one_space(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// A request under construction, and how it will be signed.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// The path as it goes over the wire.
    pub(crate) path: String,
    /// Query pairs, encoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    /// Headers that are sent but not signed.
    pub(crate) unsigned: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Bytes in one frame of the body.
    pub(crate) portion: usize,
    pub(crate) payload: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    /// Seconds from now.
    pub(crate) skew_s: i64,
    /// Headers left out of SignedHeaders although they are sent.
    pub(crate) leave_out: Vec<String>,
}

/// The pieces that chunk signatures go on from.
pub(crate) struct Signed {
    pub(crate) signature: String,
    pub(crate) time: String,
    pub(crate) scope: String,
    pub(crate) signing_key: [u8; 32],
}

impl Ask {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: vec![("host".into(), HOST.into())],
            unsigned: Vec::new(),
            body: Vec::new(),
            portion: 1 << 16,
            payload: sha256(b""),
            region: REGION.into(),
            service: "s3".into(),
            key: KEY.into(),
            secret: SECRET.into(),
            skew_s: 0,
            leave_out: Vec::new(),
        }
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.payload = sha256(body);
        self.set("content-length", &body.len().to_string())
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(have, _)| have != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    pub(crate) fn payload(mut self, payload: &str) -> Self {
        self.payload = payload.into();
        self
    }

    fn scope_at(&self, time: &str) -> (String, [u8; 32]) {
        let day = &time[..8];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let key = hmac(format!("AWS4{}", self.secret).as_bytes(), day);
        let key = hmac(&hmac(&hmac(&key, &self.region), &self.service), "aws4_request");
        (scope, key)
    }

    pub(crate) fn time(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            .cast_signed();
        let time = UtcDateTime::from_unix_timestamp(now + self.skew_s).unwrap();
        let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        time.format(format).unwrap()
    }

    fn canonical(&self, query: &[(String, String)], payload: &str) -> (String, String) {
        let mut query = query.to_vec();
        query.sort();
        let query: Vec<String> = query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let signed = |name: &str| !self.leave_out.iter().any(|left| left == name);
        let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| signed(name)) {
            headers.entry(name).or_default().push(one_space(value));
        }
        let names: Vec<&str> = headers.keys().copied().collect();
        let lines: String = headers
            .iter()
            .map(|(n, values)| format!("{n}:{}\n", values.join(",")))
            .collect();
        let (names, query) = (names.join(";"), query.join("&"));
        (
            format!(
                "{}\n{}\n{query}\n{lines}\n{names}\n{payload}",
                self.method, self.path
            ),
            names,
        )
    }

    fn signature(&self, canonical: &str, time: &str) -> Signed {
        let (scope, signing_key) = self.scope_at(time);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            sha256(canonical.as_bytes())
        );
        Signed {
            signature: hex::encode(hmac(&signing_key, &text)),
            time: time.into(),
            scope,
            signing_key,
        }
    }

    /// Signs in the header. `frame` makes the body out of the signature, for signed chunks.
    pub(crate) fn signed_with(mut self, frame: impl FnOnce(&Signed, &[u8]) -> Vec<u8>) -> Request<RawBody> {
        let time = self.time();
        let payload = self.payload.clone();
        self = self
            .set("x-amz-date", &time)
            .set("x-amz-content-sha256", &payload);
        let (canonical, names) = self.canonical(&self.query, &payload);
        let signed = self.signature(&canonical, &time);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={}",
            self.key, signed.scope, signed.signature
        );
        self.body = frame(&signed, &self.body);
        self.unsigned.push(("authorization".into(), authorization));
        self.build()
    }

    pub(crate) fn signed(self) -> Request<RawBody> {
        self.signed_with(|_, body| body.to_vec())
    }

    /// Signs in the query.
    pub(crate) fn presigned(mut self, expires_s: u64) -> Request<RawBody> {
        let time = self.time();
        let (scope, _) = self.scope_at(&time);
        let (_, names) = self.canonical(&self.query, "");
        let escape = |text: &str| text.replace('/', "%2F").replace(';', "%3B");
        self = self
            .query("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .query("X-Amz-Credential", &escape(&format!("{KEY}/{scope}")))
            .query("X-Amz-Date", &time)
            .query("X-Amz-Expires", &expires_s.to_string())
            .query("X-Amz-SignedHeaders", &escape(&names));
        let (canonical, _) = self.canonical(&self.query, "UNSIGNED-PAYLOAD");
        let signature = self.signature(&canonical, &time).signature;
        self.query("X-Amz-Signature", &signature).build()
    }

    /// Sends it as it is.
    pub(crate) fn build(self) -> Request<RawBody> {
        let query: Vec<String> = self.query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let uri = if query.is_empty() {
            self.path
        } else {
            format!("{}?{}", self.path, query.join("&"))
        };
        let mut request = Request::builder().method(self.method).uri(uri);
        for (name, value) in self.headers.iter().chain(&self.unsigned) {
            request = request.header(name, value.as_bytes());
        }
        let frames: Vec<_> = self
            .body
            .chunks(self.portion)
            .map(|part| Ok(http_body::Frame::data(Bytes::copy_from_slice(part))))
            .collect();
        request
            .body(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
            .unwrap()
    }
}

/// Frames a body as signed chunks.
pub(crate) fn signed_chunks(signed: &Signed, body: &[u8], chunk: usize, trailers: Option<&str>) -> Vec<u8> {
    let mut previous = signed.signature.clone();
    let mut out = Vec::new();
    let parts = body.chunks(chunk).chain(std::iter::once(&[][..]));
    for part in parts {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{}\n{}",
            signed.time,
            signed.scope,
            sha256(b""),
            sha256(part)
        );
        previous = hex::encode(hmac(&signed.signing_key, &text));
        out.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", part.len()).as_bytes());
        if !part.is_empty() {
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some(trailer) = trailers {
        let canonical = sha256(format!("{trailer}\n").as_bytes());
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{canonical}",
            signed.time, signed.scope
        );
        let signature = hex::encode(hmac(&signed.signing_key, &text));
        out.extend_from_slice(format!("{trailer}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The text of the first element of this name, up to what follows it.
pub(crate) fn element(text: &str, name: &str) -> String {
    let (_, rest) = text
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split('<').next().unwrap().replace("&quot;", "\"")
}
