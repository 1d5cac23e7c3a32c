//! Patterns of policies: `*` stands for any run of characters, `?` for one. Nothing else is special.

/// A pattern; the text it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<char>);

impl Pattern {
    /// A pattern of this text.
    pub(super) fn new(text: &str) -> Self {
        Self(text.chars().collect())
    }

    /// Whether the whole text matches. Its time is at most the product of the two lengths.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut here) = (0, 0);
        // The last star, and how much of the text it stands for.
        let mut star: Option<(usize, usize)> = None;
        while let Some(character) = text.get(here) {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, here));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || wanted == character => {
                    at += 1;
                    here += 1;
                }
                _ => match &mut star {
                    Some((star, covered)) => {
                        *covered += 1;
                        at = *star + 1;
                        here = *covered;
                    }
                    None => return false,
                },
            }
        }
        self.0.iter().skip(at).all(|rest| *rest == '*')
    }

    /// Whether something that begins with this text and a slash, or is the text, could match.
    pub(super) fn reaches(&self, text: &str) -> bool {
        // A star that comes before the first slash stands for a slash too.
        let head: String = self.0.iter().take_while(|c| **c != '/').collect();
        Self::new(&head).matches(text)
            || head
                .find('*')
                .is_some_and(|star| Self::new(head.split_at(star + 1).0).matches(&format!("{text}/")))
    }

    /// Whether it stands for one text only.
    pub(super) fn is_fixed(&self) -> bool {
        !self.0.iter().any(|c| matches!(c, '*' | '?'))
    }
}
