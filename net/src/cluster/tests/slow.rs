use std::io;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use engine::disk::{DiskFile, FileIdentity, OpenMode};

use super::*;

/// A disk whose reads below one directory take long while a switch is on.
struct SlowDisk {
    inner: SimDisk,
    slow: PathBuf,
    on: Arc<AtomicBool>,
}

const READ_TAKES: Duration = Duration::from_millis(400);

struct SlowFile {
    inner: Box<dyn DiskFile>,
    on: Option<Arc<AtomicBool>>,
}

impl Disk for SlowDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }
    fn list_dir(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list_dir(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile {
            inner: self.inner.open(path, mode)?,
            on: path.starts_with(&self.slow).then(|| Arc::clone(&self.on)),
        }))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }
    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.available_bytes(path)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.on.as_ref().is_some_and(|on| on.load(Ordering::Relaxed)) {
            std::thread::sleep(READ_TAKES);
        }
        self.inner.read_at(buffer, offset)
    }
    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(parts, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
    fn start_writeback(&self, offset: u64, bytes: u64) {
        self.inner.start_writeback(offset, bytes);
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.inner.allocate(offset, bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn allocated_bytes(&self) -> io::Result<u64> {
        self.inner.allocated_bytes()
    }
    fn is_linked(&self) -> io::Result<bool> {
        self.inner.is_linked()
    }
    fn identity(&self) -> io::Result<FileIdentity> {
        self.inner.identity()
    }
}

#[tokio::test]
async fn a_slow_drive_is_hedged_after_its_first_slow_read() {
    let on = Arc::new(AtomicBool::new(false));
    let disk = SlowDisk {
        inner: SimDisk::unrecorded(41),
        slow: dir(2),
        on: Arc::clone(&on),
    };
    let cluster = Cluster::open(Arc::new(disk), config(Path::new("/d"), 6, true))
        .await
        .unwrap();
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let slow = cluster.inner.drives[2].id;
    let on_slow = |range: &LaneRange| stored[0].entry.drives[usize::from(range.lane)] == slow;
    let Some((range, chunk)) = stored[0].chunks.iter().find(|(range, _)| on_slow(range)) else {
        panic!("the pack places no lane on the slow drive: choose another seed");
    };
    assert_reads(&cluster, &stored[0]).await;
    on.store(true, Ordering::Relaxed);
    // The first slow read teaches the histogram.
    assert_eq!(&read(&cluster, &stored[0].entry, *range).await.unwrap(), chunk);
    let (start, before) = (Instant::now(), cluster.status().hedges);
    assert_eq!(&read(&cluster, &stored[0].entry, *range).await.unwrap(), chunk);
    assert!(start.elapsed() < READ_TAKES, "the others answer first");
    assert_eq!(cluster.status().hedges, before + 1);
    let start = Instant::now();
    let together = cluster.read_lanes(&stored[0].entry, &[*range]).await.unwrap();
    assert_eq!(&together[0], chunk);
    assert!(start.elapsed() < READ_TAKES, "the others answer first");
    on.store(false, Ordering::Relaxed);
    cluster.close().await;
}
