//! Turns: who decides on a key, from the decision to the end of the append.
//!
//! A claim goes to the drives before the ledger answers, and a rebuild cannot tell a claim that was refused from one that was
//! applied. So whoever decides on what is there, by a condition or by a bucket's settings, does so while nobody else of this
//! process can change it. What another gateway does is still for the ledger to decide. Invariant: a turn is taken before the
//! decision and kept until the append is answered; nobody waits for a second turn on a key while having one.

use super::Inner;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Keys share so many turns.
const STRIPES: usize = 256;

/// The turns of one vault.
pub(crate) struct Turns {
    hasher: RandomState,
    keys: Vec<RwLock<()>>,
    settings: RwLock<()>,
}

/// A turn on a key of a bucket whose settings stay as they are meanwhile.
pub(crate) struct Turn<'a> {
    _settings: RwLockReadGuard<'a, ()>,
    _shared: Option<RwLockReadGuard<'a, ()>>,
    _alone: Option<RwLockWriteGuard<'a, ()>>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            keys: (0..STRIPES).map(|_| RwLock::new(())).collect(),
            settings: RwLock::new(()),
        }
    }
}

impl Inner {
    /// A turn to change a key: alone for who decides on what is there, together with others for who does not.
    pub(crate) async fn turn(&self, key: &str, alone: bool) -> Turn<'_> {
        let settings = self.turns.settings.read().await;
        let stripe = self.turns.hasher.hash_one(key) as usize % STRIPES;
        let stripe = self.turns.keys.get(stripe);
        let mut turn = Turn {
            _settings: settings,
            _shared: None,
            _alone: None,
        };
        match stripe {
            Some(stripe) if alone => turn._alone = Some(stripe.write().await),
            Some(stripe) => turn._shared = Some(stripe.read().await),
            None => {}
        }
        turn
    }

    /// A turn to change a bucket's settings: nobody writes a claim that goes by them meanwhile.
    pub(crate) async fn settings_turn(&self) -> RwLockWriteGuard<'_, ()> {
        self.turns.settings.write().await
    }
}
