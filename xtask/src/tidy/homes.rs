//! Each foreign library has one home: its name appears in no other folder.

use anyhow::{Result, ensure};

use super::source::{self, File};
use super::{Finding, table};

const HEADING: &str = "## Homes of foreign libraries";

pub(super) fn check(architecture: &str, files: &[File]) -> Result<Vec<Finding>> {
    let rows = table::rows(architecture, HEADING)?;
    ensure!(!rows.is_empty(), "ARCHITECTURE.md: no table under {HEADING:?}");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let code = source::code(&file.text);
        for row in &rows {
            let [libraries, homes, ..] = row.as_slice() else { continue };
            let homes = table::names(homes);
            if homes.iter().any(|home| file.path.starts_with(home.as_str())) {
                continue;
            }
            for library in table::names(libraries) {
                if let Some(at) = mention(&code, &library) {
                    findings.push(Finding {
                        place: format!("{}:{}", file.path, source::line_of(&code, at)),
                        what: format!("`{library}` is used only in {}", homes.join(", ")),
                    });
                }
            }
        }
    }
    Ok(findings)
}

/// Where `library::` or `use library` stands as a path's first name.
fn mention(code: &str, library: &str) -> Option<usize> {
    code.match_indices(library).map(|(at, _)| at).find(|&at| {
        let before = &code[..at];
        let after = &code[at + library.len()..];
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "_:.".contains(c)) || leading(before);
        let imported = before.trim_end().ends_with("use") && after.starts_with(';');
        begins && (after.starts_with("::") || imported)
    })
}

/// True after a `::` that begins a path, as in `::ort::Error`.
fn leading(before: &str) -> bool {
    before.strip_suffix("::").is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || "_>".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "## Homes of foreign libraries\n| Library | Only in |\n|---|---|\n| `ort` | `core/src/onnx` |\n";

    fn count(path: &str, text: &str) -> usize {
        check(TABLE, &[File { path: path.to_owned(), text: text.to_owned() }]).unwrap().len()
    }

    #[test]
    fn a_library_away_from_home_is_found() {
        for text in ["use ort::session;", "fn f(e: ort::Error) {}", "use ort;", "fn f(e: ::ort::Error) {}"] {
            assert_eq!(count("core/src/round.rs", text), 1, "{text}");
            assert_eq!(count("core/src/onnx/session.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn other_words_pass() {
        for text in ["mod port { } use port::x;", "// ort::x", "crate::ort::x", "let ort = 1;", "\"ort::\""] {
            assert_eq!(count("core/src/round.rs", text), 0, "{text}");
        }
    }
}
