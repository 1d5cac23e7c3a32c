//! The append-only log on a real disk: frames of 4 KiB, 64 to a flush, and one to a flush.
//!
//! The directory is below the system's temporary one; set TMPDIR to a directory on the disk that is to be measured.

use std::sync::Arc;

use benches::{Amount, Case, Stage, noise};
use engine::disk::RealDisk;
use engine::log::{Log, LogConfig};

fn main() {
    let mut stage = Stage::new("log_append");
    // The reference is the raw log of the same size of group: 11.3 CPU-us for 232 bytes at 128 waiters, threads included.
    for (name, group, frame_bytes, reference) in [
        ("4 KiB frames, 64 to a flush", 64, 4096, None),
        ("232-byte frames, 128 to a flush", 128, 232, Some(11.3)),
        ("4 KiB frames, 1 to a flush", 1, 4096, None),
    ] {
        let Ok(dir) = tempfile::tempdir() else { continue };
        let config = LogConfig::ledger();
        let opened = Log::open(
            Arc::new(RealDisk),
            &dir.path().join("log"),
            config,
            1,
            &mut |_| {},
        );
        let Ok((mut log, _)) = opened else { continue };
        let payload = noise(frame_bytes);
        let mut kept = 0;
        stage.case(Case::new(name, Amount::Operations(group), reference), || {
            for number in 0..group {
                assert!(log.append(16, &number.to_le_bytes(), &[&payload]).is_ok());
            }
            assert!(log.sync().is_ok());
            // Old segments go, so that a long run does not fill the disk.
            for segment in log.segments() {
                if segment.sealed && segment.number >= kept {
                    kept = segment.number + 1;
                    assert!(log.remove_segment(segment.number).is_ok());
                }
            }
        });
    }
    stage.finish();
}
