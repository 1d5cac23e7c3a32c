//! The operations that a credential may allow, and sets of them.
//!
//! A set is empty unless operations were put in. "all" is a way to write today's whole list: it is stored as that
//! list, so an operation that a later version adds is not given to credentials made before it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::serde_as_text;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Read an object's bytes or metadata.
    Read,
    /// Write an object: PUT, copy into, multipart.
    Write,
    /// List keys, uploads, parts.
    List,
    /// Delete an object.
    Delete,
    /// Make a scope.
    CreateBucket,
    /// Remove an empty scope.
    DeleteBucket,
}

impl Operation {
    /// Every operation, in the order in which a set writes them.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::List,
        Self::Delete,
        Self::CreateBucket,
        Self::DeleteBucket,
    ];

    /// The name in credentials and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::CreateBucket => "create-bucket",
            Self::DeleteBucket => "delete-bucket",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no operation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown operation (read, write, list, delete, create-bucket, delete-bucket, or all)")]
pub struct UnknownOperation;

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == text)
            .ok_or(UnknownOperation)
    }
}

serde_as_text!(Operation);

/// A set of operations; empty by default.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct OperationSet(u8);

impl OperationSet {
    /// No operation.
    pub const NONE: Self = Self(0);

    /// Every operation of this version.
    #[must_use]
    pub fn all() -> Self {
        Operation::ALL.into_iter().collect()
    }

    /// Whether `operation` is in the set.
    #[must_use]
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & operation.bit() != 0
    }

    /// The operations in the set, in the order of [`Operation::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL
            .into_iter()
            .filter(move |operation| self.contains(*operation))
    }
}

impl FromIterator<Operation> for OperationSet {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        Self(
            operations
                .into_iter()
                .fold(0, |bits, operation| bits | operation.bit()),
        )
    }
}

/// A comma list of names; nothing for the empty set.
impl fmt::Display for OperationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, operation) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(operation.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for OperationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// `all`, or a comma list of names. The empty text is refused: it is more often a mistake than a wish.
impl FromStr for OperationSet {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        if text == "all" {
            Ok(Self::all())
        } else {
            text.split(',').map(str::parse).collect()
        }
    }
}

impl Serialize for OperationSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for OperationSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Operation>::deserialize(deserializer)?.into_iter().collect())
    }
}
