use serde_json::Value;

use crate::site::{Site, request};

async fn document(site: &Site) -> Value {
    let reply = site.get("//openapi.json").await.expect(200);
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if ["get", "put", "post", "patch", "delete"].contains(&method.as_str()) {
                operations.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_refuses_without_token_and_answers_under_both_prefixes() {
    let site = Site::new().await;
    let document = document(&site).await;
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    assert!(operations.len() >= 45, "only {} operations", operations.len());
    for (method, path, operation) in operations {
        let path = path
            .replace("{name}", "none")
            .replace("{kind}", "vm")
            .replace("{past_name}", "none")
            .replace("{code}", "name-taken")
            .replace("{schema}", "VmCreated")
            .replace("{version}", "1");
        let open = operation["security"] == serde_json::json!([]) || path == "/metrics";
        let mut bare = request(&method, &format!("/{path}"), &[]);
        bare.headers_mut().remove("authorization");
        let status = site.send(bare).await.status.as_u16();
        if open {
            assert_eq!(status, 200, "{method} {path}");
            continue;
        }
        assert_eq!(status, 401, "{method} {path}");
        if path == "/edgetron/events" {
            // Its answer has no end; events.rs reads it.
            continue;
        }
        let mut answers = Vec::new();
        for prefix in ["kubevirt", "kubvirt"] {
            let path = path.replace("kubevirt", prefix);
            let reply = site.send(request(&method, &format!("/{path}"), &[])).await;
            let unknown = reply.status == 404 && reply.json()["code"] == "no-such-path";
            assert!(!unknown && reply.status != 405, "{method} {path}: {}", reply.text());
            let documented = &operation["responses"][reply.status.as_str()];
            assert!(documented.is_object(), "{method} {path} answers {} undocumented", reply.status);
            answers.push(reply.status);
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let site = Site::new().await;
    let document = document(&site).await;
    let mut ids: Vec<String> = operations(&document)
        .iter()
        .map(|(_, path, operation)| operation["operationId"].as_str().unwrap_or_else(|| panic!("{path}")).to_owned())
        .collect();
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "an operationId stands twice");
    let mut wanted = Vec::new();
    references(&document, &mut wanted);
    for reference in wanted {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for schema in ["Vm", "CreateVm", "UpdateVm", "VmAction", "NodeAction", "Problem", "HistoryEvent", "Ready"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema} is missing");
    }
    for schema in ["CreateVm", "CreateFlavor", "CreateImage", "UpdateVm", "UpdateMeta"] {
        let schema = &document["components"]["schemas"][schema];
        assert!(schema["example"].is_object(), "{schema}");
        assert_eq!(schema["additionalProperties"], false, "{schema}");
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.push(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_docs_page_needs_nothing_from_elsewhere() {
    let site = Site::new().await;
    let page = site.get("//docs").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let text = page.text();
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!text.contains(outside), "the page asks for {outside}");
    }
}

/// `/docs` renders paragraphs, lists that begin with `* `, `**bold**` and `code`; anything else would show its marks.
#[tokio::test]
async fn descriptions_use_only_the_markdown_that_the_docs_page_renders() {
    let site = Site::new().await;
    let document = document(&site).await;
    let mut texts = Vec::new();
    descriptions(&document, &mut texts);
    assert!(texts.len() > 200, "only {} descriptions", texts.len());
    for text in texts {
        assert_eq!(text.matches('`').count() % 2, 0, "a mark without its other half: {text}");
        let prose: String = text.split('`').step_by(2).collect();
        assert_eq!(prose.matches("**").count() % 2, 0, "a mark without its other half: {text}");
        for unknown in ["](", "[`", "![", "***", "__", "```"] {
            assert!(!prose.contains(unknown), "{unknown:?} is not rendered: {text}");
        }
        for line in text.lines() {
            let heads = ["#", "- ", "+ ", "> ", "|", "    "].iter().any(|mark| line.starts_with(mark));
            assert!(!heads, "{line:?} is not rendered as what it is: {text}");
        }
        for block in text.split("\n\n").filter(|block| block.contains("\n* ")) {
            assert!(block.starts_with("* "), "a list needs an empty line before it: {text}");
        }
    }
}

fn descriptions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get("description") {
                found.push(text.clone());
            }
            map.values().for_each(|value| descriptions(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| descriptions(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn how_many_keys_are_remembered_is_told_wherever_keys_are() {
    let max = edgestack_model::idempotency::REMEMBERED_MAX;
    let told = format!("last {},{:03}", max / 1000, max % 1000);
    let document = Site::new().await.get("//openapi.json").await.json();
    for (text, place) in [
        (document["info"]["description"].as_str().unwrap(), "the document"),
        (include_str!("../../../../docs/problems.md"), "docs/problems.md"),
        (include_str!("../../../../README.md"), "README.md"),
    ] {
        assert!(text.contains(&told), "{place} does not tell \"{told}\"");
    }
}
