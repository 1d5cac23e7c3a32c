//! `node.json`: what a storage peer remembers from one start to the next.
//!
//! Nothing in it is secret. Invariants: a node stays in the cluster of its first start; its drives are made while `drives_made` is
//! false, which ends with that start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use net::peer::PeerId;
use serde::{Deserialize, Serialize};

use super::NodeError;
use crate::cli::NodeArgs;
use crate::data_dir::{DataDir, write_durably};
use crate::key_store::random;
use crate::layout::absolute;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The cluster.
    pub cluster: [u8; 16],
    /// What the ids of its drives are derived from: its own, so that no two nodes share one.
    pub id_seed: [u8; 16],
    /// Its drives, absolute.
    pub drives: Vec<PathBuf>,
    /// Whether the first start got as far as making them.
    pub drives_made: bool,
    /// Who may call it.
    pub gateways: Vec<PeerId>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it, if that is another address.
    pub advertise: Option<SocketAddr>,
    /// What it fails together with, by name; empty if it has none.
    pub domain: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    format: u32,
    cluster_id: String,
    id_seed: String,
    drives: Vec<PathBuf>,
    drives_made: bool,
    gateways: Vec<String>,
    listen: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    advertise: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    domain: String,
}

impl NodeSettings {
    /// What is remembered, changed by what is told; on a first start what is told, and the defaults.
    pub fn settle(data: &DataDir, args: &NodeArgs) -> Result<Self, NodeError> {
        let drives = absolute(&args.drives);
        let invited = args.join.as_ref();
        let told_cluster = invited.map(|invited| invited.cluster).or(args.cluster);
        let told_gateways = invited.map_or(&args.gateways, |invited| &invited.gateways);
        let Some(mut known) = Self::read(data)? else {
            return Ok(Self {
                cluster: told_cluster.ok_or(NodeError::NoCluster)?,
                id_seed: *random()?,
                drives: match drives.is_empty() {
                    true => vec![data.drives().join("0")],
                    false => drives,
                },
                drives_made: false,
                gateways: told_gateways.clone(),
                listen: args.listen.unwrap_or(ANY_PORT),
                advertise: args.advertise,
                domain: args.domain.clone().unwrap_or_default(),
            });
        };
        if let Some(told) = told_cluster.filter(|told| *told != known.cluster) {
            return Err(NodeError::OtherCluster {
                known: hex::encode(known.cluster),
                told: hex::encode(told),
            });
        }
        if !drives.is_empty() {
            // They may have moved; which is which, their identity files say.
            if drives.len() != known.drives.len() {
                return Err(NodeError::OtherDrives {
                    known: known.drives.len(),
                    given: drives.len(),
                });
            }
            known.drives = drives;
        }
        if !told_gateways.is_empty() {
            known.gateways.clone_from(told_gateways);
        }
        known.advertise = args.advertise.or(known.advertise);
        if let Some(domain) = &args.domain {
            known.domain.clone_from(domain);
        }
        known.listen = args.listen.unwrap_or(known.listen);
        Ok(known)
    }

    /// Where others reach it. None if that has to be said: it listens on every address of the machine.
    pub fn reached_at(&self) -> Option<SocketAddr> {
        let here = Some(self.listen).filter(|listen| !listen.ip().is_unspecified());
        self.advertise.or(here)
    }

    /// What `data` remembers, if it does.
    pub fn read(data: &DataDir) -> Result<Option<Self>, NodeError> {
        Self::read_at(data.root(), &data.node())
    }

    /// What the file at `path` says of a node in the directory `root`.
    pub fn read_at(root: &Path, path: &Path) -> Result<Option<Self>, NodeError> {
        let damaged = || NodeError::Damaged {
            path: path.display().to_string(),
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(damaged()),
        };
        let file: NodeFile = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let id = |text: &str| {
            let mut id = [0; 16];
            hex::decode_to_slice(text, &mut id).map_err(|_| damaged())?;
            Ok::<_, NodeError>(id)
        };
        let gateways = file
            .gateways
            .iter()
            .map(|text| text.parse().map_err(|_| damaged()));
        if file.format != 1 || file.drives.is_empty() {
            return Err(damaged());
        }
        Ok(Some(Self {
            cluster: id(&file.cluster_id)?,
            id_seed: id(&file.id_seed)?,
            drives: file.drives.iter().map(|drive| root.join(drive)).collect(),
            drives_made: file.drives_made,
            gateways: gateways.collect::<Result<_, _>>()?,
            listen: file.listen,
            advertise: file.advertise,
            domain: file.domain,
        }))
    }

    /// Remembers these settings.
    pub fn write(&self, data: &DataDir) -> Result<(), NodeError> {
        // Drives in the data directory go where it goes.
        let drives = self
            .drives
            .iter()
            .map(|drive| drive.strip_prefix(data.root()).unwrap_or(drive));
        let file = NodeFile {
            format: 1,
            cluster_id: hex::encode(self.cluster),
            id_seed: hex::encode(self.id_seed),
            drives: drives.map(Path::to_path_buf).collect(),
            drives_made: self.drives_made,
            gateways: self.gateways.iter().map(PeerId::to_string).collect(),
            listen: self.listen,
            advertise: self.advertise,
            domain: self.domain.clone(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|_| NodeError::Damaged {
            path: data.node().display().to_string(),
        })?;
        bytes.push(b'\n');
        Ok(write_durably(&data.node(), &bytes)?)
    }
}

/// A free port of this machine alone.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> NodeArgs {
        use clap::Parser as _;
        let cli = crate::cli::Cli::try_parse_from(line.split_whitespace()).unwrap();
        let crate::cli::Command::Node(args) = cli.command else {
            panic!("not node")
        };
        args
    }

    const CLUSTER: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn a_node_remembers_what_it_was_told_and_gateways_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::of_node(dir.path()).unwrap();
        let gateway = |seed| net::peer::PeerKey::from_seed(&[seed; 32]).id();
        let first = told(&format!(
            "cairn node --cluster {CLUSTER} --gateway {}",
            gateway(1)
        ));
        assert!(matches!(
            NodeSettings::settle(&data, &told("cairn node")),
            Err(NodeError::NoCluster)
        ));
        let mut settings = NodeSettings::settle(&data, &first).unwrap();
        settings.drives_made = true;
        settings.listen.set_port(7_777);
        settings.write(&data).unwrap();
        let again = NodeSettings::settle(&data, &told("cairn node")).unwrap();
        assert_eq!(again, settings);
        assert_eq!(again.drives, [data.root().join("drives/0")]);
        let others = told(&format!("cairn node --gateway {}", gateway(2)));
        let others = NodeSettings::settle(&data, &others).unwrap();
        assert_eq!(
            (others.gateways, others.listen),
            (vec![gateway(2)], settings.listen)
        );
    }

    #[test]
    fn another_cluster_and_another_number_of_drives_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::of_node(dir.path()).unwrap();
        let first = told(&format!("cairn node --cluster {CLUSTER}"));
        NodeSettings::settle(&data, &first).unwrap().write(&data).unwrap();
        let other = told("cairn node --cluster ff0102030405060708090a0b0c0d0e0f");
        let error = NodeSettings::settle(&data, &other).unwrap_err();
        assert!(error.to_string().contains(CLUSTER), "{error}");
        let two = told("cairn node --drive /a --drive /b");
        let error = NodeSettings::settle(&data, &two).unwrap_err();
        assert!(matches!(error, NodeError::OtherDrives { known: 1, given: 2 }));
    }

    #[test]
    fn damaged_settings_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::of_node(dir.path()).unwrap();
        for text in ["", "{}", "[1]"] {
            std::fs::write(data.node(), text).unwrap();
            let message = NodeSettings::read(&data).unwrap_err().to_string();
            assert!(message.contains("node.json is damaged"), "{message}");
        }
    }
}
