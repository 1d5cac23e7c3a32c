//! The `cairn` program: parses the command line, starts logging and the runtime, and turns the outcome into an exit
//! status.

mod allocator;

use std::process::ExitCode;

use cairn::cli::{Cli, Command};
use cairn::exit::Failure;
use clap::Parser;
use serde_json::json;
use tracing::Level;

fn main() -> ExitCode {
    allocator::give_back_soon();
    let cli = Cli::parse();
    if matches!(cli.command, Command::Node(_)) {
        allocator::keep_for_a_second();
    }
    let json = cli.global.json;
    let level = match &cli.command {
        Command::Up(_) => Level::INFO,
        // A parent that runs it says itself what there is to say.
        Command::Node(args) if !args.until_stdin_closes => Level::INFO,
        _ => Level::WARN,
    };
    cairn::logging::start(cli.global.log_format, level);
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, json);
            ExitCode::from(failure.exit_status())
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    // A second provider in the process would make rustls refuse to choose one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::file(std::path::Path::new("starting threads"), error))?;
    let outcome = runtime.block_on(cairn::commands::run(cli));
    // What still runs in the background must not hold the exit up.
    runtime.shutdown_timeout(SHUTDOWN_WAIT);
    outcome
}

fn report(failure: &Failure, json: bool) {
    // A report that says "incomplete" has been printed whole already.
    if json && !matches!(failure, Failure::Incomplete(_)) {
        cairn::output::print_json(&json!({"error": {"message": failure.to_string()}}));
    }
    let sentence = failure.to_string();
    // The reader of a configuration file points at its lines; every other failure is one sentence, and may hold names
    // that came from clients.
    let shown = match failure {
        Failure::Config(_) => sentence,
        _ => cairn::output::printable(sentence),
    };
    eprintln!("cairn: {shown}");
}

const SHUTDOWN_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
