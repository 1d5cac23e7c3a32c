//! A view that fails to take a batch, as on a full disk, is brought back, and shows nothing older than what was answered meanwhile.

mod rig;

use engine::disk::{Disk, RealDisk};
use engine::view::{Change, MemoryView, View, ViewError};
use rig::{Opening, Rig};
use s3_gateway::session::{Bucket, SessionError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fails so many times; when it is opened again it is as of the last flush, as a store is that lost what it had in memory.
#[derive(Default)]
struct Frail {
    inner: MemoryView,
    flushed: Mutex<Vec<Change>>,
    failures: AtomicUsize,
    reopened: AtomicUsize,
}

impl Frail {
    fn error() -> ViewError {
        ViewError::Io {
            path: "/views".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        }
    }
}

impl View for Frail {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        self.inner.scan(from, to, reverse, visit)
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError> {
        let fails = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
            .is_ok()
        {
            return Err(Self::error());
        }
        self.inner.apply(changes)
    }

    fn clear(&self) -> Result<(), ViewError> {
        self.inner.clear()
    }

    fn flush(&self) -> Result<(), ViewError> {
        let mut rows = Vec::new();
        self.inner.scan(&[], None, false, &mut |key, value| {
            rows.push((key.to_vec(), Some(value.to_vec())));
            true
        })?;
        *self.flushed.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    fn reopen(&self) -> Result<(), ViewError> {
        self.reopened.fetch_add(1, Ordering::SeqCst);
        self.inner.clear()?;
        self.inner.apply(
            self.flushed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

/// Puts an object as soon as the view is back.
async fn put_at_last(rig: &Rig, bucket: &Bucket, key: &str, body: &[u8]) {
    let begun = Instant::now();
    while let Err(error) = rig.put(bucket, key, body).await {
        assert!(
            matches!(error, SessionError::Busy | SessionError::DiskFull),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_failed_is_brought_back_to_all_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let frail = Arc::new(Frail::default());
    let opening = Opening {
        view: Some(Arc::clone(&frail) as Arc<dyn View>),
        ..Opening::usual(true)
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let rig = Rig::open_with(disk, dir.path(), opening).await.unwrap();
    let bucket = rig.bucket("frail").await;
    rig.put(&bucket, "before", b"1").await.unwrap();
    frail.flush().unwrap();
    rig.put(&bucket, "after", b"2").await.unwrap();
    // The second time it fails while it is brought back.
    for failures in [1, 2] {
        frail.failures.store(failures, Ordering::SeqCst);
        let refused = rig.put(&bucket, "late", b"3").await;
        assert_eq!(refused.err(), Some(SessionError::DiskFull));
        put_at_last(&rig, &bucket, "more", b"4").await;
        assert!(frail.reopened.load(Ordering::SeqCst) >= failures);
        for (key, body) in [("before", b"1"), ("after", b"2"), ("late", b"3"), ("more", b"4")] {
            assert_eq!(rig.get(&bucket, key).await.unwrap(), body, "{key} {failures}");
        }
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_from_a_view_that_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let frail = Arc::new(Frail::default());
    let opening = Opening {
        view: Some(Arc::clone(&frail) as Arc<dyn View>),
        ..Opening::usual(true)
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let rig = Rig::open_with(disk, dir.path(), opening).await.unwrap();
    let bucket = rig.bucket("frail").await;
    frail.flush().unwrap();
    rig.put(&bucket, "after", b"2").await.unwrap();
    // It comes back as of the flush and takes nothing more, so it stays behind.
    frail.failures.store(1_000_000, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(rig.put(&bucket, "late", b"3").await.is_err());
    }
    assert!(frail.reopened.load(Ordering::SeqCst) > 0);
    assert_eq!(rig.session.bucket("frail").await.err(), Some(SessionError::Busy));
    assert_eq!(rig.session.credential("ANY").err(), Some(SessionError::Busy));
    frail.failures.store(0, Ordering::SeqCst);
    put_at_last(&rig, &bucket, "late", b"3").await;
    assert_eq!(rig.get(&bucket, "after").await.unwrap(), b"2");
    rig.close().await;
}
