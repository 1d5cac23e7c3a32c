//! What the flags of the S3 port say: TLS, domains and the address that clients know.

use std::sync::Arc;

use cairn::s3_client::{S3Client, Signer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::process::{Place, content, get, make_bucket, put};

const DOMAIN: &str = "s3.example.org";

#[tokio::test]
async fn objects_go_in_and_out_through_tls() {
    let place = Place::new();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![DOMAIN.to_owned()]).unwrap();
    let (chain, key) = (place.root().join("cert.pem"), place.root().join("key.pem"));
    std::fs::write(&chain, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let mut up = place.command(["up", "--json", "--domain", DOMAIN]);
    up.arg("--tls-cert").arg(&chain).arg("--tls-key").arg(&key);
    let running = place.up_with(up);
    let address = running.endpoint().strip_prefix("https://").unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(DOMAIN).unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let root = place.root_key();
    let signer = Signer::new(root.id, Zeroizing::new(root.secret), "us-east-1".to_owned());
    let mut client = S3Client::over(stream, DOMAIN, signer).await.unwrap();
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "a", content("a", 300_000))
        .await
        .unwrap();
    assert_eq!(
        get(&mut client, "first", "a").await.unwrap(),
        content("a", 300_000)
    );
}

#[test]
fn the_public_url_is_what_clients_are_told_and_local_commands_go_on_without_it() {
    let place = Place::new();
    let url = "https://s3.example.org";
    let up = place.command([
        "up",
        "--json",
        "--public-url",
        url,
        "--trusted-proxy",
        "127.0.0.1",
    ]);
    let running = place.up_with(up);
    assert_eq!(running.endpoint(), url);
    place.json(["scope", "create", "first"]);
    let file = place.root().join("file");
    std::fs::write(&file, content("file", 10_000)).unwrap();
    place.json(["put", file.to_str().unwrap(), "first/file"]);
    let back = place.run(["get", "first/file"]);
    assert!(back.stdout == content("file", 10_000));
}
