//! Questions of those who can wait, shared: however many ask, the other members are asked whether this one leads once a while, and an
//! answer is given only to those who came before it was asked for.
//!
//! Invariant: whoever is answered came before the question was sent to the members on which his answer rests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::wire::LedgerRefusal;
use super::leading::{Applying, confirmed, not_leader, term_led};
use super::member::RaftOf;

/// The members are asked at most so often.
const EVERY: Duration = Duration::from_secs(1);

type Answer = Result<(), LedgerRefusal>;

#[derive(Default)]
struct State {
    waiting: Vec<oneshot::Sender<Answer>>,
    is_asking: bool,
    /// When the members were asked last.
    asked: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Sharing(Mutex<State>);

impl Sharing {
    /// Returns once this member has led after the call began, and has applied what was agreed on before it.
    pub(super) async fn leads(self: &Arc<Self>, raft: &RaftOf, progress: &Applying) -> Answer {
        // Nobody waits for a turn at a member that only refers to another.
        term_led(raft).ok_or_else(|| not_leader(raft))?;
        let (asker, answer) = oneshot::channel();
        let begins = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push(asker);
            !std::mem::replace(&mut state.is_asking, true)
        };
        if begins {
            tokio::spawn(Arc::clone(self).ask(raft.clone(), progress.clone()));
        }
        answer.await.unwrap_or(Err(LedgerRefusal::Failed))
    }

    async fn ask(self: Arc<Self>, raft: RaftOf, progress: Applying) {
        while let Some(due) = self.due() {
            tokio::time::sleep_until(due).await;
            let askers = self.take();
            let answer = confirmed(&raft, &progress).await;
            for asker in askers {
                // Whoever no longer waits is no error.
                let _ = asker.send(answer);
            }
        }
    }

    /// When the next question may be sent, if somebody waits for it; if nobody does, the asking ends.
    fn due(&self) -> Option<Instant> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_asking = !state.waiting.is_empty();
        let now = Instant::now();
        state
            .is_asking
            .then(|| state.asked.map_or(now, |asked| now.max(asked + EVERY)))
    }

    /// Those who came before the question that is sent now.
    fn take(&self) -> Vec<oneshot::Sender<Answer>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked = Some(Instant::now());
        std::mem::take(&mut state.waiting)
    }
}
