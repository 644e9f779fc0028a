//! The workspace's crates depend on one another as ARCHITECTURE.md says, and in no other way.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Finding, table};
use crate::cargo;

const HEADING: &str = "## Crates";

/// Crate → crates of the workspace that it names.
type Graph = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(architecture: &str) -> Result<Vec<Finding>> {
    let allowed = parse(architecture)?;
    let output = cargo::command(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    Ok(compare(&allowed, &members(&metadata)))
}

/// The table lists crates in build order, so that a circle cannot even be written down.
fn parse(architecture: &str) -> Result<Graph> {
    let mut graph = Graph::new();
    for row in table::rows(architecture, HEADING)? {
        let [name, _, depends_on, ..] = row.as_slice() else { continue };
        let depends_on: BTreeSet<String> = table::names(depends_on).into_iter().collect();
        for name in table::names(name) {
            for dependency in &depends_on {
                ensure!(
                    graph.contains_key(dependency),
                    "ARCHITECTURE.md, {HEADING}: {name} depends on {dependency}, which is not listed above it"
                );
            }
            graph.insert(name, depends_on.clone());
        }
    }
    Ok(graph)
}

/// Dependencies of each member on other members; those of tests alone are free.
fn members(metadata: &Value) -> Graph {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = packages.clone().map(name).collect();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let shipped = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            (name(package), shipped.map(name).filter(|name| names.contains(name)).collect())
        })
        .collect()
}

fn compare(allowed: &Graph, actual: &Graph) -> Vec<Finding> {
    let finding = |what: String| Finding { place: "ARCHITECTURE.md".to_owned(), what };
    let mut findings = Vec::new();
    for (name, dependencies) in actual {
        match allowed.get(name) {
            None => findings.push(finding(format!("crate `{name}` is missing from the table of crates"))),
            Some(listed) => findings.extend(dependencies.difference(listed).map(|dependency| {
                finding(format!("`{name}` depends on `{dependency}`, which its row does not allow"))
            })),
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(rows: &[(&str, &[&str])]) -> Graph {
        rows.iter().map(|(name, on)| ((*name).to_owned(), on.iter().map(|name| (*name).to_owned()).collect())).collect()
    }

    #[test]
    fn a_dependency_against_the_table_is_found() {
        let text = "## Crates\n| Crate | Purpose | Depends on |\n|---|---|---|\n| `pack` | files | |\n| `core` | runs | `pack` |\n";
        let allowed = parse(text).unwrap();
        assert!(compare(&allowed, &graph(&[("pack", &[]), ("core", &["pack"])])).is_empty());
        assert_eq!(compare(&allowed, &graph(&[("pack", &["core"])])).len(), 1);
        assert_eq!(compare(&allowed, &graph(&[("stray", &[])])).len(), 1);
    }

    #[test]
    fn a_row_may_name_only_rows_above() {
        let text = "## Crates\n| Crate | Purpose | Depends on |\n|---|---|---|\n| `core` | runs | `pack` |\n| `pack` | files | |\n";
        assert!(parse(text).is_err());
    }

    #[test]
    fn dependencies_of_tests_do_not_count() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "dependencies": [{"name": "b", "kind": "dev"}, {"name": "serde", "kind": null}]},
            {"name": "b", "dependencies": [{"name": "a", "kind": null}]},
        ]});
        assert_eq!(members(&metadata), graph(&[("a", &[]), ("b", &["a"])]));
    }
}
