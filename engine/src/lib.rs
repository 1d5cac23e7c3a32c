//! Bytes without secrets: the append-only log, shards, erasure code, packs, placement, proofs, slots.
