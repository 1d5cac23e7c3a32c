//! `cairn node`: a storage peer, until it is told to stop.

use std::io::Read;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use crate::cli::{GlobalArgs, NodeArgs, ResetLedgerArgs};
use crate::commands::signals::Signals;
use crate::exit::Failure;
use crate::node::{self, StoragePeer};
use crate::output::{print_json, print_json_line, print_line};

/// `cairn node reset-ledger`.
pub(super) async fn reset_ledger(global: &GlobalArgs, args: &ResetLedgerArgs) -> Result<(), Failure> {
    let data = StoragePeer::lock(&global.data, false).await?;
    let reset = node::reset_ledger(&data, args.take.as_deref()).await?;
    if global.json {
        let aside: Vec<String> = reset
            .aside
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        print_json(&json!({"set_aside": aside, "ledger_sequence": reset.taken}));
        return Ok(());
    }
    for place in &reset.aside {
        print_line(format!("set aside  {}", place.display()));
    }
    print_line(match reset.taken {
        Some(position) => format!("the rebuilt ledger is in its place, up to sequence {position}; start this storage peer, then the gateway"),
        None => "this storage peer knows of no ledger now; start it, and it serves the gateway that it was invited by".to_owned(),
    });
    Ok(())
}

pub(super) async fn run(global: &GlobalArgs, args: &NodeArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let parent = args.until_stdin_closes.then(stdin_closed);
    let data = StoragePeer::lock(&global.data, args.until_stdin_closes).await?;
    let peer = StoragePeer::open(data, args).await?;
    if global.json {
        print_json_line(&peer.announcement());
    } else {
        peer.description().into_iter().for_each(print_line);
    }
    // A parent waits for all of its peers together, once they all run.
    if !args.until_stdin_closes && !peer.serves().await {
        tracing::warn!(
            "the ledger does not answer: shards are served once more than half of its members run"
        );
    }
    print_line("ready");
    let told = async {
        match parent {
            Some(closed) => end_with_parent(closed, &mut signals).await,
            None => signals.wait().await,
        }
    };
    tokio::select! {
        () = told => {}
        why = peer.fenced() => return Err(Failure::Incomplete(why)),
    }
    tracing::info!("stopping");
    peer.close().await;
    Ok(())
}

/// A terminal's signal goes to the whole group: the parent may still have requests under way that need this node, and closes stdin
/// after them.
async fn end_with_parent(mut closed: oneshot::Receiver<()>, signals: &mut Signals) {
    tokio::select! {
        _ = &mut closed => return,
        () = signals.wait() => {}
    }
    tokio::select! {
        _ = closed => {}
        () = signals.wait() => {}
        () = tokio::time::sleep(LAST_REQUESTS) => {}
    }
}

/// Resolves when stdin reaches its end. On a thread of its own, for a read of stdin cannot be called off.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (closed, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut bytes).is_ok_and(|read| read > 0) {}
        let _ = closed.send(());
    });
    wait
}

/// What the requests under way of a gateway that ends may take, and a little more.
const LAST_REQUESTS: Duration = Duration::from_secs(40);
