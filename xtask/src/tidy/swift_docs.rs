//! Every public declaration of the Swift package has a documentation comment.

use super::Finding;
use super::source::File;

/// The package's library sources.
const SOURCES: &str = "ios/Sources/";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let swift = files.iter().filter(|file| file.path.starts_with(SOURCES) && file.path.ends_with(".swift"));
    swift.flat_map(undocumented).collect()
}

fn undocumented(file: &File) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().map(str::trim_start).collect();
    let public = lines.iter().enumerate().filter(|(_, line)| line.starts_with("public ") && !line.contains(" import "));
    public
        .filter(|(index, _)| {
            let before = lines[..*index].iter().rev().find(|line| !line.starts_with('@'));
            !before.is_some_and(|line| line.starts_with("///"))
        })
        .map(|(index, line)| Finding {
            place: format!("{}:{}", file.path, index + 1),
            what: format!(
                "`{}` needs a documentation comment",
                line.split(['(', '{', ':', '=']).next().unwrap_or(line).trim()
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&[File { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn a_public_declaration_without_a_comment_is_found() {
        let path = "ios/Sources/A/B.swift";
        assert_eq!(
            count(path, "public struct A {\n    /// Words.\n    public var b = 0\n    public var c = 0\n}\n"),
            2
        );
        assert_eq!(count(path, "/// Words.\n@MainActor\npublic final class A {\n    let b = 0\n}\n"), 0);
        assert_eq!(count("ios/Tests/A/B.swift", "public struct A {}\n"), 0);
    }
}
