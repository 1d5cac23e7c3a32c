//! A rebuilt ledger on its way to a storage peer of another machine, which the operator brings there.
//!
//! It is not sent: until it has arrived there is no ledger, and nobody to send it through. Invariant: the gateway goes on with a ledger only if it is the one that
//! was rebuilt, for with an empty one the collector would delete everything, and with that of another rebuild what that one did not find; what
//! tells them apart is the rebuild's random id, by which the holder of its lease is named in the ledger.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::slots::{LeaseEntry, lease_address};
use net::ledger::FollowedLedger;
use net::peer::PeerId;
use net::{Ledger, LedgerError};
use serde::{Deserialize, Serialize};

use super::super::RuntimeError;
use super::super::rebuild::REBUILT;
use super::settle::BEGIN;
use crate::data_dir::{
    DataDir, io_error, make_private_dir, remove_dir, remove_mark, rename, set_aside, write_durably,
    write_mark,
};

/// In `ledger/` until the rebuilt one has arrived.
const CARRIED: &str = "carried.json";
/// How long this gateway's copy may take to be that of the ledger that answers.
const COPY_WAIT: Duration = Duration::from_secs(60);
/// The rebuilt ledger, in the gateway's data directory.
const PLACE: &str = "ledger.rebuilt";

/// Where a rebuilt ledger has to be brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The storage peer whose copy it is to be.
    pub peer: PeerId,
    /// The rebuild.
    pub id: String,
    /// Its lease, whose holder is named by the id.
    pub lease: u64,
    /// Where it lies.
    pub place: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    peer: String,
    id: String,
    lease: u64,
}

/// Who holds the lease of a rebuild. No peer's id, so that whoever takes the next lease ends it.
pub(in crate::runtime) fn holder(id: &str) -> String {
    format!("rebuild {id}")
}

/// Puts a rebuilt ledger where the operator takes it from, and the old copy of the gateway aside.
pub(in crate::runtime) fn put_beside(
    data: &DataDir,
    fresh: &Path,
    (peer, id, lease): (PeerId, String, u64),
) -> Result<Carried, RuntimeError> {
    let (place, next, ledger) = (
        data.root().join(PLACE),
        data.root().join("ledger.next"),
        data.ledger(),
    );
    remove_dir(&data.views())?;
    // It can be made again at any time.
    remove_dir(&place)?;
    remove_dir(&next)?;
    make_private_dir(&next)?;
    let file = File {
        format: 1,
        peer: peer.to_string(),
        id: id.clone(),
        lease,
    };
    let text = serde_json::to_vec(&file).unwrap_or_default();
    write_durably(&next.join(CARRIED), &text)?;
    for mark in [BEGIN, REBUILT] {
        write_mark(&next.join(mark))?;
    }
    // First of all: what the marks tell of is there.
    rename(fresh, &place)?;
    if let Some(aside) = set_aside(&ledger)? {
        tracing::warn!(place = %aside.display(), "this gateway's copy of the old ledger was set aside");
    }
    rename(&next, &ledger)?;
    Ok(Carried {
        peer,
        id,
        lease,
        place,
    })
}

/// The rebuilt ledger that this gateway waits for, if it does.
pub(super) fn awaited(data: &DataDir) -> Result<Option<Carried>, RuntimeError> {
    let path = data.ledger().join(CARRIED);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(&path, source).into()),
    };
    let damaged = || io_error(&path, std::io::ErrorKind::InvalidData.into());
    let file: File = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let peer = file.peer.parse().map_err(|_| damaged())?;
    if file.format != 1 {
        return Err(damaged().into());
    }
    Ok(Some(Carried {
        peer,
        id: file.id,
        lease: file.lease,
        place: data.root().join(PLACE),
    }))
}

/// Whether the ledger that answers is the one that was rebuilt.
pub(super) async fn check(ledger: &FollowedLedger, awaited: &Carried) -> Result<(), RuntimeError> {
    let away = |error: LedgerError| RuntimeError::LedgerPeers(error.to_string());
    // With the copy as new as what answers, which may be another ledger than the copy was of.
    let began = Instant::now();
    while let Err(error) = ledger.read_index().await {
        if began.elapsed() > COPY_WAIT {
            return Err(away(error));
        }
    }
    let entry = ledger.get(lease_address(awaited.lease)).await.map_err(away)?;
    let entry = entry.and_then(|entry| LeaseEntry::decode(&entry.value).ok());
    match entry.is_some_and(|entry| entry.holder == holder(&awaited.id)) {
        // Before anything says that it has arrived: the old one may come back.
        true => ledger.pin().await.map_err(away),
        false => Err(RuntimeError::NotCarried {
            peer: awaited.peer,
            place: awaited.place.display().to_string(),
        }),
    }
}

/// It has arrived.
pub(super) fn arrived(data: &DataDir) -> Result<(), RuntimeError> {
    Ok(remove_mark(&data.ledger().join(CARRIED))?)
}
