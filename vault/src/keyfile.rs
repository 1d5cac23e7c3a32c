//! The key file of a vault: wallet seed, root key, vault id and name, and the seed of the activity log's signing key,
//! in the clear or under a passphrase.
//!
//! It is bytes only; that the file is 0600 and written durably is the program's business.
//!
//! Form: "CRNK", version u8 = 1, form u8; 0 *plain*: the contents; 1 *passphrase*: memory KiB u32, passes u32, lanes
//! u32, salt 16, then AES-256-GCM(Argon2id(passphrase, salt), zero nonce, associated data: every byte before) over the
//! contents. Contents: wallet seed 32, root key 32, activity log seed 32, vault id 16, name string.
//!
//! Invariant: the key of a passphrase form comes from a fresh salt and seals once; its parameters are bound to what it
//! seals, and parameters that would exhaust the machine are refused before any work.
//!
//! Source: RFC 9106 (Argon2); its second recommended parameter set (64 MiB, 3 passes), with one lane.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use engine::codec::{DecodeError, Reader, Writer};
use scopes::{VaultId, Wallet};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Random;
use crate::keys::RootKey;

#[cfg(test)]
mod tests;

const MAGIC: [u8; 4] = *b"CRNK";
const VERSION: u8 = 1;
const NAME_BYTES_MAX: usize = 1024;
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 16;

/// How costly it is to try a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// 64 MiB, 3 passes, 1 lane: about a quarter of a second.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 1,
    };
}

/// Why a key file was not written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyfileError {
    /// It is not a key file.
    #[error("not a key file: {0}")]
    Malformed(#[from] DecodeError),
    /// It is sealed and no passphrase was given.
    #[error("the key file is sealed with a passphrase")]
    NeedsPassphrase,
    /// The passphrase is wrong, or the file was altered.
    #[error("the passphrase is wrong or the key file was altered")]
    Refused,
    /// The cost is below Argon2's minimum or above what this program will spend.
    #[error("argon2 cost of {memory_kib} KiB, {passes} passes, {lanes} lanes is not allowed")]
    Cost {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// What a key file holds. Wiped on drop, printed without its secrets.
#[derive(Clone)]
pub struct Keyfile {
    /// Seed of the wallet that owns the vault.
    pub wallet_seed: Seed,
    /// The vault's root key.
    pub root: RootKey,
    /// Seed of the key that signs the activity log.
    pub activity_seed: Seed,
    /// The vault.
    pub vault: VaultId,
    /// Its local name.
    pub name: String,
}

/// A seed of 32 secret bytes: wiped on drop, printed as nothing.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Seed {}

impl Seed {
    /// The seed that is these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Whoever copies them wipes the copy.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl std::fmt::Debug for Keyfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyfile")
            .field("vault", &self.vault)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Keyfile {
    /// Whether the vault's id is made of its owner's key and the salt of its root.
    pub fn is_of_its_keys(&self) -> bool {
        let owner = Wallet::from_seed(self.wallet_seed.expose()).public_key();
        VaultId::derive(&owner, &self.root.vault_salt()) == self.vault
    }

    /// The plain form: whoever reads the file owns the vault.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut file = Zeroizing::new(Vec::with_capacity(256));
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&[VERSION, 0]);
        file.extend_from_slice(&self.contents());
        file
    }

    /// The passphrase form.
    ///
    /// # Errors
    /// [`KeyfileError::Cost`].
    pub fn seal(&self, passphrase: &[u8], cost: Cost, random: Random<'_>) -> Result<Vec<u8>, KeyfileError> {
        let mut salt = [0; 16];
        random(&mut salt);
        let key = stretch(passphrase, cost, &salt)?;
        let mut header = Writer::new();
        header.fixed(&MAGIC);
        header.u8(VERSION);
        header.u8(1);
        header.u32(cost.memory_kib);
        header.u32(cost.passes);
        header.u32(cost.lanes);
        header.fixed(&salt);
        let contents = self.contents();
        let payload = Payload {
            msg: &contents,
            aad: header.as_slice(),
        };
        let cipher = Aes256Gcm::new((&*key).into());
        let sealed = cipher
            .encrypt(&Nonce::default(), payload)
            .map_err(|_| KeyfileError::Refused)?;
        header.fixed(&sealed);
        Ok(header.into_vec())
    }

    /// Whether a file needs a passphrase.
    ///
    /// # Errors
    /// [`KeyfileError::Malformed`].
    pub fn is_sealed(file: &[u8]) -> Result<bool, KeyfileError> {
        let mut reader = Reader::new(file);
        read_head(&mut reader)
    }

    /// Reads either form. A passphrase given for a plain file is not used.
    ///
    /// # Errors
    /// [`KeyfileError`].
    pub fn open(file: &[u8], passphrase: Option<&[u8]>) -> Result<Self, KeyfileError> {
        let mut reader = Reader::new(file);
        if !read_head(&mut reader)? {
            return Self::from_contents(reader.rest());
        }
        let passphrase = passphrase.ok_or(KeyfileError::NeedsPassphrase)?;
        let cost = Cost {
            memory_kib: reader.u32()?,
            passes: reader.u32()?,
            lanes: reader.u32()?,
        };
        let salt: [u8; 16] = reader.fixed()?;
        let sealed = reader.rest();
        let header = file.get(..file.len() - sealed.len()).unwrap_or_default();
        let key = stretch(passphrase, cost, &salt)?;
        let payload = Payload {
            msg: sealed,
            aad: header,
        };
        let cipher = Aes256Gcm::new((&*key).into());
        let contents = cipher
            .decrypt(&Nonce::default(), payload)
            .map_err(|_| KeyfileError::Refused)?;
        Self::from_contents(&Zeroizing::new(contents))
    }

    fn contents(&self) -> Zeroizing<Vec<u8>> {
        // Reserved whole, so that no copy of the secrets is left behind by growing.
        let mut writer = Writer::with_capacity(128 + self.name.len());
        writer.fixed(self.wallet_seed.expose());
        writer.fixed(self.root.expose());
        writer.fixed(self.activity_seed.expose());
        writer.fixed(&self.vault.0);
        writer.string(&self.name);
        Zeroizing::new(writer.into_vec())
    }

    fn from_contents(contents: &[u8]) -> Result<Self, KeyfileError> {
        let mut reader = Reader::new(contents);
        let keyfile = Self {
            wallet_seed: Seed(reader.fixed()?),
            root: RootKey::from_bytes(reader.fixed()?),
            activity_seed: Seed(reader.fixed()?),
            vault: VaultId(reader.fixed()?),
            name: reader.string(NAME_BYTES_MAX)?.to_owned(),
        };
        reader.finish()?;
        Ok(keyfile)
    }
}

/// Reads magic, version and form; true for the passphrase form.
fn read_head(reader: &mut Reader<'_>) -> Result<bool, KeyfileError> {
    let magic: [u8; 4] = reader.fixed()?;
    if magic != MAGIC {
        let got = u64::from(u32::from_le_bytes(magic));
        return Err(DecodeError::BadValue {
            what: "key file magic",
            got,
        }
        .into());
    }
    reader.version(VERSION)?;
    Ok(reader.bool("key file form")?)
}

fn stretch(passphrase: &[u8], cost: Cost, salt: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>, KeyfileError> {
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = cost;
    let refused = KeyfileError::Cost {
        memory_kib,
        passes,
        lanes,
    };
    if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
        return Err(refused);
    }
    let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| refused)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| refused)?;
    Ok(key)
}
