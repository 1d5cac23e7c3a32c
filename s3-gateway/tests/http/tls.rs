//! TLS, names of buckets in the host, and proxies, over real sockets.

use std::sync::Arc;

use http::Method;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use s3_gateway::host::Hosts;
use s3_gateway::server::acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::Ask;
use crate::shop::{Port, Shop, get, put};
use crate::wire::{Answer, exchange, rest, wire};

const DOMAIN: &str = "s3.example.org";
const BUCKET_HOST: &str = "bkt.s3.example.org";

/// A self-made certificate for the domain and the names under it: what a server offers and what a client trusts.
fn certificate() -> (TlsAcceptor, CertificateDer<'static>) {
    let names = vec![DOMAIN.to_owned(), format!("*.{DOMAIN}")];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&chain, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    (acceptor(&chain, &key).unwrap(), cert.der().clone())
}

async fn connect(
    port: &Port,
    trusted: Option<&CertificateDer<'static>>,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    if let Some(trusted) = trusted {
        roots.add(trusted.clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(port.address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn at(host: &str, ask: Ask) -> Ask {
    ask.set("host", host)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_go_in_and_out_through_tls_and_by_the_buckets_own_name() {
    let shop = Shop::open_as(Hosts::new(&[DOMAIN.to_owned()], &[]), |_| {}).await;
    let (tls, trusted) = certificate();
    let port = shop.listen(Some(tls)).await;
    assert!(
        connect(&port, None, DOMAIN).await.is_err(),
        "an unknown certificate is not believed"
    );
    let mut plain = TcpStream::connect(port.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(
        !rest(&mut plain).await.contains("HTTP/1.1"),
        "plain text gets no answer"
    );

    let body = crate::rig::body(1, 300_000);
    let mut stream = connect(&port, Some(&trusted), DOMAIN).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let stored = exchange(&mut stream, at(DOMAIN, put("/bkt/dir/o", &body))).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    let read = exchange(&mut stream, at(DOMAIN, get("/bkt/dir/o"))).await;
    assert!(read.status == 200 && read.body == body);

    let mut stream = connect(&port, Some(&trusted), BUCKET_HOST).await.unwrap();
    let read = exchange(
        &mut stream,
        at(BUCKET_HOST, get("/dir/o").set("range", "bytes=5-9")),
    )
    .await;
    assert_eq!((read.status, &read.body[..]), (206, &body[5..10]));
    let listed = exchange(&mut stream, at(BUCKET_HOST, get("/").query("list-type", "2"))).await;
    assert!(listed.text().contains("<Key>dir/o</Key>"), "{}", listed.text());
    let begun = Ask::new(Method::POST, "/new").query("uploads", "").body(b"");
    let begun = exchange(&mut stream, at(BUCKET_HOST, begun)).await.text();
    let id = begun
        .split(['<', '>'])
        .skip_while(|part| *part != "UploadId")
        .nth(1)
        .unwrap();
    let part = put("/new", b"x").query("partNumber", "1").query("uploadId", id);
    assert_eq!(exchange(&mut stream, at(BUCKET_HOST, part)).await.status, 200);
    let xml = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
               <ETag>9dd4e461268c8034f5c8564e155c67a6</ETag></Part></CompleteMultipartUpload>";
    let done = Ask::new(Method::POST, "/new")
        .query("uploadId", id)
        .body(xml.as_bytes());
    let done = exchange(&mut stream, at(BUCKET_HOST, done)).await.text();
    assert!(
        done.contains("<Location>https://bkt.s3.example.org/new</Location>"),
        "{done}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_says_which_host_was_signed_and_only_a_trusted_one_is_believed() {
    let here = "127.0.0.1".parse().unwrap();
    for (trusted, status) in [(vec![here], 200), (vec![], 403)] {
        let shop = Shop::open_as(Hosts::new(&[DOMAIN.to_owned()], &trusted), |_| {}).await;
        let port = shop.listen(None).await;
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        // The client signs the public name; the proxy connects with another, and says what it was asked for and by whom.
        for ask in [at(BUCKET_HOST, put("/o", b"meow")), at(DOMAIN, get("/bkt/o"))] {
            let host = ask
                .headers
                .iter()
                .find(|(name, _)| name == "host")
                .unwrap()
                .1
                .clone();
            let mut request = ask.signed();
            for (name, value) in [
                ("host", "127.0.0.1:9000"),
                ("x-forwarded-host", host.as_str()),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-for", "192.0.2.7"),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            stream.write_all(&wire(request).await).await.unwrap();
            let answer = Answer::read(&mut stream, false).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    }
}
