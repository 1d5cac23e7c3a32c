//! A checkpoint's entries out of its stream, for a merge that runs on a thread of its own.

use super::super::SessionError;
use tokio::sync::mpsc;
use vault::checkpoint::{CheckpointEntry, CheckpointReader};

/// The checkpoint's entries, as its pages come in.
pub(super) struct CheckpointPages<'a> {
    reader: CheckpointReader,
    incoming: &'a mut mpsc::Receiver<Result<Vec<u8>, SessionError>>,
    ended: bool,
}

impl<'a> CheckpointPages<'a> {
    pub(super) fn new(incoming: &'a mut mpsc::Receiver<Result<Vec<u8>, SessionError>>) -> Self {
        Self {
            reader: CheckpointReader::new(),
            incoming,
            ended: false,
        }
    }
}

impl Iterator for CheckpointPages<'_> {
    type Item = Result<CheckpointEntry, SessionError>;

    fn next(&mut self) -> Option<Self::Item> {
        const MALFORMED: SessionError = SessionError::Internal {
            what: "a checkpoint that does not decode",
        };
        loop {
            match self.reader.next_entry() {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) if self.ended => return None,
                Ok(None) => {}
                Err(_) => return Some(Err(MALFORMED)),
            }
            match self.incoming.blocking_recv() {
                Some(Ok(page)) => self.reader.feed(&page),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.ended = true;
                    let whole = std::mem::take(&mut self.reader);
                    if whole.through().is_some() && whole.finish().is_err() {
                        return Some(Err(MALFORMED));
                    }
                }
            }
        }
    }
}
