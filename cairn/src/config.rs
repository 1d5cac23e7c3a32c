//! The configuration of `cairn up`: flags, then the environment, then one TOML file, then defaults.
//!
//! A setting is taken whole from the first source that has it: lists are not merged. Everything is checked before any
//! port or file is opened, and each refusal names the setting and what it takes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::pack::Code;
use s3_gateway::session::LIFECYCLE_DAY_MS;
use serde::Deserialize;

use crate::byte_size::ByteSize;
use crate::cli::{FrontArgs, GatewayArgs, UpArgs};
use crate::introduction::PeerAt;
use parse::{
    address, challenges_per_hour, check_region, check_url, domain, ledger_members, proxy, setting,
    upload_memory,
};

mod parse;
mod root_credential;

pub use parse::parse_code;
pub use root_credential::{RootCredential, root_credential};

/// What `cairn up` runs with.
#[derive(Clone, Debug)]
pub struct UpConfig {
    /// The drives' directories, if given; otherwise what the data directory remembers, or its own six.
    pub drives: Option<Vec<PathBuf>>,
    /// How many storage peers to run and keep shards with, if given; otherwise what the data directory remembers, or none.
    pub peers: Option<usize>,
    /// How storage peers elsewhere are reached; then there are none here.
    pub join: Option<JoinConfig>,
    /// Most members of the ledger among storage peers, if given: 1, 3 or 5; otherwise what the data directory remembers, or 5.
    pub ledger_members: Option<usize>,
    /// Challenges of each drive of storage peers in an hour; 0 is none.
    pub challenges_per_hour: u32,
    /// Data and parity shards, if given; otherwise what the data directory remembers, or 4+2.
    pub code: Option<Code>,
    /// The S3 port; port 0 takes a free one.
    pub s3: SocketAddr,
    /// The admin port; port 0 takes a free one.
    pub admin: SocketAddr,
    /// Certificate chain and private key, both PEM.
    pub tls: Option<TlsFiles>,
    /// Where clients reach the S3 port, without a trailing slash.
    pub public_url: Option<String>,
    /// Whose X-Forwarded headers are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Domains whose subdomains are buckets, lower case.
    pub domains: Vec<String>,
    /// The region requests are signed for.
    pub region: String,
    /// The most plaintext bytes a vault may hold.
    pub quota_bytes: Option<u64>,
    /// How long a day of lifecycle rules is, in ms.
    pub lifecycle_day_ms: u64,
    /// Memory for uploads under way.
    pub upload_memory_bytes: u64,
    /// The root credential fixed from outside.
    pub root_credential: Option<RootCredential>,
    /// Whether it may be one that was revoked.
    pub restore_revoked_root_key: bool,
    /// How long requests under way may take at the end.
    pub drain: Duration,
}

/// How a gateway reaches storage peers that run elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinConfig {
    /// Those that are named, which on a first start are all of them.
    pub peers: Vec<PeerAt>,
    /// The address that they are called from, if one was chosen.
    pub from: Option<IpAddr>,
}

/// The files behind a TLS port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration file {path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// What the TOML parser said.
        message: String,
    },
    /// One setting is wrong.
    #[error("{setting} {value:?}: {expected}")]
    Setting {
        /// The setting, as its flag or variable is called.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Settings that do not fit each other.
    #[error("{0}")]
    Together(&'static str),
    /// Too few or too many storage peers for the code.
    #[error("--peers {peers}: packs of {code} need {need} to {PEERS_MAX}")]
    Peers {
        /// Peers given.
        peers: usize,
        /// The code.
        code: String,
        /// Data and parity shards together.
        need: usize,
    },
    /// Too few drives for the code.
    #[error(
        "{drives} drives cannot hold packs of {code}: give at least {need} with --drive, or a smaller --code"
    )]
    TooFewDrives {
        /// Drives given.
        drives: usize,
        /// The code.
        code: String,
        /// Data and parity shards together.
        need: usize,
    },
}

impl UpConfig {
    /// Merges flags, environment and file. `variable` looks up an environment variable; empty ones count as absent.
    pub fn gather(args: &UpArgs, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = match args
            .front
            .config
            .clone()
            .or_else(|| env("CAIRN_CONFIG").map(PathBuf::from))
        {
            Some(path) => ConfigFile::read(&path)?,
            None => ConfigFile::default(),
        };
        let sources = Sources { env: &env, file };
        let config = sources.merge(args)?;
        config.check_together()?;
        Ok(config)
    }

    /// The same for `cairn gateway`.
    pub fn of_gateway(
        args: &GatewayArgs,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let front = UpArgs {
            front: args.front.clone(),
            ..UpArgs::default()
        };
        let config = Self::gather(&front, variable)?;
        if config.drives.is_some() || config.peers.is_some() {
            return Err(ConfigError::Together(
                "a gateway has no drives and runs no storage peers: take them out of its environment and its file, or use `cairn up`",
            ));
        }
        let join = JoinConfig {
            peers: args.join.clone(),
            from: args.from,
        };
        Ok(Self {
            join: Some(join),
            ..config
        })
    }

    fn check_together(&self) -> Result<(), ConfigError> {
        if self.s3 == self.admin && self.s3.port() != 0 {
            return Err(ConfigError::Together(
                "--s3 and --admin are the same address: give them two ports",
            ));
        }
        let code = self.code.unwrap_or(Code::DEFAULT);
        match (&self.drives, self.peers) {
            (Some(_), Some(_)) => Err(ConfigError::Together(
                "--drive and --peers exclude each other: shards lie on drives of this process or with storage peers",
            )),
            (Some(drives), None) => check_drives(drives, code),
            (None, Some(peers)) => check_peers(peers, code),
            (None, None) => Ok(()),
        }
    }
}

/// Refuses drives that are named twice or too few for packs of `code`.
pub fn check_drives(drives: &[PathBuf], code: Code) -> Result<(), ConfigError> {
    for (index, drive) in drives.iter().enumerate() {
        if drives.iter().take(index).any(|other| other == drive) {
            return Err(setting(
                "--drive",
                &drive.display().to_string(),
                "each drive is named once",
            ));
        }
    }
    let need = code.shards();
    if drives.len() < need {
        return Err(ConfigError::TooFewDrives {
            drives: drives.len(),
            code: code.to_string(),
            need,
        });
    }
    Ok(())
}

/// Refuses a number of storage peers on which packs of `code` cannot lie, or which no one machine should run.
pub fn check_peers(peers: usize, code: Code) -> Result<(), ConfigError> {
    let need = code.shards();
    if (need..=PEERS_MAX).contains(&peers) {
        return Ok(());
    }
    Err(ConfigError::Peers {
        peers,
        code: code.to_string(),
        need,
    })
}

/// The TOML file: the flags' names, and nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct ConfigFile {
    drive: Vec<PathBuf>,
    peers: Option<usize>,
    ledger_members: Option<String>,
    challenges_per_hour: Option<String>,
    code: Option<String>,
    s3: Option<String>,
    admin: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    public_url: Option<String>,
    trusted_proxy: Vec<String>,
    domain: Vec<String>,
    region: Option<String>,
    quota: Option<ByteSize>,
    upload_memory: Option<ByteSize>,
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: shown.clone(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: shown,
            message: error.to_string().trim_end().to_owned(),
        })
    }
}

struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    file: ConfigFile,
}

impl Sources<'_> {
    fn merge(&self, args: &UpArgs) -> Result<UpConfig, ConfigError> {
        let (front, file) = (&args.front, &self.file);
        let code = self.text(front.code.as_ref(), "CAIRN_CODE", file.code.as_ref());
        let s3 = self.text(front.s3.as_ref(), "CAIRN_S3", file.s3.as_ref());
        let admin = self.text(front.admin.as_ref(), "CAIRN_ADMIN", file.admin.as_ref());
        let public_url = self.text(
            front.public_url.as_ref(),
            "CAIRN_PUBLIC_URL",
            file.public_url.as_ref(),
        );
        let region = self.text(front.region.as_ref(), "CAIRN_REGION", file.region.as_ref());
        let members = self.text(
            front.ledger_members.as_ref(),
            "CAIRN_LEDGER_MEMBERS",
            file.ledger_members.as_ref(),
        );
        let proxies = self.list(&front.trusted_proxies, "CAIRN_TRUSTED_PROXY", &file.trusted_proxy);
        let domains = self.list(&front.domains, "CAIRN_DOMAIN", &file.domain);
        let quota = self.bytes(front.quota, "CAIRN_QUOTA", "--quota", file.quota)?;
        if quota == Some(0) {
            return Err(setting(
                "--quota",
                "0",
                "at least one byte, for example 500GiB; no quota unless given",
            ));
        }
        let memory = self.bytes(
            front.upload_memory,
            "CAIRN_UPLOAD_MEMORY",
            "--upload-memory",
            file.upload_memory,
        )?;
        Ok(UpConfig {
            drives: self.drives(args),
            peers: self.peers(args)?,
            join: None,
            ledger_members: ledger_members(members.as_deref())?,
            challenges_per_hour: self.challenges(front)?,
            code: code.map(|text| parse_code(&text)).transpose()?,
            s3: address("--s3", s3.as_deref().unwrap_or(S3_DEFAULT))?,
            admin: address("--admin", admin.as_deref().unwrap_or(ADMIN_DEFAULT))?,
            tls: self.tls(front)?,
            public_url: public_url.map(|url| check_url(&url)).transpose()?,
            trusted_proxies: proxies.iter().map(|text| proxy(text)).collect::<Result<_, _>>()?,
            domains: domains
                .iter()
                .map(|text| domain(text))
                .collect::<Result<_, _>>()?,
            region: check_region(region.as_deref().unwrap_or(REGION_DEFAULT))?,
            quota_bytes: quota,
            lifecycle_day_ms: front
                .shorten_lifecycle_day_to
                .map_or(LIFECYCLE_DAY_MS, |day| day.as_ms().min(LIFECYCLE_DAY_MS)),
            upload_memory_bytes: upload_memory(memory)?,
            root_credential: root_credential(self.env)?,
            restore_revoked_root_key: front.restore_revoked_root_key,
            drain: DRAIN,
        })
    }

    fn challenges(&self, front: &FrontArgs) -> Result<u32, ConfigError> {
        let given = self.text(
            front.challenges_per_hour.as_ref(),
            "CAIRN_CHALLENGES_PER_HOUR",
            self.file.challenges_per_hour.as_ref(),
        );
        challenges_per_hour(given.as_deref())
    }

    fn text(&self, flag: Option<&String>, variable: &str, file: Option<&String>) -> Option<String> {
        flag.cloned()
            .or_else(|| (self.env)(variable))
            .or_else(|| file.cloned())
    }

    fn list(&self, flags: &[String], variable: &str, file: &[String]) -> Vec<String> {
        if !flags.is_empty() {
            return flags.to_vec();
        }
        match (self.env)(variable) {
            Some(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            None => file.to_vec(),
        }
    }

    fn bytes(
        &self,
        flag: Option<ByteSize>,
        variable: &str,
        name: &'static str,
        file: Option<ByteSize>,
    ) -> Result<Option<u64>, ConfigError> {
        if let Some(ByteSize(bytes)) = flag {
            return Ok(Some(bytes));
        }
        match (self.env)(variable) {
            Some(text) => match text.parse::<ByteSize>() {
                Ok(ByteSize(bytes)) => Ok(Some(bytes)),
                Err(_) => Err(setting(
                    name,
                    &text,
                    "a whole number, alone or with KiB, MiB, GiB or TiB",
                )),
            },
            None => Ok(file.map(|ByteSize(bytes)| bytes)),
        }
    }

    fn drives(&self, args: &UpArgs) -> Option<Vec<PathBuf>> {
        if !args.drives.is_empty() {
            return Some(args.drives.clone());
        }
        if let Some(list) = (self.env)("CAIRN_DRIVES") {
            return Some(std::env::split_paths(&list).collect());
        }
        (!self.file.drive.is_empty()).then(|| self.file.drive.clone())
    }

    fn peers(&self, args: &UpArgs) -> Result<Option<usize>, ConfigError> {
        match (args.peers, (self.env)("CAIRN_PEERS")) {
            (None, Some(text)) => match text.parse() {
                Ok(peers) => Ok(Some(peers)),
                Err(_) => Err(setting("CAIRN_PEERS", &text, "a number of storage peers, as 6")),
            },
            (flag, _) => Ok(flag.or(self.file.peers)),
        }
    }

    fn tls(&self, args: &FrontArgs) -> Result<Option<TlsFiles>, ConfigError> {
        let path = |flag: &Option<PathBuf>, variable: &str, file: &Option<PathBuf>| {
            flag.clone()
                .or_else(|| (self.env)(variable).map(PathBuf::from))
                .or_else(|| file.clone())
        };
        let certificate = path(&args.tls_cert, "CAIRN_TLS_CERT", &self.file.tls_cert);
        let private_key = path(&args.tls_key, "CAIRN_TLS_KEY", &self.file.tls_key);
        match (certificate, private_key) {
            (Some(certificate), Some(private_key)) => Ok(Some(TlsFiles {
                certificate,
                private_key,
            })),
            (None, None) => Ok(None),
            _ => Err(ConfigError::Together(
                "--tls-cert and --tls-key go together: give both or neither",
            )),
        }
    }
}

/// Each is a process, with its threads and its memory.
const PEERS_MAX: usize = 64;
const S3_DEFAULT: &str = "127.0.0.1:9000";
const ADMIN_DEFAULT: &str = "127.0.0.1:9001";
const REGION_DEFAULT: &str = "us-east-1";
const DRAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
