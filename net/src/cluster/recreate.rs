//! Bringing lost drives back for repair: opened again where the data still is, made anew where it is gone.
//!
//! It rebuilds no shard; repair does, afterwards. Invariant: a directory that holds the expected drive is opened again
//! as it is, one that holds another drive is left alone and named, and bytes that may be needed are only wiped when
//! every pack stays readable without them, or when the caller accepts the loss.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::drive::DriveError;
use futures::StreamExt;

use super::Inner;
use super::place::Place;
use super::presence::{PAGE_PACKS, next_page};
use super::repair::{PackStream, RepairError, RepairOptions};
use crate::drives::{Drives, Tried};
use crate::entry::PackEntry;
use crate::ledger::LedgerError;
use crate::peer::Purpose;
use crate::peer::message::{RestoreMode, Restored};

/// Directories of drives that are there again.
#[derive(Debug, Default)]
pub(super) struct Back {
    pub(super) reattached: Vec<PathBuf>,
    pub(super) recreated: Vec<PathBuf>,
}

impl Inner {
    /// Opens every lost drive again whose directory holds it, and makes those anew that the caller wants.
    pub(super) async fn bring_back(
        self: &Arc<Self>,
        packs: &PackStream<'_>,
        options: &RepairOptions,
    ) -> Result<Back, RepairError> {
        let mut back = Back::default();
        let mut doubtful = Vec::new();
        if self.layout().has_peers() {
            super::watch::wait_for_peers(self).await;
        }
        let layout = self.layout();
        for place in layout.members().filter(|place| !place.is_present()) {
            let named = options.replace.iter().any(|dir| dir == place.dir());
            let wanted = options.recreate && place.is_default() || named;
            match self.try_back(place, wanted).await? {
                Tried::Reattached => back.reattached.push(place.dir().to_owned()),
                Tried::Recreated => back.recreated.push(place.dir().to_owned()),
                Tried::Doubtful => doubtful.push(place),
                Tried::StillLost => {}
            }
        }
        if layout.has_peers() {
            // Their drives count as there once the peers said so.
            super::watch::poll_peers(self, true).await;
        }
        // Last, when everything else that has shards is back; and those to be given up after those that are not.
        let given_up =
            |place: &&Place| options.accept_risk && options.replace.iter().any(|dir| dir == place.dir());
        let (named, others): (Vec<_>, Vec<_>) = doubtful.into_iter().partition(given_up);
        for place in others.into_iter().chain(named) {
            if !given_up(&place) {
                let packs = self.packs_that_need(place, packs).await?;
                if packs > 0 {
                    let dir = place.dir().to_owned();
                    return Err(RepairError::AtRisk { dir, packs });
                }
            }
            self.wipe(place).await?;
            back.recreated.push(place.dir().to_owned());
        }
        if layout.has_peers() {
            super::watch::poll_peers(self, true).await;
        }
        Ok(back)
    }

    async fn try_back(&self, place: &Place, wanted: bool) -> Result<Tried, RepairError> {
        let drive = match place {
            Place::Local(drive) => drive,
            Place::Remote(drive) => {
                let mode = match wanted {
                    true => RestoreMode::Recreate,
                    false => RestoreMode::Reattach,
                };
                return match drive.restore(mode).await {
                    Ok(Restored::Reattached) => Ok(Tried::Reattached),
                    Ok(Restored::Recreated) => Ok(Tried::Recreated),
                    Ok(Restored::Doubtful) => Ok(Tried::Doubtful),
                    Ok(Restored::StillLost) => Ok(Tried::StillLost),
                    Err(why) => {
                        tracing::warn!(
                            drive = place.number(),
                            why,
                            "a peer's drive cannot be brought back"
                        );
                        Ok(Tried::StillLost)
                    }
                };
            }
        };
        let own = &self.own;
        own.detach(drive).await.map_err(|error| failed(place, error))?;
        let tried = own
            .blocking(drive, move |own, drive| own.try_back(drive, wanted))
            .await;
        tried.map_err(|error| failed(place, error))
    }

    async fn wipe(&self, place: &Place) -> Result<(), RepairError> {
        let made = match place {
            Place::Local(drive) => self.own.blocking(drive, Drives::wipe).await,
            Place::Remote(drive) => match drive.restore(RestoreMode::Wipe).await {
                Ok(_) => Ok(()),
                Err(why) => Err(io::Error::other(why).into()),
            },
        };
        made.map_err(|error| failed(place, error))
    }

    /// How many packs have a shard on this lost drive and too few on the others.
    async fn packs_that_need(
        self: &Arc<Self>,
        place: &Place,
        packs: &PackStream<'_>,
    ) -> Result<u64, LedgerError> {
        let mut need = 0;
        let mut stream = packs().chunks(PAGE_PACKS);
        while let Some(page) = next_page(&mut stream).await? {
            for (entry, lacks) in page.iter().zip(self.lacks(&page).await) {
                let here = entry.stored().any(|index| entry.drive(index) == Some(place.id()));
                if !here {
                    continue;
                }
                let parity = entry.summary.geometry.code.parity();
                let enough = match !self.layout().has_peers() || lacks.len() < parity {
                    true => lacks.len() <= parity,
                    // At the edge a peer's word is not enough.
                    false => lacks.len() == parity && self.proves_enough(entry, &lacks).await,
                };
                need += u64::from(!enough);
            }
        }
        Ok(need)
    }

    /// Whether as many shards of a pack as it takes to read it are there and have their hashes.
    async fn proves_enough(self: &Arc<Self>, entry: &PackEntry, lacks: &[usize]) -> bool {
        let entry = Arc::new(entry.clone());
        self.gather(&entry, lacks, Purpose::Repair.into()).await.is_ok()
    }
}

fn failed(place: &Place, source: DriveError) -> RepairError {
    RepairError::Recreate {
        dir: place.dir().to_owned(),
        source,
    }
}
