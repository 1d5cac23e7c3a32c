//! `cairn up`: everything in one process, until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use crate::admin::AdminServer;
use crate::cli::{GlobalArgs, UpArgs};
use crate::commands::reach::passphrase;
use crate::commands::signals::Signals;
use crate::config::UpConfig;
use crate::control::ControlServer;
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::metrics::Figures;
use crate::operator::Operator;
use crate::output::{print_json_line, print_line};
use crate::runtime::{RootKeyFound, Runtime};
use crate::serve::{S3Front, S3Port};

pub(super) async fn run(global: &GlobalArgs, args: &UpArgs) -> Result<(), Failure> {
    let config = UpConfig::gather(args, &|name| std::env::var(name).ok())?;
    // The lock first, so that a second start says who serves the directory and not that a port is taken.
    let data = DataDir::create_or_open(&global.data)?;
    serve(global, data, config).await
}

/// Serves a data directory until it is told to stop.
pub(super) async fn serve(global: &GlobalArgs, data: DataDir, config: UpConfig) -> Result<(), Failure> {
    let secret = passphrase(global.passphrase_file.as_deref())?;
    // The ports first, so that nothing is made when they are taken.
    let port = S3Port::bind(&config).await?;
    let admin = AdminServer::bind(config.admin).await?;
    let mut signals = Signals::listen()?;

    let opening = Runtime::open(data, secret, &config, true);
    let runtime = Arc::new(tokio::select! {
        opened = opening => opened?,
        () = signals.wait() => return Ok(()),
    });
    let root = match runtime.settle_root_keys(&config).await {
        Ok(root) => root,
        Err(error) => {
            runtime.close().await;
            return Err(error.into());
        }
    };
    let front = S3Front::new(runtime.sessions.clone(), &config, Some(port.endpoint()));
    let operator = Arc::new(Operator::new(Arc::clone(&runtime), front.clone()));
    let control = ControlServer::bind(runtime.data.root())?;
    let serving = Serving {
        endpoint: port.endpoint(),
        admin: format!("http://{}", admin.address()),
        region: config.region.clone(),
        root,
        root_is_fixed: config.root_credential.is_some(),
    };

    let (stop, stopping) = watch::channel(false);
    let figures = Arc::new(Figures::new(Arc::clone(&runtime), front.clone()));
    let control = tokio::spawn(control.serve(operator));
    let admin = tokio::spawn(admin.serve(figures));
    let s3 = tokio::spawn(async move { port.serve(front, &config, stopping).await });
    serving.announce(global, &runtime);

    let ended = tokio::select! {
        () = signals.wait() => Ok(()),
        sentence = runtime.fenced() => Err(Failure::Incomplete(sentence)),
    };
    if let Err(failure) = ended {
        // What was not acknowledged by now never is: there is nothing to drain.
        tracing::error!(reason = %failure, "ending");
        return Err(failure);
    }
    tracing::info!("stopping: no new connections, at most 30 s for requests under way");
    stop.send_replace(true);
    tokio::select! {
        cut = s3 => match cut {
            Ok(0) => {}
            Ok(cut) => tracing::warn!(cut, "connections were cut off"),
            Err(error) => tracing::error!(%error, "the S3 port broke off"),
        },
        () = signals.wait() => tracing::warn!("told to stop again: not waiting for requests under way"),
    }
    control.abort();
    admin.abort();
    // The socket goes with its task.
    let _ = control.await;
    runtime.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// What the start has to say.
struct Serving {
    endpoint: String,
    admin: String,
    region: String,
    root: Option<RootKeyFound>,
    root_is_fixed: bool,
}

impl Serving {
    fn announce(&self, global: &GlobalArgs, runtime: &Runtime) {
        let vault = runtime.first_vault();
        let secret = self.root.as_ref().and_then(|root| root.fresh_secret.as_ref());
        if global.json {
            let vault = vault.and_then(|vault| runtime.sessions.of(vault));
            print_json_line(&json!({
                "endpoint": self.endpoint,
                "admin": self.admin,
                "region": self.region,
                "data": runtime.data.root(),
                "pid": std::process::id(),
                "vault_id": vault.as_ref().map(|session| session.vault().to_string()),
                "access_key_id": self.root.as_ref().map(|root| &root.access_key_id),
                "secret_access_key": secret.map(|secret| secret.expose()),
                "peers": runtime.peer_entries().iter().map(|peer| json!({
                    "peer_id": peer.peer.to_string(),
                    "address": peer.addresses.first(),
                })).collect::<Vec<_>>(),
            }));
        } else {
            self.print(global, runtime, secret.map(|secret| secret.expose()));
        }
        print_line("ready");
    }

    fn print(&self, global: &GlobalArgs, runtime: &Runtime, secret: Option<&str>) {
        let (data, endpoint) = (global.data.display(), &self.endpoint);
        // Which of several vaults the root key is of.
        let several = runtime.keys().keyfiles().len() > 1;
        let vault = runtime
            .first_vault()
            .and_then(|vault| runtime.sessions.of(vault))
            .filter(|_| several);
        let (chosen, of_vault) = match &vault {
            Some(session) => (
                format!(" --vault {}", session.name()),
                format!(" (vault {})", session.name()),
            ),
            None => (String::new(), String::new()),
        };
        let id = self.root.as_ref().map_or("", |root| root.access_key_id.as_str());
        let shown = match secret {
            Some(secret) => secret.to_owned(),
            None if self.root_is_fixed => "as CAIRN_SECRET_KEY says".to_owned(),
            None => format!("`cairn key show{chosen} --data {data}` shows it"),
        };
        print_line(format!("Cairn serves {}", runtime.data.root().display()));
        print_line(format!(
            "\n  endpoint    {endpoint}\n  admin       {}\n  region      {}",
            self.admin, self.region
        ));
        print_line(format!("  access key  {id}{of_vault}\n  secret      {shown}"));
        for (number, peer) in runtime.peer_entries().iter().enumerate() {
            let name = if number == 0 { "peers" } else { "" };
            let address = peer.addresses.first().map(SocketAddr::to_string);
            let address = address.unwrap_or_else(|| "an unknown address".to_owned());
            print_line(format!("  {name:<10}  {} at {address}", peer.peer));
        }
        print_line("\nTo try it, paste:\n");
        match secret {
            Some(secret) => print_line(format!(
                "  export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY='{secret}' AWS_DEFAULT_REGION={}",
                self.region
            )),
            None => print_line(format!(
                "  eval \"$(cairn key show --env{chosen} --data {data})\""
            )),
        }
        print_line(format!("  aws --endpoint-url {endpoint} s3 mb s3://first"));
        print_line(format!(
            "  echo hello | aws --endpoint-url {endpoint} s3 cp - s3://first/hello"
        ));
        print_line(format!("  aws --endpoint-url {endpoint} s3 ls s3://first/"));
        let keys = runtime.data.keys();
        print_line(format!(
            "\nBack up {}: without it nothing can be opened.\n",
            keys.display()
        ));
    }
}
