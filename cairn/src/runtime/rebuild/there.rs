//! What has to be there for a rebuild.
//!
//! Invariant: nothing is taken for deleted because the drive that has it was away: each that is away is named by whoever says that it is
//! lost for good.

use std::str::FromStr;

use net::Cluster;
use net::cluster::{DriveState, DriveStatus, Standing};
use net::peer::PeerId;

use crate::layout::Layout;
use crate::runtime::RuntimeError;

/// What a rebuild does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostForGood {
    /// A storage peer of another machine.
    Peer(PeerId),
    /// A drive, by its number in the layout, from 0.
    Drive(usize),
}

impl FromStr for LostForGood {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) => Ok(Self::Drive(number)),
            Err(_) => {
                let peer = text
                    .parse()
                    .map_err(|error| format!("neither the number of a drive nor a peer's id: {error}"))?;
                Ok(Self::Peer(peer))
            }
        }
    }
}

/// Every drive that is not lost for good has to be there: what it alone has would be taken for deleted.
pub(super) fn check_all_there(
    cluster: &Cluster,
    layout: &Layout,
    without: &[LostForGood],
) -> Result<(), RuntimeError> {
    let is_left_out = |drive: &DriveStatus| {
        without.iter().any(|lost| match lost {
            LostForGood::Peer(peer) => {
                let known = layout.peers.iter().filter_map(|place| place.known.as_ref());
                let mut of_peer = known.filter(|known| known.id == *peer);
                of_peer.any(|known| known.drives.contains(&drive.id))
            }
            LostForGood::Drive(number) => drive.number == *number,
        })
    };
    let away = |drive: &&DriveStatus| {
        drive.standing != Standing::Gone && drive.state == DriveState::Lost && !is_left_out(drive)
    };
    let drives = cluster.status().drives;
    let away = drives.iter().filter(away);
    let away: Vec<String> = away
        .map(|drive| format!("{} ({})", drive.number, drive.dir.display()))
        .collect();
    match away.as_slice() {
        [] => Ok(()),
        _ => Err(RuntimeError::DrivesAway {
            drives: away.join(", "),
        }),
    }
}
