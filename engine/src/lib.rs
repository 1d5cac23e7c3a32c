//! Bytes without secrets: the append-only log, shards, erasure code, packs, placement, proofs, slots.
//!
//! Nothing here can open a sealed chunk, knows a name, starts a thread (fjall's own are the exception), reads a clock
//! or draws randomness: time and randomness are passed in. FORMAT.md is the byte formats, ARCHITECTURE.md at the
//! workspace root says how the rooms fit together.

pub mod codec;
pub mod disk;
pub mod drive;
pub mod durability;
pub mod erasure;
pub mod log;
pub mod pack;
pub mod placement;
pub mod proof;
pub mod slots;
pub mod view;
