//! What every file must look like: its first line, its length, and no trace of one machine.

use super::Finding;
use super::source::{self, File};

/// A file longer than this, its own tests apart, has more than one reason to change, unless listed in [`LONG`].
const LINES_MAX: usize = 400;

/// Longer files, each with its reason.
const LONG: [(&str, &str); 1] = [("core/pack/src/onnx.rs", "the messages of one public schema, read as one table")];

/// Places of one machine and hosts of package registries, in halves so that this file does not name them.
const FOREIGN: [(&str, &str); 9] = [
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/ho", "me/"),
    ("/Us", "ers/"),
    ("C:\\\\Us", "ers"),
    ("arti", "factory"),
    ("index.crates", ".io"),
    ("files.python", "hosted"),
    ("registry.npm", "js"),
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(outdated_exception(file));
        let is_source = [".rs", ".kt", ".swift", ".py"].iter().any(|suffix| file.path.ends_with(suffix));
        if file.path.ends_with(".rs") && !file.text.starts_with("//!") {
            findings.push(finding(file, 1, "begins with a `//!` line that says what the file is for"));
        }
        let lines = source::without_tests(&file.text).lines().count();
        if is_source && lines > LINES_MAX && !LONG.iter().any(|(path, _)| *path == file.path) {
            let what = format!("{lines} lines, at most {LINES_MAX}; split it by step, or list it with its reason");
            findings.push(finding(file, LINES_MAX + 1, &what));
        }
        findings.extend(traces(file));
    }
    findings
}

/// A long file that was split needs no exception any more.
fn outdated_exception(file: &File) -> Option<Finding> {
    let listed = LONG.iter().any(|(path, _)| *path == file.path);
    let short = source::without_tests(&file.text).lines().count() <= LINES_MAX;
    (listed && short).then(|| finding(file, 1, "is no longer long; take it off the list of exceptions"))
}

fn traces(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (first, second) in FOREIGN {
        let trace = format!("{first}{second}");
        for (index, _) in file.text.lines().enumerate().filter(|(_, line)| mentions(line, &trace)) {
            findings.push(finding(file, index + 1, &format!("names a place of one machine or a registry: {trace}")));
        }
    }
    findings
}

/// A path counts only where it begins: `docs/work/` is ours.
fn mentions(line: &str, trace: &str) -> bool {
    line.match_indices(trace).any(|(at, _)| {
        !trace.starts_with('/') || !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}$".contains(c))
    })
}

fn finding(file: &File, line: usize, what: &str) -> Finding {
    Finding { place: format!("{}:{line}", file.path), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&[File { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn the_first_line_says_what_a_file_is_for() {
        assert_eq!(count("a.rs", "//! Words.\n"), 0);
        assert_eq!(count("a.rs", "use b;\n"), 1);
        assert_eq!(count("a.md", "words\n"), 0);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(count("a.rs", &format!("//! Words.\n{}", "x\n".repeat(399))), 0);
        assert_eq!(count("a.rs", &format!("//! Words.\n{}", "x\n".repeat(400))), 1);
    }

    #[test]
    fn a_place_of_one_machine_is_found() {
        assert_eq!(count("a.md", &["see /ro", "ot/x\n"].concat()), 1);
        assert_eq!(count("a.md", &["see docs/wo", "rk/x\n"].concat()), 0);
    }
}
