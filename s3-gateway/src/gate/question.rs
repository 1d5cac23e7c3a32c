//! What the access decision is asked: who, which operation on what, and under which circumstances.

use std::net::IpAddr;

use http::HeaderMap;
use scopes::Identity;

use super::{Target, now_ms};
use crate::auth::Place;
use crate::auth::canonical::Query;
use crate::customer_key::is_secret;
use crate::host::Peer;

/// A question for the access decision.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Whose credential it is; none where the request had none.
    pub identity: Option<&'a Identity>,
    /// S3's name of the operation.
    pub operation: &'static str,
    /// What it is about.
    pub target: &'a Target,
    /// The version that it names.
    pub version: Option<&'a str>,
    /// The rest.
    pub circumstances: &'a Circumstances,
}

/// What a bucket's policy may make conditions of. Kept with the request, so that it is asked again with the same.
#[derive(Debug, Clone)]
pub struct Circumstances {
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    /// Where the client is.
    pub address: IpAddr,
    /// Whether it used TLS.
    pub tls: bool,
    /// Where the signature stood, if there was one.
    pub place: Option<Place>,
    /// When it was asked, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Circumstances {
    /// What is kept of a request's head.
    pub fn of(headers: &HeaderMap, query: &Query, peer: Peer, place: Option<Place>) -> Self {
        let kept = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str();
            let wanted = KEPT.contains(&name)
                || (name.starts_with("x-amz-") && !name.starts_with("x-amz-meta-") && !is_secret(name));
            let value = if wanted {
                std::str::from_utf8(value.as_bytes()).ok()?
            } else {
                return None;
            };
            Some((name.to_owned(), value.to_owned()))
        });
        let asked = query.pairs().filter(|(name, _)| QUERY_KEPT.contains(name));
        Self {
            headers: kept.collect(),
            query: asked
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            address: peer.address.to_canonical(),
            tls: peer.tls,
            place,
            now_ms: now_ms(),
        }
    }

    /// The values of a header.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        all(&self.headers, name)
    }

    /// The values of a query parameter.
    pub fn query<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        all(&self.query, name)
    }
}

fn all<'a>(pairs: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    let found = pairs.iter().filter(move |(have, _)| have == name);
    found.map(|(_, value)| value.as_str())
}

/// Headers beside `x-amz-` that conditions may ask for.
const KEPT: [&str; 4] = ["if-match", "if-none-match", "referer", "user-agent"];
/// Query parameters that conditions may ask for.
const QUERY_KEPT: [&str; 4] = ["delimiter", "max-keys", "prefix", "versionId"];
