//! Consent: wallet keys and signatures, vault and scope ids, credentials.
