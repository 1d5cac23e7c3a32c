//! The front door: S3 operations over a vault.
