//! A decision whose prefixes were opened: what an identity acts under.
//!
//! Invariant: of every grant of the chain that has a prefix, a prefix was shown that opens its commitment, and each begins with that of the
//! grant above; so what is left is the longest.

use super::Granted;
use crate::grant::{Limit, Prefix};
use crate::identity::Denied;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    granted: Granted,
    prefix: String,
}

impl Granted {
    /// With the prefixes of the chain, in any order; none where no link has one.
    ///
    /// # Errors
    /// [`Denied::Prefix`] if one is missing or another than was committed to; [`Denied::Wider`] if one is not within that above.
    pub fn open(self, prefixes: &[Prefix]) -> Result<Opened, Denied> {
        let mut longest: Option<&Prefix> = None;
        let mut below: Option<&Prefix> = None;
        for (grant, commitment) in self.commitments() {
            let mut all = prefixes.iter();
            let prefix = all.find(|prefix| prefix.opens(&grant, &commitment));
            let prefix = prefix.ok_or(Denied::Prefix)?;
            if below.is_some_and(|below| !below.is_within(prefix)) {
                return Err(Denied::Wider { limit: Limit::Prefix });
            }
            longest = longest.or(Some(prefix));
            below = Some(prefix);
        }
        let prefix = longest.map(|prefix| prefix.text().to_owned());
        Ok(Opened {
            granted: self,
            prefix: prefix.unwrap_or_default(),
        })
    }
}

impl Opened {
    /// The decision.
    #[must_use]
    pub const fn granted(&self) -> &Granted {
        &self.granted
    }

    /// What object keys have to begin with; empty for no limit.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}
