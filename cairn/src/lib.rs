//! Cairn: sealed, erasure-coded object storage behind an S3 gateway, every operation on record.
//!
//! The program, as a library so that tests and benches can use its parts. `commands` holds one file per command;
//! `runtime` opens a data directory; `serve`, `admin` and `control` are its three doors: S3, monitoring, commands.
//! What the rooms below do is not repeated here.

pub mod admin;
pub mod bench;
pub mod byte_size;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod data_dir;
pub mod duration;
pub mod exit;
pub mod introduction;
pub mod key_store;
pub mod layout;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod operator;
pub mod output;
pub mod request;
pub mod runtime;
pub mod s3_client;
pub mod serve;
