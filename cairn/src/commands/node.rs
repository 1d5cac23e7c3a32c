//! `cairn node`: a storage peer, until it is told to stop.

use std::io::Read;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cli::{GlobalArgs, NodeArgs};
use crate::commands::signals::Signals;
use crate::exit::Failure;
use crate::node::StoragePeer;
use crate::output::{print_json_line, print_line};

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
