//! Owns where goose's annotations stand in a file: it passes over strings, quoted names and comments as SQLite's tokenizer does
//! (<https://github.com/sqlite/sqlite/blob/master/src/tokenize.c>).

/// What is wrong in a file, and the line it is wrong in, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: u32,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// What an annotation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Up,
    Down,
    StatementBegin,
    StatementEnd,
    NoTransaction,
    EnvSub,
    /// Anything else behind `+goose`, shortened to a length that a message can hold.
    Unknown(String),
}

/// Whether the statement before an annotation has its semicolon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Ended,
    Open,
}

/// One line `-- +goose ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(crate) word: Word,
    /// Counted from 1.
    pub(crate) line: u32,
    /// Byte offset of the begin of its line.
    pub(crate) start: usize,
    /// Byte offset of its two dashes.
    pub(crate) dashes: usize,
    /// Byte offset behind its line, the line feed included.
    pub(crate) end: usize,
    pub(crate) before: Before,
}

/// The annotations of a file, in its order. An annotation has its line for itself; blanks before it are accepted, although goose
/// refuses them. Inside a string or a block comment it is text.
pub(crate) fn find(text: &str) -> Result<Vec<Annotation>, Fault> {
    let mut found = Vec::new();
    let mut at = 0_usize;
    let mut line = 1_u32;
    let mut line_start = Some(0_usize);
    let mut before = Before::Ended;
    if let Some(nul) = text.find('\0') {
        let line = line_feeds(text.get(..nul).unwrap_or_default()).saturating_add(1);
        return Err(Fault::new(line, "the file holds a NUL character, at which SQLite stops reading; remove it"));
    }
    while let Some(rest) = text.get(at..)
        && let Some(c) = rest.chars().next()
    {
        let token = token(rest, c).map_err(|open| Fault::new(line, open.message()))?;
        let end = at + token.len();
        if c == '\n' {
            line_start = Some(end);
        } else if token.starts_with("--") {
            refuse_lone_return(token, line)?;
            if let (Some(start), Some(word)) = (line_start, word(token)) {
                let end = text.get(end..).filter(|rest| rest.starts_with('\n')).map_or(end, |_| end + 1);
                found.push(Annotation { word, line, start, dashes: at, end, before });
            }
            line_start = None;
        } else if !is_blank(c) {
            if !token.starts_with("/*") {
                before = if c == ';' { Before::Ended } else { Before::Open };
            }
            line_start = None;
        }
        line = line.saturating_add(line_feeds(token));
        at = end;
    }
    Ok(found)
}

/// The line feeds in a text.
pub(crate) fn line_feeds(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

/// A token whose end is missing.
#[derive(Clone, Copy)]
struct Unclosed {
    closing: &'static str,
}

impl Unclosed {
    fn message(self) -> String {
        format!("what begins here is never closed; add the missing `{}`", self.closing)
    }
}

/// The token that `text` begins with, whose first character is `c`: something quoted, a comment, or that character. A doubled
/// quote ends one token and begins the next, which comes to the same here.
fn token(text: &str, c: char) -> Result<&str, Unclosed> {
    let (opening, closing) = match c {
        '\'' => (1, "'"),
        '"' => (1, "\""),
        '`' => (1, "`"),
        '[' => (1, "]"),
        '/' if text.starts_with("/*") => (2, "*/"),
        '-' if text.starts_with("--") => {
            let length = text.find('\n').unwrap_or(text.len());
            return Ok(text.get(..length).unwrap_or(text));
        }
        _ => return Ok(text.get(..c.len_utf8()).unwrap_or(text)),
    };
    let body = text.get(opening..).unwrap_or_default();
    let length = body.find(closing).map(|at| opening + at + closing.len()).ok_or(Unclosed { closing })?;
    Ok(text.get(..length).unwrap_or(text))
}

/// White space as SQLite has it; a byte order mark counts, as for SQLite.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{feff}'
}

/// For SQLite a line comment ends at a line feed and nowhere else: what follows a lone carriage return would silently not run.
fn refuse_lone_return(comment: &str, line: u32) -> Result<(), Fault> {
    let hides = comment.split_once('\r').is_some_and(|(_, behind)| !behind.trim().is_empty());
    if hides {
        let message = "a carriage return alone ends no comment in SQLite, so what follows it would not run; save the file with LF or CRLF line ends";
        return Err(Fault::new(line, message));
    }
    Ok(())
}

/// What a comment asks for, if it is an annotation at all. Read as goose reads it: all double dashes and the first `+goose` are
/// taken out, and what is left must be a known word (`extractAnnotation` in
/// <https://github.com/pressly/goose/blob/main/internal/sqlparser/parser.go>). Case and the number of blanks are free.
fn word(comment: &str) -> Option<Word> {
    const MARK: &str = "+goose";
    let at = comment.to_ascii_lowercase().find(MARK)?;
    let before = comment.get(..at)?.replace("--", "");
    let behind = comment.get(at + MARK.len()..)?.replace("--", "");
    let words: Vec<&str> = before.split_whitespace().chain(behind.split_whitespace()).collect();
    let text = words.join(" ");
    Some(match text.to_ascii_lowercase().as_str() {
        "up" => Word::Up,
        "down" => Word::Down,
        "statementbegin" => Word::StatementBegin,
        "statementend" => Word::StatementEnd,
        "no transaction" => Word::NoTransaction,
        "envsub on" | "envsub off" => Word::EnvSub,
        _ => Word::Unknown(text.chars().take(60).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        find(text).unwrap().into_iter().map(|annotation| annotation.word).collect()
    }

    #[test]
    fn case_and_blanks_are_free() {
        for (line, word) in [
            ("-- +goose Up", Word::Up),
            ("-- +goose   UP \t", Word::Up),
            ("--+goose up", Word::Up),
            ("--+gooseUp", Word::Up),
            ("---- +Goose Up --", Word::Up),
            ("\t-- +goose down\r", Word::Down),
            ("\u{feff}-- +goose Up", Word::Up),
            ("-- +goose statementBEGIN", Word::StatementBegin),
            ("-- +goose StatementEnd", Word::StatementEnd),
            ("-- +goose no  transaction", Word::NoTransaction),
            ("-- +goose ENVSUB ON", Word::EnvSub),
            ("-- +goose ENVSUB OFF", Word::EnvSub),
            ("-- +goose", Word::Unknown(String::new())),
            ("-- +goose Up;", Word::Unknown("Up;".into())),
            ("-- +goose +goose Up", Word::Unknown("+goose Up".into())),
            ("-- see +goose Down", Word::Unknown("see Down".into())),
        ] {
            assert_eq!(words(line), [word], "{line:?}");
        }
    }

    #[test]
    fn what_is_no_line_of_its_own_is_no_annotation() {
        for text in [
            "",
            "SELECT 1; -- +goose Down",
            "SELECT '\n-- +goose Down\n'",
            "SELECT 'it''s\n-- +goose Down\n'",
            "SELECT \"\n-- +goose Down\n\", `\n-- +goose Down\n`, [\n-- +goose Down\n]",
            "/*\n-- +goose Down\n*/",
            "/*/\n-- +goose Down\n*/",
            "/* */ -- +goose Down",
            "/*\n*/ -- +goose Down",
            "- - +goose Down",
            "-- goose Down",
            "-- a comment with 'one quote\n-- and \"another /*\n",
        ] {
            assert_eq!(words(text), [], "{text:?}");
        }
    }

    #[test]
    fn quotes_inside_other_quotes_open_nothing() {
        let text = "SELECT '\"', \"'\", ']', [\"], '/*', '--', a ->> '$.b' -- it's\n/* it's */;\n-- +goose Down";
        assert_eq!(words(text), [Word::Down]);
    }

    #[test]
    fn an_annotation_knows_its_place() {
        let text = "-- ü\r\n -- +goose Up\r\nSELECT 1\n-- +goose Down";
        let found = find(text).unwrap();
        let [up, down] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((up.line, down.line), (2, 4));
        assert_eq!(text.get(up.start..up.end), Some(" -- +goose Up\r\n"));
        assert_eq!(text.get(up.dashes..up.end), Some("-- +goose Up\r\n"));
        assert_eq!(text.get(down.start..down.end), Some("-- +goose Down"));
        assert_eq!((up.before, down.before), (Before::Ended, Before::Open));
    }

    #[test]
    fn what_is_never_closed_is_found_where_it_begins() {
        for (text, closing) in
            [("'it''s", "'"), ("\"", "\""), ("`a", "`"), ("[a", "]"), ("/*/", "*/"), ("/* -- +goose Down", "*/")]
        {
            let fault = find(&format!("SELECT 'a\nb';\n{text}\n\n")).unwrap_err();
            assert_eq!(fault.line, 3, "{text}");
            assert!(fault.message.contains(&format!("`{closing}`")), "{}", fault.message);
        }
    }

    #[test]
    fn characters_that_would_hide_statements_are_refused() {
        assert_eq!(find("SELECT 1;\nSELECT \0").unwrap_err().line, 2);
        assert_eq!(find("SELECT 'a\n\0'").unwrap_err().line, 2);
        assert_eq!(find("-- a\0").unwrap_err().line, 1);
        assert_eq!(find("SELECT 1;\n-- one\rSELECT 2;\r").unwrap_err().line, 2);
        assert_eq!(find("SELECT\r1;\r-- one\r\r\n-- +goose Up\r").unwrap().len(), 1);
    }
}
