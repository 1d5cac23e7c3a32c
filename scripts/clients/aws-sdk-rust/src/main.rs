//! The AWS SDK for Rust as a client of the gateway, with the settings it takes from the environment. BUCKET, NAMES, SAMPLES and LARGE
//! say what to store where. Each line of output is a step that begins, or one that is done and the bytes that were checked in it.

mod contend;
mod transfer;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use sha2::{Digest, Sha256};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The client, its bucket and what to store there.
struct Work {
    s3: Client,
    bucket: String,
    /// Keys and the bytes that belong there.
    samples: BTreeMap<String, Vec<u8>>,
    large: Vec<u8>,
    large_path: PathBuf,
    checked: usize,
}

impl Work {
    async fn from_environment() -> Outcome<Self> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        let names: Vec<String> = serde_json::from_str(&std::env::var("NAMES")?)?;
        let directory = PathBuf::from(std::env::var("SAMPLES")?);
        let mut samples = BTreeMap::new();
        for name in names {
            let bytes = std::fs::read(directory.join(&name))?;
            samples.insert(name, bytes);
        }
        let large_path = PathBuf::from(std::env::var("LARGE")?);
        Ok(Self {
            s3: Client::from_conf(config.build()),
            bucket: std::env::var("BUCKET")?,
            samples,
            large: std::fs::read(&large_path)?,
            large_path,
            checked: 0,
        })
    }

    /// Compares by length and SHA-256, and counts.
    fn same(&mut self, got: &[u8], want: &[u8], what: &str) -> Outcome {
        if got.len() != want.len() || Sha256::digest(got) != Sha256::digest(want) {
            let (got, want) = (got.len(), want.len());
            return Err(format!("{what} came back different: {got} bytes, {want} were written").into());
        }
        self.checked += want.len();
        Ok(())
    }

    async fn put(&self, key: &str, body: &[u8]) -> Outcome<String> {
        let body = ByteStream::from(body.to_vec());
        let put = self.s3.put_object().bucket(&self.bucket).key(key).body(body);
        Ok(put.send().await.map_err(said)?.e_tag.unwrap_or_default())
    }

    async fn read(&self, key: &str) -> Outcome<Vec<u8>> {
        let got = self.s3.get_object().bucket(&self.bucket).key(key).send();
        Ok(got.await.map_err(said)?.body.collect().await?.to_vec())
    }

    fn begin(&self, step: &str) -> usize {
        println!("{}", serde_json::json!({ "at": step }));
        self.checked
    }

    fn done(&self, step: &str, before: usize) {
        println!(
            "{}",
            serde_json::json!({ "step": step, "bytes": self.checked - before })
        );
    }
}

/// Runs a step, with a line before and one after it.
macro_rules! step {
    ($work:ident, $name:literal, $run:expr) => {
        let before = $work.begin($name);
        $run.await?;
        $work.done($name, before);
    };
}

/// The service's code and message, which the error itself keeps to its sources.
fn said<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    error: SdkError<E, R>,
) -> Box<dyn Error> {
    match (error.code(), error.message()) {
        (Some(code), message) => format!("{code}: {}", message.unwrap_or_default()).into(),
        (None, _) => format!("{error:?}").into(),
    }
}

/// Checks that a request was refused with `code`.
fn refused<T, E, R>(answer: Result<T, SdkError<E, R>>, code: &str, what: &str) -> Outcome
where
    E: ProvideErrorMetadata + std::fmt::Debug,
    R: std::fmt::Debug,
{
    match answer {
        Ok(_) => Err(format!("{what} went through").into()),
        Err(error) if error.code() == Some(code) => Ok(()),
        Err(error) => Err(format!("{what} was refused, but with {}", said(error)).into()),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(got: T, want: T, what: &str) -> Outcome {
    if got == want {
        return Ok(());
    }
    let (got, want) = (format!("{got:?}"), format!("{want:?}"));
    Err(format!("{what}: {got:.300} instead of {want:.300}").into())
}

#[tokio::main]
async fn main() -> Outcome {
    let mut work = Work::from_environment().await?;
    step!(work, "make bucket", transfer::make_bucket(&work));
    step!(work, "put", transfer::put(&work));
    step!(work, "multipart", transfer::multipart(&work));
    step!(work, "list", transfer::list(&work));
    step!(work, "get", transfer::get(&mut work));
    step!(work, "range", transfer::range(&mut work));
    step!(work, "copy", transfer::copy(&mut work));
    step!(work, "conditional put and get", contend::conditional(&mut work));
    step!(work, "one of ten writers wins", contend::writers(&mut work));
    step!(work, "checksums", contend::checksums(&mut work));
    step!(work, "presigned", contend::presigned(&mut work));
    step!(work, "versions", contend::versions(&mut work));
    step!(work, "delete many", transfer::delete_all(&work));
    step!(work, "remove bucket", transfer::remove_bucket(&work));
    Ok(())
}
