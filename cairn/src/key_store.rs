//! `keys/`: one key file for each vault; and `peer.key`, the one other secret, which opens nothing.
//!
//! A key file (`vault::keyfile`) holds wallet seed, root key, vault id, local name and the seed of the activity log's
//! signing key. The log belongs to the data directory and not to a vault, so all key files of one directory carry the
//! same log seed; an imported one is given it. Files are 0600 and replaced whole. With a passphrase they are sealed,
//! and files that were plain are sealed when they are first opened with one.
//!
//! Invariant: a key file is on disk, durably, before anything is sealed with the keys in it.

use std::path::{Path, PathBuf};

use net::peer::PeerKey;
use scopes::{VaultId, Wallet};
use vault::keyfile::{Cost, Keyfile, KeyfileError, Seed};
use vault::keys::{Keyring, RootKey};
use zeroize::Zeroizing;

use crate::data_dir::{DataDirError, make_private_dir, write_durably};

/// The key files of a data directory, opened.
#[derive(Debug)]
pub struct KeyStore {
    directory: PathBuf,
    passphrase: Option<Passphrase>,
    keyfiles: Vec<Keyfile>,
}

/// A passphrase. Wiped on drop, printed as nothing.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Passphrase(..)")
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// A key file does not open.
    #[error("{path}: {source}")]
    Keyfile {
        /// The file.
        path: String,
        /// Why.
        source: KeyfileError,
    },
    /// A key file is sealed, and no passphrase was given.
    #[error("{path} is sealed: give its passphrase with --passphrase-file")]
    Sealed {
        /// The file.
        path: String,
    },
    /// An export is sealed, and no passphrase was given.
    #[error("{path} is sealed: give its passphrase with --opened-with")]
    SealedExport {
        /// The file.
        path: String,
    },
    /// The passphrase file has no passphrase.
    #[error("{path}: the first line of the passphrase file is empty")]
    EmptyPassphrase {
        /// The file.
        path: String,
    },
    /// The key files do not belong together.
    #[error(
        "the key files in {directory} name different activity logs: bring a vault in with `cairn vault import-key`, not by copying its file"
    )]
    MixedLogs {
        /// The directory.
        directory: String,
    },
    /// A name is taken.
    #[error("there is a vault named {name} already: choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A vault is here already.
    #[error("the vault {vault} is here already")]
    VaultHere {
        /// The vault.
        vault: VaultId,
    },
    /// A name that would be confused with an id, or cannot be typed.
    #[error("a vault's name is 1 to 64 of a-z, A-Z, 0-9, -, _ and ., and does not begin with v- or .")]
    BadName,
    /// The named vault is not here.
    #[error("there is no vault {name} here: `cairn vault list` shows those there are")]
    NoSuchVault {
        /// The name or id.
        name: String,
    },
    /// Several vaults, and none named.
    #[error("there are {count} vaults here: say which with --vault")]
    WhichVault {
        /// How many.
        count: usize,
    },
    /// `peer.key` is not what it should be.
    #[error("{path} is damaged: put its backup back, or this is no longer the peer that others know")]
    PeerKey {
        /// The file.
        path: String,
    },
    /// The id of a vault is not made of the keys in its file, so no storage peer would take its owner for the owner.
    #[error(
        "{path}: the id of the vault {vault} is not made of the keys in the file: it was altered, or made by a build before the first release, \
         whose vaults cannot be carried on"
    )]
    NotItsKeys {
        /// The file.
        path: String,
        /// The vault.
        vault: VaultId,
    },
    /// The system gives no randomness.
    #[error("the operating system gives no randomness, so no key can be made")]
    Randomness,
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] DataDirError),
}

impl Passphrase {
    /// The first line of a file.
    pub fn read(path: &Path) -> Result<Self, KeyStoreError> {
        let text = Zeroizing::new(std::fs::read(path).map_err(|source| io_error(path, source))?);
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(KeyStoreError::EmptyPassphrase {
                path: path.display().to_string(),
            });
        }
        Ok(Self(Zeroizing::new(line.to_vec())))
    }
}

impl KeyStore {
    /// Opens every key file in `directory`, which may be empty or absent.
    pub fn open(directory: &Path, passphrase: Option<Passphrase>) -> Result<Self, KeyStoreError> {
        let mut store = Self {
            directory: directory.to_owned(),
            passphrase,
            keyfiles: Vec::new(),
        };
        for path in key_files(directory)? {
            let bytes = Zeroizing::new(std::fs::read(&path).map_err(|source| io_error(&path, source))?);
            let keyfile = open_keyfile(&path, &bytes, store.passphrase.as_ref())?;
            if store.passphrase.is_some() && !Keyfile::is_sealed(&bytes).unwrap_or(true) {
                store.write(&keyfile)?;
            }
            store.keyfiles.push(keyfile);
        }
        let mut seeds = store
            .keyfiles
            .iter()
            .map(|keyfile| keyfile.activity_seed.expose());
        if let Some(first) = seeds.next()
            && seeds.any(|seed| seed != first)
        {
            return Err(KeyStoreError::MixedLogs {
                directory: directory.display().to_string(),
            });
        }
        Ok(store)
    }

    /// The vaults' keys, in the order of their ids.
    pub fn keyfiles(&self) -> &[Keyfile] {
        &self.keyfiles
    }

    /// The seed of the key that signs this directory's activity log, if there is a vault yet.
    pub fn activity_seed(&self) -> Option<&[u8; 32]> {
        self.keyfiles
            .first()
            .map(|keyfile| keyfile.activity_seed.expose())
    }

    /// The vault of this name or id, or the only one if none is named.
    pub fn choose(&self, name: Option<&str>) -> Result<&Keyfile, KeyStoreError> {
        match (name, self.keyfiles.as_slice()) {
            (None, [only]) => Ok(only),
            (None, all) => Err(KeyStoreError::WhichVault { count: all.len() }),
            (Some(name), all) => all
                .iter()
                .find(|keyfile| keyfile.name == name || keyfile.vault.to_string() == name)
                .ok_or_else(|| KeyStoreError::NoSuchVault {
                    name: name.to_owned(),
                }),
        }
    }

    /// Makes a vault with new keys and writes its key file.
    pub fn create(&mut self, name: &str) -> Result<&Keyfile, KeyStoreError> {
        let wallet_seed = random()?;
        let owner = Wallet::from_seed(&wallet_seed).public_key();
        let activity_seed = match self.activity_seed() {
            Some(seed) => Seed::from_bytes(*seed),
            None => Seed::from_bytes(*random()?),
        };
        let root = RootKey::from_bytes(*random()?);
        self.add(Keyfile {
            wallet_seed: Seed::from_bytes(*wallet_seed),
            vault: VaultId::derive(&owner, &root.vault_salt()),
            root,
            activity_seed,
            name: name.to_owned(),
        })
    }

    /// Takes a vault's keys from an export. Its log seed signs here only if it comes back to the activity log that it signed, for
    /// two processes must never sign for one log: `restores` says that there is one whose keys were lost.
    pub fn import(
        &mut self,
        mut keyfile: Keyfile,
        name: Option<String>,
        restores: bool,
    ) -> Result<&Keyfile, KeyStoreError> {
        match self.activity_seed() {
            Some(seed) => keyfile.activity_seed = Seed::from_bytes(*seed),
            None if restores => {}
            None => keyfile.activity_seed = Seed::from_bytes(*random()?),
        }
        if let Some(name) = name {
            keyfile.name = name;
        }
        self.add(keyfile)
    }

    /// The bytes of a vault's keys for a backup or another place, sealed if a passphrase is given.
    pub fn export(
        keyfile: &Keyfile,
        passphrase: Option<&Passphrase>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
        encode(keyfile, passphrase)
    }

    fn add(&mut self, keyfile: Keyfile) -> Result<&Keyfile, KeyStoreError> {
        if !is_vault_name(&keyfile.name) {
            return Err(KeyStoreError::BadName);
        }
        if self.keyfiles.iter().any(|other| other.vault == keyfile.vault) {
            return Err(KeyStoreError::VaultHere { vault: keyfile.vault });
        }
        if self.keyfiles.iter().any(|other| other.name == keyfile.name) {
            return Err(KeyStoreError::NameTaken { name: keyfile.name });
        }
        self.write(&keyfile)?;
        let place = self
            .keyfiles
            .partition_point(|other| other.vault.0 < keyfile.vault.0);
        self.keyfiles.insert(place, keyfile);
        // It was inserted there a line above.
        self.keyfiles.get(place).ok_or(KeyStoreError::BadName)
    }

    fn write(&self, keyfile: &Keyfile) -> Result<(), KeyStoreError> {
        make_private_dir(&self.directory)?;
        let bytes = encode(keyfile, self.passphrase.as_ref())?;
        let path = self.directory.join(format!("{}.{EXTENSION}", keyfile.vault));
        write_durably(&path, &bytes)?;
        Ok(())
    }
}

/// The keyring of a key file's vault.
pub fn keyring(keyfile: &Keyfile) -> Keyring {
    Keyring::new(keyfile.root.clone(), keyfile.vault)
}

/// Opens the bytes of a key file found at `path`.
pub fn open_keyfile(
    path: &Path,
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Keyfile, KeyStoreError> {
    let path = path.display().to_string();
    match Keyfile::open(bytes, passphrase.map(|passphrase| passphrase.0.as_slice())) {
        Ok(keyfile) if !keyfile.is_of_its_keys() => Err(KeyStoreError::NotItsKeys {
            path,
            vault: keyfile.vault,
        }),
        Ok(keyfile) => Ok(keyfile),
        Err(KeyfileError::NeedsPassphrase) => Err(KeyStoreError::Sealed { path }),
        Err(source) => Err(KeyStoreError::Keyfile { path, source }),
    }
}

/// The key by which a data directory is a peer: 32 secret bytes in `peer.key`, made and durable before the first use.
pub fn peer_key(path: &Path) -> Result<PeerKey, KeyStoreError> {
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => match <&[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(seed) => Ok(PeerKey::from_seed(seed)),
            Err(_) => Err(KeyStoreError::PeerKey {
                path: path.display().to_string(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed = random()?;
            write_durably(path, seed.as_slice())?;
            Ok(PeerKey::from_seed(&seed))
        }
        Err(source) => Err(io_error(path, source)),
    }
}

/// 32, 16 or any other number of random bytes.
pub fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyStoreError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyStoreError::Randomness)?;
    Ok(bytes)
}

fn encode(keyfile: &Keyfile, passphrase: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
    let Some(passphrase) = passphrase else {
        return Ok(keyfile.encode());
    };
    let mut failed = false;
    let mut draw = |bytes: &mut [u8]| failed |= getrandom::fill(bytes).is_err();
    let sealed = keyfile.seal(&passphrase.0, Cost::DEFAULT, &mut draw);
    if failed {
        return Err(KeyStoreError::Randomness);
    }
    let sealed = sealed.map_err(|source| KeyStoreError::Keyfile {
        path: keyfile.name.clone(),
        source,
    })?;
    Ok(Zeroizing::new(sealed))
}

fn key_files(directory: &Path) -> Result<Vec<PathBuf>, KeyStoreError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(io_error(directory, source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| io_error(directory, source))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_vault_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with("v-")
        && !name.starts_with('.')
}

fn io_error(path: &Path, source: std::io::Error) -> KeyStoreError {
    KeyStoreError::Io {
        path: path.display().to_string(),
        source,
    }
}

const EXTENSION: &str = "key";

#[cfg(test)]
mod tests;
