//! One reading of an object key: what is authorised is what the part behind the gate gets, however it was spelled.
//!
//! More: `CAIRN_KEY_ENCODINGS=1000000 cargo test --release -p s3-gateway --test http s14`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use s3_gateway::answer::{AnswerBody, whole};
use s3_gateway::auth::{AuthError, SigningCredential};
use s3_gateway::errors::Refusal;
use s3_gateway::gate::{
    Admitted, CrossOrigin, ForwardBody, Gate, GateConfig, Gatekeeper, Inner, Question, Target,
};
use s3_gateway::host::{Hosts, Peer};
use s3_gateway::session::RefusedOperation;
use scopes::{Identity, VaultId};

use crate::client::{Ask, REGION};

/// Lets everything pass and remembers what it was asked about.
#[derive(Clone, Default)]
struct Clerk(Arc<Mutex<Option<Target>>>);

impl Gatekeeper for Clerk {
    fn credential(&self, _: String) -> BoxFuture<'_, Result<Option<SigningCredential>, AuthError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn decide(&self, question: &Question<'_>) -> Result<VaultId, Refusal> {
        *self.0.lock().unwrap() = Some(question.target.clone());
        Ok(VaultId([1; 16]))
    }

    fn cross_origin(&self, _: &str, _: &CrossOrigin) -> Option<HeaderMap> {
        None
    }

    fn noted<'a>(&'a self, _: &'a Admitted) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn refused(&self, _: Option<&Identity>, _: RefusedOperation<'_>) {}
}

/// Remembers which names reached it, in both forms: as they were admitted, and as the rewritten request spells them.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Option<(Target, String)>>>);

impl Inner for Store {
    fn answer(&self, request: Request<ForwardBody>) -> BoxFuture<'_, Response<AnswerBody>> {
        let admitted = request.extensions().get::<Admitted>().cloned().unwrap();
        *self.0.lock().unwrap() = Some((admitted.target.clone(), request.uri().path().to_owned()));
        Box::pin(std::future::ready(Response::new(whole(""))))
    }
}

/// As RFC 3986 has it, sharing no code with the gateway; none where it is no text.
fn decoded(path: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push(if byte == b'%' {
            (digit()? * 16 + digit()?) as u8
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

/// A path under a bucket, each byte of it spelled in one of the ways that there are.
fn spelled(random: &mut impl FnMut() -> u64) -> String {
    let mut path = String::from("/photos/");
    let pieces = [
        "/", "//", ".", "..", "../", "/./", "\\", "%", "+", " ", "a", "B", "~", "é", "\u{202e}", "?", "#",
        "&", "=", ";", ":", "\u{1}", "\u{0}", "%2e", "%2F", "%252f",
    ];
    for _ in 0..1 + random() % 12 {
        let piece = pieces[random() as usize % pieces.len()];
        for byte in piece.bytes() {
            match random() % 4 {
                0 => path.push_str(&format!("%{byte:02x}")),
                1 => path.push_str(&format!("%{byte:02X}")),
                // What may not stand in a request line as it is.
                _ if !(0x21..0x7f).contains(&byte) || b"?#\"<>`{}|\\^[]".contains(&byte) => {
                    path.push_str(&format!("%{byte:02X}"))
                }
                _ => path.push(char::from(byte)),
            }
        }
    }
    path
}

#[tokio::test]
async fn s14_the_key_that_is_authorised_is_the_key_that_is_stored_in_any_spelling() {
    let number =
        |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (seed, rounds) = (
        number("CAIRN_KEY_SEED", 14),
        number("CAIRN_KEY_ENCODINGS", 20_000),
    );
    println!("CAIRN_KEY_SEED={seed} CAIRN_KEY_ENCODINGS={rounds}");
    let (clerk, store) = (Clerk::default(), Store::default());
    let config = GateConfig {
        region: REGION.to_owned(),
        hosts: Hosts::default(),
        host_id: "one".to_owned(),
        body_patience: Duration::from_secs(1),
    };
    let gate = Gate::new(config, clerk.clone(), store.clone());
    let peer = Peer {
        address: "127.0.0.1".parse().unwrap(),
        tls: false,
    };
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    };
    let mut passed = 0;
    for round in 0..rounds {
        let path = spelled(&mut random);
        if path.parse::<http::Uri>().is_err() {
            continue;
        }
        let (authorised, stored) = {
            gate.serve(Ask::new(Method::GET, &path).build(), peer).await;
            (clerk.0.lock().unwrap().take(), store.0.lock().unwrap().take())
        };
        let wanted = decoded(&path).and_then(|text| Some(text.strip_prefix("/photos/")?.to_owned()));
        let Some((admitted, forwarded)) = stored else {
            continue;
        };
        passed += 1;
        let key = admitted
            .key
            .as_ref()
            .map(|key| key.as_str().to_owned())
            .unwrap_or_default();
        assert_eq!(authorised, Some(admitted), "{round}: {path}");
        assert_eq!(Some(&key), wanted.as_ref(), "{round}: {path}");
        assert_eq!(
            decoded(&forwarded),
            Some(format!("/photos{}{key}", if key.is_empty() { "" } else { "/" })),
            "{round}: {path}"
        );
    }
    assert!(passed > rounds / 10, "only {passed} of {rounds} were let through");
}
