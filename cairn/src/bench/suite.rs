//! The loads of `cairn bench`, in order, and how much of each.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::RANGE;

use crate::bench::{Load, Measured, Target, measure};
use crate::s3_client::{Call, ClientError, payload_hash};

/// How much of each load.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// 64 MiB objects.
    pub big_objects: u64,
    /// 64 MiB objects put before those that count: a server's first ones also pay for its pool of pack memory, page by page.
    pub big_warm_up: u64,
    /// 4 KiB operations at one connection.
    pub single: u64,
    /// 4 KiB operations at 64 connections.
    pub many: u64,
    /// Listings of 10,000 keys, ten pages each.
    pub listings: u64,
}

impl Plan {
    /// A measurement.
    pub const FULL: Self = Self {
        big_objects: 16,
        big_warm_up: 4,
        single: 500,
        many: 20_000,
        listings: 20,
    };
    /// A smoke test.
    pub const QUICK: Self = Self {
        big_objects: 2,
        big_warm_up: 0,
        single: 50,
        many: 2_000,
        listings: 2,
    };
}

/// Runs every load on a fresh bucket, which is left behind.
pub async fn run(
    target: &Target,
    plan: Plan,
    bucket: &str,
    on_measured: &mut dyn FnMut(&Measured),
) -> Result<Vec<Measured>, ClientError> {
    let mut client = target.connect().await?;
    client.fetch(Call::new(Method::PUT, bucket, "")).await?;
    let mut all = Vec::new();
    for load in loads(plan, bucket)? {
        let measured = measure(target, &load).await?;
        on_measured(&measured);
        all.push(measured);
    }
    Ok(all)
}

fn loads(plan: Plan, bucket: &str) -> Result<Vec<Load>, ClientError> {
    let big = Payload::random(BIG_BYTES)?;
    let small = Payload::random(SMALL_BYTES)?;
    let bucket: Arc<str> = Arc::from(bucket);
    let (objects, small_objects) = (plan.big_objects, plan.many);
    let get = |prefix: &'static str, count: u64| {
        let bucket = Arc::clone(&bucket);
        move |number: u64| {
            Call::new(
                Method::GET,
                &bucket,
                &format!("{prefix}/{:08}", scatter(number, count)),
            )
        }
    };
    let range = get("big", objects);
    let head = get("many", small_objects);
    let listed = Arc::clone(&bucket);
    Ok(vec![
        Load {
            warm_up: plan.big_warm_up,
            ..load("PUT 64 MiB", 1, objects, BIG_BYTES, big.put(&bucket, "big"))
        },
        load("GET 64 MiB", 1, objects, BIG_BYTES, get("big", objects)),
        load(
            "PUT 4 KiB",
            1,
            plan.single,
            SMALL_BYTES,
            small.put(&bucket, "single"),
        ),
        load(
            "PUT 4 KiB",
            64,
            plan.many,
            SMALL_BYTES,
            small.put(&bucket, "many"),
        ),
        load(
            "GET 4 KiB",
            1,
            plan.single,
            SMALL_BYTES,
            get("many", small_objects),
        ),
        load(
            "GET 4 KiB",
            64,
            plan.many,
            SMALL_BYTES,
            get("many", small_objects),
        ),
        load(
            "GET 64 KiB range",
            16,
            plan.many / 2,
            RANGE_BYTES,
            move |number| {
                let first = scatter(number, (BIG_BYTES / RANGE_BYTES) as u64) * RANGE_BYTES as u64;
                let last = first + RANGE_BYTES as u64 - 1;
                range(number).header(RANGE, format!("bytes={first}-{last}"))
            },
        ),
        load("HEAD", 64, plan.many, 0, move |number| Call {
            method: Method::HEAD,
            ..head(number)
        }),
        load("LIST 1,000 keys", 1, plan.listings * 10, 0, move |number| {
            // The ten pages of a listing, each begun where the page before ends, without reading that page.
            let start = format!("many/{:08}", (number % 10) * 1_000 % small_objects.max(1));
            let call = Call::new(Method::GET, &listed, "").query("list-type", "2");
            call.query("prefix", "many/").query("start-after", start)
        }),
    ])
}

fn load(
    name: &'static str,
    connections: usize,
    operations: u64,
    payload_bytes: usize,
    call: impl Fn(u64) -> Call + Send + Sync + 'static,
) -> Load {
    Load {
        name,
        connections,
        operations,
        warm_up: 0,
        payload_bytes,
        call: Arc::new(call),
    }
}

/// Bytes that are sent again and again, hashed once: the client's own cost stays out of the way.
struct Payload {
    bytes: Bytes,
    sha256: String,
}

impl Payload {
    fn random(bytes: usize) -> Result<Self, ClientError> {
        let mut buffer = vec![0; bytes];
        getrandom::fill(&mut buffer).map_err(|_| ClientError::Answer {
            what: "no randomness",
        })?;
        let sha256 = payload_hash(&buffer);
        Ok(Self {
            bytes: Bytes::from(buffer),
            sha256,
        })
    }

    fn put(&self, bucket: &Arc<str>, prefix: &'static str) -> impl Fn(u64) -> Call + Send + Sync + 'static {
        let (bucket, bytes, sha256) = (Arc::clone(bucket), self.bytes.clone(), self.sha256.clone());
        move |number| Call {
            body: bytes.clone(),
            body_sha256: Some(sha256.clone()),
            ..Call::new(Method::PUT, &bucket, &format!("{prefix}/{number:08}"))
        }
    }
}

/// Spreads consecutive numbers over `0..count`, the same way each time.
fn scatter(number: u64, count: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % count.max(1)
}

const BIG_BYTES: usize = 64 << 20;
const SMALL_BYTES: usize = 4 << 10;
const RANGE_BYTES: usize = 64 << 10;
