//! Structured logs on stderr: text by default, one JSON object a line with `--log-format json`.
//!
//! Invariant: the events of `s3s` never pass, whatever `RUST_LOG` says. That crate logs whole request bodies and
//! `Authorization` headers when a request fails to parse; the gateway writes its own line for each request instead.

use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. A second call in one process changes nothing.
pub fn start(format: LogFormat, default_level: Level) {
    let _ = FORMAT.set(format);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!(
            // What openraft tells of each member that does not answer, again and again, is told once by us.
            "{},openraft=off",
            default_level.as_str().to_ascii_lowercase()
        ))
    });
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colours).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // One filter: of two, one behind the other, each would have spans and events made that only the other one drops.
    let filter = filter.and(secrets_stay_out());
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Another subscriber is there only in tests, which then keep theirs.
    let _ = registry.try_init();
}

/// How log lines look, as one says it to a child process.
pub(crate) fn format_name() -> Option<String> {
    use clap::ValueEnum;
    let name = FORMAT.get()?.to_possible_value()?;
    Some(name.get_name().to_owned())
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

fn secrets_stay_out() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    let filter: FilterFn<fn(&Metadata<'_>) -> bool> = FilterFn::new(|event| !is_s3s(event.target()));
    // Without a word on levels, it would be asked about every one.
    filter.with_max_level_hint(Level::TRACE)
}

fn is_s3s(target: &str) -> bool {
    target == "s3s" || target.starts_with("s3s::") || target.starts_with("s3s_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_s3s_is_silenced_and_ours_is_not() {
        for target in ["s3s", "s3s::service", "s3s::ops::multipart", "s3s_aws"] {
            assert!(is_s3s(target), "{target}");
        }
        for target in ["s3_gateway::http", "cairn", "s3server"] {
            assert!(!is_s3s(target), "{target}");
        }
    }
}
