//! Markdown tables under a heading.

use anyhow::{Context, Result};

/// Rows of the first table after the line `heading`, without its header, cells trimmed.
pub(super) fn rows(text: &str, heading: &str) -> Result<Vec<Vec<String>>> {
    let mut lines = text.lines().skip_while(|line| line.trim() != heading);
    lines.next().with_context(|| format!("ARCHITECTURE.md has no heading {heading:?}"))?;
    let table: Vec<&str> =
        lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2).collect();
    Ok(table
        .into_iter()
        .map(|line| line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect())
}

/// The words in backticks.
pub(super) fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_right_table() {
        let text = "## A\n\n| x |\n|---|\n| no |\n\n## B\nwords\n| x | y |\n|---|---|\n| 0 | `a`, `b` |\n\n| z |\n";
        assert_eq!(rows(text, "## B").unwrap(), [["0", "`a`, `b`"]]);
        assert_eq!(names("`a`, `b` and c"), ["a", "b"]);
        assert!(rows(text, "## C").is_err());
    }
}
