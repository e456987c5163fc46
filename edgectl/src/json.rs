//! The API's JSON for people's eyes: only white space is added, so that order
//! of fields, numbers and fields unknown to this edgectl stay as they came.

/// Re-indents JSON text with two spaces. The text must be JSON; what is not is passed on as it is.
pub fn pretty(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut chars = raw.chars().filter({
        // White space outside of strings is ours to set.
        let (mut inside, mut after_backslash) = (false, false);
        move |c| {
            let keep = inside || !matches!(c, ' ' | '\n' | '\r' | '\t');
            match c {
                '"' if !after_backslash => inside = !inside,
                _ => {}
            }
            after_backslash = inside && *c == '\\' && !after_backslash;
            keep
        }
    });
    let mut next = chars.next();
    while let Some(c) = next {
        next = chars.next();
        if in_string {
            out.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                if let Some(close @ ('}' | ']')) = next {
                    out.push(close);
                    next = chars.next();
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

/// The same document as YAML, fields in the same order.
///
/// # Errors
/// The text is not JSON.
pub fn to_yaml(raw: &str) -> Result<String, crate::failure::Failure> {
    Ok(edgestack_wire::yaml::from_json(raw)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_text_is_as_serde_json_prints_it() {
        let cases = [
            r#"{"b":1,"a":[1,2,{"x":null}],"e":{},"f":[],"s":"a \" { , : \\"}"#,
            "{ \"b\" :\n [ ] , \"c\" : { } }",
            r#"["\\","\"",[[]],1e400]"#,
            "12",
            r#""a  b""#,
        ];
        for raw in cases {
            let pretty = pretty(raw);
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(raw) {
                let again: serde_json::Value = serde_json::from_str(&pretty).unwrap();
                assert_eq!(again, value, "{raw}");
            }
            assert_eq!(super::pretty(&pretty), pretty, "{raw}");
        }
        assert_eq!(pretty(r#"{"b":1,"a":[1,{}]}"#), "{\n  \"b\": 1,\n  \"a\": [\n    1,\n    {}\n  ]\n}\n");
    }

    #[test]
    fn yaml_keeps_the_order_of_fields_and_strings_as_strings() {
        assert_eq!(to_yaml(r#"{"b":1,"a":["yes"]}"#).unwrap(), "b: 1\na:\n- \"yes\"\n");
    }
}
