//! Stories with the real program: what a person does and what must then be true.
//!
//! Each starts `cairn` itself on free ports and a temporary data directory.
//!
//! With `CAIRN_TEST_PEERS=6` the stories that choose no drives run over so many storage peers. Longer runs of the kill loop:
//! `CAIRN_KILL_ROUNDS=20 cargo test -p cairn --test stories kill`, and of the races: `CAIRN_RACE_ROUNDS=1000 … races`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod blind;
mod clients;
mod drives;
mod evidence;
mod failed_flush;
mod front;
mod gateways;
mod keys;
mod kill;
mod loss;
mod members;
mod node;
mod operating;
mod peers;
mod process;
mod races;
mod rebuild;
mod receipts;
mod replacement;
mod start;
mod transfer;
