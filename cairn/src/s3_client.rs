//! A small S3 client: what `put`, `get`, `ls` and `bench` need, over any byte stream.
//!
//! It speaks HTTP/1.1 path style and signs with SigV4. It is no general client: one request at a time, no retries, no
//! redirects, answers held in memory only where they are short. The stream may be a TCP connection or the control
//! socket after the operation `s3`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

mod signer;
mod xml;

pub use signer::{Signer, payload_hash};
pub use xml::{ListedObject, Listing, completed_etag, listing, scopes, upload_id};

/// One connection to an S3 server.
#[derive(Debug)]
pub struct S3Client {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
    signer: Signer,
    host: String,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// GET, PUT, …
    pub method: Method,
    /// The bucket; empty for the service itself.
    pub bucket: String,
    /// The object key; empty for the bucket itself.
    pub object_key: String,
    /// Names and values of the query, not yet encoded.
    pub query: Vec<(String, String)>,
    /// Further headers.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
    /// The lower-case hex SHA-256 of the body, where it is known.
    pub body_sha256: Option<String>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection broke.
    #[error("the connection to the S3 gateway broke: {0}")]
    Connection(#[from] hyper::Error),
    /// The server cannot be reached.
    #[error("{endpoint}: {source}")]
    Connect {
        /// Where.
        endpoint: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name or header cannot be sent.
    #[error("{what} cannot be sent in an HTTP request")]
    Unsendable {
        /// Which part.
        what: &'static str,
    },
    /// The server refused.
    #[error("{message} ({code}, {status})")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// S3's error code.
        code: String,
        /// The server's sentence.
        message: String,
    },
    /// The answer is not what S3 answers.
    #[error("the S3 gateway's answer cannot be read: {what}")]
    Answer {
        /// What is wrong.
        what: &'static str,
    },
}

impl Call {
    /// A request without query, headers and body.
    pub fn new(method: Method, bucket: &str, object_key: &str) -> Self {
        Self {
            method,
            bucket: bucket.to_owned(),
            object_key: object_key.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            body_sha256: None,
        }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// The path, encoded the one way that SigV4 signs: every byte but the unreserved ones and `/`.
    fn path(&self) -> String {
        let mut path = String::from("/");
        if !self.bucket.is_empty() {
            path.push_str(&signer::encode(&self.bucket, false));
            if !self.object_key.is_empty() {
                path.push('/');
                path.push_str(&signer::encode(&self.object_key, true));
            }
        }
        path
    }

    fn query_text(&self) -> String {
        let mut pairs: Vec<(String, String)> = self
            .query
            .iter()
            .map(|(name, value)| (signer::encode(name, false), signer::encode(value, false)))
            .collect();
        pairs.sort();
        pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("&")
    }
}

impl S3Client {
    /// Speaks over `stream` to the server that calls itself `host`.
    pub async fn over<S>(stream: S, host: &str, signer: Signer) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "S3 connection");
            }
        });
        Ok(Self {
            sender,
            connection,
            signer,
            host: host.to_owned(),
        })
    }

    /// Sends a request and returns the answer with its body still to be read, if the status says success.
    pub async fn send(&mut self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let request = self.request(call)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = short_body(response.into_body()).await.unwrap_or_default();
        let (code, message) = xml::error(&body).unwrap_or_else(|| {
            (
                status.as_str().to_owned(),
                status.canonical_reason().unwrap_or("refused").to_owned(),
            )
        });
        Err(ClientError::Refused {
            status,
            code,
            message,
        })
    }

    /// Sends a request and reads its whole answer, at most 64 MiB + 64 KiB.
    pub async fn fetch(&mut self, call: Call) -> Result<(http::response::Parts, Bytes), ClientError> {
        let (parts, body) = self.send(call).await?.into_parts();
        let body = short_body(body).await?;
        Ok((parts, body))
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, ClientError> {
        let path = call.path();
        let query = call.query_text();
        let target = if query.is_empty() {
            path.clone()
        } else {
            format!("{path}?{query}")
        };
        let mut request = Request::builder().method(call.method.clone()).uri(target);
        let hash = call
            .body_sha256
            .clone()
            .unwrap_or_else(|| payload_hash(&call.body));
        let mut headers: Vec<(HeaderName, String)> = vec![(http::header::HOST, self.host.clone())];
        headers.extend(call.headers);
        self.signer
            .sign(call.method.as_str(), &path, &query, &mut headers, &hash);
        for (name, value) in headers {
            let value =
                HeaderValue::from_str(&value).map_err(|_| ClientError::Unsendable { what: "a header" })?;
            request = request.header(name, value);
        }
        if call.method == Method::PUT || call.method == Method::POST {
            // hyper leaves the length of an empty body out, and S3 wants it said.
            request = request.header(http::header::CONTENT_LENGTH, call.body.len());
        }
        request
            .body(Full::new(call.body))
            .map_err(|_| ClientError::Unsendable {
                what: "the object key",
            })
    }
}

impl Drop for S3Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn short_body(body: Incoming) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|_| ClientError::Answer {
            what: "it broke off or is too long",
        })?;
    Ok(collected.to_bytes())
}

/// The longest answer that is held in memory: a 64 MiB object of the bench.
const ANSWER_BYTES_MAX: usize = (64 << 20) + (64 << 10);

#[cfg(test)]
mod tests;
