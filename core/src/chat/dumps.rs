//! The `tojson` filter of Hugging Face's templates: Python's `json.dumps`, nothing escaped for HTML.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Deepest nesting of a value, so that a cyclic or absurd one ends in an error.
const DEPTH_MAX: usize = 128;

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(value: &Value, ensure_ascii: Option<Value>, arguments: Kwargs) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(value) => value.is_true(),
        None => arguments.get::<Option<Value>>("ensure_ascii")?.is_some_and(|value| value.is_true()),
    };
    let indent = arguments.get::<Option<Value>>("indent")?.map(|value| indent_text(&value)).transpose()?.flatten();
    let separators = arguments.get::<Option<Value>>("separators")?.filter(|value| !value.is_none());
    let sort_keys = arguments.get::<Option<Value>>("sort_keys")?.is_some_and(|value| value.is_true());
    arguments.assert_all_used()?;
    let (item, key) = match &separators {
        Some(pair) => (text(&pair.get_item(&Value::from(0))?)?, text(&pair.get_item(&Value::from(1))?)?),
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let mut dump = Dump { out: String::new(), ensure_ascii, indent, item, key, sort_keys };
    dump.value(value, 0)?;
    Ok(Value::from(dump.out))
}

/// Python takes a number of spaces, or the text itself; `None` is one line.
fn indent_text(value: &Value) -> Result<Option<String>, Error> {
    if value.is_none() {
        return Ok(None);
    }
    if let Some(text) = value.as_str() {
        return Ok(Some(text.to_owned()));
    }
    let spaces = i64::try_from(value.clone())?;
    Ok(Some(" ".repeat(spaces.clamp(0, 64) as usize)))
}

fn text(value: &Value) -> Result<String, Error> {
    let wrong = || Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two strings");
    value.as_str().map(str::to_owned).ok_or_else(wrong)
}

struct Dump {
    out: String,
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

impl Dump {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(ErrorKind::BadSerialization, "tojson: nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list('[', ']', &items, depth, |dump, item| dump.value(item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list('{', '}', &keys, depth, |dump, key| {
                    dump.map_key(key);
                    let separator = dump.key.clone();
                    dump.out.push_str(&separator);
                    dump.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let reason = format!("tojson: a value of kind {kind} has no JSON form");
                return Err(Error::new(ErrorKind::BadSerialization, reason));
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                let separator = self.item.clone();
                self.out.push_str(&separator);
            }
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    /// Python writes keys that are no strings as they would be values, in quotes.
    fn map_key(&mut self, key: &Value) {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None => self.out.push_str("\"null\""),
            ValueKind::Bool => self.out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
            _ => {
                self.out.push('"');
                self.number(key);
                self.out.push('"');
            }
        }
    }

    fn number(&mut self, value: &Value) {
        let float = f64::try_from(value.clone()).ok().filter(|_| !value.is_integer());
        match float {
            Some(float) => self.out.push_str(&python_float(float)),
            // Writing to a String cannot fail.
            None => drop(write!(self.out, "{value}")),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                other if other < ' ' || (self.ensure_ascii && other > '~') => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }
}

/// A float as Python's `repr` writes it: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
fn python_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".into();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) || float == 0.0 {
        format!("{float:?}")
    } else {
        format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumps(expression: &str) -> String {
        let mut environment = minijinja::Environment::new();
        environment.add_filter("tojson", tojson);
        environment.render_str(&format!("{{{{ {expression} }}}}"), ()).unwrap()
    }

    #[test]
    fn writes_what_python_writes() {
        // Expected texts are the output of Python's json.dumps with ensure_ascii=False.
        assert_eq!(dumps("{'b': 1, 'a': [true, none, 1.0, 2.5]} | tojson"), r#"{"b": 1, "a": [true, null, 1.0, 2.5]}"#);
        assert_eq!(dumps("{'b': 1, 'a': 2} | tojson(sort_keys=true)"), r#"{"a": 2, "b": 1}"#);
        assert_eq!(dumps("'<a href=\"x\">&\\'é\\n' | tojson"), r#""<a href=\"x\">&'é\n""#);
        assert_eq!(dumps("'é😀' | tojson(ensure_ascii=true)"), r#""\u00e9\ud83d\ude00""#);
        assert_eq!(dumps("[1, 2] | tojson(separators=(',', ':'))"), "[1,2]");
        assert_eq!(
            dumps("{'a': [], 'b': {}, 'c': [1]} | tojson(indent=2)"),
            "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1\n  ]\n}"
        );
    }

    #[test]
    fn floats_look_as_in_python() {
        for (float, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(python_float(float), text);
        }
    }

    #[test]
    fn what_has_no_json_form_is_an_error() {
        let mut environment = minijinja::Environment::new();
        environment.add_filter("tojson", tojson);
        assert!(environment.render_str("{{ missing | tojson }}", ()).is_err());
        assert!(environment.render_str("{{ 1 | tojson(colour='red') }}", ()).is_err());
    }
}
