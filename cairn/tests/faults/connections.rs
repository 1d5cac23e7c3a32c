//! Kept connections to the gateway, and what became of one request on them.
//!
//! A connection is used by one request at a time and kept only if its answer was read to the end. Invariant: a request has a deadline, and
//! whoever got no answer, or one that is neither success nor the refusal of a condition, does not know what became of it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn::s3_client::{Call, ClientError, S3Client, Signer};
use http::header::ETAG;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::process::Key;

/// How long an operation may take, from the moment it was due.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Requests under way at a time; the gateway takes 4,096 connections.
const CONNECTIONS_MAX: usize = 2_000;
/// The gateway closes idle connections; one that lay for so long is not used any more.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// What the gateway said of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success: the body, and the entity tag.
    Done(Bytes, String),
    /// Nothing is there.
    Absent,
    /// The condition did not hold.
    Refused,
    /// Nobody knows; the kind of error.
    Unknown(String),
}

impl Answer {
    /// Whether the client got what it is owed: an answer that says what is.
    pub(crate) const fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

/// See the module.
pub(crate) struct Connections {
    host: String,
    key: Key,
    idle: Mutex<Vec<(Instant, S3Client)>>,
    room: Semaphore,
}

impl Connections {
    pub(crate) fn new(host: &str, key: Key) -> Self {
        Self {
            host: host.to_owned(),
            key,
            idle: Mutex::default(),
            room: Semaphore::new(CONNECTIONS_MAX),
        }
    }

    async fn client(&self) -> Result<S3Client, ClientError> {
        let newest = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some((since, client)) = newest
            && since.elapsed() < IDLE_MAX
        {
            return Ok(client);
        }
        let stream = TcpStream::connect(&self.host).await;
        let stream = stream.map_err(|source| ClientError::Connect {
            endpoint: self.host.clone(),
            source,
        })?;
        let _ = stream.set_nodelay(true);
        let (id, secret) = (self.key.id.clone(), Zeroizing::new(self.key.secret.clone()));
        let signer = Signer::new(id, secret, "us-east-1".to_owned());
        S3Client::over(stream, &self.host, signer).await
    }

    async fn fetch(&self, call: Call) -> Answer {
        let mut client = match self.client().await {
            Ok(client) => client,
            Err(error) => return Answer::Unknown(kind(&error)),
        };
        let answer = client.fetch(call).await;
        if !matches!(
            answer,
            Err(ClientError::Connection(_) | ClientError::Answer { .. })
        ) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((Instant::now(), client));
        }
        match answer {
            Ok((head, body)) => {
                let etag = head.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
                Answer::Done(body, etag.unwrap_or_default().to_owned())
            }
            Err(ClientError::Refused { status, code, .. }) => match (status.as_u16(), code.as_str()) {
                (404, "NoSuchKey") => Answer::Absent,
                (412, _) => Answer::Refused,
                _ => Answer::Unknown(format!("{} {code}", status.as_u16())),
            },
            Err(error) => Answer::Unknown(kind(&error)),
        }
    }

    /// Sends a request that was due at a moment, and waits for its answer until the deadline.
    pub(crate) async fn ask(&self, call: Call, due: Instant) -> Answer {
        let asked = async {
            match self.room.acquire().await {
                Ok(_room) => self.fetch(call).await,
                Err(_) => Answer::Unknown("closed".to_owned()),
            }
        };
        let answer = timeout_at((due + DEADLINE).into(), asked).await;
        answer.unwrap_or_else(|_| Answer::Unknown("deadline".to_owned()))
    }
}

fn kind(error: &ClientError) -> String {
    match error {
        ClientError::Connection(_) => "connection broke",
        ClientError::Connect { .. } => "no connection",
        ClientError::Answer { .. } => "answer broke off",
        _ => "other",
    }
    .to_owned()
}
