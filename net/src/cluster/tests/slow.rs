use std::io;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use engine::disk::{DiskFile, FileIdentity, OpenMode};

use super::*;

/// What happens to reads of files below the disk's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Each takes [`READ_TAKES`].
    SlowReads,
    /// Each fails.
    FailReads,
    /// Each waits until the fault ends.
    StuckReads,
    /// Each question which file it is waits until the fault ends.
    StuckStats,
}

/// The switch of a disk.
#[derive(Clone)]
pub(super) struct Switch {
    fault: Arc<(Mutex<Fault>, Condvar)>,
}

impl Switch {
    pub(super) fn set(&self, fault: Fault) {
        *self.fault.0.lock().unwrap() = fault;
        self.fault.1.notify_all();
    }

    fn wait_while(&self, stuck: Fault) {
        let fault = self.fault.0.lock().unwrap();
        let ended = self.fault.1.wait_while(fault, |fault| *fault == stuck);
        drop(ended.unwrap());
    }

    fn read(&self) -> io::Result<()> {
        let fault = self.fault.0.lock().unwrap();
        match *fault {
            Fault::None | Fault::StuckStats => {}
            Fault::SlowReads => {
                drop(fault);
                std::thread::sleep(READ_TAKES);
            }
            Fault::FailReads => return Err(io::Error::other("injected")),
            Fault::StuckReads => {
                drop(fault);
                self.wait_while(Fault::StuckReads);
            }
        }
        Ok(())
    }
}

/// A disk with faults below one directory.
pub(super) struct FaultyDisk {
    inner: SimDisk,
    below: PathBuf,
    switch: Switch,
}

impl FaultyDisk {
    pub(super) fn new(seed: u64, below: &Path) -> Self {
        Self {
            inner: SimDisk::unrecorded(seed),
            below: below.to_owned(),
            switch: Switch {
                fault: Arc::new((Mutex::new(Fault::None), Condvar::new())),
            },
        }
    }

    pub(super) fn unlink(&self, dir: &Path) {
        self.inner.unlink(dir);
    }

    pub(super) fn fault(&self) -> Switch {
        self.switch.clone()
    }
}

/// A cluster of six drives, one of which can fail, with a pack on it.
pub(super) async fn with_faulty_drive(seed: u64, number: usize) -> (Cluster, Switch, [Stored; 1]) {
    let disk = FaultyDisk::new(seed, &dir(number));
    let fault = disk.fault();
    let cluster = open_at(disk, config(Path::new("/d"), 6, true)).await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    (cluster, fault, stored)
}

const READ_TAKES: Duration = Duration::from_millis(400);

struct FaultyFile {
    inner: Box<dyn DiskFile>,
    switch: Option<Switch>,
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }
    fn list_dir(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list_dir(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FaultyFile {
            inner: self.inner.open(path, mode)?,
            switch: path.starts_with(&self.below).then(|| self.switch.clone()),
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

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(switch) = &self.switch {
            switch.read()?;
        }
        self.inner.read_at(buffer, offset)
    }
    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(parts, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
    fn drop_cached(&self, offset: u64, bytes: u64) {
        self.inner.drop_cached(offset, bytes);
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
        if let Some(switch) = &self.switch {
            switch.wait_while(Fault::StuckStats);
        }
        self.inner.identity()
    }
}

#[tokio::test]
async fn a_slow_drive_is_hedged_after_its_first_slow_read() {
    let (cluster, fault, stored) = with_faulty_drive(41, 2).await;
    let slow = super::local(&cluster, 2).id;
    let on_slow = |range: &LaneRange| stored[0].entry.drives[usize::from(range.lane)] == slow;
    let Some((range, chunk)) = stored[0].chunks.iter().find(|(range, _)| on_slow(range)) else {
        panic!("the pack places no lane on the slow drive: choose another seed");
    };
    assert_reads(&cluster, &stored[0]).await;
    fault.set(Fault::SlowReads);
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
    fault.set(Fault::None);
    cluster.close().await;
}

#[tokio::test]
async fn a_stuck_drive_does_not_take_the_runtime_with_it() {
    let (cluster, fault, stored) = with_faulty_drive(42, 2).await;
    let stuck = Arc::clone(super::local(&cluster, 2));
    assert_reads(&cluster, &stored[0]).await;
    fault.set(Fault::StuckReads);
    let key = stuck.present().unwrap().keys_after(None, 1)[0];
    let reading = tokio::task::spawn_blocking({
        let stuck = Arc::clone(&stuck);
        move || stuck.read_range(&key, 0, 8)
    });
    while !stuck.under_way.is_stuck(Duration::from_millis(10)) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // On this one thread a read that waited for the drive would wait for ever.
    assert_reads(&cluster, &stored[0]).await;
    fault.set(Fault::None);
    reading.await.unwrap().unwrap();
    // Reads that were hedged end now too, each on its own thread.
    while stuck.under_way.is_stuck(Duration::ZERO) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_drive_that_does_not_answer_delays_no_other_drives_check() {
    let disk = Arc::new(FaultyDisk::new(43, &dir(0)));
    let fault = disk.fault();
    let cluster = Cluster::open(
        Arc::clone(&disk) as Arc<dyn Disk>,
        config(Path::new("/d"), 6, true),
    )
    .await
    .unwrap();
    fault.set(Fault::StuckStats);
    for (gone, left) in [(3, 5), (4, 4)] {
        disk.unlink(&dir(gone));
        let lost = async {
            while cluster.present() > left {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let noticed = tokio::time::timeout(Duration::from_secs(20), lost).await;
        assert!(noticed.is_ok(), "the checker waits for the stuck drive");
    }
    fault.set(Fault::None);
    cluster.close().await;
}
