//! JSON files of bounded size, read field by field with the field's name in every error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::Path,
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result, error::io};

/// Most bytes read from a configuration file.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Most bytes read from tokenizer.json; the largest in use take about 35 MB.
pub(crate) const TOKENIZER_BYTES_MAX: u64 = 64 << 20;

/// Whole contents of `path`, which must be at most `bytes_max` long and a regular file.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(io(path))?;
    let metadata = file.metadata().map_err(io(path))?;
    if metadata.len() > bytes_max {
        return Err(Error::TooLarge { path: path.to_owned(), bytes: metadata.len(), bytes_max });
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read; the limit holds all the same.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io(path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::TooLarge { path: path.to_owned(), bytes: bytes.len() as u64, bytes_max });
    }
    Ok(bytes)
}

/// Parses `bytes`, which came from `path`.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        field: format!("line {} column {}", error.line(), error.column()),
        reason: error.to_string(),
    })
}

/// Parses `bytes` and checks that they are one JSON object.
pub(crate) fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    match parse(path, bytes)? {
        Value::Object(map) => Ok(map),
        other => Err(Error::Malformed {
            path: path.to_owned(),
            field: "the whole file".into(),
            reason: format!("must be an object, is {}", kind(&other)),
        }),
    }
}

/// One JSON object and the place it came from. Keeps track of the keys asked for, so that the rest can be reported.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    prefix: String,
    map: &'a Map<String, Value>,
    seen: BTreeSet<&'a str>,
}

impl<'a> Fields<'a> {
    /// The object at the top of `path`.
    pub(crate) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, prefix: String::new(), map, seen: BTreeSet::new() }
    }

    /// The file that holds this object.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Dotted name of `key` in the file.
    pub(crate) fn field(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value of `key`; null counts as absent.
    pub(crate) fn value(&mut self, key: &'a str) -> Option<&'a Value> {
        self.seen.insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Marks `key` as known without using it.
    pub(crate) fn known(&mut self, keys: &[&'a str]) {
        self.seen.extend(keys);
    }

    /// An error about `key` that says what is allowed.
    pub(crate) fn malformed(&self, key: &str, reason: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.to_owned(), field: self.field(key), reason: reason.into() }
    }

    /// An error about `key` that says why it cannot work.
    pub(crate) fn unsupported(&self, key: &str, reason: impl Into<String>) -> Error {
        Error::Unsupported { path: self.path.to_owned(), field: self.field(key), reason: reason.into() }
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        self.malformed(key, format!("must be {expected}, is {}", kind(found)))
    }

    /// The object under `key`.
    pub(crate) fn object(&mut self, key: &'a str) -> Result<Option<Fields<'a>>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                path: self.path,
                prefix: format!("{}{key}.", self.prefix),
                map,
                seen: BTreeSet::new(),
            })),
            Some(other) => Err(self.wrong(key, "an object", other)),
        }
    }

    /// The list under `key`.
    pub(crate) fn list(&mut self, key: &'a str) -> Result<Option<&'a [Value]>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(self.wrong(key, "a list", other)),
        }
    }

    /// The text under `key`.
    pub(crate) fn text(&mut self, key: &'a str) -> Result<Option<&'a str>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    /// The boolean under `key`; numbers do not stand in for it.
    pub(crate) fn flag(&mut self, key: &'a str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    /// The finite number under `key`.
    pub(crate) fn number(&mut self, key: &'a str) -> Result<Option<f64>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(key, "a finite number", value)),
            },
        }
    }

    /// The whole number under `key`, which may be written as a float (`1.0`).
    pub(crate) fn integer(&mut self, key: &'a str) -> Result<Option<i64>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match whole(value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(key, "a whole number", value)),
            },
        }
    }

    /// The whole number under `key`, from `min` to `max`.
    pub(crate) fn integer_in(&mut self, key: &'a str, min: i64, max: i64) -> Result<Option<usize>> {
        match self.integer(key)? {
            None => Ok(None),
            // Every caller's range begins at 0 or above and ends within u32.
            Some(number) if (min..=max).contains(&number) => Ok(usize::try_from(number).ok()),
            Some(number) => Err(self.malformed(key, format!("is {number}, must be from {min} to {max}"))),
        }
    }

    /// A size: a whole number from 0 to 2³¹ − 1, where 0 means that none is given.
    pub(crate) fn size(&mut self, key: &'a str) -> Result<Option<usize>> {
        Ok(self.integer_in(key, 0, i64::from(i32::MAX))?.filter(|&size| size > 0))
    }

    /// A token id; a negative number means that there is none.
    pub(crate) fn token(&mut self, key: &'a str) -> Result<Option<u32>> {
        Ok(self.tokens(key)?.and_then(|tokens| tokens.first().copied()))
    }

    /// One token id or a list of them; negative ones are left out.
    pub(crate) fn tokens(&mut self, key: &'a str) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let values = match value {
            Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut tokens = Vec::new();
        for value in values {
            match whole(value) {
                Some(negative) if negative < 0 => {}
                Some(id) if id <= i64::from(i32::MAX) => {
                    let id = u32::try_from(id).unwrap_or_default();
                    if !tokens.contains(&id) {
                        tokens.push(id);
                    }
                }
                _ => return Err(self.wrong(key, "a token id or a list of them", value)),
            }
            if tokens.len() > 4096 {
                return Err(self.malformed(key, "has more than 4096 tokens"));
            }
        }
        Ok(Some(tokens))
    }

    /// An object of texts; numbers and booleans are taken as their text.
    pub(crate) fn texts(&mut self, key: &'a str) -> Result<Option<BTreeMap<String, String>>> {
        let Some(fields) = self.object(key)? else { return Ok(None) };
        let mut texts = BTreeMap::new();
        for (name, value) in fields.map {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                other => return Err(fields.wrong(name, "a string", other)),
            };
            texts.insert(name.clone(), text);
        }
        Ok(Some(texts))
    }

    /// Adds the dotted names of the keys that nobody asked for to `unknown`.
    pub(crate) fn finish(self, unknown: &mut Vec<String>) {
        unknown.extend(self.map.keys().filter(|key| !self.seen.contains(key.as_str())).map(|key| self.field(key)));
    }
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // 2^53: beyond it not every whole number is a double.
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

/// What a JSON value is, shortened if long.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {:?}", text.chars().take(40).collect::<String>()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) => format!("an object of {}", map.len()),
    }
}
