//! The three pages, over a real port.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Fixed {
    unready: Option<&'static str>,
    read_only: Option<&'static str>,
}

impl Observed for Fixed {
    fn unready(&self) -> Option<String> {
        self.unready.map(str::to_owned)
    }

    fn read_only(&self) -> Option<String> {
        self.read_only.map(str::to_owned)
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

const SERVING: Fixed = Fixed {
    unready: None,
    read_only: None,
};

async fn ask(fixed: Fixed, head: &str) -> String {
    let server = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let task = tokio::spawn(server.serve(Arc::new(fixed)));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    task.abort();
    text
}

#[tokio::test]
async fn ready_says_200_while_requests_are_served_and_503_with_the_reason_otherwise() {
    let text = ask(SERVING, "GET /health/ready").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains(r#""writes":"accepted""#),
        "{text}"
    );
    let degraded = Fixed {
        unready: None,
        read_only: Some("4 of 6 drives"),
    };
    let text = ask(degraded, "GET /health/ready").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("4 of 6 drives"),
        "{text}"
    );
    let down = Fixed {
        unready: Some("the ledger is fenced"),
        read_only: None,
    };
    let text = ask(down, "GET /health/ready").await;
    assert!(
        text.starts_with("HTTP/1.1 503") && text.contains("the ledger is fenced"),
        "{text}"
    );
}

#[tokio::test]
async fn live_and_metrics_answer() {
    assert!(ask(SERVING, "GET /health/live").await.starts_with("HTTP/1.1 200"));
    let text = ask(SERVING, "GET /metrics").await;
    assert!(
        text.contains("openmetrics-text") && text.ends_with("# EOF\n"),
        "{text}"
    );
}

#[tokio::test]
async fn nothing_can_be_changed_or_discovered() {
    assert!(
        ask(SERVING, "POST /health/ready")
            .await
            .starts_with("HTTP/1.1 405")
    );
    assert!(ask(SERVING, "DELETE /metrics").await.starts_with("HTTP/1.1 405"));
    assert!(ask(SERVING, "GET /").await.starts_with("HTTP/1.1 404"));
    assert!(
        ask(SERVING, "GET /health/../keys")
            .await
            .starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let first = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let message = AdminServer::bind(first.address()).await.unwrap_err().to_string();
    let named = format!("--admin {}", first.address());
    assert!(
        message.contains(&named) && message.contains("choose another with --admin"),
        "{message}"
    );
}
