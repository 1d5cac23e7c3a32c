//! One function per parser; the corpus is replayed by an ordinary test.
