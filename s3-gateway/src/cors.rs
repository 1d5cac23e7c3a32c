//! Cross-origin rules of a bucket: which pages of other origins a browser lets at the answers.
//!
//! They give no right: a request is decided as if there were no rules, and the answer then says who may look at it.
//! Source: "Using cross-origin resource sharing" of the S3 user guide, and the Fetch standard.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, VARY};
use serde::{Deserialize, Serialize};

/// The most rules: S3's limit.
pub(crate) const RULES_MAX: usize = 100;
/// The methods that rules may name.
pub(crate) const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];
/// The longest part of a request that is compared with rules, in bytes.
const ASKED_BYTES_MAX: usize = 1024;

/// One rule. Origins and headers may hold one `*` each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: Option<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) expose: Vec<String>,
    pub(crate) max_age_s: Option<i32>,
}

/// What a browser says of the page that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossOrigin {
    origin: String,
    method: String,
    headers: Vec<String>,
    preflight: bool,
}

impl CrossOrigin {
    /// What the headers of a request say; `None` if it is of no other origin.
    pub fn of(method: &http::Method, headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            (!value.is_empty() && value.len() <= ASKED_BYTES_MAX).then_some(value)
        };
        let preflight = *method == http::Method::OPTIONS;
        let origin = text("origin")?.to_owned();
        let wanted = text("access-control-request-method");
        if preflight && wanted.is_none() {
            return None;
        }
        let listed = text("access-control-request-headers")
            .filter(|_| preflight)
            .unwrap_or_default();
        let listed = listed.split(',').map(|name| name.trim().to_ascii_lowercase());
        Some(Self {
            origin,
            method: wanted.unwrap_or(method.as_str()).to_owned(),
            headers: listed.filter(|name| !name.is_empty()).collect(),
            preflight,
        })
    }

    /// What the first rule that fits says in an answer.
    pub(crate) fn answer(&self, rules: &[Rule]) -> Option<HeaderMap> {
        let rule = rules.iter().find(|rule| rule.fits(self))?;
        let everyone = rule.origins.iter().any(|origin| origin == "*");
        let origin = if everyone { "*" } else { &self.origin };
        let mut said = HeaderMap::new();
        put(&mut said, "access-control-allow-origin", origin);
        put(
            &mut said,
            "access-control-allow-methods",
            &rule.methods.join(", "),
        );
        if !everyone {
            put(&mut said, "access-control-allow-credentials", "true");
        }
        if !self.headers.is_empty() {
            put(
                &mut said,
                "access-control-allow-headers",
                &self.headers.join(", "),
            );
        }
        if !rule.expose.is_empty() {
            put(
                &mut said,
                "access-control-expose-headers",
                &rule.expose.join(", "),
            );
        }
        if let Some(seconds) = rule.max_age_s.filter(|_| self.preflight) {
            put(&mut said, "access-control-max-age", &seconds.to_string());
        }
        let varies = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
        said.insert(VARY, HeaderValue::from_static(varies));
        Some(said)
    }
}

impl Rule {
    fn fits(&self, asked: &CrossOrigin) -> bool {
        let header = |name: &String| {
            self.headers
                .iter()
                .any(|have| matches(&have.to_ascii_lowercase(), name))
        };
        self.origins.iter().any(|origin| matches(origin, &asked.origin))
            && self.methods.contains(&asked.method)
            && asked.headers.iter().all(header)
    }
}

/// Whether a text is what a pattern with at most one `*` says.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

/// Reads stored rules; what cannot be read lets nobody look.
pub(crate) fn stored(text: &str) -> Vec<Rule> {
    serde_json::from_str(text).unwrap_or_default()
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn rule(methods: &[&str], origins: &[&str], headers: &[&str]) -> Rule {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Rule {
            methods: owned(methods),
            origins: owned(origins),
            headers: owned(headers),
            max_age_s: Some(60),
            ..Rule::default()
        }
    }

    fn asked(method: &Method, pairs: &[(&'static str, &str)]) -> Option<CrossOrigin> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        CrossOrigin::of(method, &headers)
    }

    #[test]
    fn the_first_rule_that_fits_origin_method_and_headers_answers() {
        let rules = [
            rule(
                &["GET", "PUT"],
                &["https://*.example.org"],
                &["x-amz-*", "Content-Type"],
            ),
            rule(&["GET"], &["*"], &[]),
        ];
        let preflight = |origin: &str, method: &str, headers: &str| {
            let pairs = [
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", headers),
            ];
            let answer = asked(&Method::OPTIONS, &pairs).unwrap().answer(&rules)?;
            Some(answer["access-control-allow-origin"].to_str().unwrap().to_owned())
        };
        let (page, other) = ("https://a.example.org", "https://other");
        assert_eq!(
            preflight(page, "PUT", "X-Amz-Acl, content-type").as_deref(),
            Some(page)
        );
        assert_eq!(preflight(page, "PUT", "x-other"), None);
        assert_eq!(preflight(page, "GET", "").as_deref(), Some(page));
        assert_eq!(preflight(page, "DELETE", ""), None);
        assert_eq!(preflight(other, "GET", "").as_deref(), Some("*"));
        assert_eq!(preflight(other, "PUT", ""), None);
        // The star stands for something between, not for an overlap.
        assert_eq!(preflight("https://.example.or", "PUT", ""), None);
        let plain = asked(&Method::PUT, &[("origin", page)])
            .unwrap()
            .answer(&rules)
            .unwrap();
        assert_eq!(plain["access-control-allow-methods"], "GET, PUT");
        assert!(!plain.contains_key("access-control-max-age"));
        assert_eq!(asked(&Method::GET, &[]), None);
        assert_eq!(asked(&Method::OPTIONS, &[("origin", page)]), None);
    }
}
