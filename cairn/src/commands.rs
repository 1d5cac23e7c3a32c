//! One file per command. Each turns its arguments into a request or does its own work, and prints what came of it.

mod activity;
mod bench;
mod challenge;
mod cluster;
mod conduct;
mod gateway;
mod gc;
mod get;
mod join;
mod key;
mod ls;
mod node;
mod nodes;
mod place;
mod put;
mod reach;
mod rebalance;
mod repair;
mod scope;
mod scrub;
mod signals;
mod status;
mod up;
mod vault;
mod verify;

use crate::cli::{Cli, Command};
use crate::exit::Failure;

/// Runs a command to its end.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Up(args) => up::run(global, &args).await,
        Command::Node(args) => match &args.command {
            None => node::run(global, &args).await,
            Some(command) => nodes::run(global, command).await,
        },
        Command::Gateway(args) => gateway::run(global, &args).await,
        Command::Rebalance(args) => rebalance::run(global, &args).await,
        Command::Status => status::run(global).await,
        Command::Repair(args) => repair::run(global, args).await,
        Command::Scrub => scrub::run(global).await,
        Command::Gc => gc::run(global).await,
        Command::Key(command) => key::run(global, command).await,
        Command::Vault(command) => vault::run(global, command).await,
        Command::Scope(command) => scope::run(global, command).await,
        Command::Put(args) => put::run(global, args).await,
        Command::Get(args) => get::run(global, args).await,
        Command::Ls(args) => ls::run(global, args).await,
        Command::Activity(command) => activity::run(global, command).await,
        Command::Verify(args) => match (args.challenge, &args.receipt) {
            (None, None) => verify::log(global).await,
            (None, Some(receipt)) => verify::run(global, receipt, args.log_key.as_deref()),
            // The parser lets nothing stand beside it.
            (Some(samples), _) => challenge::run(global, samples).await,
        },
        Command::Bench(args) => bench::run(global, args).await,
    }
}
