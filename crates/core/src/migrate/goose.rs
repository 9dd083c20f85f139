//! Owns the parts of a migration file: what its Up and Down are, by goose's annotations, and which orders of them are refused.

use super::annotations::{Annotation, Before, Fault, Word, find, line_feeds};
use super::source::Script;
use crate::text::skip_blank;

/// A file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) up: Script,
    /// None as well where `-- +goose Down` stands alone: nothing in it would undo the Up part.
    pub(crate) down: Option<Script>,
    /// False with `-- +goose NO TRANSACTION`, which holds for both parts.
    pub(crate) transaction: bool,
    /// What the checksum of the Up part is made of.
    pub(crate) checked: String,
}

/// A file of goose's format, or one without any annotation, which is all Up. `text` has no byte order mark at its begin.
pub(crate) fn split(text: &str) -> Result<Parts, Fault> {
    let annotations = find(text)?;
    let mut file = File { text, part: Part::Preamble, block: None, transaction: true };
    for annotation in &annotations {
        file.step(annotation)?;
    }
    if let Some(line) = file.block {
        return Err(block_open(line, "the end of the file"));
    }
    let (up, down) = match file.part {
        Part::Preamble if annotations.is_empty() => (Range { start: 0, end: text.len(), line: 1, annotated: 1 }, None),
        Part::Preamble => return Err(Fault::new(1, "no line `-- +goose Up`; put one before the statements")),
        Part::Up(up) => (up, None),
        Part::Down(up, down) => (up, Some(down)),
    };
    let ended = end_blocks(text, &annotations);
    let is_empty = |range: Range| skip_blank(range.of(text)).is_empty();
    if is_empty(up) {
        let message = "the Up part holds no statement; write `SELECT 1;` if there is nothing to do";
        return Err(Fault::new(up.annotated, message));
    }
    Ok(Parts {
        up: up.script(&ended),
        down: down.filter(|down| !is_empty(*down)).map(|down| down.script(&ended)),
        transaction: file.transaction,
        checked: checked(text, up, &annotations),
    })
}

/// A file of refinery's format: it has one part. Annotations in it are refused, because the Down part would be run as well.
pub(crate) fn whole(text: &str) -> Result<Parts, Fault> {
    let known = |annotation: &Annotation| !matches!(annotation.word, Word::Unknown(_));
    let annotations = find(text)?;
    if let Some(annotation) = annotations.iter().find(|annotation| known(annotation)) {
        let message = "a file named V1__name.sql is run whole and takes no goose annotations; name it 001_name.sql";
        return Err(Fault::new(annotation.line, message));
    }
    let up = Range { start: 0, end: text.len(), line: 1, annotated: 1 };
    if skip_blank(text).is_empty() {
        return Err(Fault::new(1, "the file holds no statement; write `SELECT 1;` if there is nothing to do"));
    }
    Ok(Parts { up: up.script(text), down: None, transaction: true, checked: checked(text, up, &[]) })
}

/// A part of a file: whole lines of it.
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    end: usize,
    /// The line of its begin.
    line: u32,
    /// The line of the annotation before it.
    annotated: u32,
}

impl Range {
    /// What follows `annotation`, as far as is known yet.
    fn behind(annotation: &Annotation, text: &str) -> Self {
        let line = annotation.line.saturating_add(1);
        Self { start: annotation.end, end: text.len(), line, annotated: annotation.line }
    }

    fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    fn script(&self, text: &str) -> Script {
        Script { text: self.of(text).to_owned(), first_line: self.line }
    }
}

/// Where in the file an annotation is met.
#[derive(Clone, Copy)]
enum Part {
    Preamble,
    Up(Range),
    Down(Range, Range),
}

/// What is known of a file behind its last annotation read.
struct File<'a> {
    text: &'a str,
    part: Part,
    /// The line of the `StatementBegin` that has no `StatementEnd` yet.
    block: Option<u32>,
    transaction: bool,
}

impl File<'_> {
    fn step(&mut self, annotation: &Annotation) -> Result<(), Fault> {
        let line = annotation.line;
        let fault = |message: &str| Err(Fault::new(line, message));
        match (&annotation.word, self.part, self.block) {
            (Word::Up, _, Some(begin)) => return Err(block_open(begin, "`-- +goose Up`")),
            (Word::Down, _, Some(begin)) => return Err(block_open(begin, "`-- +goose Down`")),
            (Word::Up, Part::Preamble, None) => {
                if let Some(line) = self.first_statement(annotation.start) {
                    let message = "a statement stands before the first `-- +goose Up`; move it behind that line";
                    return Err(Fault::new(line, message));
                }
                self.part = Part::Up(Range::behind(annotation, self.text));
            }
            (Word::Up, _, None) => {
                return fault("a second `-- +goose Up`; keep one Up part in a file, before its Down part");
            }
            (Word::Down, Part::Preamble, None) => {
                return fault("`-- +goose Down` stands before `-- +goose Up`; put the Up part first");
            }
            (Word::Down, Part::Up(up), None) => {
                let up = Range { end: annotation.start, ..up };
                self.part = Part::Down(up, Range::behind(annotation, self.text));
            }
            (Word::Down, Part::Down(..), None) => {
                return fault("a second `-- +goose Down`; keep one Down part in a file, behind its Up part");
            }
            (Word::StatementBegin, Part::Preamble, _) => {
                return fault("`-- +goose StatementBegin` stands before `-- +goose Up`; move it behind that line");
            }
            (Word::StatementBegin, _, None) => self.block = Some(line),
            (Word::StatementBegin, _, Some(begin)) => {
                return Err(Fault::new(
                    line,
                    format!(
                        "a second `-- +goose StatementBegin` in the block of line {begin}; end that one with `-- +goose StatementEnd` first"
                    ),
                ));
            }
            (Word::StatementEnd, _, Some(_)) => self.block = None,
            (Word::StatementEnd, _, None) => {
                return fault(
                    "`-- +goose StatementEnd` without a `-- +goose StatementBegin` before it; remove it or add that line",
                );
            }
            (Word::NoTransaction, ..) => {
                if self.transaction && self.first_statement(annotation.start).is_some() {
                    return fault(
                        "`-- +goose NO TRANSACTION` holds for the whole file; move it before the first statement",
                    );
                }
                self.transaction = false;
            }
            (Word::EnvSub, ..) => {
                return fault(
                    "environment substitution is not supported; write the values out and remove `-- +goose ENVSUB`",
                );
            }
            (Word::Unknown(text), ..) => {
                return Err(Fault::new(
                    line,
                    format!(
                        "`{text}` is no goose annotation; a comment line with `+goose` is one of Up, Down, StatementBegin, StatementEnd, NO TRANSACTION and has nothing else in it"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The line of the first statement before the offset `end`.
    fn first_statement(&self, end: usize) -> Option<u32> {
        let before = self.text.get(..end)?;
        let statement = skip_blank(before);
        let blank = before.strip_suffix(statement)?;
        (!statement.is_empty()).then(|| line_feeds(blank).saturating_add(1))
    }
}

/// A block that the file does not end before `met`.
fn block_open(begin: u32, met: &str) -> Fault {
    Fault::new(
        begin,
        format!(
            "this `-- +goose StatementBegin` has no `-- +goose StatementEnd` before {met}; add one behind the statement"
        ),
    )
}

/// `text` with a semicolon at each `StatementEnd` whose statement has none: for goose the block alone ends it, for SQLite only a
/// semicolon does. No offset changes: `-- +goose` becomes `;--+goose`.
fn end_blocks(text: &str, annotations: &[Annotation]) -> String {
    let mut ended = text.to_owned();
    let open = |annotation: &&Annotation| annotation.word == Word::StatementEnd && annotation.before == Before::Open;
    for annotation in annotations.iter().filter(open) {
        let dashes = annotation.dashes;
        let behind = text.get(dashes + 2..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        if let Some(pad) = behind.checked_sub(1) {
            ended.replace_range(dashes..dashes + 2 + behind, &format!(";--{}", " ".repeat(pad)));
        }
    }
    ended
}

/// What stays the same however a file is saved: the Up part without annotation lines, with LF line ends, without blanks at the
/// ends of lines and without blank lines at both ends.
fn checked(text: &str, up: Range, annotations: &[Annotation]) -> String {
    let mut kept = String::with_capacity(up.of(text).len());
    let mut from = up.start;
    for annotation in annotations.iter().filter(|annotation| annotation.start >= up.start && annotation.start < up.end)
    {
        kept.push_str(text.get(from..annotation.start).unwrap_or_default());
        from = annotation.end;
    }
    kept.push_str(text.get(from..up.end).unwrap_or_default());
    let kept = kept.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = kept.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\u{b}', '\u{c}'])).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str, first_line: u32) -> Script {
        Script { text: text.to_owned(), first_line }
    }

    fn refused(text: &str) -> (u32, String) {
        let fault = split(text).unwrap_err();
        (fault.line, fault.message)
    }

    #[test]
    fn up_and_down_are_the_lines_behind_their_annotations() {
        let parts = split("-- a note\n\n-- +goose Up\nCREATE TABLE a (x);\n\n-- +goose Down\nDROP TABLE a;").unwrap();
        assert_eq!(parts.up, script("CREATE TABLE a (x);\n\n", 4));
        assert_eq!(parts.down, Some(script("DROP TABLE a;", 7)));
        assert!(parts.transaction);
        assert_eq!(parts.checked, "CREATE TABLE a (x);");
    }

    #[test]
    fn a_file_without_annotations_is_all_up() {
        let text = "-- first\nCREATE TABLE a (x);\nINSERT INTO a VALUES ('-- +goose Down');";
        let parts = split(text).unwrap();
        assert_eq!((parts.up, parts.down), (script(text, 1), None));
    }

    #[test]
    fn a_part_of_comments_alone_is_empty() {
        assert_eq!(refused("").0, 1);
        assert_eq!(refused("-- nothing\n/* at all */;").0, 1);
        assert_eq!(refused("\n-- +goose Up").0, 2);
        let (line, message) = refused("\n-- +goose Up\n-- later\n-- +goose Down\nDROP TABLE a;");
        assert_eq!(line, 2);
        assert!(message.contains("SELECT 1;"), "{message}");
        assert_eq!(split("-- +goose Up\nSELECT 1;\n-- +goose Down\n-- cannot be undone\n").unwrap().down, None);
        assert_eq!(split("-- +goose Up\nSELECT 1;\n-- +goose Down").unwrap().down, None);
    }

    #[test]
    fn a_trigger_keeps_its_body() {
        let trigger =
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  UPDATE a SET x = 'end;';\n  -- BEGIN; it's over;\nEND;\n";
        let block = format!("-- +goose StatementBegin\n{trigger}-- +goose StatementEnd\n");
        let parts = split(&format!("-- +goose Up\n{block}")).unwrap();
        assert_eq!(parts.up, script(&block, 2));
        assert_eq!(parts.checked, trigger.trim_end());
        assert_eq!(split(&format!("-- +goose Up\n{trigger}")).unwrap().checked, parts.checked);
    }

    #[test]
    fn a_block_ends_its_statement_without_a_semicolon() {
        let block = "-- +goose StatementBegin\nDROP TABLE a -- no; semicolon\n-- +goose StatementEnd\n";
        let text = format!("-- +goose Up\n{block}{block}DROP TABLE b\n-- +goose Down\n{block}");
        let parts = split(&text).unwrap();
        let ended = block.replace("-- +goose StatementEnd", ";--+goose StatementEnd");
        assert_eq!(parts.up.text, format!("{ended}{ended}DROP TABLE b\n"));
        assert_eq!(parts.down.unwrap().text, ended);
        assert_eq!(parts.checked, "DROP TABLE a -- no; semicolon\nDROP TABLE a -- no; semicolon\nDROP TABLE b");
        let wide =
            split("-- +goose Up\n--\u{3000}+goose StatementBegin\nSELECT 1\n--\u{3000}+goose StatementEnd").unwrap();
        assert!(wide.up.text.ends_with("SELECT 1\n;--  +goose StatementEnd"), "{:?}", wide.up.text);
    }

    #[test]
    fn a_block_that_is_not_closed_is_found_where_it_begins() {
        let begun = "-- +goose Up\nSELECT 1;\n-- +goose StatementBegin\nSELECT 2;\n";
        assert_eq!(refused(begun).0, 3);
        assert_eq!(refused(&format!("{begun}-- +goose Down\n")).0, 3);
        assert_eq!(refused(&format!("{begun}-- +goose Up\n")).0, 3);
        let (line, message) = refused(&format!("{begun}-- +goose StatementBegin\n"));
        assert_eq!(line, 5);
        assert!(message.contains("line 3"), "{message}");
        assert_eq!(refused("-- +goose Up\nSELECT 1;\n-- +goose StatementEnd").0, 3);
        assert_eq!(refused("-- +goose StatementBegin\n-- +goose Up").0, 1);
    }

    #[test]
    fn parts_in_another_order_are_refused() {
        for (text, line, part) in [
            ("SELECT 1;\n-- +goose Up\nSELECT 2;", 1, "before the first"),
            ("/* a\n */ -- b\n\n  SELECT 1;\n-- +goose Up\nSELECT 2;", 4, "before the first"),
            ("-- +goose Down\nSELECT 1;", 1, "put the Up part first"),
            ("-- +goose Down\nSELECT 1;\n-- +goose Up\nSELECT 1;", 1, "put the Up part first"),
            ("-- +goose Up\nSELECT 1;\n-- +goose Up\nSELECT 2;", 3, "a second `-- +goose Up`"),
            ("-- +goose Up\nSELECT 1;\n-- +goose Down\n-- +goose Up", 4, "a second `-- +goose Up`"),
            ("-- +goose Up\nSELECT 1;\n-- +goose Down\n-- +goose Down", 4, "a second `-- +goose Down`"),
            ("-- +goose NO TRANSACTION\nVACUUM;", 1, "no line `-- +goose Up`"),
            ("-- +goose Up\n-- +goose ENVSUB ON\nSELECT 1;", 2, "environment substitution"),
            ("-- +goose Up\n-- +goose Sideways\nSELECT 1;", 2, "`Sideways` is no goose annotation"),
            ("-- +goose Up\nSELECT 'a\nb", 2, "never closed"),
        ] {
            let (at, message) = refused(text);
            assert_eq!(at, line, "{text:?}: {message}");
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }

    #[test]
    fn no_transaction_stands_before_the_first_statement() {
        let mark = "-- +goose NO TRANSACTION\n";
        for text in [
            format!("{mark}-- +goose Up\nVACUUM;"),
            format!("-- +goose Up\n{mark}VACUUM;"),
            format!("-- +goose Up\n-- why\n{mark}VACUUM;\n-- +goose Down\n{mark}VACUUM;"),
        ] {
            let parts = split(&text).unwrap();
            assert!(!parts.transaction, "{text}");
            assert!(parts.checked.ends_with("VACUUM;") && !parts.checked.contains("TRANSACTION"), "{text}");
        }
        assert_eq!(refused(&format!("-- +goose Up\nVACUUM;\n{mark}")).0, 3);
        assert_eq!(refused(&format!("-- +goose Up\nVACUUM;\n-- +goose Down\n{mark}")).0, 4);
    }

    #[test]
    fn a_file_of_refinery_is_run_whole() {
        let text = "-- moved here from +goose\nCREATE TABLE a (x);";
        let parts = whole(text).unwrap();
        assert_eq!((parts.up, parts.down, parts.transaction), (script(text, 1), None, true));
        assert_eq!(parts.checked, text);
        assert_eq!(whole("CREATE TABLE a (x);\n-- +goose Down\nDROP TABLE a;").unwrap_err().line, 2);
        assert_eq!(whole("-- later").unwrap_err().line, 1);
    }

    #[test]
    fn the_checked_text_does_not_see_how_a_file_is_saved() {
        let saved = "-- +goose Up\n\nCREATE TABLE a (\n  x\n);\n\n-- more\nSELECT ' y';\n-- +goose Down\nSELECT 1;\n";
        let checked = split(saved).unwrap().checked;
        assert_eq!(checked, "CREATE TABLE a (\n  x\n);\n\n-- more\nSELECT ' y';");
        for other in [
            saved.replace('\n', "\r\n"),
            saved.replace('\n', " \t\n"),
            saved
                .replace("-- +goose Up\n", "-- a note\n--+goose UP\n-- +goose StatementBegin\n")
                .replace("-- +goose Down", "-- +goose StatementEnd\n\n-- +goose Down\n-- a note"),
        ] {
            assert_eq!(split(&other).unwrap().checked, checked, "{other:?}");
        }
        assert_ne!(split(&saved.replace("  x", " x")).unwrap().checked, checked);
    }
}
