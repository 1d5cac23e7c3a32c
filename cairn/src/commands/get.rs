//! `cairn get`: an object becomes a file or goes to stdout, through the S3 gateway and the root key.
//!
//! Invariants: a file appears under its name only when it is whole; nothing but a plain file is ever replaced.

use std::path::{Path, PathBuf};

use http::Method;
use http::header::{CONTENT_LENGTH, RANGE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::cli::{GetArgs, GlobalArgs};
use crate::commands::place::split;
use crate::commands::reach::S3Connection;
use crate::exit::Failure;
use crate::output::{Progress, print_json, print_line, printable};
use crate::request::Step;
use crate::s3_client::{Call, ClientError};

pub(super) async fn run(global: &GlobalArgs, args: GetArgs) -> Result<(), Failure> {
    let to_stdout = args.file == Path::new("-");
    if to_stdout && global.json {
        return Err(Failure::Usage(
            "--json and the object cannot share stdout: name a file".to_owned(),
        ));
    }
    let (scope, object_key) = split(&args.source)?;
    if object_key.is_empty() {
        return Err(Failure::Usage("say which object: SCOPE/KEY".to_owned()));
    }
    let mut call = Call::new(Method::GET, scope, object_key);
    if let Some(range) = &args.range {
        call = call.header(RANGE, range_header(range)?);
    }
    let mut connection = S3Connection::open(global, args.vault.vault.clone()).await?;
    let fetched = fetch(&mut connection, call, &args.file).await;
    connection.close().await;
    let bytes = fetched?;
    if global.json {
        print_json(&json!({"scope": scope, "key": object_key, "bytes": bytes, "file": args.file}));
    } else if !to_stdout {
        let file = printable(args.file.display().to_string());
        print_line(format!("{file}: {bytes} bytes"));
    }
    Ok(())
}

async fn fetch(connection: &mut S3Connection, call: Call, target: &Path) -> Result<u64, Failure> {
    let (parts, body) = connection.client.send(call).await?.into_parts();
    let length = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if target == Path::new("-") {
        return copy(body, &mut tokio::io::stdout(), length, target).await;
    }
    if std::fs::metadata(target).is_ok_and(|found| !found.is_file()) {
        // A device or a pipe is written to, not replaced.
        let opened = tokio::fs::OpenOptions::new().write(true).open(target).await;
        let mut file = opened.map_err(|error| Failure::file(target, error))?;
        return copy(body, &mut file, length, target).await;
    }
    let fresh = beside(target);
    let failed = |error| Failure::file(target, error);
    let mut file = tokio::fs::File::create(&fresh)
        .await
        .map_err(|error| Failure::file(directory_of(target), error))?;
    let copied = copy(body, &mut file, length, target).await;
    let settled = match copied {
        Ok(bytes) => match file
            .sync_all()
            .await
            .and_then(|()| std::fs::rename(&fresh, target))
        {
            Ok(()) => return Ok(bytes),
            Err(error) => failed(error),
        },
        Err(failure) => failure,
    };
    let _ = std::fs::remove_file(&fresh);
    Err(settled)
}

async fn copy(
    mut body: Incoming,
    target: &mut (impl AsyncWrite + Unpin),
    length: Option<u64>,
    name: &Path,
) -> Result<u64, Failure> {
    let progress = Progress::new("get");
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(ClientError::from)?;
        if let Some(data) = frame.data_ref() {
            target
                .write_all(data)
                .await
                .map_err(|error| Failure::file(name, error))?;
            bytes += data.len() as u64;
            let total = length.unwrap_or(0) >> 20;
            progress.show(Step {
                done: bytes >> 20,
                total,
                unit: "MiB".to_owned(),
                note: String::new(),
            });
        }
    }
    target.flush().await.map_err(|error| Failure::file(name, error))?;
    Ok(bytes)
}

/// The header for `FROM-TO`, `FROM-` or `-LAST`. S3 answers a range that it cannot read with the whole object, so such
/// a range is refused here.
fn range_header(text: &str) -> Result<String, Failure> {
    let refused = || {
        Failure::Usage(format!(
            "--range {text:?}: write FROM-TO, FROM- or -LAST, in bytes from 0, FROM not after TO, as in 0-1023"
        ))
    };
    let number = |digits: &str| -> Result<Option<u64>, Failure> {
        if digits.is_empty() {
            return Ok(None);
        }
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        digits.parse().map(Some).map_err(|_| refused())
    };
    let (from, to) = text.split_once('-').ok_or_else(refused)?;
    match (number(from)?, number(to)?) {
        (None, None) => Err(refused()),
        (Some(from), Some(to)) if from > to => Err(refused()),
        _ => Ok(format!("bytes={text}")),
    }
}

/// Where a new file could not be made.
fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A name in the same directory, so that the rename stays on one file system.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.cairn-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_s3_would_ignore_is_a_usage_error() {
        for text in ["0-0", "5-", "-5", "0-1023", "0-18446744073709551615"] {
            assert_eq!(range_header(text).unwrap(), format!("bytes={text}"));
        }
        for text in [
            "",
            "-",
            "5",
            "a-b",
            "5-2",
            "0-99999999999999999999",
            "0-1,3-4",
            "+1-2",
            "1 - 2",
        ] {
            let failure = range_header(text).unwrap_err();
            assert_eq!(failure.exit_status(), 2, "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_blamed_on_its_directory() {
        assert_eq!(directory_of(Path::new("nodir/out")), Path::new("nodir"));
        assert_eq!(directory_of(Path::new("out")), Path::new("."));
    }
}
