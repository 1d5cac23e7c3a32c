//! Text beyond US-ASCII in user metadata, as headers carry it: encoded words of RFC 2047.
//!
//! S3 decodes such words before it stores a value, and encodes a value that needs it before it returns it. Not a parser
//! of mail headers: a word that is not well formed, or in a character set that is not known, stays as it came.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A value as it is returned: in one encoded word if it is more than printable US-ASCII.
pub(crate) fn encode(value: &str) -> Cow<'_, str> {
    if value
        .bytes()
        .all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t')
    {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("=?UTF-8?B?{}?=", STANDARD.encode(value)))
}

/// A value as it is stored: its encoded words decoded. White space between two of them goes (section 6.2).
pub(crate) fn decode(value: &str) -> Cow<'_, str> {
    if !value.contains("=?") {
        return Cow::Borrowed(value);
    }
    let (mut out, mut rest, mut after_word) = (String::with_capacity(value.len()), value, false);
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        let Some((text, tail)) = decode_word(word) else {
            let (skipped, tail) = rest.split_at(at + 2);
            out.push_str(skipped);
            (rest, after_word) = (tail, false);
            continue;
        };
        if !(after_word && before.bytes().all(|byte| byte == b' ' || byte == b'\t')) {
            out.push_str(before);
        }
        out.push_str(&text);
        (rest, after_word) = (tail, true);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The text of the word at the start, and what follows it.
fn decode_word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (body, tail) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(body).ok()?,
        "Q" | "q" => decode_q(body)?,
        _ => return None,
    };
    let text = match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "us-ascii" => String::from_utf8(bytes).ok()?,
        "iso-8859-1" => bytes.into_iter().map(char::from).collect(),
        _ => return None,
    };
    // A stored value is a header's again one day.
    (!text.contains(|c: char| c.is_control() && c != '\t')).then_some((text, tail))
}

/// Section 4.2: an underscore is a space, `=` and two hexadecimal digits are a byte.
fn decode_q(body: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                let mut decoded = [0];
                hex::decode_to_slice(digits, &mut decoded).ok()?;
                let [decoded] = decoded;
                decoded
            }
            b' ' | b'?' => return None,
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_decoded_and_what_is_no_word_stays() {
        for (sent, stored) in [
            ("plain", "plain"),
            ("=?UTF-8?B?5L2g5aW977yM5LiW55WM?=", "你好，世界"),
            ("=?utf-8?q?caf=C3=A9_au_lait?=", "café au lait"),
            ("=?ISO-8859-1?Q?caf=E9?=", "café"),
            ("a =?UTF-8?Q?b?= =?UTF-8?Q?c?= d", "a bc d"),
            ("=?UTF-8?B?!?= x", "=?UTF-8?B?!?= x"),
            ("=?KOI8-R?Q?x?=", "=?KOI8-R?Q?x?="),
            ("=?UTF-8?Q?=0D=0Ainjected: 1?=", "=?UTF-8?Q?=0D=0Ainjected: 1?="),
            ("=?UTF-8?Q?=C3?=", "=?UTF-8?Q?=C3?="),
            ("=?=?UTF-8?Q?x?=", "=?x"),
            ("1 =? 2", "1 =? 2"),
        ] {
            assert_eq!(decode(sent), stored, "{sent}");
        }
        assert_eq!(encode("你好，世界"), "=?UTF-8?B?5L2g5aW977yM5LiW55WM?=");
        assert_eq!(encode("a b"), "a b");
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(text in "[^\\p{Cc}=]{0,40}") {
            let encoded = encode(&text).into_owned();
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), text);
        }

        #[test]
        fn no_value_breaks_the_decoder(text in ".{0,60}|(=\\?|\\?=|\\?|Q|B|utf-8|=4|_){0,20}") {
            let decoded = decode(&text).into_owned();
            prop_assert!(!decoded.contains(['\r', '\n']) || text.contains(['\r', '\n']));
        }
    }
}
