//! Text of others that reaches people's terminals, often before anyone has verified it: a name may not
//! move the cursor, hide, or turn the direction of writing.

use std::borrow::Cow;

/// Longest name for people.
const MAX_NAME_BYTES: usize = 255;

/// Whether a terminal shows the character as it is.
#[must_use]
pub fn is_plain(c: char) -> bool {
    let hides_or_turns = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !c.is_control() && !hides_or_turns
}

/// Whether `text` can stand as a name: one line, not too long, of plain characters.
#[must_use]
pub fn is_plain_line(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.chars().all(is_plain)
}

/// `text` with a mark in place of each character that is not plain, and spaces for line ends.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let shown = |c| match c {
        '\n' | '\t' => ' ',
        c if is_plain(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_hides_or_turns_is_not_plain() {
        assert!(is_plain_line("Zo\u{eb}, \u{5b89}\u{5168} (release)"));
        for text in ["a\u{1b}[2J", "a\nb", "a\u{202e}b", "a\u{200b}b", "\u{feff}a", "\u{9b}2J"] {
            assert!(!is_plain_line(text), "{text:?}");
            assert!(is_plain_line(&plain(text)), "{text:?}");
        }
        assert!(!is_plain_line(&"a".repeat(256)));
        assert_eq!(plain("a\n\u{1b}[2J"), "a \u{fffd}[2J");
    }
}
