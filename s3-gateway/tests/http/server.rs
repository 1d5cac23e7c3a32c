//! The listener over real sockets: answers in one piece, limits in time and number, TLS files, and its end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Ask, Bench};
use crate::wire::{rest, wire};
use http::Method;
use s3_gateway::server::{ServerConfig, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<usize>,
    bench: Bench,
}

async fn start(config: ServerConfig) -> Running {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(listener, None, bench.gate.clone(), config, stopped));
    Running {
        address,
        stop,
        task,
        bench,
    }
}

fn impatient() -> ServerConfig {
    ServerConfig {
        head_patience: Duration::from_millis(200),
        write_patience: Duration::from_millis(300),
        drain: Duration::from_millis(500),
        ..ServerConfig::default()
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let server = start(ServerConfig::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let request = Ask::new(Method::PUT, "/photos/k").body(b"meow").signed();
        stream.write_all(&wire(request).await).await.unwrap();
        // One read: head and body leave in one write.
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("server: Cairn") && answer.contains("date: "),
            "{answer}"
        );
        assert_eq!(server.bench.seen().unwrap().body, b"meow");
    }
    let mut forged = Ask::new(Method::GET, "/photos/k");
    forged.secret = "guessed".into();
    stream.write_all(&wire(forged.signed()).await).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.contains("<Code>SignatureDoesNotMatch</Code>"), "{answer}");
    assert!(
        answer.ends_with("</Error>"),
        "an error comes in one piece: {answer}"
    );
}

#[tokio::test]
async fn the_body_is_asked_for_only_after_the_head_was_accepted() {
    let server = start(ServerConfig::default()).await;
    let expecting = || {
        Ask::new(Method::PUT, "/photos/k")
            .body(b"meow")
            .set("expect", "100-continue")
    };
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let bytes = wire(expecting().signed()).await;
    let (head, body) = bytes.split_at(bytes.len() - 4);
    stream.write_all(head).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    assert_eq!(&answer[..read], b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body).await.unwrap();
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"));
    let mut forged = expecting();
    forged.secret = "guessed".into();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let bytes = wire(forged.signed()).await;
    stream.write_all(&bytes[..bytes.len() - 4]).await.unwrap();
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 403"));
}

#[tokio::test]
async fn silent_slow_and_idle_connections_are_closed() {
    let server = start(impatient()).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ")
        .await
        .unwrap();
    rest(&mut slow).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let request = wire(Ask::new(Method::GET, "/photos/k").signed()).await;
    idle.write_all(&request).await.unwrap();
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Sends all of a PUT but its last byte, and waits until the gateway reads the body.
async fn begin_upload(server: &Running) -> (TcpStream, u8) {
    let before = in_bytes(server);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let bytes = wire(Ask::new(Method::PUT, "/photos/k").body(b"meow").signed()).await;
    let (last, head) = bytes.split_last().unwrap();
    stream.write_all(head).await.unwrap();
    let begun = async {
        while in_bytes(server) == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), begun).await.unwrap();
    (stream, *last)
}

fn in_bytes(server: &Running) -> u64 {
    let traffic = server.bench.gate.traffic();
    traffic.in_bytes.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test]
async fn idle_and_silent_connections_make_room_for_others_and_uploads_do_not() {
    let server = start(ServerConfig {
        connections_max: 4,
        ..ServerConfig::default()
    })
    .await;
    let request = || async { wire(Ask::new(Method::GET, "/photos/k").signed()).await };
    let mut answer = [0; 12];
    let (mut upload, last) = begin_upload(&server).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(&request().await).await.unwrap();
    idle.read_exact(&mut answer).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    let mut others = Vec::new();
    for _ in 0..40 {
        let mut other = TcpStream::connect(server.address).await.unwrap();
        other.write_all(&request().await).await.unwrap();
        other.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        others.push(other);
    }
    for gone in [&mut idle, &mut half, &mut silent] {
        rest(gone).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "they were closed, not timed out"
    );
    upload.write_all(&[last]).await.unwrap();
    upload.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn while_every_connection_is_answered_the_next_waits_for_a_place() {
    let server = start(ServerConfig {
        connections_max: 2,
        ..ServerConfig::default()
    })
    .await;
    let (mut first, last) = begin_upload(&server).await;
    let (_second, _) = begin_upload(&server).await;
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let request = wire(Ask::new(Method::GET, "/photos/k").signed()).await;
    third.write_all(&request).await.unwrap();
    let mut answer = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(150), third.read_exact(&mut answer)).await;
    assert!(
        early.is_err(),
        "two uploads are under way, so the third must wait"
    );
    first.write_all(&[last]).await.unwrap();
    third.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn the_stop_closes_idle_connections_and_drains_the_others() {
    let server = start(impatient()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(&wire(Ask::new(Method::GET, "/photos/k").signed()).await)
        .await
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    let bytes = wire(Ask::new(Method::PUT, "/photos/k").body(b"meow").signed()).await;
    let (head, last) = bytes.split_at(bytes.len() - 1);
    busy.write_all(head).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), async {
        while server
            .bench
            .gate
            .traffic()
            .in_bytes
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    server.stop.send(true).unwrap();
    rest(&mut idle).await;
    busy.write_all(last).await.unwrap();
    assert!(rest(&mut busy).await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.task.await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}
