//! `cairn bench`: the whole path over the S3 port, on a temporary server or a given one.

use serde_json::json;
use zeroize::Zeroizing;

use crate::bench::{BenchServer, CpuClock, Measured, Plan, Target, run as run_loads};
use crate::byte_size::ByteSize;
use crate::cli::{BenchArgs, GlobalArgs};
use crate::config::root_credential;
use crate::exit::Failure;
use crate::output::{print_json, print_line};
use crate::s3_client::Signer;

pub(super) async fn run(global: &GlobalArgs, args: BenchArgs) -> Result<(), Failure> {
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let (target, server) = match &args.endpoint {
        Some(endpoint) => (given(&args, endpoint)?, None),
        None => {
            let server = start(&args).await?;
            let target = Target {
                host: server.host.clone(),
                signer: signer(server.access_key_id.clone(), server.secret.clone(), &args.region),
                clock: Some(server.clock()),
            };
            (target, Some(server))
        }
    };
    if !global.json {
        print_line(format!(
            "{:<18} {:>5} {:>7} {:>10} {:>10} {:>9} {:>9}  server CPU",
            "load", "conns", "ops", "MiB/s", "ops/s", "p50 ms", "p99 ms"
        ));
    }
    let mut show = |measured: &Measured| {
        if !global.json {
            print_line(line(measured));
        }
    };
    let bucket = format!("cairn-bench-{}", std::process::id());
    let loads = run_loads(&target, plan, &bucket, &mut show).await?;
    let drive_bytes = server.as_ref().map(BenchServer::drive_bytes);
    if global.json {
        print_json(&json!({"loads": loads, "drive_bytes": drive_bytes}));
    } else if let Some(bytes) = drive_bytes {
        print_line(format!(
            "the drives hold {} in all, preallocation included",
            ByteSize(bytes)
        ));
    } else {
        print_line(format!("the bucket {bucket} is left on the server"));
    }
    Ok(())
}

async fn start(args: &BenchArgs) -> Result<BenchServer, Failure> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let started = tokio::task::spawn_blocking(move || BenchServer::start(&parent)).await;
    started.map_err(|_| Failure::Incomplete("starting the server broke off".to_owned()))?
}

fn given(args: &BenchArgs, endpoint: &str) -> Result<Target, Failure> {
    let host = endpoint
        .strip_prefix("http://")
        .map(|host| host.trim_end_matches('/'));
    let host = host
        .filter(|host| !host.is_empty())
        .ok_or_else(|| Failure::Usage(format!("--endpoint {endpoint:?}: http://HOST:PORT, without TLS")))?;
    let credential = root_credential(&|name| std::env::var(name).ok())?
        .ok_or_else(|| Failure::Usage("--endpoint needs CAIRN_ACCESS_KEY and CAIRN_SECRET_KEY".to_owned()))?;
    Ok(Target {
        host: host.to_owned(),
        signer: signer(credential.access_key_id, credential.secret, &args.region),
        clock: args.pid.map(CpuClock::of),
    })
}

fn signer(access_key_id: String, secret: Zeroizing<String>, region: &str) -> Signer {
    Signer::new(access_key_id, secret, region.to_owned())
}

fn line(measured: &Measured) -> String {
    let cpu = match (measured.cpu_seconds_per_gib, measured.cpu_seconds_per_1000) {
        (Some(seconds), _) => format!("{seconds:.2} s/GiB"),
        (None, Some(seconds)) => format!("{seconds:.3} s/1,000"),
        (None, None) => "unknown".to_owned(),
    };
    format!(
        "{:<18} {:>5} {:>7} {:>10.1} {:>10.1} {:>9.2} {:>9.2}  {cpu}",
        measured.name,
        measured.connections,
        measured.operations,
        measured.mib_per_second,
        measured.operations_per_second,
        measured.p50_ms,
        measured.p99_ms
    )
}
