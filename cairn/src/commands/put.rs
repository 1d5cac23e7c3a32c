//! `cairn put`: a file or stdin becomes an object, through the S3 gateway and the root key.
//!
//! A small file is one PutObject, a larger one a multipart upload, so that memory stays bounded and a broken upload
//! leaves nothing visible. Invariant: an upload that fails is aborted.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cli::{GlobalArgs, PutArgs};
use crate::commands::place::split;
use crate::commands::reach::S3Connection;
use crate::exit::Failure;
use crate::output::{Progress, print_json, print_line, printable};
use crate::request::Step;
use crate::s3_client::{Call, ClientError, S3Client, upload_id};

pub(super) async fn run(global: &GlobalArgs, args: PutArgs) -> Result<(), Failure> {
    let (scope, object_key) = target(&args)?;
    let source = Source::open(&args.file).await?;
    let mut connection = S3Connection::open(global, args.vault.vault.clone()).await?;
    let put = Put {
        scope: &scope,
        object_key: &object_key,
        args: &args,
    };
    let stored = put.run(&mut connection.client, source).await;
    connection.close().await;
    let (bytes, etag) = stored?;
    if global.json {
        print_json(&json!({"scope": scope, "key": object_key, "bytes": bytes, "etag": etag}));
    } else {
        let place = printable(format!("{scope}/{object_key}"));
        print_line(format!("{place}: {bytes} bytes"));
    }
    Ok(())
}

/// The scope and the full object key; a key that names a folder takes the file's name.
fn target(args: &PutArgs) -> Result<(String, String), Failure> {
    let (scope, object_key) = split(&args.target)?;
    if !object_key.is_empty() && !object_key.ends_with('/') {
        return Ok((scope.to_owned(), object_key.to_owned()));
    }
    let name = args
        .file
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|name| *name != "-");
    let name = name.ok_or_else(|| Failure::Usage("say under which KEY to store it: SCOPE/KEY".to_owned()))?;
    Ok((scope.to_owned(), format!("{object_key}{name}")))
}

/// Where the bytes come from.
struct Source {
    reader: Box<dyn AsyncRead + Unpin + Send>,
    /// The length, if the file has one.
    length: Option<u64>,
    name: String,
}

impl Source {
    async fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Ok(Self {
                reader: Box::new(tokio::io::stdin()),
                length: None,
                name,
            });
        }
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|error| Failure::file(path, error))?;
        let metadata = file
            .metadata()
            .await
            .map_err(|error| Failure::file(path, error))?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self {
            reader: Box::new(file),
            length,
            name,
        })
    }

    /// Up to `bytes` of what is left; fewer only at the end.
    async fn next(&mut self, bytes: usize) -> Result<Bytes, Failure> {
        let mut buffer = BytesMut::with_capacity(bytes.min(PART_BYTES_MIN));
        while buffer.len() < bytes {
            let room = bytes - buffer.len();
            let mut limited = (&mut self.reader).take(room as u64);
            let read = limited.read_buf(&mut buffer).await;
            if read.map_err(|error| Failure::file(Path::new(&self.name), error))? == 0 {
                break;
            }
        }
        Ok(buffer.freeze())
    }
}

struct Put<'a> {
    scope: &'a str,
    object_key: &'a str,
    args: &'a PutArgs,
}

impl Put<'_> {
    /// Stores the source. Returns its length and the entity tag.
    async fn run(&self, client: &mut S3Client, mut source: Source) -> Result<(u64, String), Failure> {
        let part_bytes = part_bytes(source.length);
        let first = source.next(part_bytes).await?;
        if first.len() < part_bytes {
            let length = first.len() as u64;
            let call = self.conditional(self.typed(self.call(Method::PUT).body(first)));
            let (parts, _) = client.fetch(call).await?;
            return Ok((length, etag(&parts.headers)?));
        }
        let started = client
            .fetch(self.typed(self.call(Method::POST)).query("uploads", ""))
            .await?;
        let upload = upload_id(&started.1)?;
        let stored = self.parts(client, &mut source, first, &upload, part_bytes).await;
        if stored.is_err() {
            let abort = self.call(Method::DELETE).query("uploadId", upload.as_str());
            if let Err(error) = client.fetch(abort).await {
                tracing::warn!(%error, "the upload could not be aborted and waits for `cairn gc`");
            }
        }
        stored
    }

    async fn parts(
        &self,
        client: &mut S3Client,
        source: &mut Source,
        first: Bytes,
        upload: &str,
        part_bytes: usize,
    ) -> Result<(u64, String), Failure> {
        let progress = Progress::new("put");
        let (mut body, mut length, mut list) = (first, 0_u64, String::new());
        let mut number = 0_u32;
        while !body.is_empty() {
            number += 1;
            length += body.len() as u64;
            let call = self
                .call(Method::PUT)
                .query("partNumber", number.to_string())
                .query("uploadId", upload);
            let (parts, _) = client.fetch(call.body(body)).await?;
            list += &format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
                etag(&parts.headers)?
            );
            let total = source.length.unwrap_or(0) >> 20;
            progress.show(Step {
                done: length >> 20,
                total,
                unit: "MiB".to_owned(),
                note: String::new(),
            });
            body = source.next(part_bytes).await?;
        }
        let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let call = self
            .call(Method::POST)
            .query("uploadId", upload)
            .body(Bytes::from(list));
        let (_, body) = client.fetch(self.conditional(call)).await?;
        Ok((length, crate::s3_client::completed_etag(&body)?))
    }

    fn call(&self, method: Method) -> Call {
        Call::new(method, self.scope, self.object_key)
    }

    fn typed(&self, call: Call) -> Call {
        match &self.args.content_type {
            Some(media_type) => call.header(CONTENT_TYPE, media_type.as_str()),
            None => call,
        }
    }

    fn conditional(&self, call: Call) -> Call {
        if self.args.if_absent {
            call.header(IF_NONE_MATCH, "*")
        } else {
            call
        }
    }
}

fn etag(headers: &http::HeaderMap) -> Result<String, ClientError> {
    let value = headers.get(ETAG).and_then(|value| value.to_str().ok());
    let value = value.ok_or(ClientError::Answer {
        what: "it has no ETag",
    })?;
    Ok(value.trim_matches('"').to_owned())
}

/// Parts of 64 MiB, larger ones where 10,000 of them would not hold the file.
fn part_bytes(length: Option<u64>) -> usize {
    let needed = length.unwrap_or(0).div_ceil(PARTS_MAX);
    usize::try_from(needed).unwrap_or(usize::MAX).max(PART_BYTES_MIN)
}

const PART_BYTES_MIN: usize = 64 << 20;
const PARTS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_only_when_ten_thousand_would_not_do() {
        assert_eq!(part_bytes(None), 64 << 20);
        assert_eq!(part_bytes(Some(1 << 30)), 64 << 20);
        let large = part_bytes(Some(5 << 40));
        assert!(large > 64 << 20 && large as u64 * 10_000 >= 5 << 40);
    }

    #[test]
    fn a_folder_takes_the_name_of_the_file() {
        let args = |file: &str, target: &str| PutArgs {
            file: file.into(),
            target: target.to_owned(),
            content_type: None,
            if_absent: false,
            vault: Default::default(),
        };
        assert_eq!(
            target(&args("/a/b.txt", "s/dir/")).unwrap(),
            ("s".to_owned(), "dir/b.txt".to_owned())
        );
        assert_eq!(target(&args("/a/b.txt", "s")).unwrap().1, "b.txt");
        assert_eq!(target(&args("/a/b.txt", "s/c")).unwrap().1, "c");
        assert!(target(&args("-", "s/")).is_err());
    }
}
