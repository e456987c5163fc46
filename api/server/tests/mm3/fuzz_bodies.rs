//! A fuzz target for each HTTP body: the examples of the OpenAPI document, changed at random, in a bounded time.
//!
//! No body leads to a 5xx, and every refusal is a problem with a code. `EDGESTACK_FUZZ_SECONDS=600 cargo nextest run -p
//! edgestack-server fuzz` looks longer; each day has another seed, or `EDGESTACK_FUZZ_SEED=7`; a failure prints it, request
//! and body.

use std::time::{Duration, Instant};

use axum::{body::Body, http::header};
use serde_json::{Value, json};

use crate::{
    mutation::{self, Mutator},
    site::{Site, request},
};

/// An operation with a JSON body: method, path, and what the document gives as examples of the body.
struct Target {
    method: String,
    path: String,
    examples: Vec<Value>,
}

fn targets(document: &Value) -> Vec<Target> {
    let mut targets = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"];
            if body.is_null() || path.contains("/kubvirt/") {
                continue;
            }
            let path = path
                .replace("/vms/{name}", "/vms/pg-1")
                .replace("/flavors/{name}", "/flavors/small")
                .replace("/images/{name}", "/images/debian")
                .replace("/nodes/{name}", "/nodes/edge-1")
                .replace("/networks/{name}", "/networks/blue")
                .replace("/routers/{name}", "/routers/edge")
                .replace("/floating_ips/{name}", "/floating_ips/192.0.2.10")
                .replace("/lbs/{name}", "/lbs/front")
                .replace("/security_groups/{name}", "/security_groups/web")
                .replace("/security_group_rules/{name}", "/security_group_rules/web-ssh")
                .replace("{name}", "thing");
            targets.push(Target { method: method.to_uppercase(), path, examples: examples(document, &body["schema"]) });
        }
    }
    targets
}

/// The examples of a schema, and one made of those of its properties.
fn examples(document: &Value, schema: &Value) -> Vec<Value> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let mut examples: Vec<Value> = schema["examples"].as_array().cloned().unwrap_or_default();
    examples.extend(schema.get("example").cloned());
    let mut all = serde_json::Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let example =
            property.get("example").or_else(|| property["examples"].get(0)).or_else(|| property.get("default"));
        all.insert(name.clone(), example.cloned().unwrap_or(json!("web")));
    }
    examples.push(Value::Object(all));
    examples
}

#[tokio::test]
async fn no_body_leads_to_an_error_of_ours() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seconds, seed) = (number("EDGESTACK_FUZZ_SECONDS").unwrap_or(8), mutation::seed());
    let site = Site::new().await;
    site.play_workers();
    site.with_flavor_and_image().await;
    site.with_vm("pg-1").await;
    let blue = serde_json::json!({"name": "blue", "cidr": "10.0.0.0/24"});
    site.call("POST", "/networks", Some(blue)).await.expect(202);
    let rule = json!({"name": "web-ssh", "direction": "ingress", "protocol": "tcp", "port_range_min": 22});
    site.call("POST", "/security_groups", Some(json!({"name": "web", "rules": [rule]}))).await.expect(202);
    let outside =
        json!({"name": "outside", "type": "FLAT", "external": {"physical_network": "ext"}, "cidr": "192.0.2.0/24"});
    site.call("POST", "/networks", Some(outside)).await.expect(202);
    let edge = json!({"name": "edge", "internal_networks": ["blue"], "external_network": "outside"});
    site.call("POST", "/routers", Some(edge)).await.expect(202);
    site.call("POST", "/floating_ips", Some(json!({"floating_ip": "192.0.2.10"}))).await.expect(202);
    let front = json!({"name": "front", "network": "blue"});
    site.call("POST", "/lbs", Some(front)).await.expect(202);
    let targets = targets(&site.get("//openapi.json").await.expect(200).json());
    assert!(targets.len() >= 10, "only {} operations with a body", targets.len());
    let each = Duration::from_secs(seconds) / u32::try_from(targets.len()).unwrap();
    for Target { method, path, examples } in targets {
        let corpus = examples.iter().map(|example| serde_json::to_vec(example).unwrap()).collect();
        let (mut mutator, begun) = (Mutator::new(seed, corpus), Instant::now());
        let (mut taken, mut refused) = (0, 0);
        // On a busy machine some are tried all the same.
        while begun.elapsed() < each || taken + refused <= 20 {
            let body = mutator.next();
            let shown = String::from_utf8_lossy(&body).into_owned();
            let mut request = request(&method, &format!("/{path}"), &[]);
            request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
            *request.body_mut() = Body::from(body);
            let reply = site.send(request).await;
            let status = reply.status.as_u16();
            assert!(status < 500, "{method} {path} answers {status}: {}\n{shown}", reply.text());
            if status < 400 {
                taken += 1;
            } else {
                refused += 1;
                assert!(reply.json()["code"].is_string(), "{method} {path} answers {status} without a code\n{shown}");
            }
        }
        println!("{method} {path}: {taken} bodies taken, {refused} refused");
    }
}
