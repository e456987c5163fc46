//! Writes YAML that every reader takes for the same: kubectl, PyYAML and much of
//! what reads manifests follow YAML 1.1, where `yes`, `on`, `1_000`, `12:34:56`
//! and `2026-01-01` are no strings. So a string stands bare only when no reader
//! could take it for anything else, and in JSON's quotes otherwise.

use std::fmt::{self, Write as _};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};

/// A JSON text as YAML, fields in the same order.
///
/// # Errors
/// The text is not JSON.
pub fn from_json(text: &str) -> Result<String, serde_json::Error> {
    Ok(written(&serde_json::from_str(text)?))
}

/// A JSON value as YAML.
pub fn document(value: &Value) -> String {
    written(&Node::from(value))
}

fn written(node: &Node) -> String {
    let mut text = String::new();
    block(&mut text, node, 0);
    text
}

/// What JSON can say, with a map's fields in the order in which they came, which `Value` doesn't keep.
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(map) => Self::Map(map.iter().map(|(key, value)| (key.clone(), value.into())).collect()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        // JSON has no number that is none.
        Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map: Vec<(String, Node)> = Vec::new();
        while let Some((key, value)) = entries.next_entry::<String, Node>()? {
            // YAML forbids what JSON leaves open: of equal keys the last counts, as in all we read.
            match map.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => map.push((key, value)),
            }
        }
        Ok(Node::Map(map))
    }
}

/// A value on lines of its own, each indented.
fn block(text: &mut String, value: &Node, indent: usize) {
    match value {
        Node::Map(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(text, "{:indent$}{}:", "", scalar(key));
                beside(text, value, indent, indent + 2);
            }
        }
        Node::List(list) if !list.is_empty() => {
            for value in list {
                let mut item = String::new();
                block(&mut item, value, indent + 2);
                // The first line's indent makes room for the dash.
                let _ = write!(text, "{:indent$}- {}", "", item.trim_start_matches(' '));
            }
        }
        other => {
            let _ = writeln!(text, "{:indent$}{}", "", flow(other));
        }
    }
}

/// A value after its key: on the same line if it is one, else below.
fn beside(text: &mut String, value: &Node, list_indent: usize, map_indent: usize) {
    match value {
        Node::Map(map) if !map.is_empty() => {
            text.push('\n');
            block(text, value, map_indent);
        }
        Node::List(list) if !list.is_empty() => {
            text.push('\n');
            block(text, value, list_indent);
        }
        Node::Text(lines) if is_plain_text(lines) => {
            text.push_str(" |\n");
            for line in lines.lines() {
                let _ = writeln!(text, "{:map_indent$}{line}", "");
            }
        }
        other => {
            let _ = writeln!(text, " {}", flow(other));
        }
    }
}

fn flow(value: &Node) -> String {
    match value {
        Node::Null => "null".to_owned(),
        Node::Bool(truth) => truth.to_string(),
        Node::Number(number) => numeral(number),
        Node::Text(text) => scalar(text),
        // Only empty collections come here.
        Node::List(_) => "[]".to_owned(),
        Node::Map(_) => "{}".to_owned(),
    }
}

/// A number with an exponent needs a point and a sign, or YAML 1.1 takes it for a string.
fn numeral(number: &Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

fn scalar(text: &str) -> String {
    if is_bare(text) {
        return text.to_owned();
    }
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        // JSON leaves these as they are; YAML takes them for line ends or not at all.
        if matches!(c, '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

/// Words that begin with a letter and hold nothing that means something, and that are no word of YAML 1.1.
fn is_bare(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | ' '))
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Lines that a literal block (`|`) keeps as they are.
fn is_plain_text(text: &str) -> bool {
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with(['\n', ' '])
        && text.lines().all(|line| !line.is_empty() && !line.contains(|c: char| c.is_control()))
        && !text.contains('\r')
        && text.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{
        collections::BTreeMap,
        io::Write as _,
        process::{Command, Stdio},
    };

    /// What readers of YAML 1.1 or 1.2 take for something else than a string, or for no scalar.
    const TRAPS: &[&str] = &[
        "yes",
        "Yes",
        "YES",
        "no",
        "On",
        "on",
        "off",
        "y",
        "N",
        "true",
        "True",
        "false",
        "null",
        "NULL",
        "~",
        "",
        ".nan",
        ".inf",
        "-.Inf",
        "1_000",
        "012",
        "0o12",
        "0x10",
        "0b1",
        "1e3",
        "1.5e+3",
        "+1",
        "-1",
        "1.",
        ".5",
        "12:34:56",
        "1:30",
        "52:54:00:12:34:56",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "=",
        "<<",
        "a: b",
        "- a",
        "#a",
        "*a",
        "&a",
        "!a",
        "@a",
        "%a",
    ];

    #[test]
    fn the_order_of_fields_is_kept_and_of_equal_ones_the_last_counts() {
        let yaml = from_json(r#"{"b":1,"a":["x",{"z":1,"w":[]}],"b":2}"#).unwrap();
        assert_eq!(yaml, "b: 2\na:\n- x\n- z: 1\n  w: []\n");
        assert!(from_json("{").is_err());
    }

    #[test]
    fn numbers_stay_numbers() {
        let yaml = from_json("[1e16, 1.5e-7, 0.5, -3, 18446744073709551615]").unwrap();
        assert_eq!(yaml, "- 1.0e+16\n- 1.5e-7\n- 0.5\n- -3\n- 18446744073709551615\n");
    }

    /// Debian's, which has python3-yaml where `deploy/test` ran; a virtual environment before it in PATH has not.
    const PYTHON: &str = "/usr/bin/python3";

    /// PyYAML is the reader of YAML 1.1 that most people have.
    #[test]
    fn pyyaml_reads_the_same() {
        let value = json!({
            "traps": TRAPS, "keys": TRAPS.iter().map(|&trap| (trap, trap)).collect::<BTreeMap<_, _>>(),
            "numbers": [0, -1, 1.5, 1e16, 1.5e-7, 18_446_744_073_709_551_615_u64], "flags": [true, false, null],
            "text": "#cloud-config\na: b\n", "odd": "\u{7}\u{7f}\u{85}\u{2028}\u{feff}ä😀\t\r\n", "empty": [{}, []],
            "words": ["it has a node", "no  node ", "a\tb", "null and void", "a/b - c", "x: y", "x #y"],
        });
        let program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)";
        let python = Command::new(PYTHON)
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut python) = python else {
            println!("skipped: pyyaml_reads_the_same: there is no python3");
            return;
        };
        // A Python without yaml ends before it has read all; that shows below.
        let _ = python.stdin.take().unwrap().write_all(document(&value).as_bytes());
        let output = python.wait_with_output().unwrap();
        if !output.status.success() && !python_has_yaml() {
            println!("skipped: pyyaml_reads_the_same: python3 has no module yaml");
            return;
        }
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(read, value);
    }

    fn python_has_yaml() -> bool {
        Command::new(PYTHON).args(["-c", "import yaml"]).stderr(Stdio::null()).status().is_ok_and(|end| end.success())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({
            "a": {}, "b": [], "c": [[], {}, [1, [2, "x"]], {"d": [{"e": null, "f": true}], "g": "h"}],
            "text": "#cloud-config\nssh_authorized_keys:\n  - \"k\"\n", "odd": "a\n\nb", "tail": "a\n\n",
            "labels": {"yes": "no", "on": "12:34:56", "x/y": "1_000", "": "", "z": "2026-01-01", "~": "~", "ä": "ö\u{7}\u{7f}\u{85}\u{2028}\u{feff}"},
            "n": [0, -1, 1.5, "1.5"],
        });
        let text = document(&value);
        let read: Value = serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read, value, "{text}");
    }

    #[test]
    fn what_yaml_1_1_takes_for_something_else_is_quoted() {
        for &text in TRAPS {
            assert_eq!(document(&json!(text)), format!("{}\n", json!(text)));
        }
        assert_eq!(
            document(&json!(["kubevirt.io/v1", "it has a node", "a "])),
            "- kubevirt.io/v1\n- it has a node\n- \"a \"\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_string_is_read_back(key in "\\PC{0,12}", value in "(\\PC|\n){0,24}") {
            let document_value = json!({ key: [value.clone(), {"v": value}] });
            let yaml = document(&document_value);
            let read: Value = serde_norway::from_str(&yaml).unwrap();
            assert_eq!(read, document_value);
            assert_eq!(from_json(&document_value.to_string()).unwrap(), yaml);
        }
    }
}
