//! The root credential that the environment fixes: CAIRN_ACCESS_KEY and CAIRN_SECRET_KEY.

use zeroize::Zeroizing;

use super::{ConfigError, setting};

/// CAIRN_ACCESS_KEY and CAIRN_SECRET_KEY.
#[derive(Clone)]
pub struct RootCredential {
    /// The access key id.
    pub access_key_id: String,
    /// The secret, 16 to 128 characters.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for RootCredential {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("RootCredential(..)")
    }
}

/// The root credential that the environment fixes, if it does.
pub fn root_credential(env: &dyn Fn(&str) -> Option<String>) -> Result<Option<RootCredential>, ConfigError> {
    let (access_key_id, secret) = match (env("CAIRN_ACCESS_KEY"), env("CAIRN_SECRET_KEY")) {
        (None, None) => return Ok(None),
        (Some(access_key_id), Some(secret)) => (access_key_id, Zeroizing::new(secret)),
        _ => {
            return Err(ConfigError::Together(
                "CAIRN_ACCESS_KEY and CAIRN_SECRET_KEY go together: set both or neither",
            ));
        }
    };
    let id_ok = (3..=128).contains(&access_key_id.len())
        && access_key_id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !id_ok {
        return Err(setting(
            "CAIRN_ACCESS_KEY",
            &access_key_id,
            "3 to 128 of A-Z, a-z, 0-9, -, _ and .",
        ));
    }
    if !(16..=128).contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(setting(
            "CAIRN_SECRET_KEY",
            "…",
            "16 to 128 printable ASCII characters without spaces",
        ));
    }
    Ok(Some(RootCredential {
        access_key_id,
        secret,
    }))
}
