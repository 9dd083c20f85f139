//! Owns the few things the engine reads in SQL text itself, without preparing it: blanks, and the first word.

/// `text` from its first token on: white space, comments and empty statements skipped as SQLite's tokenizer does
/// (<https://sqlite.org/lang_comment.html>).
pub(crate) fn skip_blank(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            // An open comment ends with the text.
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            return rest;
        }
    }
}

/// The first word of a statement.
pub(crate) fn first_word(text: &str) -> &str {
    let text = skip_blank(text);
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_what_holds_no_statement() {
        for blank in ["", " ;; \n", "-- a comment", "/* open", " /* one */ ; -- two\n\t", "--\n--"] {
            assert_eq!(skip_blank(blank), "", "{blank:?}");
        }
        assert_eq!(skip_blank(" /* ; */ -- x\n SELECT 1"), "SELECT 1");
        assert_eq!(skip_blank("- 1"), "- 1");
    }

    #[test]
    fn the_first_word_stands_behind_comments() {
        assert_eq!(first_word("/* select */ Vacuum;"), "Vacuum");
        assert_eq!(first_word("(select 1)"), "");
    }
}
