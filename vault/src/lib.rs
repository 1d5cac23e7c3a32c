//! Secrets: the key hierarchy, sealing, manifests, pack claims and the object index.
