//! Benches: criterion per stage, and whole paths over S3.
