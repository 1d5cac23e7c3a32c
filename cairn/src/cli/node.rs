//! The flags of `cairn node`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use net::membership::DOMAIN_BYTES_MAX;
use net::peer::PeerId;

use crate::introduction::{Invitation, PeerAt};

/// `node`.
#[derive(Args, Clone, Debug, Default)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct NodeArgs {
    /// What is done about storage peers; without it this machine is one.
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
    /// A drive [repeatable; on the first start drives/0 in the data directory unless given, later what is remembered]
    #[arg(long = "drive", value_name = "DIR")]
    pub drives: Vec<PathBuf>,
    /// Where it listens, UDP [on the first start a free port of 127.0.0.1 unless given, later what is remembered]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where other peers reach it, if that is not --listen: needed where that is every address of the machine, as 0.0.0.0 is
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<SocketAddr>,
    /// What it fails together with, by name: its site or its rack [itself alone unless given]
    #[arg(long, value_name = "NAME", value_parser = domain_name)]
    pub domain: Option<String>,
    /// What `cairn gateway` or `cairn status` of the owner prints, in place of --cluster and --gateway; on the first start
    #[arg(long, value_name = "INVITATION", conflicts_with_all = ["cluster", "gateways"])]
    pub join: Option<Invitation>,
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

/// `node …`: what is done about storage peers, by the gateway's data directory.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// Take a storage peer or another gateway into the cluster, or change a peer's failure domain
    Admit(AdmitArgs),
    /// Move everything off a storage peer, so that it can be removed; waits until that is done
    ///
    /// May be interrupted: it goes on, and the same command shows how far it is.
    Drain(DrainArgs),
    /// Let a storage peer or another gateway go for good
    Remove(RemoveArgs),
    /// At a storage peer, which does not run: give up a ledger more than half of whose members are lost for good
    ///
    /// What it kept is set aside. The operating guide says when this is to be done, and in which order.
    ResetLedger(ResetLedgerArgs),
}

/// `node reset-ledger`.
#[derive(Args, Clone, Debug)]
pub struct ResetLedgerArgs {
    /// Take this ledger in its place: what `cairn vault rebuild` made, brought here from the gateway's machine
    #[arg(long, value_name = "DIR")]
    pub take: Option<PathBuf>,
}

/// `node admit`.
#[derive(Args, Clone, Debug)]
pub struct AdmitArgs {
    /// ed25519:…@ADDRESS:PORT, as the storage peer prints it when it starts
    #[arg(value_name = "PEER@ADDR", required_unless_present = "gateway")]
    pub peer: Option<PeerAt>,
    /// What it fails together with, by name [what it was started with unless given]
    #[arg(long, value_name = "NAME", value_parser = domain_name)]
    pub domain: Option<String>,
    /// Another gateway instead, ed25519:… as its `cairn gateway --cluster` prints: it may serve the same vaults beside this one
    #[arg(long, value_name = "PEER_ID", conflicts_with_all = ["peer", "domain"])]
    pub gateway: Option<PeerId>,
}

/// `node drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// The storage peer: its id, or the beginning of it
    #[arg(value_name = "PEER_ID")]
    pub peer: String,
    /// Let it take part again
    #[arg(long)]
    pub undo: bool,
}

/// `node remove`.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// The storage peer, or another gateway: its id, or the beginning of it
    #[arg(value_name = "PEER_ID")]
    pub peer: String,
    /// It is lost, with everything on it: its shards are made anew from the others. A gateway: it will not come back, and its lease ends
    #[arg(long)]
    pub lost: bool,
}

fn domain_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    match text.len() <= DOMAIN_BYTES_MAX && text.chars().all(is_plain) {
        true => Ok(text.trim().to_owned()),
        false => Err(format!("at most {DOMAIN_BYTES_MAX} ASCII characters")),
    }
}

pub(super) fn cluster_id(text: &str) -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    match hex::decode_to_slice(text, &mut id) {
        Ok(()) => Ok(id),
        Err(_) => Err("32 hex digits".to_owned()),
    }
}
