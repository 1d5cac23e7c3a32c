//! TLS 1.3 between peers with raw public keys (RFC 7250): no certificate, no authority, no name, only the two keys.
//!
//! Whom to talk to is decided elsewhere. Invariants: a client goes on only with the one key that it expects; a server only with a
//! client that proves some ed25519 key; nothing is resumed and nothing is sent early, so that every connection has proven both.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, sign};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use super::identity::{PeerId, PeerKey};

/// The protocol's name in the handshake (ALPN): a peer that speaks another never gets to a message.
const PROTOCOL: &[u8] = b"cairn/1";

/// AES-256 first; QUIC itself wants AES-128 for its first packets (RFC 9001, section 5.2).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        ..default_provider()
    })
}

/// What this side shows and signs with.
pub(super) fn certified(key: &PeerKey) -> Result<Arc<CertifiedKey>, Error> {
    let secret = key.pkcs8();
    let signing = sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(secret.as_slice()))?;
    let shown = CertificateDer::from(key.id().spki());
    Ok(Arc::new(CertifiedKey::new(vec![shown], signing)))
}

/// For calls to the one peer `expected`.
pub(super) fn client(own: &Arc<CertifiedKey>, expected: PeerId) -> Result<ClientConfig, Error> {
    let provider = provider();
    let keys = Arc::new(Keys {
        provider: Arc::clone(&provider),
        expected: Some(expected),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(keys)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(own))));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// For calls of whoever proves a key.
pub(super) fn server(own: &Arc<CertifiedKey>) -> Result<ServerConfig, Error> {
    let provider = provider();
    let keys = Arc::new(Keys {
        provider: Arc::clone(&provider),
        expected: None,
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(keys)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(own))));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The peer whose key the handshake has proven.
pub(super) fn peer_of(shown: &[CertificateDer<'_>]) -> Option<PeerId> {
    match shown {
        [key] => PeerId::from_spki(key),
        _ => None,
    }
}

/// Checks the other side's key.
#[derive(Debug)]
struct Keys {
    provider: Arc<CryptoProvider>,
    /// The only one that will do; any, when there is none.
    expected: Option<PeerId>,
}

impl Keys {
    fn check(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let refused = Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ));
        match PeerId::from_spki(shown) {
            Some(peer) if more.is_empty() && self.expected.is_none_or(|expected| expected == peer) => Ok(()),
            _ => refused,
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }
}

/// TLS 1.2 is not offered, so nothing of it is ever checked.
const OLD: Error = Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled);

impl ServerCertVerifier for Keys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(OLD)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Keys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(OLD)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
