//! Where the shards lie in the drives' files, for tests that damage them.

use super::{DRIVES, drive_dir};
use engine::disk::{CrashChoice, Disk, SimDisk};
use engine::log::{Log, LogConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A shard frame on a drive: its pack, its file and where the frame lies in it.
pub struct Frame {
    pub pack: [u8; 32],
    /// The shard's index in its pack.
    pub index: u8,
    pub file: PathBuf,
    pub from: u64,
    pub bytes: u64,
    /// The shard's bytes, which are the frame's last.
    pub shard_bytes: u64,
}

/// Every shard frame of every drive, read from a copy of the disk.
pub fn shard_frames(disk: &SimDisk, root: &Path, drive_log: LogConfig) -> Vec<Frame> {
    const HEADER_BYTES: u64 = 64;
    const KIND_SHARD: u8 = 16;
    let copy: Arc<dyn Disk> = Arc::new(disk.crash_state(disk.ops(), CrashChoice::KeepAll));
    let mut frames = Vec::new();
    for drive in 0..DRIVES {
        let log = drive_dir(root, drive).join("log");
        let mut take = |frame: engine::log::FrameInfo| {
            if frame.kind == KIND_SHARD {
                let shard_bytes = frame.tag[36..40].try_into().unwrap();
                frames.push(Frame {
                    pack: frame.tag[..32].try_into().unwrap(),
                    index: frame.tag[32],
                    file: log.join(format!("{:08x}.seg", frame.position.segment())),
                    from: u64::from(frame.position.offset()),
                    bytes: HEADER_BYTES + u64::from(frame.payload_bytes),
                    shard_bytes: u64::from(u32::from_le_bytes(shard_bytes)),
                });
            }
        };
        Log::open(Arc::clone(&copy), &log, drive_log, 1, &mut take).unwrap();
    }
    frames
}
