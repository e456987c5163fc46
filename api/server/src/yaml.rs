//! Writes YAML that every reader takes for the same: kubectl, and with it much of
//! what reads manifests, follows YAML 1.1, where `yes`, `on`, `1_000`, `12:34:56`
//! and `2026-01-01` are no strings. So a string stands bare only when no reader
//! could take it for anything else, and in JSON's quotes otherwise.

use std::fmt::Write as _;

use serde_json::Value;

/// The document.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// A value on lines of its own, each indented.
fn block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(text, "{:indent$}{}:", "", scalar(key));
                beside(text, value, indent, indent + 2);
            }
        }
        Value::Array(list) if !list.is_empty() => {
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
fn beside(text: &mut String, value: &Value, list_indent: usize, map_indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(text, value, map_indent);
        }
        Value::Array(list) if !list.is_empty() => {
            text.push('\n');
            block(text, value, list_indent);
        }
        Value::String(lines) if is_plain_text(lines) => {
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

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        // Numbers, true, false, null and empty collections are the same in JSON and YAML.
        other => other.to_string(),
    }
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

/// Begins with a letter, holds nothing that means something, and is no word of YAML 1.1.
fn is_bare(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/'))
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
        for text in [
            "yes",
            "On",
            "NO",
            "y",
            "1_000",
            "012",
            "12:34:56",
            "52:54:00:12:34:56",
            "2026-01-01",
            "null",
            "~",
            "",
            "a: b",
            "- a",
            "#a",
            "true",
        ] {
            assert_eq!(document(&json!(text)), format!("{}\n", json!(text)));
        }
        assert_eq!(document(&json!(["kubevirt.io/v1"])), "- kubevirt.io/v1\n");
    }

    proptest::proptest! {
        #[test]
        fn any_string_is_read_back(key in "\\PC{0,12}", value in "(\\PC|\n){0,24}") {
            let document_value = json!({ key: [value.clone(), {"v": value}] });
            let read: Value = serde_norway::from_str(&document(&document_value)).unwrap();
            assert_eq!(read, document_value);
        }
    }
}
