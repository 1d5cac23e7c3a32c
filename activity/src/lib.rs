//! Evidence: activity records, the Merkle log, receipts and their offline check.
