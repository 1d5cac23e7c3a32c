//! The strict byte codec under every format of this system: little-endian integers, shortest-form LEB128, and
//! length-prefixed bytes (FORMAT.md, first paragraph).
//!
//! It is not a serialization framework: each format writes its own fields, one after another, in its own room.
//!
//! Invariant: a [`Reader`] never panics and never allocates more than a constant before it has seen the bytes that
//! justify it, and every value has exactly one encoding, so what decodes re-encodes to the same bytes.
//!
//! Source: unsigned LEB128 as in DWARF 5, section 7.6, restricted to the shortest form.

#[cfg(test)]
mod tests;

/// The longest varint: ten groups of seven bits hold a `u64`.
pub const VARINT_BYTES_MAX: usize = 10;

/// How many list items are reserved before any was read. A hostile count costs no more than this.
const ITEMS_RESERVED_MAX: usize = 64;

/// Why bytes are not of the format that they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("truncated: a field needs {need} bytes, {have} are left")]
    Truncated {
        /// Bytes that the field needs.
        need: u64,
        /// Bytes that are left.
        have: usize,
    },
    /// Bytes follow the last field.
    #[error("{bytes} bytes follow the last field")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A length or count is beyond the format's limit.
    #[error("a length or count of {got} is over the limit of {limit}")]
    TooLong {
        /// The most that the format allows.
        limit: u64,
        /// What the input says.
        got: u64,
    },
    /// The version is not one that this program knows.
    #[error("format version {got} is unknown (the newest known is {newest})")]
    BadVersion {
        /// What the input says.
        got: u8,
        /// The newest version that this program reads.
        newest: u8,
    },
    /// A field holds a value that the format does not allow.
    #[error("{got} is not a valid {what}")]
    BadValue {
        /// The field.
        what: &'static str,
        /// What the input says (for wide fields: their first bytes, or their length).
        got: u64,
    },
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
}

/// Writes fields one after another into a vector.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty writer with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Writes two bytes, little-endian.
    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes unsigned LEB128 in its shortest form, 1 to 10 bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Writes a varint length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Writes a varint length and the string's UTF-8.
    pub fn string(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Writes the bytes as they are, without a length: for fields of fixed width.
    pub fn fixed(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// Writes `count` zero bytes.
    pub fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// Writes 0 for `None`; 1 and then the value for `Some`.
    pub fn option_with<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    /// Writes a varint count and then each item.
    pub fn list_with<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.varint(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// What was written.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// Reads fields one after another from a slice. Every method either consumes exactly its field or fails.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated {
            need: count as u64,
            have: self.0.len(),
        })?;
        self.0 = tail;
        Ok(head)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Reads a field of fixed width.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Truncated {
            need: N as u64,
            have: self.0.len(),
        })?;
        self.0 = tail;
        Ok(*head)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    /// Reads two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_le_bytes)
    }

    /// Reads four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// Reads eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// Reads unsigned LEB128. Anything but the shortest form of a `u64` is refused.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for group in 0..VARINT_BYTES_MAX {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth group holds one bit of a u64.
            if group + 1 == VARINT_BYTES_MAX && byte > 1 {
                return Err(DecodeError::BadValue {
                    what: "varint (over 64 bits)",
                    got: u64::from(byte),
                });
            }
            value |= bits << (7 * group);
            if byte & 0x80 == 0 {
                if byte == 0 && group > 0 {
                    return Err(DecodeError::BadValue {
                        what: "varint (not the shortest form)",
                        got: value,
                    });
                }
                return Ok(value);
            }
        }
        // Not reached: the tenth byte is at most 1, so its continuation bit is clear and the loop returned.
        Err(DecodeError::BadValue {
            what: "varint",
            got: value,
        })
    }

    /// Reads a varint that must fit 32 bits.
    pub fn varint_u32(&mut self) -> Result<u32, DecodeError> {
        let got = self.varint()?;
        u32::try_from(got).map_err(|_| DecodeError::TooLong {
            limit: u64::from(u32::MAX),
            got,
        })
    }

    /// Reads a list count of at most `max`. The items are not there yet: reserve no memory by it (see
    /// [`Self::list_with`]).
    pub fn count(&mut self, max: usize) -> Result<usize, DecodeError> {
        let got = self.varint()?;
        match usize::try_from(got) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(DecodeError::TooLong {
                limit: max as u64,
                got,
            }),
        }
    }

    /// Reads a varint length of at most `max`, and so many bytes.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let count = self.count(max)?;
        self.take(count)
    }

    /// Reads a varint length of at most `max`, and so many bytes of UTF-8.
    pub fn string(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| DecodeError::Utf8)
    }

    /// Reads a byte that must be 0 or 1.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            got => Err(DecodeError::BadValue {
                what,
                got: u64::from(got),
            }),
        }
    }

    /// Reads an option: 0, or 1 and the value.
    pub fn option_with<T, E: From<DecodeError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if self.bool("option")? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads a count of at most `max` and then each item. The vector grows as items are read, so that a hostile
    /// count allocates nothing; an item must take at least one byte.
    pub fn list_with<T, E: From<DecodeError>>(
        &mut self,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let count = self.count(max)?;
        let mut items = Vec::with_capacity(count.min(ITEMS_RESERVED_MAX));
        for _ in 0..count {
            if self.0.is_empty() {
                return Err(DecodeError::Truncated { need: 1, have: 0 }.into());
            }
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Reads `count` bytes that must be zero.
    pub fn zeros(&mut self, count: usize, what: &'static str) -> Result<(), DecodeError> {
        match self.take(count)?.iter().find(|byte| **byte != 0) {
            None => Ok(()),
            Some(byte) => Err(DecodeError::BadValue {
                what,
                got: u64::from(*byte),
            }),
        }
    }

    /// Reads a version byte that must be 1 to `newest`.
    pub fn version(&mut self, newest: u8) -> Result<u8, DecodeError> {
        match self.u8()? {
            got if got >= 1 && got <= newest => Ok(got),
            got => Err(DecodeError::BadVersion { got, newest }),
        }
    }

    /// Refuses bytes after the last field.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { bytes: self.0.len() })
        }
    }
}
