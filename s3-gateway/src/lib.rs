//! The front door: S3 operations over a vault.
//!
//! Two halves. `session` is one open vault's running state, without HTTP. The rest is HTTP: the gate verifies who
//! asks and what they send (`auth`, `body`, `gate`), s3s routes and parses (`service`, `access`), every answer
//! leaves with the same headers and the same error form (`answer`, `errors`), and `server` holds the connections.
//! The gateway decides rights; it never sees a path, and nothing below it sees an S3 name.

mod access;
mod acl;
pub mod answer;
pub mod auth;
pub mod body;
pub mod checksum;
pub mod conditions;
mod copy_source;
mod cors;
pub mod customer_key;
pub mod digests;
mod encoded_word;
pub mod errors;
mod form;
pub mod gate;
pub mod gateways;
mod hold;
pub mod host;
mod keeper;
pub mod key;
mod lifecycle;
pub mod operations;
mod pace;
mod policy;
pub mod route;
pub mod server;
pub mod service;
pub mod session;
pub mod sessions;
mod settings;
