//! The control socket with an operator that holds nothing.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::exit::Failure;
use crate::operator::{ErrorCode, Operate, S3Stream};
use crate::request::{OnStep, Request};

struct Echo;

impl Operate for Echo {
    fn run<'a>(
        &'a self,
        request: Request,
        on_step: OnStep<'a>,
    ) -> BoxFuture<'a, Result<Value, OperatorError>> {
        Box::pin(async move {
            match request {
                Request::Gc => Err(OperatorError::new(ErrorCode::Busy, "gc is running")),
                Request::Scrub => {
                    on_step(Step {
                        done: 1,
                        total: 2,
                        unit: "shards".to_owned(),
                        note: String::new(),
                    });
                    tokio::task::yield_now().await;
                    Ok(json!({"clean": true}))
                }
                request => Ok(json!({"asked": request})),
            }
        })
    }

    fn serve_s3(&self, mut stream: Box<dyn S3Stream>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(&asked).await.unwrap();
        })
    }
}

fn serving(directory: &Path) -> tokio::task::JoinHandle<()> {
    let server = ControlServer::bind(directory).unwrap();
    tokio::spawn(server.serve(Arc::new(Echo)))
}

async fn ask(directory: &Path, request: &Request) -> Result<Value, Failure> {
    connect(directory)
        .await
        .unwrap()
        .unwrap()
        .ask(request, &|_| ())
        .await
}

#[tokio::test]
async fn a_request_is_answered_and_an_error_keeps_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let answer = ask(dir.path(), &Request::VaultList).await.unwrap();
    assert_eq!(answer, json!({"asked": {"op": "vault-list"}}));
    let error = ask(dir.path(), &Request::Gc).await.unwrap_err();
    let Failure::Operator(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Busy, "gc is running")
    );
    server.abort();
}

#[tokio::test]
async fn nobody_there_and_a_dead_socket_are_both_nobody() {
    let dir = tempfile::tempdir().unwrap();
    assert!(connect(dir.path()).await.unwrap().is_none());
    assert!(connect(&dir.path().join("absent")).await.unwrap().is_none());
    // A socket whose owner died: bound, then forgotten without removal.
    let socket = std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap();
    drop(socket);
    assert!(connect(dir.path()).await.unwrap().is_none());
    let server = serving(dir.path());
    assert!(connect(dir.path()).await.unwrap().is_some());
    server.abort();
}

#[tokio::test]
async fn a_long_path_works_and_the_socket_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("a".repeat(120)).join("b".repeat(120));
    std::fs::create_dir_all(&long).unwrap();
    let server = serving(&long);
    let mode = std::fs::metadata(long.join(SOCKET_FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    ask(&long, &Request::Status).await.unwrap();
    server.abort();
    let _ = server.await;
    assert!(
        !long.join(SOCKET_FILE).exists(),
        "the socket goes with its server"
    );
}

#[tokio::test]
async fn after_the_answer_to_s3_the_stream_belongs_to_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let mut connection = connect(dir.path()).await.unwrap().unwrap();
    connection
        .ask(&Request::S3 { vault: None }, &|_| ())
        .await
        .unwrap();
    let mut stream = connection.into_stream();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    server.abort();
}

#[tokio::test]
async fn lines_without_end_and_garbage_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let mut stream = UnixStream::connect(dir.path().join(SOCKET_FILE)).await.unwrap();
    let flood = vec![b'x'; REQUEST_BYTES_MAX + 1];
    let _ = stream.write_all(&flood).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());

    let mut stream = UnixStream::connect(dir.path().join(SOCKET_FILE)).await.unwrap();
    stream.write_all(b"{\"op\":\"nonsense\"}\n").await.unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["error"]["code"], "bad-request");
    server.abort();
}

#[tokio::test]
async fn steps_arrive_before_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let steps = std::sync::Mutex::new(Vec::new());
    let mut connection = connect(dir.path()).await.unwrap().unwrap();
    let answer = connection
        .ask(&Request::Scrub, &|step| steps.lock().unwrap().push(step))
        .await
        .unwrap();
    assert_eq!(answer["clean"], true);
    let steps = steps.into_inner().unwrap();
    assert!(steps.iter().all(|step| step.unit == "shards"), "{steps:?}");
    server.abort();
}
