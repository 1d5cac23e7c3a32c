//! One load: so many operations over so many connections, each timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use http_body_util::BodyExt;
use tokio::net::TcpStream;

use crate::bench::{CpuClock, Measured};
use crate::s3_client::{Call, ClientError, S3Client, Signer};

/// What to do, how often and with how many connections.
#[derive(Clone)]
pub struct Load {
    /// What it is called in the report.
    pub name: &'static str,
    /// Connections at the same time.
    pub connections: usize,
    /// Operations in all.
    pub operations: u64,
    /// Operations before them that are not counted, numbered on from the last: they fill what the server keeps from then on.
    pub warm_up: u64,
    /// Payload bytes of one operation.
    pub payload_bytes: usize,
    /// The request of operation n.
    pub call: Arc<dyn Fn(u64) -> Call + Send + Sync>,
}

/// The server under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`.
    pub host: String,
    /// Its credential.
    pub signer: Signer,
    /// Its CPU clock, if its process is known.
    pub clock: Option<CpuClock>,
}

impl Target {
    /// A new connection.
    pub async fn connect(&self) -> Result<S3Client, ClientError> {
        let failed = |source| ClientError::Connect {
            endpoint: self.host.clone(),
            source,
        };
        let stream = TcpStream::connect(&self.host).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        S3Client::over(stream, &self.host, self.signer.clone()).await
    }
}

/// Runs the load to its end.
pub async fn measure(target: &Target, load: &Load) -> Result<Measured, ClientError> {
    // Connections are made before the clock starts: a load measures requests.
    let mut clients = try_join_all((0..load.connections).map(|_| target.connect())).await?;
    if let Some(client) = clients.first_mut() {
        for number in load.operations..load.operations.saturating_add(load.warm_up) {
            drain(client, (load.call)(number)).await?;
        }
    }
    let next = Arc::new(AtomicU64::new(0));
    let cpu_before = target.clock.as_ref().and_then(CpuClock::seconds);
    let start = Instant::now();
    let workers = clients.into_iter().map(|client| {
        let (load, next) = (load.clone(), Arc::clone(&next));
        tokio::spawn(work(client, load, next))
    });
    let mut latencies = Vec::new();
    for worker in try_join_all(workers).await.map_err(|_| ClientError::Answer {
        what: "a worker failed",
    })? {
        latencies.append(&mut worker?);
    }
    let wall = start.elapsed();
    let cpu_after = target.clock.as_ref().and_then(CpuClock::seconds);
    let cpu = cpu_before
        .zip(cpu_after)
        .map(|(before, after)| (after - before).max(0.0));
    Ok(Measured::new(load, latencies, wall, cpu))
}

async fn work(mut client: S3Client, load: Load, next: Arc<AtomicU64>) -> Result<Vec<u32>, ClientError> {
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.operations {
            return Ok(latencies);
        }
        let call = (load.call)(number);
        let expected = call.method == http::Method::GET && load.payload_bytes > 0;
        let start = Instant::now();
        let got = drain(&mut client, call).await?;
        latencies.push(micros(start.elapsed()));
        if expected && got != load.payload_bytes {
            return Err(ClientError::Answer {
                what: "a body has another length than was asked for",
            });
        }
    }
}

/// Reads the answer to its end without keeping it.
async fn drain(client: &mut S3Client, call: Call) -> Result<usize, ClientError> {
    let mut body = client.send(call).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(bytes)
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
