//! Files that git tracks or would track, and Rust text without its comments and literals.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A text file of the repository.
pub(super) struct File {
    /// Relative to the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// Every text file that git tracks or does not ignore; binary files are left out.
pub(super) fn tracked(root: &Path) -> Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("cannot start git, which lists the files to check")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|name| !name.is_empty()) {
        // A tracked file may be deleted in the working tree, and a binary one is not ours to read.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

/// Rust text with comments and literals blanked, lines kept, cut where its own tests begin.
pub(super) fn code(text: &str) -> String {
    blank(without_tests(text))
}

/// The text up to its own tests, which stand at the bottom of a file.
pub(super) fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code)
}

fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            out.extend(text[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            let char = text[at..].chars().next().expect("at lies on a border");
            out.push(char);
            at += char.len_utf8();
        }
    }
    out
}

/// End of the comment or literal that begins at `at`, or `at` if none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
    } else if rest.starts_with(b"/*") {
        at + find(rest, b"*/").map_or(rest.len(), |end| end + 2)
    } else if rest.starts_with(b"\"") {
        at + string_end(rest)
    } else if rest.starts_with(b"r") && !after_word {
        let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
        if rest.get(1 + hashes) != Some(&b'"') {
            return at;
        }
        let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
        let body = 2 + hashes;
        at + find(&rest[body..], &close).map_or(rest.len(), |end| body + end + close.len())
    } else if rest.starts_with(b"'\"'") {
        at + 3
    } else if rest.starts_with(b"'\\") {
        at + 2 + rest[3..].iter().position(|&byte| byte == b'\'').map_or(0, |end| end + 2)
    } else {
        at
    }
}

fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Line number of a byte, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text = "a // ort::x\n\"ort::\\\"y\" r#\"ort::z\n\"# b /* ort:: */ '\"' c '\\'' d";
        let blanked = blank(text);
        assert!(!blanked.contains("ort"), "{blanked}");
        assert_eq!(blanked.matches('\n').count(), text.matches('\n').count());
        assert_eq!(blanked.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_lifetime_is_no_literal() {
        assert_eq!(blank("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
    }

    #[test]
    fn the_files_own_tests_are_cut() {
        assert_eq!(code("use a;\n#[cfg(test)]\nmod tests {\n use crate::up;\n}\n"), "use a;");
    }
}
