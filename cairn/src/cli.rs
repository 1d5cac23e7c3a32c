//! The command line: what may be typed, and nothing about what it does.
//!
//! Each command has its file in `commands/`. Flags that also have an environment variable name it here, except for
//! those of `up`, which `config` merges from three sources.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::duration::Span;
use crate::logging::LogFormat;
use crate::runtime::rebuild::LostForGood;

mod node;
mod up;

pub use node::{AdmitArgs, DrainArgs, NodeArgs, NodeCommand, RemoveArgs, ResetLedgerArgs};
pub use up::{FrontArgs, GatewayArgs, UpArgs};

/// Sealed, erasure-coded object storage behind an S3 gateway, every operation on record.
#[derive(Debug, Parser)]
#[command(
    name = "cairn",
    version,
    about,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Where everything is: flags that each command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The flags that each command takes.
#[derive(Args, Clone, Debug)]
pub struct GlobalArgs {
    /// The data directory
    #[arg(
        long,
        global = true,
        env = "CAIRN_DATA",
        default_value = "./cairn-data",
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// Print one JSON value on stdout (`up` and `node`: on one line, followed by the line `ready`)
    #[arg(long, global = true)]
    pub json: bool,
    /// The file whose first line opens keys/, or seals it on the first start
    #[arg(long, global = true, env = "CAIRN_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// How log lines on stderr look
    #[arg(
        long,
        global = true,
        env = "CAIRN_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything in one process: drives, ledger, S3 gateway, admin port
    ///
    /// Prints `ready` as its last line once requests are served. With --json it prints one JSON value on one line before
    /// that, so that a program reads the first line and then waits for `ready`.
    Up(Box<UpArgs>),
    /// Run a storage peer: drives of this machine for owners elsewhere, which it can neither read nor name
    ///
    /// Its first start takes the invitation that the owner's gateway prints (--join), and prints the command by which the owner takes
    /// it in. All of it is remembered, so that a later start needs --data only. Prints `ready` as its last line, as `up` does.
    Node(NodeArgs),
    /// Serve S3 in front of storage peers elsewhere, without any storage here
    ///
    /// Its first start prints the invitation that storage peers are started with. Once they run, it is started with --join for each
    /// of them, which makes the cluster; that is remembered. Prints `ready` as its last line, as `up` does.
    Gateway(Box<GatewayArgs>),
    /// Show drives, space and what is at risk
    Status,
    /// Bring missing and damaged shards back
    Repair(RepairArgs),
    /// Read and verify every shard
    Scrub,
    /// Give back the space of deleted objects
    Gc,
    /// Move shards from fuller drives to emptier ones, of storage peers that joined for example
    ///
    /// May be interrupted at any time, and begun again.
    Rebalance(RebalanceArgs),
    /// S3 access keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Vaults
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Scopes, which S3 shows as buckets
    #[command(subcommand)]
    Scope(ScopeCommand),
    /// Store a file as an object
    Put(PutArgs),
    /// Fetch an object
    Get(GetArgs),
    /// List scopes or objects
    Ls(LsArgs),
    /// What was done, from the signed activity log
    #[command(subcommand)]
    Activity(ActivityCommand),
    /// Check a receipt, offline; or challenge the drives
    Verify(VerifyArgs),
    /// Measure the whole path through the S3 port
    Bench(BenchArgs),
}

/// `--vault`.
#[derive(Args, Clone, Debug, Default)]
pub struct VaultChoice {
    /// The vault, by name or id; the only one unless given
    #[arg(long, value_name = "NAME")]
    pub vault: Option<String>,
}

/// `repair`.
#[derive(Args, Debug)]
pub struct RepairArgs {
    /// Make a lost drive anew, at the place given with `up --drive` [repeatable]
    #[arg(long, value_name = "DIR")]
    pub replace: Vec<PathBuf>,
    /// Make the drives of --replace anew even if packs are lost for good by it, whose last shards may lie there
    #[arg(long, requires = "replace")]
    pub accept_risk: bool,
}

/// `rebalance`.
#[derive(Args, Debug)]
pub struct RebalanceArgs {
    /// Only say what would be moved
    #[arg(long)]
    pub dry_run: bool,
}

/// `key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an access key; the secret is shown here and by `key show`
    Create(KeyCreateArgs),
    /// List access keys, without secrets
    List(VaultChoice),
    /// Refuse an access key from now on
    Revoke(KeyNameArgs),
    /// Show an access key with its secret
    Show(KeyShowArgs),
}

/// `key create`.
#[derive(Args, Debug)]
pub struct KeyCreateArgs {
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
    /// A scope that the key opens, or `*` for all [repeatable]
    #[arg(long = "scope", value_name = "NAME", required = true)]
    pub scopes: Vec<String>,
    /// What it may do: a comma list of read, write, list, delete, create-bucket, delete-bucket, or all
    #[arg(long = "op", value_name = "LIST", required = true)]
    pub operations: String,
    /// How long it works, from now (or from --starts-in)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub expires: Option<Span>,
    /// When it begins to work, from now
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub starts_in: Option<Span>,
    /// A name for people
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub label: String,
}

/// `key revoke`.
#[derive(Args, Debug)]
pub struct KeyNameArgs {
    /// The access key id
    #[arg(value_name = "ACCESS_KEY_ID")]
    pub access_key_id: String,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `key show`.
#[derive(Args, Debug)]
pub struct KeyShowArgs {
    /// The access key id; the root key of the vault unless given
    #[arg(value_name = "ACCESS_KEY_ID")]
    pub access_key_id: Option<String>,
    /// Print lines that a shell can evaluate: AWS_ACCESS_KEY_ID and so on
    #[arg(long, conflicts_with = "json")]
    pub env: bool,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `vault …`.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Make a vault with its own wallet and root access key
    Create {
        /// Its local name
        name: String,
    },
    /// List vaults
    List,
    /// Make the ledger anew from keys/ and the drives alone
    Rebuild(RebuildArgs),
    /// Write a vault's keys to a file; whoever has the file can open everything in the vault
    ExportKey(ExportKeyArgs),
    /// Take a vault's keys from a file
    ImportKey(ImportKeyArgs),
}

/// `vault rebuild`.
#[derive(Args, Debug)]
pub struct RebuildArgs {
    /// A drive, in the order of `up --drive` [repeatable; drives/0 to drives/5 unless given or remembered]
    #[arg(long = "drive", value_name = "DIR")]
    pub drives: Vec<PathBuf>,
    /// Set a readable ledger aside and rebuild all the same
    #[arg(long)]
    pub force: bool,
    /// A storage peer on another machine (ed25519:…) or a drive (its number) that is lost for good [repeatable]; all others have to be there
    #[arg(long, value_name = "PEER_ID|NUMBER")]
    pub without: Vec<LostForGood>,
}

/// `vault export-key`.
#[derive(Args, Debug)]
pub struct ExportKeyArgs {
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
    /// The file to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Seal the file with the first line of this one
    #[arg(long, value_name = "FILE")]
    pub seal_with: Option<PathBuf>,
}

/// `vault import-key`.
#[derive(Args, Debug)]
pub struct ImportKeyArgs {
    /// The file that `export-key` wrote
    pub file: PathBuf,
    /// The file whose first line opens it, if it is sealed
    #[arg(long, value_name = "FILE")]
    pub opened_with: Option<PathBuf>,
    /// Another local name for the vault
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// `scope …`.
#[derive(Debug, Subcommand)]
pub enum ScopeCommand {
    /// Make a scope (a bucket)
    Create {
        /// Its name, by the rules for S3 buckets
        name: String,
        #[command(flatten)]
        /// The vault.
        vault: VaultChoice,
    },
    /// List scopes with their objects and bytes
    List(VaultChoice),
}

/// `put`.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The file, or `-` for stdin
    pub file: PathBuf,
    /// SCOPE/KEY; a KEY that is empty or ends in `/` takes the file's name
    pub target: String,
    /// The media type
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Fail if the object is there
    #[arg(long)]
    pub if_absent: bool,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// SCOPE/KEY
    pub source: String,
    /// The file to write (replaced when complete), or `-` for stdout
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Bytes FROM-TO, both included, as in an HTTP range
    #[arg(long, value_name = "FROM-TO", allow_hyphen_values = true)]
    pub range: Option<String>,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `ls`.
#[derive(Args, Debug)]
pub struct LsArgs {
    /// SCOPE or SCOPE/PREFIX; all scopes unless given
    pub place: Option<String>,
    /// Do not stop at `/`
    #[arg(long, short)]
    pub recursive: bool,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `activity …`.
#[derive(Debug, Subcommand)]
pub enum ActivityCommand {
    /// List records, oldest first
    List(ActivityListArgs),
    /// Show one record
    Show(RecordArgs),
    /// Print the receipt of one record, which `cairn verify` checks anywhere
    Receipt(RecordArgs),
    /// Put the records of storage peers beside the gateway's, operation by operation, and name what does not fit
    Join(JoinArgs),
}

/// `activity list`.
#[derive(Args, Debug)]
pub struct ActivityListArgs {
    /// At most so many records, the newest ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Only the records of the last DURATION
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub since: Option<Span>,
    /// Only records of this operation
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// Only records of the operation with this id, which the records of gateway and storage peers share
    #[arg(long, value_name = "ID")]
    pub operation_id: Option<String>,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `activity join`.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// A storage peer's records: its data directory, or a file that its `activity list --json` wrote [repeatable]
    #[arg(long = "node", value_name = "DIR|FILE", required = true)]
    pub nodes: Vec<PathBuf>,
    /// Only the operation with this id
    #[arg(long, value_name = "ID")]
    pub operation_id: Option<String>,
    /// Only the records of the last DURATION
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub since: Option<Span>,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `activity show` and `activity receipt`.
#[derive(Args, Debug)]
pub struct RecordArgs {
    /// The record id
    #[arg(value_name = "RECORD_ID")]
    pub record_id: String,
    #[command(flatten)]
    /// The vault.
    pub vault: VaultChoice,
}

/// `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The receipt, or `-` for stdin
    #[arg(required_unless_present_any = ["challenge", "log"])]
    pub receipt: Option<PathBuf>,
    /// Instead of a receipt: have drives prove that they hold a random sample of so many shards
    #[arg(
        long,
        value_name = "SHARDS",
        conflicts_with_all = ["receipt", "log_key"],
        num_args = 0..=1,
        default_missing_value = "300",
        value_parser = clap::value_parser!(u64).range(1..=net::cluster::SAMPLES_MAX as u64)
    )]
    pub challenge: Option<u64>,
    /// Instead of a receipt: the whole activity log of --data, a gateway's or a storage peer's, every entry and every checkpoint
    #[arg(long, conflicts_with_all = ["receipt", "challenge", "log_key"])]
    pub log: bool,
    /// The log's public key, as `cairn status` prints it; without it the key in the receipt is taken and named
    #[arg(long, value_name = "KEY")]
    pub log_key: Option<String>,
}

/// `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// A running server instead of a temporary one: its S3 endpoint, http://HOST:PORT; keys from CAIRN_ACCESS_KEY and
    /// CAIRN_SECRET_KEY
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The process that serves --endpoint, for its CPU time
    #[arg(long, value_name = "PID", requires = "endpoint")]
    pub pid: Option<u32>,
    /// The region of the server
    #[arg(long, default_value = "us-east-1", value_name = "NAME")]
    pub region: String,
    /// Where the temporary server keeps its drives; the system's temporary directory unless given
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint")]
    pub dir: Option<PathBuf>,
    /// A tenth of the work: a smoke test, not a measurement
    #[arg(long)]
    pub quick: bool,
}

#[cfg(test)]
mod tests;
