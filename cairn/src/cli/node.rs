//! The flags of `cairn node`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use net::peer::PeerId;

/// `node`.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// A drive [repeatable; on the first start drives/0 in the data directory unless given, later what is remembered]
    #[arg(long = "drive", value_name = "DIR")]
    pub drives: Vec<PathBuf>,
    /// Where it listens, UDP [on the first start a free port of 127.0.0.1 unless given, later what is remembered]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// The cluster that it belongs to, 32 hex digits as `status --json` of the owner says; once and for all
    #[arg(long, value_name = "HEX", value_parser = cluster_id)]
    pub cluster: Option<[u8; 16]>,
    /// A peer that may store and read here, ed25519:… [repeatable; replaces those that are remembered]
    #[arg(long = "gateway", value_name = "PEER_ID")]
    pub gateways: Vec<PeerId>,
    /// End when stdin does, as the child of another process
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

fn cluster_id(text: &str) -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    match hex::decode_to_slice(text, &mut id) {
        Ok(()) => Ok(id),
        Err(_) => Err("32 hex digits".to_owned()),
    }
}
