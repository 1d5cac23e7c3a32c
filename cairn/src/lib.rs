//! Cairn: sealed, erasure-coded object storage behind an S3 gateway, every operation on record.
