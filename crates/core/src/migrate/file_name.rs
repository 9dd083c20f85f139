//! Owns what a migration's file name says: its version, its name, and which of the two formats the file has.

/// What a file of this name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `001_init.sql`: goose's annotations count (<https://pressly.github.io/goose/documentation/annotations/>).
    Goose,
    /// `V1__init.sql`: run whole, as refinery does (<https://docs.rs/refinery>).
    Refinery,
}

/// A file name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    /// 1 and above: 0 is goose's mark for an empty history.
    pub(crate) version: i64,
    /// As written, without version and extension; never blank.
    pub(crate) name: &'a str,
    pub(crate) format: Format,
}

const FORMS: &str = "name it like 001_init.sql (digits, `_`, a name) or V1__init.sql (`V`, digits, `__`, a name)";

/// Takes `file` apart; folders before the name are passed over, and a name without a dot may leave `.sql` out. The error says
/// what is wrong and how to put it right.
pub(crate) fn read(file: &str) -> Result<FileName<'_>, String> {
    if file.contains(char::is_control) {
        return Err(format!("the name of this migration holds control characters; {FORMS}"));
    }
    let base = file.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = match base.rsplit_once('.') {
        Some((stem, extension)) if extension.eq_ignore_ascii_case("sql") => stem,
        Some((_, extension)) => return Err(format!("a migration ends in `.sql`, not in `.{extension}`; {FORMS}")),
        None => base,
    };
    if stem.to_ascii_lowercase().ends_with(".down") {
        return Err(
            "a file of Down statements alone is not run; put them behind a line `-- +goose Down` in the file of their Up part"
                .to_owned(),
        );
    }
    let (format, numbered) = match stem.strip_prefix('V') {
        Some(numbered) => (Format::Refinery, numbered),
        None => (Format::Goose, stem),
    };
    let rest = numbered.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = numbered.strip_suffix(rest).unwrap_or_default();
    if digits.is_empty() {
        return Err(without_version(stem));
    }
    let separator = match format {
        Format::Goose => "_",
        Format::Refinery => "__",
    };
    let Some(name) = rest.strip_prefix(separator) else {
        return Err(format!("`{separator}` and a name are missing behind the version {digits}; {FORMS}"));
    };
    if name.trim().is_empty() {
        return Err(format!("a name is missing behind the version {digits}; {FORMS}"));
    }
    match digits.parse() {
        Ok(0) => Err("version 0 stands for an empty history; number migrations from 1".to_owned()),
        Ok(version) => Ok(FileName { version, name, format }),
        Err(_) => Err(format!("version {digits} is too large; the largest is {}", i64::MAX)),
    }
}

/// Why a name that does not begin with a version is refused.
fn without_version(stem: &str) -> String {
    let repeatable = stem
        .strip_prefix(['U', 'R'])
        .is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("__"));
    if repeatable {
        "repeatable migrations (U1__name.sql, R__name.sql) are not supported: each migration runs once, by its version; name it V1__name.sql"
            .to_owned()
    } else {
        format!("a migration's name begins with its version; {FORMS}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_version_and_name() {
        use Format::{Goose, Refinery};
        for (file, version, name, format) in [
            ("001_init.sql", 1, "init", Goose),
            ("20240131120000_add users.sql", 20_240_131_120_000, "add users", Goose),
            ("./migrations/0010_add-users.v2.sql", 10, "add-users.v2", Goose),
            (r"C:\my.app\7_ümlaut.SQL", 7, "ümlaut", Goose),
            ("1__init.sql", 1, "_init", Goose),
            ("3_in_memory", 3, "in_memory", Goose),
            ("V1__init.sql", 1, "init", Refinery),
            ("V0012__add-users", 12, "add-users", Refinery),
            ("9223372036854775807_last.sql", i64::MAX, "last", Goose),
        ] {
            assert_eq!(read(file), Ok(FileName { version, name, format }), "{file}");
        }
    }

    #[test]
    fn a_refused_name_is_told_what_is_wrong() {
        for (file, part) in [
            ("", "begins with its version"),
            (".sql", "begins with its version"),
            ("init.sql", "begins with its version"),
            ("-1_init.sql", "begins with its version"),
            ("v1__init.sql", "begins with its version"),
            ("V__init.sql", "begins with its version"),
            ("١_init.sql", "begins with its version"),
            ("001_folder/", "begins with its version"),
            ("U1__views.sql", "repeatable"),
            ("R__views.sql", "repeatable"),
            ("001.sql", "`_` and a name are missing behind the version 001"),
            ("001-init.sql", "`_` and a name are missing"),
            ("V1_init.sql", "`__` and a name are missing"),
            ("V1.2__init.sql", "`__` and a name are missing"),
            ("001_.sql", "a name is missing"),
            ("001_ .sql", "a name is missing"),
            ("V1__.sql", "a name is missing"),
            ("0_init.sql", "version 0"),
            ("V000__init.sql", "version 0"),
            ("9223372036854775808_init.sql", "too large"),
            ("001_init.sql.bak", "not in `.bak`"),
            ("001_init.", "not in `.`"),
            ("001_init.down.sql", "-- +goose Down"),
            ("001_a\u{1f}b.sql", "control characters"),
        ] {
            let message = read(file).unwrap_err();
            assert!(message.contains(part), "{file:?}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_told_what_is_wrong_or_gives_what_is_in_it(file in r"(\PC|[./\\_ 0-9Vv\n]){0,40}(\.sql)?") {
            match read(&file) {
                Ok(FileName { version, name, .. }) => {
                    proptest::prop_assert!(version > 0 && !name.trim().is_empty() && file.contains(name));
                    proptest::prop_assert!(file.contains(&version.to_string()));
                }
                Err(why) => proptest::prop_assert!(!why.is_empty()),
            }
        }
    }
}
