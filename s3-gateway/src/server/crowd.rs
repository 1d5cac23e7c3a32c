//! Who is connected, and who of them goes when another comes and there is no place left.
//!
//! A connection *waits* while no request of its is being answered: it says nothing, is in the middle of a head or of a
//! handshake, or is kept for a next request. The one that has waited longest makes room, so that idle connections, however many,
//! keep nobody out. Invariant: a connection whose request is being answered is never chosen, and a request is being answered
//! until the last byte of the answer has left this process.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// All connections of a listener; clones share them.
#[derive(Clone)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    line: Arc<Mutex<Line>>,
}

/// A connection's place, given back on drop.
pub(super) struct Seat {
    occupant: Occupant,
    _place: OwnedSemaphorePermit,
}

/// Who has a place, and whether it waits.
#[derive(Clone)]
pub(super) struct Occupant {
    line: Arc<Mutex<Line>>,
    own: Arc<Own>,
}

/// A request is being answered, until this is dropped.
pub(super) struct Busy(Occupant);

/// An answer's body. The HTTP layer drops it when it has the last of it in its buffer; the connection waits again once that is
/// flushed.
pub(super) struct Answering<B> {
    body: B,
    _busy: Busy,
}

/// Those that wait, by the order in which they began.
#[derive(Default)]
struct Line {
    next: u64,
    by_turn: BTreeMap<u64, Arc<Own>>,
    /// Those that are there and have no place yet. Nobody goes but for one of them.
    coming: usize,
    /// So many were to go and nobody waited: the next that do go. At most `coming`.
    wanted: usize,
}

/// Somebody without a place, until this is dropped.
struct Coming<'a>(&'a Mutex<Line>);

struct Own {
    // Where both are taken, after the line's.
    state: Mutex<State>,
    chosen: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Busy,
    /// The answer is complete and some of it may be in a buffer still.
    Unsent,
    Waiting(u64),
    Gone,
}

impl Crowd {
    /// Room for so many.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.max(1))),
            line: Arc::default(),
        }
    }

    /// A place for one more. When there is none, whoever has waited longest is asked to go, or the next that begins to wait.
    pub(super) async fn seat(&self) -> Option<Seat> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let _coming = Coming::new(&self.line);
                Arc::clone(&self.places).acquire_owned().await.ok()?
            }
        };
        let own = Own {
            state: Mutex::new(State::Busy),
            chosen: Notify::new(),
        };
        let occupant = Occupant {
            line: Arc::clone(&self.line),
            own: Arc::new(own),
        };
        occupant.wait(State::Busy);
        Some(Seat {
            occupant,
            _place: place,
        })
    }
}

impl<'a> Coming<'a> {
    fn new(line: &'a Mutex<Line>) -> Self {
        let mut locked = lock(line);
        locked.coming += 1;
        locked.ask_longest();
        drop(locked);
        Self(line)
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut line = lock(self.0);
        line.coming = line.coming.saturating_sub(1);
        line.wanted = line.wanted.min(line.coming);
    }
}

impl Line {
    /// Asks one to go, if there is still somebody to go for.
    fn ask_longest(&mut self) {
        if self.coming == 0 {
            return;
        }
        match self.by_turn.pop_first() {
            Some((_, own)) => own.chosen.notify_one(),
            None => self.wanted = self.coming.min(self.wanted + 1),
        }
    }
}

impl Seat {
    pub(super) fn occupant(&self) -> Occupant {
        self.occupant.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut line = lock(&self.occupant.line);
        let state = std::mem::replace(&mut *lock(&self.occupant.own.state), State::Gone);
        if let State::Waiting(turn) = state {
            line.by_turn.remove(&turn);
        }
    }
}

impl Occupant {
    /// A request is there to be answered.
    pub(super) fn busy(&self) -> Busy {
        let mut line = lock(&self.line);
        let mut state = lock(&self.own.state);
        match *state {
            State::Waiting(turn) => {
                *state = State::Busy;
                // It was chosen, and would be long in going.
                if line.by_turn.remove(&turn).is_none() {
                    line.ask_longest();
                }
            }
            State::Unsent => *state = State::Busy,
            State::Busy | State::Gone => {}
        }
        drop((state, line));
        Busy(self.clone())
    }

    /// Returns when this connection was asked to make room.
    pub(super) async fn asked_to_go(&self) {
        self.own.chosen.notified().await;
    }

    /// Whether no request of it is being answered.
    pub(super) fn waits(&self) -> bool {
        matches!(*lock(&self.own.state), State::Waiting(_))
    }

    /// All that was to be written has left.
    pub(super) fn flushed(&self) {
        if *lock(&self.own.state) == State::Unsent {
            self.wait(State::Unsent);
        }
    }

    /// Begins to wait, if it still is as given.
    fn wait(&self, from: State) {
        let mut line = lock(&self.line);
        let mut state = lock(&self.own.state);
        if *state != from {
            return;
        }
        let turn = line.next;
        line.next += 1;
        *state = State::Waiting(turn);
        if line.wanted > 0 {
            line.wanted -= 1;
            self.own.chosen.notify_one();
        } else {
            line.by_turn.insert(turn, Arc::clone(&self.own));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.own.state);
        if *state == State::Busy {
            *state = State::Unsent;
        }
    }
}

impl<B> Answering<B> {
    pub(super) const fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn comes(crowd: &Crowd) -> Seat {
        tokio::time::timeout(Duration::from_secs(10), crowd.seat())
            .await
            .unwrap()
            .unwrap()
    }

    fn answered(seat: &Seat, busy: Busy) {
        drop(busy);
        seat.occupant().flushed();
    }

    /// Runs one connection that goes when it is asked; says when it has gone.
    fn polite(seat: Seat) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { seat.occupant().asked_to_go().await })
    }

    #[tokio::test]
    async fn the_one_that_has_waited_longest_goes_and_no_busy_one() {
        let crowd = Crowd::new(3);
        let (first, second, third) = (comes(&crowd).await, comes(&crowd).await, comes(&crowd).await);
        // The first is being answered, the third began to wait before the second did again.
        let busy = first.occupant().busy();
        answered(&second, second.occupant().busy());
        let (first, second, third) = (polite(first), polite(second), polite(third));
        let _fourth = comes(&crowd).await;
        third.await.unwrap();
        assert!(!first.is_finished() && !second.is_finished());
        let _fifth = comes(&crowd).await;
        second.await.unwrap();
        assert!(!first.is_finished());
        drop(busy);
        assert!(!first.is_finished());
    }

    #[tokio::test]
    async fn when_all_are_busy_the_first_that_waits_goes() {
        let crowd = Crowd::new(2);
        let (first, second) = (comes(&crowd).await, comes(&crowd).await);
        let (busy_first, busy_second) = (first.occupant().busy(), second.occupant().busy());
        let flushing = second.occupant();
        let (first, second) = (polite(first), polite(second));
        let coming = tokio::spawn({
            let crowd = crowd.clone();
            async move { comes(&crowd).await }
        });
        while lock(&crowd.line).wanted == 0 {
            tokio::task::yield_now().await;
        }
        drop(busy_second);
        assert_eq!(lock(&crowd.line).wanted, 1, "its answer has not left");
        flushing.flushed();
        second.await.unwrap();
        let _third = coming.await.unwrap();
        assert!(!first.is_finished());
        drop(busy_first);
    }

    #[tokio::test]
    async fn a_chosen_one_that_turns_busy_passes_it_on() {
        let crowd = Crowd::new(2);
        let (first, second) = (comes(&crowd).await, comes(&crowd).await);
        let coming = Coming::new(&crowd.line);
        let busy = first.occupant().busy();
        tokio::time::timeout(Duration::from_secs(10), polite(second))
            .await
            .unwrap()
            .unwrap();
        assert!(!first.occupant().waits());
        drop(coming);
        answered(&first, busy);
        let occupant = first.occupant();
        let late = occupant.busy();
        drop(first);
        drop(late);
        assert!(
            lock(&crowd.line).by_turn.is_empty(),
            "whoever is gone is in no line"
        );
    }
}
