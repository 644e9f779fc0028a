//! Inside `core`, a file imports from its own layer or a lower one, and never in a circle.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::source::{self, File};
use super::{Finding, table};

const HEADING: &str = "## Layers of the runtime";
const FOLDER: &str = "core/src/";

/// Module → layer.
type Layers = BTreeMap<String, usize>;

pub(super) fn check(architecture: &str, files: &[File]) -> Result<Vec<Finding>> {
    let layers = parse(architecture)?;
    let core: Vec<&File> =
        files.iter().filter(|file| file.path.starts_with(FOLDER) && file.path.ends_with(".rs")).collect();
    let root = core.iter().find(|file| file.path == "core/src/lib.rs").context("core/src/lib.rs is missing")?;
    let exports = exports(&source::code(&root.text));

    let mut findings = Vec::new();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in core.iter().filter(|file| file.path != root.path && !file.path.ends_with("/tests.rs")) {
        let module = module_of(&file.path);
        let Some(&layer) = layers.get(&module) else {
            findings.push(Finding {
                place: file.path.clone(),
                what: format!("module `{module}` is in no layer; add it to the table in ARCHITECTURE.md"),
            });
            continue;
        };
        for (line, name) in crate_names(&source::code(&file.text)) {
            let target = exports.get(&name).cloned().unwrap_or(name);
            if target == module {
                continue;
            }
            match layers.get(&target) {
                Some(&other) if other <= layer => {
                    imports.entry(module.clone()).or_default().insert(target);
                }
                Some(&other) => findings.push(Finding {
                    place: format!("{}:{line}", file.path),
                    what: format!("layer {layer} imports `{target}` of layer {other}; imports point down"),
                }),
                None => findings.push(Finding {
                    place: format!("{}:{line}", file.path),
                    what: format!("`crate::{target}` is neither a module in a layer nor exported by one"),
                }),
            }
        }
    }
    findings.extend(circle(&imports).map(|modules| Finding {
        place: FOLDER.to_owned(),
        what: format!("modules import each other in a circle: {}", modules.join(" → ")),
    }));
    Ok(findings)
}

fn parse(architecture: &str) -> Result<Layers> {
    let mut layers = Layers::new();
    for row in table::rows(architecture, HEADING)? {
        let [layer, modules, ..] = row.as_slice() else { continue };
        let layer = layer.parse().with_context(|| format!("{HEADING}: {layer:?} is no layer number"))?;
        layers.extend(table::names(modules).into_iter().map(|module| (module, layer)));
    }
    Ok(layers)
}

/// `core/src/onnx/session.rs` → `onnx`.
fn module_of(path: &str) -> String {
    let rest = path.strip_prefix(FOLDER).unwrap_or(path);
    rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs").to_owned()
}

/// Item → module, from the `pub use module::{…}` lines of the crate's root.
fn exports(root: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for statement in root.split(';') {
        let Some(at) = statement.find("use ") else { continue };
        let path: String = statement[at + 4..].split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((module, items)) = path.split_once("::") else { continue };
        for item in items.trim_matches(['{', '}']).split([',', '{', '}']) {
            let name = item.rsplit(" as ").next().unwrap_or(item).rsplit("::").next().unwrap_or(item).trim();
            if !name.is_empty() {
                exports.insert(name.to_owned(), module.trim().to_owned());
            }
        }
    }
    exports
}

/// First names after `crate::`, with their lines; `crate::{a::b, C}` gives `a` and `C`.
fn crate_names(code: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let line = source::line_of(code, at);
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(group_names(group).into_iter().map(|name| (line, name)));
        } else {
            names.push((line, identifier(rest)));
        }
    }
    names
}

fn group_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 1;
    let mut item_start = true;
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => item_start = true,
            _ if char.is_whitespace() => {}
            _ => {
                if item_start {
                    names.push(identifier(&group[at..]));
                }
                item_start = false;
            }
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
}

/// A circle among the modules, first and last name equal.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(at: &str, imports: &BTreeMap<String, BTreeSet<String>>, path: &mut Vec<String>) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|name| name == at) {
            return Some(path[start..].iter().cloned().chain([at.to_owned()]).collect());
        }
        path.push(at.to_owned());
        let found = imports.get(at).into_iter().flatten().find_map(|next| visit(next, imports, path));
        path.pop();
        found
    }
    imports.keys().find_map(|start| visit(start, imports, &mut Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "## Layers of the runtime\n| Layer | Files |\n|---|---|\n| 0 | `error`, `token` |\n\
                         | 1 | `low`, `side` |\n| 2 | `high` |\n";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let root = ("core/src/lib.rs", "pub use error::{Error, Result};\npub use high::Top;\n");
        let files: Vec<File> = files
            .iter()
            .chain([&root])
            .map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        check(TABLE, &files)
            .unwrap()
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn downward_imports_pass() {
        assert!(found(&[("core/src/high.rs", "use crate::{Error, low::{a, b}};\nuse crate::side;")]).is_empty());
    }

    #[test]
    fn an_upward_import_is_found_also_through_the_root() {
        let findings = found(&[("core/src/low.rs", "//! .\n\nuse crate::{Error, Top};")]);
        assert_eq!(findings, ["core/src/low.rs:3: layer 1 imports `high` of layer 2; imports point down"]);
    }

    #[test]
    fn a_circle_in_one_layer_is_found() {
        let findings =
            found(&[("core/src/low.rs", "use crate::side::x;"), ("core/src/side/mod.rs", "use crate::low::y;")]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("low → side → low"), "{findings:?}");
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert!(found(&[("core/src/stray.rs", "")])[0].contains("`stray` is in no layer"));
    }
}
