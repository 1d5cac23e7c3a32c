//! A view in memory that stops before it takes certain rows away.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};

use engine::pack::PackId;
use engine::view::{Change, MemoryView, View, ViewError};
use tokio::sync::watch;

/// See the module.
pub(crate) struct GatedView {
    view: MemoryView,
    /// Packs whose rows stay until the gate is opened.
    packs: Mutex<BTreeSet<PackId>>,
    opened: Condvar,
    reached: watch::Sender<bool>,
}

impl GatedView {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            view: MemoryView::default(),
            packs: Mutex::default(),
            opened: Condvar::new(),
            reached: watch::Sender::new(false),
        })
    }

    /// Stops before it takes the row of one of these packs away, until what is returned is dropped.
    pub(crate) fn stop_before(self: &Arc<Self>, packs: Vec<PackId>) -> Gate {
        self.packs.lock().unwrap().extend(packs);
        Gate(Arc::clone(self))
    }

    /// Returns once it has stopped.
    pub(crate) async fn reached(&self) {
        self.reached
            .subscribe()
            .wait_for(|reached| *reached)
            .await
            .unwrap();
    }
}

/// See [`GatedView::stop_before`].
pub(crate) struct Gate(Arc<GatedView>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.packs.lock().unwrap().clear();
        self.0.opened.notify_all();
    }
}

impl View for GatedView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        self.view.get(key)
    }
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        self.view.scan(from, to, reverse, visit)
    }
    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError> {
        let removed = changes.iter().filter(|(_, value)| value.is_none());
        let removed: Vec<PackId> = removed
            .filter_map(|(key, _)| Some(PackId(key.strip_prefix(b"p")?.try_into().ok()?)))
            .collect();
        let mut packs = self.packs.lock().unwrap();
        while removed.iter().any(|pack| packs.contains(pack)) {
            self.reached.send_replace(true);
            packs = self.opened.wait(packs).unwrap();
        }
        drop(packs);
        self.view.apply(changes)
    }
    fn clear(&self) -> Result<(), ViewError> {
        self.view.clear()
    }
    fn flush(&self) -> Result<(), ViewError> {
        self.view.flush()
    }
}
