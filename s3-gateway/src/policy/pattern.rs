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
        self.matches(text) || self.begins(&format!("{text}/"))
    }

    /// Whether something that begins with this text could match: whether any place of the pattern is left to go on from once
    /// the text is read. What is left of a pattern always matches something.
    fn begins(&self, text: &str) -> bool {
        let mut places = self.with_stars_passed(vec![0]);
        for character in text.chars() {
            let next = places.iter().filter_map(|at| match self.0.get(*at) {
                Some('*') => Some(*at),
                Some(wanted) if *wanted == '?' || *wanted == character => Some(at + 1),
                _ => None,
            });
            places = self.with_stars_passed(next.collect());
        }
        !places.is_empty()
    }

    /// These places, and those behind a star at any of them, each once.
    fn with_stars_passed(&self, mut places: Vec<usize>) -> Vec<usize> {
        let mut seen = 0;
        while let Some(at) = places.get(seen).copied() {
            if self.0.get(at) == Some(&'*') {
                places.push(at + 1);
            }
            seen += 1;
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether it stands for one text only.
    pub(super) fn is_fixed(&self) -> bool {
        !self.0.iter().any(|c| matches!(c, '*' | '?'))
    }
}
