//! TLS from two PEM files, by rustls with aws-lc-rs.
//!
//! Invariant: what cannot be used is said by file, with what the file holds and what to do; no byte of a file is shown.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// The longest PEM file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the {role} file {} cannot be read: {source}; give the path of a file that this user may read", .path.display())]
    Unreadable {
        /// What the file is for.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Each file holds what the other should.
    #[error("--tls-cert {} holds a private key and --tls-key {} a certificate: swap the two", .certificates.display(), .key.display())]
    Swapped {
        /// The file given for the certificate.
        certificates: PathBuf,
        /// The file given for the key.
        key: PathBuf,
    },
    /// A file holds something else.
    #[error("the {role} file {} holds {holds}: {}", .path.display(), .role.wanted())]
    Holds {
        /// What the file is for.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What it holds, in words.
        holds: &'static str,
    },
    /// The key is another certificate's.
    #[error(
        "the private key in {} is not that of the first certificate in {}: give the two that were issued together, the server's \
         certificate first",
        .key.display(), .certificates.display()
    )]
    Pair {
        /// The file with the certificate.
        certificates: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// rustls refuses the pair for another reason.
    #[error("the certificate in {} and the key in {} cannot be used: {source}", .certificates.display(), .key.display())]
    Refused {
        /// The file with the certificate.
        certificates: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `--tls-cert`.
    Certificate,
    /// `--tls-key`.
    PrivateKey,
}

impl Role {
    const fn wanted(self) -> &'static str {
        match self {
            Self::Certificate => "--tls-cert takes the server's certificate and its chain, as PEM",
            Self::PrivateKey => "--tls-key takes the certificate's private key, unencrypted, as PEM",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Certificate => "--tls-cert",
            Self::PrivateKey => "--tls-key",
        })
    }
}

/// What a file holds of what is looked for.
struct Held {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
    /// What it holds, in words, where it is not what was wanted.
    words: &'static str,
}

impl Held {
    fn read(role: Role, path: &Path) -> Result<Self, TlsError> {
        let unreadable = |source| TlsError::Unreadable {
            role,
            path: path.to_path_buf(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable(io::Error::other("it is longer than 1 MiB")));
        }
        let mut held = Self {
            chain: Vec::new(),
            key: None,
            words: "no PEM at all",
        };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
            // The parser's own words repeat the line that it stopped at.
            let Ok((kind, section)) = section else {
                held.words = "damaged PEM";
                return Ok(held);
            };
            match kind {
                SectionKind::Certificate => held.chain.push(section.into()),
                _ => held.key = held.key.or_else(|| PrivateKeyDer::from_pem(kind, section)),
            }
        }
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        held.words = match (&held.chain[..], &held.key) {
            ([], None) if has("-----BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") => {
                "an encrypted private key"
            }
            ([], None) if has("-----BEGIN ") => "PEM, but neither a certificate nor a private key",
            ([], None) => "no PEM at all",
            ([], Some(_)) => "a private key and no certificate",
            ([..], _) => "a certificate and no private key",
        };
        Ok(held)
    }
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// Names the file that cannot be used, what it holds and what to do.
pub fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let of_certificates = Held::read(Role::Certificate, certificates)?;
    let of_key = Held::read(Role::PrivateKey, key)?;
    let crossed = of_certificates.chain.is_empty() && of_certificates.key.is_some();
    if crossed && of_key.key.is_none() && !of_key.chain.is_empty() {
        return Err(TlsError::Swapped {
            certificates: certificates.to_path_buf(),
            key: key.to_path_buf(),
        });
    }
    let holds = |role, path: &Path, words| TlsError::Holds {
        role,
        path: path.to_path_buf(),
        holds: words,
    };
    if of_certificates.chain.is_empty() {
        return Err(holds(Role::Certificate, certificates, of_certificates.words));
    }
    let Some(private_key) = of_key.key else {
        return Err(holds(Role::PrivateKey, key, of_key.words));
    };
    let refused = |source| {
        let (certificates, key) = (certificates.to_path_buf(), key.to_path_buf());
        match source {
            rustls::Error::InconsistentKeys(_) => TlsError::Pair { certificates, key },
            source => TlsError::Refused {
                certificates,
                key,
                source,
            },
        }
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(of_certificates.chain, private_key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_with_what_it_holds_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = || generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = pair();
        let (cert, key) = (
            file("cert", &cert.pem()),
            file("key", &signing_key.serialize_pem()),
        );
        let both = [std::fs::read_to_string(&cert), std::fs::read_to_string(&key)];
        let both = file("both", &both.map(Result::unwrap).concat());
        let other = file("other", &pair().signing_key.serialize_pem());
        let empty = file("empty", "");
        let sealed = file(
            "sealed",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let torn = file("torn", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n");
        assert!(acceptor(&cert, &key).is_ok());
        assert!(acceptor(&both, &both).is_ok());
        let absent = dir.path().join("absent");
        for (certificates, of_key, said) in [
            (&key, &cert, ["swap the two", "holds a private key"]),
            (
                &key,
                &key,
                ["--tls-cert file", "a private key and no certificate"],
            ),
            (
                &cert,
                &cert,
                ["--tls-key file", "a certificate and no private key"],
            ),
            (&absent, &key, ["--tls-cert file", "No such file"]),
            (&cert, &absent, ["--tls-key file", "No such file"]),
            (&cert, &empty, ["--tls-key file", "no PEM at all"]),
            (
                &cert,
                &sealed,
                ["--tls-key file", "an encrypted private key: --tls-key takes"],
            ),
            (&cert, &torn, ["--tls-key file", "damaged PEM"]),
            (
                &cert,
                &other,
                ["is not that of the first certificate", "issued together"],
            ),
        ] {
            let message = acceptor(certificates, of_key).err().unwrap().to_string();
            assert!(said.iter().all(|part| message.contains(part)), "{message}");
            assert!(!message.contains("c2VjcmV0"), "{message}");
        }
    }
}
