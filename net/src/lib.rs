//! Peers: the ledger and the cluster client over drives.
