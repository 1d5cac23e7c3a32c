//! Bucket policies: the document, and what it says of a request.
//!
//! It decides nothing by itself: `access.rs` asks it, beside credentials and access lists. It reads no object and no clock;
//! what a condition asks for comes from the request's [`Facts`].
//!
//! Invariants. An explicit deny wins over every allow. Whatever is not understood (an element, an action, a form of
//! principal, an operator, a condition key) is refused when the document is parsed, so that no statement is evaluated in
//! part; whoever evaluates a stored document that does not parse must deny. A condition that cannot be decided denies. Source: "Policies and permissions in Amazon S3"
//! and the IAM JSON policy reference.

mod condition;
mod document;
mod pattern;

#[cfg(test)]
mod tests;

use condition::Condition;
use pattern::Pattern;

pub(crate) use document::PolicyError;

/// The longest document, in bytes: S3's limit.
pub(crate) const POLICY_BYTES_MAX: usize = 20 << 10;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    /// Nobody in particular.
    Anonymous,
    /// A credential of this vault.
    Vault(&'a str),
}

/// What a request has for a condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    /// Nothing.
    Missing,
    /// These.
    Are(Vec<String>),
    /// It cannot be said before the body is read, or at all.
    Unknown,
}

/// What conditions may ask of a request.
pub(crate) trait Facts {
    /// The values of a condition key, which is in lower case but for what follows a `/`.
    fn values(&self, key: &str) -> Values;
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A statement denies it.
    Denied,
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement speaks of it.
    Silent,
}

/// A bucket's policy.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
struct Statement {
    allows: bool,
    principals: Principals,
    actions: Listed,
    resources: Listed,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
enum Principals {
    /// `*`.
    Everyone,
    /// These accounts.
    Only(Vec<String>),
    /// Everyone but these; in statements that deny.
    Except(Vec<String>),
}

/// Patterns, or everything that matches none of them.
#[derive(Debug, Clone)]
struct Listed {
    except: bool,
    patterns: Vec<Pattern>,
}

impl Listed {
    fn has(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text)) != self.except
    }
}

impl Principals {
    fn have(&self, who: Who<'_>) -> bool {
        let listed = |accounts: &[String]| match who {
            Who::Anonymous => false,
            Who::Vault(vault) => accounts.iter().any(|account| account == vault),
        };
        match self {
            Self::Everyone => true,
            Self::Only(accounts) => listed(accounts),
            Self::Except(accounts) => !listed(accounts),
        }
    }
}

impl Statement {
    fn speaks_of(&self, who: Who<'_>, action: &str, resource: &str, facts: &dyn Facts) -> bool {
        self.principals.have(who)
            && self.actions.has(&action.to_ascii_lowercase())
            && self.resources.has(resource)
            // What cannot be said denies: it makes a deny apply, and an allow not.
            && self.conditions.iter().all(|condition| condition.holds(facts).unwrap_or(!self.allows))
    }
}

impl Policy {
    /// Parses a document for the bucket of this name.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    pub(crate) fn parse(text: &str, bucket: &str) -> Result<Self, PolicyError> {
        Ok(Self {
            statements: document::parse(text, bucket)?,
        })
    }

    /// What the policy says of an action such as `s3:GetObject` on a bucket or on an object in it.
    pub(crate) fn judge(
        &self,
        who: Who<'_>,
        action: &str,
        (bucket, key): (&str, Option<&str>),
        facts: &dyn Facts,
    ) -> Verdict {
        let resource = match key {
            None => format!("{ARN}{bucket}"),
            Some(key) => format!("{ARN}{bucket}/{key}"),
        };
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            if statement.speaks_of(who, action, &resource, facts) {
                if !statement.allows {
                    return Verdict::Denied;
                }
                verdict = Verdict::Allowed;
            }
        }
        verdict
    }

    /// Whether it opens something to everyone: a statement that allows, to all, under no condition that ties it to
    /// addresses or accounts.
    pub(crate) fn is_public(&self) -> bool {
        self.statements.iter().any(|statement| {
            statement.allows
                && matches!(statement.principals, Principals::Everyone)
                && !statement.conditions.iter().any(Condition::narrows)
        })
    }
}

/// What resources begin with.
const ARN: &str = "arn:aws:s3:::";
