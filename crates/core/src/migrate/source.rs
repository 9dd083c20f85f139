//! Owns what a set of migration files says, before any database is touched: names, versions, parts and checked text.

use std::fmt;

use super::annotations::Fault;
use super::file_name::{self, FileName, Format};
use super::goose::{self, Parts};

/// One migration: a file, read and found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Migration {
    /// 1 and above; no other migration of the set has it.
    pub(crate) version: i64,
    /// As written in the file name, without version and extension.
    pub(crate) name: String,
    /// The file name as given.
    pub(crate) file: String,
    pub(crate) up: Script,
    /// None: the file has no statement in a Down part.
    pub(crate) down: Option<Script>,
    /// False: `-- +goose NO TRANSACTION`.
    pub(crate) transaction: bool,
    /// What the checksum is made of: the Up part without byte order mark and annotation lines, with LF line ends, without blanks
    /// at the ends of lines and without blank lines at both ends.
    pub(crate) checked: String,
    /// The name with `_` for everything that refinery would cut it at.
    pub(crate) checked_name: String,
}

/// Whole lines of a file, so that an offset in them gives a line of the file. Annotations are left in as comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) text: String,
    /// The line of the file that `text` begins with, counted from 1.
    pub(crate) first_line: u32,
}

/// A set of migrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Migrations {
    /// Ascending by version.
    pub(crate) list: Vec<Migration>,
}

/// A file that is not a migration, or not a right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceError {
    /// The file name as given.
    pub(crate) file: String,
    /// Counted from 1; None when it is the name that is wrong.
    pub(crate) line: Option<u32>,
    /// What is wrong, and how to put it right.
    pub(crate) message: String,
}

impl SourceError {
    /// Control characters are replaced: the message of an error travels with its fields separated by one.
    fn new(file: &str, line: Option<u32>, message: &str) -> Self {
        let printable = |text: &str| text.replace(char::is_control, "\u{fffd}");
        Self { file: printable(file), line, message: printable(message) }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// The migrations of `files`, each a name and its text; no file is no migration. All names are looked at before any text, and
/// the first error in order of version is the one that is told.
pub(crate) fn parse(files: &[(String, String)]) -> Result<Migrations, SourceError> {
    let mut named = Vec::with_capacity(files.len());
    for (file, text) in files {
        let name = file_name::read(file).map_err(|message| SourceError::new(file, None, &message))?;
        named.push((name, file.as_str(), text.as_str()));
    }
    named.sort_by_key(|(name, file, _)| (name.version, *file));
    for (one, other) in named.iter().zip(named.iter().skip(1)) {
        let ((name, first, _), (second_name, second, _)) = (one, other);
        if name.version == second_name.version {
            let message =
                format!("version {} is given twice, by {first} and {second}; give one of them another", name.version);
            return Err(SourceError::new(second, None, &message));
        }
    }
    let list = named.into_iter().map(|(name, file, text)| migration(name, file, text)).collect::<Result<_, _>>()?;
    Ok(Migrations { list })
}

fn migration(
    FileName { version, name, format }: FileName<'_>,
    file: &str,
    text: &str,
) -> Result<Migration, SourceError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parts = match format {
        Format::Goose => goose::split(text),
        Format::Refinery => goose::whole(text),
    };
    let Parts { up, down, transaction, checked } =
        parts.map_err(|Fault { line, message }| SourceError::new(file, Some(line), &message))?;
    let checked_name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
    Ok(Migration {
        version,
        name: name.to_owned(),
        file: file.to_owned(),
        up,
        down,
        transaction,
        checked,
        checked_name,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(files: &[(&str, &str)]) -> Result<Migrations, SourceError> {
        let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        parse(&files)
    }

    #[test]
    fn a_set_is_in_order_of_version() {
        let set = set(&[
            ("./migrations/010_add-users table.sql", "-- +goose Up\nSELECT 10;\n-- +goose Down\nSELECT 9;"),
            ("V9__ninth.sql", "SELECT 9;"),
            ("1_ä", "SELECT 1;"),
        ])
        .unwrap();
        let names: Vec<_> =
            set.list.iter().map(|m| (m.version, m.name.as_str(), m.checked_name.as_str(), m.file.as_str())).collect();
        assert_eq!(
            names,
            [
                (1, "ä", "_", "1_ä"),
                (9, "ninth", "ninth", "V9__ninth.sql"),
                (10, "add-users table", "add_users_table", "./migrations/010_add-users table.sql"),
            ]
        );
        assert_eq!(set.list[2].down, Some(Script { text: "SELECT 9;".into(), first_line: 4 }));
    }

    #[test]
    fn no_files_are_no_migrations() {
        assert_eq!(set(&[]), Ok(Migrations::default()));
    }

    #[test]
    fn a_version_given_twice_names_both_files() {
        let error = set(&[("V1__b.sql", "SELECT 1;"), ("2_c.sql", ""), ("001_a.sql", "SELECT 1;")]).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("V1__b.sql", None));
        assert!(error.message.contains("001_a.sql") && error.message.contains("V1__b.sql"), "{error}");
    }

    #[test]
    fn an_error_names_file_and_line() {
        let error = set(&[("1_a.sql", "SELECT 1;"), ("2_b.sql", "\n-- +goose Down\n")]).unwrap_err();
        assert!(error.to_string().starts_with("2_b.sql:2: "), "{error}");
        let error = set(&[("1_a.sql", ""), ("b.sql", "SELECT 1;")]).unwrap_err();
        assert!(error.to_string().starts_with("b.sql: "), "{error}");
    }

    #[test]
    fn an_error_holds_no_control_characters() {
        let error = set(&[("1_\u{1f}.sql", "")]).unwrap_err();
        assert_eq!(error.file, "1_\u{fffd}.sql");
        let error = set(&[("1_a.sql", "-- +goose \u{1f}Up")]).unwrap_err();
        assert!(!error.message.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_script() {
        for (text, up, line) in
            [("\u{feff}SELECT 1;", "SELECT 1;", 1), ("\u{feff}-- +goose Up\r\nSELECT 1;\r\n", "SELECT 1;\r\n", 2)]
        {
            let set = set(&[("1_a.sql", text)]).unwrap();
            assert_eq!(set.list[0].up, Script { text: up.into(), first_line: line });
            assert_eq!(set.list[0].checked, "SELECT 1;");
        }
    }

    /// Text that is likely to come near every branch.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "-- +goose Up\n", "-- +goose Down\n", "-- +goose StatementBegin\n", "-- +goose StatementEnd\n",
                "-- +goose NO TRANSACTION\n", "--\u{3000}+goose StatementEnd\n", "SELECT 1;\n", "SELECT 1\n",
            ]),
            1 => prop::sample::select(vec![
                "'", "\"", "`", "[", "]", "/*", "*/", "--", "+goose", ";", "\n", "\r", " ", "\u{feff}", "ü", "\0", "'\n'",
                "-- it's\n", "-- +goose x\n",
            ]),
            1 => prop::sample::select(vec!["/*\n-- +goose Down\n*/\n", "SELECT '\n-- +goose Up\n';\n", "-- a note\n"]),
        ];
        prop_oneof![
            1 => any::<String>(),
            3 => prop::collection::vec(piece.clone(), 0..12).prop_map(|pieces| pieces.concat()),
            3 => prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("-- +goose Up\nSELECT 0;\n{}", pieces.concat())),
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_refused_in_a_line_of_it_or_gives_lines_of_it(text in text(), version in 0_u8..3, v in any::<bool>()) {
            let name = if v { format!("V{version}__a.sql") } else { format!("{version}_a.sql") };
            let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(&text).split('\n').collect();
            match parse(&[(name, text.clone())]) {
                Err(error) => prop_assert!(error.line.is_none_or(|line| (1..=lines.len()).contains(&(line as usize)))),
                Ok(Migrations { list }) => {
                    for script in list.iter().flat_map(|migration| [Some(&migration.up), migration.down.as_ref()]).flatten() {
                        for (index, line) in script.text.split('\n').enumerate() {
                            let in_file = lines[script.first_line as usize - 1 + index];
                            let same = line == in_file || line.trim_start().starts_with(";--") && line.len() == in_file.len();
                            prop_assert!(same || line.is_empty(), "{line:?} {in_file:?}");
                        }
                    }
                    prop_assert!(!list[0].checked.contains('\r'));
                }
            }
        }

        #[test]
        fn line_ends_change_neither_the_verdict_nor_the_checked_text(text in text()) {
            let text = text.replace('\r', "");
            let verdict = |text: String| parse(&[("1_a.sql".to_owned(), text)]).map(|set| {
                set.list.into_iter().map(|migration| (migration.checked, migration.transaction)).collect::<Vec<_>>()
            });
            prop_assert_eq!(verdict(text.replace('\n', "\r\n")), verdict(text));
        }
    }
}
