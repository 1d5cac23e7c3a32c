//! The program as a child process, and what tests ask of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn::s3_client::{Call, ClientError, S3Client, Signer};
use http::Method;
use serde_json::Value;
use zeroize::Zeroizing;

/// With CAIRN_TEST_PEERS the stories that choose no drives run over so many storage peers.
fn test_peers() -> Option<String> {
    std::env::var("CAIRN_TEST_PEERS").ok()
}

/// A temporary data directory and the commands on it.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

/// A running `cairn up` or `cairn node`; killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// Everything it printed up to `ready`, as lines.
    pub(crate) printed: Vec<String>,
    /// The JSON that it announced itself with, if it was asked to.
    pub(crate) announced: Value,
}

/// A credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    /// A command on this data directory, without the environment's settings.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(name);
            }
        }
        command
            .env("RUST_LOG", "warn")
            .env("CAIRN_DATA", self.data())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that has to succeed and returns its JSON.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let output = self.command(args).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts `cairn up --json` and waits until it is ready.
    pub(crate) fn up(&self) -> Running {
        self.up_with(self.command(["up", "--json"]))
    }

    /// Starts the given `cairn up` on free ports.
    pub(crate) fn up_with(&self, mut command: Command) -> Running {
        command.args(["--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let chosen = command.get_args().any(|arg| arg == "--drive" || arg == "--peers");
        if let Some(peers) = test_peers().filter(|_| !chosen && !self.data().join("layout.json").exists()) {
            command.arg("--peers").arg(peers);
        }
        Running::ready(command)
    }

    /// The directory of one of the drives that a start without drives makes: its own, or that of a storage peer.
    pub(crate) fn drive(&self, number: impl std::fmt::Display) -> PathBuf {
        match self.data().join("peers").exists() {
            true => self.data().join(format!("peers/{number}/drives/0")),
            false => self.data().join(format!("drives/{number}")),
        }
    }

    /// Takes the ledger away, wherever it lies.
    pub(crate) fn remove_ledger(&self) {
        std::fs::remove_dir_all(self.data().join("ledger")).unwrap();
        let peers = (0..).map(|number| self.data().join(format!("peers/{number}")));
        for peer in peers.take_while(|peer| peer.exists()) {
            std::fs::remove_dir_all(peer.join("member")).unwrap();
            std::fs::remove_file(peer.join("known-peers")).unwrap();
        }
    }

    /// The vault's root key, by the command.
    pub(crate) fn root_key(&self) -> Key {
        key_of(&self.json(["key", "show"]))
    }
}

impl Running {
    /// Starts a command that says when it is ready, and waits until it is.
    pub(crate) fn ready(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            printed.push(line.unwrap());
            if printed.last().is_some_and(|line| line == "ready") {
                let announced = serde_json::from_str(&printed[0]).unwrap_or(Value::Null);
                return Self {
                    child,
                    printed,
                    announced,
                };
            }
        }
        panic!("it ended before it was ready: {:?}, {printed:?}", child.wait());
    }

    /// The end of a pipe that is its stdin, if it was given one.
    pub(crate) fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn endpoint(&self) -> &str {
        self.announced["endpoint"].as_str().unwrap()
    }

    pub(crate) fn host(&self) -> &str {
        self.endpoint().strip_prefix("http://").unwrap()
    }

    /// A connection with this key.
    pub(crate) async fn client(&self, key: &Key) -> S3Client {
        let stream = tokio::net::TcpStream::connect(self.host()).await.unwrap();
        let signer = Signer::new(
            key.id.clone(),
            Zeroizing::new(key.secret.clone()),
            "us-east-1".to_owned(),
        );
        S3Client::over(stream, self.host(), signer).await.unwrap()
    }

    /// Ends it as a service manager does; it has to exit with 0.
    pub(crate) fn stop(self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.ended();
        assert!(status.success(), "{status}");
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a power cut does, but for what the kernel still holds.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Access key id and secret of an answer.
pub(crate) fn key_of(answer: &Value) -> Key {
    let field = |name: &str| answer[name].as_str().unwrap().to_owned();
    Key {
        id: field("access_key_id"),
        secret: field("secret_access_key"),
    }
}

/// Everything that a command said.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The status and S3 code of a refusal.
pub(crate) fn refusal<T>(answer: Result<T, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused { status, code, .. }) => (status.as_u16(), code),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

pub(crate) async fn put(
    client: &mut S3Client,
    bucket: &str,
    key: &str,
    body: Vec<u8>,
) -> Result<(), ClientError> {
    client
        .fetch(Call::new(Method::PUT, bucket, key).body(Bytes::from(body)))
        .await
        .map(drop)
}

pub(crate) async fn get(client: &mut S3Client, bucket: &str, key: &str) -> Result<Bytes, ClientError> {
    Ok(client.fetch(Call::new(Method::GET, bucket, key)).await?.1)
}

pub(crate) async fn make_bucket(client: &mut S3Client, bucket: &str) {
    client.fetch(Call::new(Method::PUT, bucket, "")).await.unwrap();
}

/// Every object of a bucket with its size, by pages.
pub(crate) async fn list(client: &mut S3Client, bucket: &str) -> BTreeMap<String, u64> {
    let (mut found, mut next) = (BTreeMap::new(), None::<String>);
    loop {
        let mut call = Call::new(Method::GET, bucket, "")
            .query("list-type", "2")
            .query("encoding-type", "url");
        if let Some(token) = next.take() {
            call = call.query("continuation-token", token);
        }
        let (_, body) = client.fetch(call).await.unwrap();
        let page = cairn::s3_client::listing(&body).unwrap();
        found.extend(page.objects.into_iter().map(|object| (object.key, object.bytes)));
        match page.next {
            Some(token) => next = Some(token),
            None => return found,
        }
    }
}

/// Bytes that follow from a name: what was stored under it can be told without remembering it.
pub(crate) fn content(name: &str, bytes: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    content
}

/// One page of the admin port.
pub(crate) fn admin(running: &Running, path: &str) -> String {
    use std::io::Write;
    let address = running.announced["admin"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
