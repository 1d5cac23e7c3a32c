//! Reaching a data directory: through the process that serves it, or by opening it when none does.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::{GlobalArgs, UpArgs};
use crate::config::UpConfig;
use crate::control::connect;
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::key_store::Passphrase;
use crate::node::{NodeOperator, answer_closed};
use crate::operator::{Operate, Operator};
use crate::output::Progress;
use crate::request::Request;
use crate::runtime::Runtime;
use crate::s3_client::{S3Client, Signer};
use crate::serve::S3Front;

/// Asks one thing, showing a bar named `work` while it takes long.
pub(super) async fn ask(global: &GlobalArgs, work: &'static str, request: Request) -> Result<Value, Failure> {
    let progress = Progress::new(work);
    let on_step = |step| progress.show(step);
    if let Some(mut connection) = connect(&global.data).await? {
        return connection.ask(&request, &on_step).await;
    }
    if DataDir::is_of_node(&global.data) && NodeOperator::knows(&request) {
        return answer_closed(&global.data, request).await;
    }
    let runtime = open_here(global).await?;
    let operator = operator_of(&runtime)?;
    let answer = operator.run(request, &on_step).await;
    runtime.close().await;
    Ok(answer?)
}

/// An S3 connection with a vault's root key.
pub(super) struct S3Connection {
    /// The client.
    pub(super) client: S3Client,
    here: Option<Arc<Runtime>>,
}

impl S3Connection {
    /// Connects through the process that serves the data directory, or opens it here.
    pub(super) async fn open(global: &GlobalArgs, vault: Option<String>) -> Result<Self, Failure> {
        let request = Request::S3 { vault };
        if let Some(mut connection) = connect(&global.data).await? {
            let key = connection.ask(&request, &|_| ()).await?;
            let client = S3Client::over(connection.into_stream(), LOCAL_HOST, signer(&key)?).await?;
            return Ok(Self { client, here: None });
        }
        let runtime = open_here(global).await?;
        let operator = operator_of(&runtime)?;
        let key = operator.run(request, &|_| ()).await?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(async move { operator.serve_s3(Box::new(theirs)).await });
        let client = S3Client::over(ours, LOCAL_HOST, signer(&key)?).await?;
        Ok(Self {
            client,
            here: Some(runtime),
        })
    }

    /// Ends the connection; a data directory that was opened here is closed cleanly.
    pub(super) async fn close(self) {
        drop(self.client);
        if let Some(runtime) = self.here {
            runtime.close().await;
        }
    }
}

/// The passphrase that the command line names.
pub(super) fn passphrase(path: Option<&Path>) -> Result<Option<Passphrase>, Failure> {
    Ok(path.map(Passphrase::read).transpose()?)
}

async fn open_here(global: &GlobalArgs) -> Result<Arc<Runtime>, Failure> {
    let data = DataDir::open(&global.data)?;
    let secret = passphrase(global.passphrase_file.as_deref())?;
    let runtime = Runtime::open(data, secret, &config_here()?, false).await?;
    Ok(Arc::new(runtime))
}

fn operator_of(runtime: &Arc<Runtime>) -> Result<Operator, Failure> {
    let front = S3Front::new(runtime.sessions.clone(), &config_here()?, None);
    Ok(Operator::new(Arc::clone(runtime), front))
}

/// What the environment configures, without the flags of `up`.
fn config_here() -> Result<UpConfig, Failure> {
    Ok(UpConfig::gather(&UpArgs::default(), &|name| {
        std::env::var(name).ok()
    })?)
}

fn signer(key: &Value) -> Result<Signer, Failure> {
    let field = |name: &str| {
        let text = key.get(name).and_then(Value::as_str);
        text.map(str::to_owned)
            .ok_or(crate::control::ControlError::Protocol)
    };
    let secret = Zeroizing::new(field("secret_access_key")?);
    Ok(Signer::new(field("access_key_id")?, secret, field("region")?))
}

/// What the gateway is called over a stream without an address.
const LOCAL_HOST: &str = "localhost";
const PIPE_BYTES: usize = 256 << 10;
