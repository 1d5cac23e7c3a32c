//! `cairn vault`: vaults, their keys, and a ledger made anew.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::{ExportKeyArgs, GlobalArgs, ImportKeyArgs, RebuildArgs, VaultCommand};
use crate::commands::key::print_pair;
use crate::commands::reach::{ask, passphrase};
use crate::commands::status::vaults;
use crate::data_dir::{DataDir, holds_something};
use crate::exit::Failure;
use crate::key_store::{KeyStore, KeyStoreError, open_keyfile};
use crate::output::{Progress, print_json, print_line};
use crate::request::Request;
use crate::runtime::rebuild::{Rebuild, RebuildOptions, Rebuilt, rebuild};

pub(super) async fn run(global: &GlobalArgs, command: VaultCommand) -> Result<(), Failure> {
    match command {
        VaultCommand::Create { name } => {
            let answer = ask(global, "vault create", Request::VaultCreate { name }).await?;
            if global.json {
                print_json(&answer);
                return Ok(());
            }
            let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
            print_line(format!("vault       {} ({})", text("name"), text("vault_id")));
            print_pair(&answer);
            print_line("\nBack up keys/ again: without it nothing in this vault can be opened.");
            Ok(())
        }
        VaultCommand::List => {
            let answer = ask(global, "vault list", Request::VaultList).await?;
            if global.json {
                print_json(&answer);
            } else {
                vaults(&answer).print(0);
            }
            Ok(())
        }
        VaultCommand::Rebuild(args) => rebuild_ledger(global, args).await,
        VaultCommand::ExportKey(args) => export(global, &args),
        VaultCommand::ImportKey(args) => import(global, args),
    }
}

async fn rebuild_ledger(global: &GlobalArgs, args: RebuildArgs) -> Result<(), Failure> {
    let data = DataDir::create_or_open(&global.data)?;
    let options = RebuildOptions {
        passphrase: passphrase(global.passphrase_file.as_deref())?,
        drives: args.drives,
        force: args.force,
        without: args.without,
    };
    let progress = Progress::new("rebuild");
    let Rebuild {
        vaults: rebuilt,
        carried,
    } = rebuild(data, options, &|step| progress.show(step)).await?;
    drop(progress);
    if global.json {
        let vaults: Vec<Value> = rebuilt.iter().map(Rebuilt::json).collect();
        let carried = carried.map(|carried| {
            json!({"peer_id": carried.peer.to_string(), "place": carried.place, "rebuild_id": carried.id})
        });
        print_json(&json!({"vaults": vaults, "bring_to": carried}));
    } else {
        rebuilt.iter().for_each(show);
        if let Some(carried) = carried {
            print_line(format!(
                "\nThe ledger is in {}. Bring it to the machine of the storage peer\n  {}\nstop that one, run there `cairn node reset-ledger --take DIR`, start it again, then this gateway.",
                carried.place.display(),
                carried.peer
            ));
        }
    }
    match rebuilt
        .iter()
        .map(|vault| vault.report.trailers_lost)
        .sum::<u64>()
    {
        0 => Ok(()),
        lost => Err(Failure::Incomplete(format!(
            "the claims of {lost} packs could not be read; what was stored in them alone is missing"
        ))),
    }
}

fn show(rebuilt: &Rebuilt) {
    let report = &rebuilt.report;
    print_line(format!(
        "{} ({}): {} packs found",
        rebuilt.name, rebuilt.vault, report.packs
    ));
    print_line(format!(
        "  {} objects in {} scopes are back",
        report.objects, report.buckets
    ));
    if report.packs_cut_off > 0 {
        print_line(format!(
            "  {} packs have too few shards to be read: a crash cut them off before they were acknowledged",
            report.packs_cut_off
        ));
    }
    print_line(match report.checkpoint_ms {
        Some(ms) => format!(
            "  {} entries are as of the checkpoint of {}, {} were written later; what was deleted after it may be back",
            report.from_checkpoint,
            super::key::moment(ms),
            report.maybe_undeleted
        ),
        None => format!(
            "  there is no checkpoint: whatever of the {} entries was deleted may be back",
            report.maybe_undeleted
        ),
    });
    if !report.buckets_made.is_empty() {
        print_line(format!(
            "  {} made for objects whose bucket was deleted or replaced: what is in them may have been deleted too",
            report.buckets_made.join(", ")
        ));
    }
    for id in &report.credentials_revoked {
        print_line(format!(
            "  access key {id} was in force at the checkpoint and may have been revoked since: it is revoked now"
        ));
    }
    if report.root_credentials.is_empty() {
        print_line("  no root key came back: the next `cairn up` makes one and prints it");
    }
    for id in &report.root_credentials {
        print_line(format!(
            "  root key {id} is in force as it was at the checkpoint: if you replaced it since, revoke it again with `cairn key revoke {id}`"
        ));
    }
}

/// Reads key files only: it needs no lock and disturbs no running process.
fn export(global: &GlobalArgs, args: &ExportKeyArgs) -> Result<(), Failure> {
    let store = KeyStore::open(
        &global.data.join("keys"),
        passphrase(global.passphrase_file.as_deref())?,
    )?;
    let keyfile = store.choose(args.vault.vault.as_deref())?;
    let seal = passphrase(args.seal_with.as_deref())?;
    let bytes = KeyStore::export(keyfile, seal.as_ref())?;
    write_new(&args.out, &bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::Incomplete(format!(
            "{} is there already and was not written over: give another name",
            args.out.display()
        )),
        _ => Failure::file(&args.out, error),
    })?;
    if global.json {
        print_json(&json!({
            "vault_id": keyfile.vault.to_string(),
            "file": args.out,
            "sealed": seal.is_some(),
        }));
        return Ok(());
    }
    print_line(format!(
        "the keys of {} ({}) are in {}",
        keyfile.name,
        keyfile.vault,
        args.out.display()
    ));
    if seal.is_none() {
        print_line("the file is not sealed: whoever reads it can open everything in the vault");
    }
    Ok(())
}

/// Takes the lock: a running process would not see the new key.
fn import(global: &GlobalArgs, args: ImportKeyArgs) -> Result<(), Failure> {
    let data = DataDir::create_or_open(&global.data)?;
    let bytes = Zeroizing::new(std::fs::read(&args.file).map_err(|error| Failure::file(&args.file, error))?);
    let opened_with = passphrase(args.opened_with.as_deref())?;
    let keyfile = open_keyfile(&args.file, &bytes, opened_with.as_ref()).map_err(|error| match error {
        KeyStoreError::Sealed { path } => Failure::from(KeyStoreError::SealedExport { path }),
        error => error.into(),
    })?;
    let mut store = KeyStore::open(&data.keys(), passphrase(global.passphrase_file.as_deref())?)?;
    let imported = store.import(keyfile, args.name, holds_something(&data.activity()))?;
    if global.json {
        print_json(&json!({"vault_id": imported.vault.to_string(), "name": imported.name}));
    } else {
        print_line(format!(
            "{} ({}) is here from the next start on",
            imported.name, imported.vault
        ));
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
