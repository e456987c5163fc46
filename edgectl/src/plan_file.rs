//! Files of what is to be tried: YAML or JSON, one document or several, each a step, a manifest, or a list of them.
//!
//! A manifest is what a create takes, with its kind: `{kind: flavor, name: small, vcpus: 1, …}`. It stands for the
//! request that makes it.

use std::path::Path;

use edgestack_model::Kind;
use edgestack_wire::{command_word, what_if::Step};
use serde::Deserialize as _;
use serde_json::Value;

use crate::failure::Failure;

/// The steps in a file; `-` is standard input.
///
/// # Errors
/// It can't be read, or is no such file.
pub fn read(path: &Path) -> Result<Vec<Step>, Failure> {
    let read =
        if path.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let text = read.map_err(|source| Failure::File { doing: "read", path: path.to_owned(), source })?;
    parse(&text).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| format!("it is no YAML: {error}"))?;
        add(value, &mut steps)?;
    }
    if steps.is_empty() {
        return Err("there is no step and no manifest in it".to_owned());
    }
    Ok(steps)
}

fn add(value: Value, steps: &mut Vec<Step>) -> Result<(), String> {
    match value {
        // An empty document, as after a last `---`.
        Value::Null => Ok(()),
        Value::Array(list) => list.into_iter().try_for_each(|one| add(one, steps)),
        Value::Object(mut map) => {
            if map.len() == 1
                && let Some(list @ Value::Array(_)) = map.remove("steps")
            {
                return add(list, steps);
            }
            let number = steps.len() + 1;
            let step = match map.remove("kind") {
                Some(kind) => manifest(&kind, Value::Object(map)),
                None => serde_json::from_value(Value::Object(map)).map_err(|error| error.to_string()),
            };
            steps.push(step.map_err(|why| format!("step {number}: {why}"))?);
            Ok(())
        }
        other => Err(format!("step {}: must be a step or a manifest, got {other}", steps.len() + 1)),
    }
}

fn manifest(kind: &Value, body: Value) -> Result<Step, String> {
    let known = kind.as_str().and_then(|kind| command_word::kind(&kind.to_ascii_lowercase()));
    let kind = known.ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("kind must be one of {}, got {kind}", kinds.join(", "))
    })?;
    Ok(Step {
        method: Some("POST".to_owned()),
        path: Some(kind.plural().to_owned()),
        body: Some(body),
        ..Step::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_and_manifests_stand_in_one_document_or_several() {
        let text = "- kind: Flavor\n  name: small\n  vcpus: 1\n- lose_node: edge-1\n---\nsteps:\n- wait_seconds: 60\n---\n\
                    {\"method\": \"DELETE\", \"path\": \"vms/web\"}\n---\n";
        let steps = parse(text).unwrap();
        assert_eq!(steps.len(), 4);
        assert_eq!((steps[0].method.as_deref(), steps[0].path.as_deref()), (Some("POST"), Some("flavors")));
        assert_eq!(steps[0].body, Some(json!({"name": "small", "vcpus": 1})));
        assert_eq!(steps[1].lose_node.as_deref(), Some("edge-1"));
        assert_eq!(steps[2].wait_seconds, Some(60));
        assert_eq!(steps[3].path.as_deref(), Some("vms/web"));
    }

    #[test]
    fn what_is_no_step_is_told_with_its_number() {
        for (text, words) in [
            ("", "no step"),
            ("- 5", "step 1"),
            ("- wait_seconds: 1\n- lose: a", "step 2"),
            ("kind: cat\nname: a", "kind must be one of"),
            ("a: [", "no YAML"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(words), "{text:?}: {why}");
        }
    }
}
