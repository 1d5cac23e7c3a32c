//! Secrets: the key hierarchy, sealing, manifests, pack claims and the object index.
//!
//! It plans and does not act: no file, socket, clock or thread. Time comes in as milliseconds, randomness as a
//! function that fills bytes, stored rows through [`engine::view::View`]. What it hands out for carrying out is an
//! [`engine::slots::Append`] or a plan; `s3-gateway` carries it out through `net`, which cannot import this crate, so
//! that no storage node can ever name a key.
//!
//! Invariant: no key, secret, object key or plaintext leaves this crate but through a value that the caller asked for
//! by name, and none of them is printed by `Debug` or by an error.
//!
//! The byte formats are engine/FORMAT.md sections 4 to 6; the adversaries are in THREATS.md.

pub mod checkpoint;
pub mod claim;
pub mod collect;
pub mod commit;
pub mod credential;
pub mod customer;
pub mod index;
pub mod keyfile;
pub mod keys;
pub mod object;
pub mod rebuild;
pub mod seal;
pub mod value;

/// What fills a slice with random bytes: the operating system's generator in the program, a seeded one in tests.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

#[cfg(test)]
mod testing;
