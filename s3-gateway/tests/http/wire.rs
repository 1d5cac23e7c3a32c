//! Requests as bytes and answers as they come, over any stream.

use http::Request;
use http_body_util::BodyExt as _;
use s3_gateway::body::RawBody;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::client::Ask;

/// A request as bytes on the wire.
pub(crate) async fn wire(request: Request<RawBody>) -> Vec<u8> {
    let (parts, body) = request.into_parts();
    let mut out = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri).into_bytes();
    for (name, value) in &parts.headers {
        out.extend_from_slice(format!("{name}: ").as_bytes());
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body.collect().await.unwrap().to_bytes());
    out
}

/// Reads until the other end closes.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// One answer off the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }

    /// Reads one answer, interim ones included, and no byte of the next.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), to_head: bool) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.split_once("content-length: ");
        let length = length.map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse().unwrap());
        let mut body = vec![0; if to_head { 0 } else { length }];
        stream.read_exact(&mut body).await.unwrap();
        Self { status, head, body }
    }
}

/// Sends a request and reads its answer.
pub(crate) async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ask: Ask) -> Answer {
    let to_head = ask.method == http::Method::HEAD;
    stream.write_all(&wire(ask.signed()).await).await.unwrap();
    Answer::read(stream, to_head).await
}
