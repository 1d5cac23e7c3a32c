//! `SCOPE/KEY`, as `put`, `get` and `ls` take it.

use crate::exit::Failure;

/// Splits `SCOPE/KEY`; without a slash the key is empty.
pub(super) fn split(place: &str) -> Result<(&str, &str), Failure> {
    let place = place.strip_prefix("s3://").unwrap_or(place);
    let (scope, object_key) = place.split_once('/').unwrap_or((place, ""));
    if scope.is_empty() {
        return Err(Failure::Usage(format!(
            "{place:?}: write SCOPE/KEY, as photos/2026/a.jpg"
        )));
    }
    Ok((scope, object_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_slash_divides() {
        assert_eq!(split("photos/2026/a.jpg").unwrap(), ("photos", "2026/a.jpg"));
        assert_eq!(split("photos").unwrap(), ("photos", ""));
        assert_eq!(split("s3://photos//x").unwrap(), ("photos", "/x"));
        assert!(split("/x").is_err());
        assert!(split("").is_err());
    }
}
