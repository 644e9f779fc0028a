//! One TOML file per experiment; command-line settings override it.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::IoContext;
use crate::{Error, Result};

/// Reads a recipe and applies `key=value` overrides, where a key is dotted (`train.steps=100`).
///
/// A value is TOML; what is not TOML is taken as text.
///
/// # Errors
/// `Io`, `Format` with TOML's message, or `Setting` for an override that fits nowhere.
pub fn load<T: DeserializeOwned>(path: &Path, overrides: &[String]) -> Result<T> {
    parse(path, &std::fs::read_to_string(path).at(path)?, overrides)
}

/// As [`load`], of a recipe's text; `path` names it in errors.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str, overrides: &[String]) -> Result<T> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| Error::format(path, error.to_string()))?;
    for assignment in overrides {
        let (key, value) = assignment.split_once('=').ok_or_else(|| Error::setting(assignment, "must be key=value"))?;
        set(&mut table, key.trim(), value_of(value.trim()))?;
    }
    table.try_into().map_err(|error: toml::de::Error| Error::format(path, error.to_string()))
}

fn value_of(value: &str) -> Value {
    format!("x = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("x"))
        .unwrap_or_else(|| Value::String(value.to_owned()))
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<()> {
    let Some((head, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table.entry(head).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, value),
        _ => Err(Error::setting(key, format!("{head} is not a table of the recipe"))),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Recipe {
        name: String,
        train: Train,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Train {
        steps: usize,
        rate: f64,
    }

    #[test]
    fn overrides_win_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, "name = \"a\"\n[train]\nsteps = 5\nrate = 0.1\n").unwrap();
        let load = |overrides: &[&str]| {
            super::load::<Recipe>(&path, &overrides.iter().map(|x| (*x).to_owned()).collect::<Vec<_>>())
        };
        let recipe = load(&["train.steps=7", "name=some/path"]).unwrap();
        assert_eq!(recipe, Recipe { name: "some/path".into(), train: Train { steps: 7, rate: 0.1 } });
        for wrong in ["train.stepz=7", "train.steps=-1", "name.x=1", "steps"] {
            assert!(load(&[wrong]).is_err(), "{wrong}");
        }
    }
}
