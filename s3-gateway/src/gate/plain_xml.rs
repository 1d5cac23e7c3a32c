//! An XML body in a form that the parser behind the gate reads right.
//!
//! s3s 0.14 passes over CDATA sections in silence, so that another key would be deleted than was named, and refuses
//! references to characters beyond U+FFFF, which are how Python's XML writer puts an emoji. Both are rewritten as the text they stand
//! for (XML 1.0, sections 2.7 and 4.1). Invariant: what needs no rewriting stays byte for byte.

use bytes::Bytes;
use memchr::memmem;
use quick_xml::events::{BytesRef, BytesText, Event};
use quick_xml::{Reader, Writer};

use crate::errors::Refusal;

/// Rewrites `body` if need be; the result has at most `limit` bytes.
pub(super) fn plain(body: Bytes, limit: usize) -> Result<Bytes, Refusal> {
    let told = |what: &[u8]| memmem::find(&body, what).is_some();
    if !told(b"&#") && !told(b"<![CDATA[") {
        return Ok(body);
    }
    let text = std::str::from_utf8(&body).map_err(|_| Refusal::malformed_xml())?;
    let (mut reader, mut writer) = (
        Reader::from_str(text),
        Writer::new(Vec::with_capacity(text.len())),
    );
    loop {
        let event = match reader.read_event().map_err(|_| Refusal::malformed_xml())? {
            Event::Eof => break,
            Event::CData(data) => Event::Text(data.escape().map_err(|_| Refusal::malformed_xml())?),
            Event::GeneralRef(name) => match character(&name)? {
                // A lower one may be white space or markup, which as a reference is neither.
                Some(character) if u32::from(character) > 0xffff => {
                    Event::Text(BytesText::from_escaped(character.to_string()))
                }
                _ => Event::GeneralRef(name),
            },
            other => other,
        };
        writer.write_event(event).map_err(|_| Refusal::malformed_xml())?;
        if writer.get_ref().len() > limit {
            return Err(Refusal::message_too_long(limit as u64));
        }
    }
    Ok(Bytes::from(writer.into_inner()))
}

/// The character that a numeric reference names; `None` for a reference by name.
pub(super) fn character(name: &BytesRef<'_>) -> Result<Option<char>, Refusal> {
    let named = name.resolve_char_ref().map_err(|_| Refusal::malformed_xml())?;
    match named {
        Some(character) if !is_legal(character) => Err(Refusal::malformed_xml()),
        named => Ok(named),
    }
}

/// Production 2 of XML 1.0.
const fn is_legal(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn plain_text(body: &str) -> Option<String> {
        let body = plain(Bytes::copy_from_slice(body.as_bytes()), LIMIT).ok()?;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn what_the_parser_would_misread_is_rewritten_and_nothing_else() {
        for (body, expected) in [
            ("<Key>a &amp; b</Key>", "<Key>a &amp; b</Key>"),
            (
                "<?xml version=\"1.0\"?>\n<a b='1'><!-- x --><Key>&#129704;</Key></a>",
                "<?xml version=\"1.0\"?>\n<a b='1'><!-- x --><Key>\u{1faa8}</Key></a>",
            ),
            (
                "<Key>&#x1FAA8;&#13;&#60;&lt;</Key>",
                "<Key>\u{1faa8}&#13;&#60;&lt;</Key>",
            ),
            ("<Key>x<![CDATA[y]]>z</Key>", "<Key>xyz</Key>"),
            ("<Key><![CDATA[<&#38;a>]]></Key>", "<Key>&lt;&amp;#38;a&gt;</Key>"),
        ] {
            assert_eq!(plain_text(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn references_to_no_character_and_texts_that_grow_beyond_the_limit_are_refused() {
        for body in [
            "<Key>&#0;</Key>",
            "<Key>&#1;</Key>",
            "<Key>&#xD800;</Key>",
            "<Key>&#xFFFE;</Key>",
            "<Key>&#x110000;</Key>",
            "<Key>&#99999999999;</Key>",
            "<Key>&#;</Key>",
            "<Key><![CDATA[open</Key>",
        ] {
            assert_eq!(plain_text(body), None, "{body}");
        }
        let long = format!("<Key><![CDATA[{}]]></Key>", "<".repeat(LIMIT / 4));
        assert_eq!(plain_text(&long), None);
    }
}
