//! The flags of `cairn up`. Each is optional here: `config` fills what is missing from the environment, then from the
//! file, then from the defaults named in the help.

use std::path::PathBuf;

use clap::Args;

use crate::byte_size::ByteSize;
use crate::duration::Span;
use crate::introduction::PeerAt;

/// `up`.
#[derive(Args, Clone, Debug, Default)]
pub struct UpArgs {
    /// A drive [repeatable; default drives/0 to drives/5 in the data directory; env CAIRN_DRIVES, a path list]
    #[arg(long = "drive", value_name = "DIR")]
    pub drives: Vec<PathBuf>,
    /// On the first start: keep shards with so many storage peers, processes of their own on this machine, which start and end with
    /// this one, each a failure domain. The first five keep the ledger together [at least as many as a pack has shards; env CAIRN_PEERS]
    #[arg(long, value_name = "N")]
    pub peers: Option<usize>,
    /// What the gateway is to be.
    #[command(flatten)]
    pub front: FrontArgs,
}

/// `gateway`.
#[derive(Args, Clone, Debug, Default)]
pub struct GatewayArgs {
    /// A storage peer, ed25519:…@ADDRESS:PORT, as it prints it when it starts [repeatable; on the first start every one of the cluster,
    /// later what is remembered]
    #[arg(long = "join", value_name = "PEER@ADDR")]
    pub join: Vec<PeerAt>,
    /// The cluster, if its storage peers were another gateway's before, whose `cairn status` says it; on the first start
    #[arg(long, value_name = "HEX", value_parser = super::node::cluster_id)]
    pub cluster: Option<[u8; 16]>,
    /// The address from which it calls them [every one of this machine, or 127.0.0.1 if all of them are there]
    #[arg(long, value_name = "IP")]
    pub from: Option<std::net::IpAddr>,
    /// What the gateway is to be.
    #[command(flatten)]
    pub front: FrontArgs,
}

/// What `up` and `gateway` have in common.
#[derive(Args, Clone, Debug, Default)]
pub struct FrontArgs {
    /// Most members of the ledger among the storage peers: 1, 3 or 5 [default 5; env CAIRN_LEDGER_MEMBERS]
    #[arg(long, value_name = "N")]
    pub ledger_members: Option<String>,
    /// Challenges of each drive in an hour: it proves that it still holds a shard that is drawn; 0 for none [default 60; env
    /// CAIRN_CHALLENGES_PER_HOUR]
    #[arg(long, value_name = "N")]
    pub challenges_per_hour: Option<String>,
    /// Data and parity shards of a pack [default 4+2; env CAIRN_CODE]
    #[arg(long, value_name = "K+M")]
    pub code: Option<String>,
    /// The S3 port [default 127.0.0.1:9000; env CAIRN_S3]
    #[arg(long, value_name = "ADDR")]
    pub s3: Option<String>,
    /// The admin port: health and metrics, no secrets [default 127.0.0.1:9001; env CAIRN_ADMIN]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// A PEM certificate chain: the S3 port speaks TLS [env CAIRN_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its PEM private key [env CAIRN_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where clients reach the S3 port, for example behind a proxy [env CAIRN_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// An address whose X-Forwarded headers are believed [repeatable; env CAIRN_TRUSTED_PROXY, a comma list]
    #[arg(long = "trusted-proxy", value_name = "IP")]
    pub trusted_proxies: Vec<String>,
    /// A domain whose subdomains are buckets [repeatable; env CAIRN_DOMAIN, a comma list]
    #[arg(long = "domain", value_name = "NAME")]
    pub domains: Vec<String>,
    /// The region that requests are signed for [default us-east-1; env CAIRN_REGION]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The most plaintext bytes that each vault may hold, for example 500GiB [env CAIRN_QUOTA]
    #[arg(long, value_name = "BYTES")]
    pub quota: Option<ByteSize>,
    /// Let lifecycle rules count this as a day, for trying them out [default 24h, and never more]
    #[arg(long, value_name = "DURATION")]
    pub shorten_lifecycle_day_to: Option<Span>,
    /// Memory for uploads under way [default 96MiB; env CAIRN_UPLOAD_MEMORY]
    #[arg(long, value_name = "BYTES")]
    pub upload_memory: Option<ByteSize>,
    /// Put the key of CAIRN_ACCESS_KEY in force again although it was revoked; by this flag only, so that it never happens by
    /// itself
    #[arg(long)]
    pub restore_revoked_root_key: bool,
    /// A TOML file with the same names as these flags [env CAIRN_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
