//! What an owner says of a bucket and what a browser posts: policies, rules, lists, tags, forms, and the source of a copy.
//!
//! Where the gateway gives back what it keeps, what was given back must be kept as the same. Sources: the documents' pages in the S3
//! API reference; RFC 7578 for forms.

use s3_gateway::auth::canonical::encode;
use s3_gateway::service::parsers;

/// The input as a bucket policy.
pub fn bucket_policy(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let said = parsers::bucket_policy(text);
    assert_eq!(
        said,
        parsers::bucket_policy(text),
        "a policy says one thing and then another"
    );
    // Without the word, and without an escape to write it in, there is no statement that allows.
    if !text.contains("Allow") && !text.contains('\\') {
        assert!(
            !said.iter().flatten().any(|verdict| *verdict == Some(true)),
            "a policy that only denies allows something or is public"
        );
    }
    said.is_some()
}

/// The input as a form, whole and in pieces, and as a form's policy.
pub fn post_form(input: &[u8]) -> bool {
    let whole = parsers::post_form(input, input.len());
    for piece in [1, 7, 64] {
        assert!(
            parsers::post_form(input, piece) == whole,
            "pieces are another form than the whole"
        );
    }
    if let Some((fields, filename, file)) = &whole {
        let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(
            bytes + filename.len() + file.as_ref().map_or(0, Vec::len) <= 3 * input.len(),
            "a form grew"
        );
        assert!(!filename.contains(['/', '\\']), "a file's name has directories");
    }
    whole.is_some_and(|(_, _, file)| file.is_some())
}

/// The input as the policy document of a form.
pub fn post_policy(input: &[u8]) -> bool {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields = [
        field("key", "up/a"),
        field("acl", "private"),
        field("content-type", "text/plain"),
    ];
    let passed = parsers::post_policy(input, &fields);
    let more = [fields.as_slice(), &[field("x-amz-meta-unnamed", "1")]].concat();
    assert!(
        passed.is_none()
            || parsers::post_policy(input, &more).is_none()
            || input
                .windows(14)
                .any(|part| part.eq_ignore_ascii_case(b"x-amz-meta-unn"))
            || input.contains(&b'\\'),
        "a field passed that no condition names"
    );
    passed.is_some()
}

fn kept_as_shown((kept, again): &parsers::Kept) {
    assert_eq!(kept, again, "what is shown is not kept as the same");
}

/// The input as CORS rules.
pub fn cors_rules(input: &[u8]) -> bool {
    let origin = "https://a.example.org";
    let Some((kept, answer)) = parsers::cors_rules(input, origin) else {
        return false;
    };
    kept_as_shown(&kept);
    if let Some(allowed) = answer
        .as_ref()
        .and_then(|headers| headers.get("access-control-allow-origin"))
    {
        assert!(
            allowed == origin || allowed == "*",
            "another origin is let in than asked"
        );
    }
    true
}

/// The input as an access control list.
pub fn access_list(input: &[u8]) -> bool {
    let kept = parsers::access_list(input);
    kept.as_ref().inspect(|kept| kept_as_shown(kept)).is_some()
}

/// The input as lifecycle rules.
pub fn lifecycle_rules(input: &[u8]) -> bool {
    let kept = parsers::lifecycle_rules(input);
    kept.as_ref().inspect(|kept| kept_as_shown(kept)).is_some()
}

/// The input as the header `x-amz-tagging`.
pub fn tagging_header(input: &[u8]) -> bool {
    let Some(tags) = parsers::tags(input) else {
        return false;
    };
    assert!(tags.len() <= 10, "too many tags");
    let pairs: Vec<String> = tags
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    assert_eq!(
        parsers::tags(pairs.join("&").as_bytes()),
        Some(tags),
        "tags have two readings"
    );
    true
}

/// The input as the header `x-amz-copy-source`.
pub fn copy_source(input: &[u8]) -> bool {
    let Some((bucket, key)) = std::str::from_utf8(input).ok().and_then(parsers::copy_source) else {
        return false;
    };
    assert!(!key.as_str().contains('\0') && key.as_str().len() <= 1024);
    let again = format!("{}/{}", bucket.as_str(), encode(key.as_str()));
    assert_eq!(
        parsers::copy_source(&again),
        Some((bucket, key)),
        "a source has two readings"
    );
    true
}
