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

/// Whether a statement that nobody has prepared yet seems to write, by its verb. `WITH` stands before the verb: it is looked for
/// behind the common table expressions, whose names and bodies are passed over.
pub(crate) fn seems_to_write(text: &str) -> bool {
    let first = first_word(text);
    if !first.eq_ignore_ascii_case("with") {
        return !["", "select", "values", "explain", "pragma"].iter().any(|reads| first.eq_ignore_ascii_case(reads));
    }
    let mut rest = skip_blank(text).get(first.len()..).unwrap_or_default();
    let mut depth = 0_usize;
    let mut name_is_next = true;
    loop {
        rest = skip_blank(rest);
        let Some(c) = rest.chars().next() else { return false };
        let token = token(rest, c);
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => name_is_next = true,
            _ if depth > 0 => {}
            _ if name_is_next => name_is_next = token.eq_ignore_ascii_case("recursive"),
            _ if ["select", "values"].iter().any(|verb| token.eq_ignore_ascii_case(verb)) => return false,
            _ if ["delete", "insert", "replace", "update"].iter().any(|verb| token.eq_ignore_ascii_case(verb)) => {
                return true;
            }
            _ => {}
        }
        rest = rest.get(token.len()..).unwrap_or_default();
    }
}

/// The token that `text` begins with, whose first character is `c`: a word, something quoted, or that character.
fn token(text: &str, c: char) -> &str {
    let closing = match c {
        '\'' | '"' | '`' => c,
        '[' => ']',
        c if c.is_alphanumeric() || c == '_' => {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(text.len());
            return text.get(..end).unwrap_or_default();
        }
        _ => return text.get(..c.len_utf8()).unwrap_or_default(),
    };
    // A doubled quote inside ends one token and begins the next, which comes to the same here.
    let body = text.get(1..).unwrap_or_default();
    let end = body.find(closing).map_or(text.len(), |at| at + 2);
    text.get(..end).unwrap_or_default()
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

    #[test]
    fn what_may_write_is_known_by_its_verb() {
        for text in [
            "INSERT INTO t",
            " -- a comment\n delete from t",
            "with a as (select 1) Insert into t select * from a",
            "WITH RECURSIVE a(n) AS (VALUES (1)), \"select\" AS (SELECT ')') UPDATE t SET a = 1",
            "vacuum",
        ] {
            assert!(seems_to_write(text), "{text}");
        }
        for text in [
            "select 1",
            "",
            "VALUES (1)",
            "pragma user_version",
            "WITH a AS (SELECT replace('update', 'up', 'down')) SELECT * FROM a",
            "WITH other(\"delete\") AS (SELECT n FROM t) SELECT \"delete\" FROM other",
            "with replace as (select 1), [update] as (select 2) select * from replace",
            "WITH a AS (SELECT 'it''s (') VALUES (1)",
            "WITH a AS (",
        ] {
            assert!(!seems_to_write(text), "{text}");
        }
    }
}
