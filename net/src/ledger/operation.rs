//! Operation ids of the appends that the ledger makes itself: bound to what they do, without a source of randomness.

/// The first 16 bytes of what was hashed.
pub(super) fn operation(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut operation = [0; 16];
    hasher.finalize_xof().fill(&mut operation);
    operation
}
