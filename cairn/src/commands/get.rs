//! `cairn get`: an object becomes a file or goes to stdout, through the S3 gateway and the root key.
//!
//! Invariant: a file appears under its name only when it is whole.

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
use crate::output::{Progress, print_json, print_line};
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
        call = call.header(RANGE, format!("bytes={range}"));
    }
    let mut connection = S3Connection::open(global, args.vault.vault.clone()).await?;
    let fetched = fetch(&mut connection, call, &args.file).await;
    connection.close().await;
    let bytes = fetched?;
    if global.json {
        print_json(&json!({"scope": scope, "key": object_key, "bytes": bytes, "file": args.file}));
    } else if !to_stdout {
        print_line(format!("{}: {bytes} bytes", args.file.display()));
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
    let fresh = beside(target);
    let failed = |error| Failure::file(target, error);
    let mut file = tokio::fs::File::create(&fresh)
        .await
        .map_err(|error| Failure::file(&fresh, error))?;
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

/// A name in the same directory, so that the rename stays on one file system.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.cairn-{}", std::process::id()))
}
