//! The gateway over HTTP: every operation and every refusal, asked by a client that signs for itself.
//!
//! `gate` and `server` stand in front of a service that only says what reached it, the others in front of an open
//! vault on a real directory.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod advisories;
mod advisories_input;
mod attributes;
mod bad_input;
mod buckets;
mod client;
mod customer_keys;
mod dialects;
mod encryption;
mod forms;
mod gate;
mod lifecycle;
mod locks;
mod multipart;
mod objects;
mod one_key;
mod oracle;
mod records;
#[path = "../rig/mod.rs"]
mod rig;
mod server;
mod settings;
mod sharing;
mod shop;
mod slow;
mod tls;
mod trouble;
mod upload;
mod versions;
mod wire;
