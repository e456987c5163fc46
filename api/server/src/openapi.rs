//! `/openapi.json`: generated from types and handlers; what all operations share
//! (problems, conditional headers, dry run) is added here, in one place.

use axum::http::StatusCode;
use edgestack_model::Kind;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::{codes, router::PREFIXES, schemas, ssh_keys, state::SiteInfo};

const DESCRIPTION: &str = "\
MM3 of EdgeStack: virtual machines at the telecom edge.

Every path under `/edgetron/resources/kubevirt` is served under `/edgetron/resources/kubvirt` as well; both are the same. \
Every change is a commit in the site's log, and answered only when it is durable there: `EdgeStack-Sequence` tells which.

* **Errors** are problem details (RFC 9457); `/problems/{code}` explains each code.
* **ETag** is `\"g<generation>.r<revision>\"`. `If-Match` compares the generation: what workers report does not make your change fail. \
`If-None-Match` compares the whole tag.
* **Idempotency-Key**: the same request again within 24 hours has no second effect and is answered as the first time, with \
`Idempotent-Replayed: true` and the resource as it is now; 410 when that was removed since. Another request under the key is 422. \
The last 10,000 keys are remembered, those of all clients together.
* **dry_run=true** decides a change and shows what would be, without making it.
* **watch=true** on a list answers with server-sent events: `ADDED` for each present resource, a `BOOKMARK` when all are told, \
then each change. With `Last-Event-ID` of the present sequence it goes on without the list; at an older one the list comes anew, \
and what is not in it is gone.
* **Events** are told at `/edgetron/events` and over NATS; `/asyncapi.json` describes both, and `/schemas` has a JSON Schema for each.
* **at** on any read shows the site as it was: after the commit of a sequence, at a time (RFC 3339), or `10 minutes ago`. \
`Edgestack-Sequence` and `Edgestack-Time` of the answer tell which commit was the last one then.
* Parameters whose value follows from an earlier answer (`continue`, `at`, `If-Match`, `Idempotency-Key`, `Last-Event-ID`), that make an answer \
endless (`watch`, `follow`) or that leave everything as it is (`dry_run`) stand under `x-situational-parameters` of their operations.
* **traceparent** (W3C) is passed on into the log when it is valid.
* Among equal keys of a JSON map (labels) the last counts; a field of a schema that stands twice is refused.";

/// Parameters whose right value follows from an earlier answer, that make the answer endless, or that
/// leave everything as it is. OpenAPI 3.1 has no word for these: a tool that makes values up from their
/// schemas would only be refused, wait for ever, or miss what it believes to have made. They stand in `x-situational-parameters`, which /docs shows like the others.
const SITUATIONAL: [&str; 13] = [
    "at",
    "from",
    "to",
    "until",
    "views",
    "object",
    "continue",
    "watch",
    "follow",
    "dry_run",
    "Last-Event-ID",
    "If-Match",
    "Idempotency-Key",
];

/// The text of the document.
pub(crate) fn document(resources: OpenApi, open: OpenApi, site: &SiteInfo) -> String {
    // Both are plain data; serializing them cannot fail.
    let resources = serde_json::to_value(resources).unwrap_or_default();
    let open = serde_json::to_value(open).unwrap_or_default();
    let mut paths = Map::new();
    for (path, item) in entries(&resources["paths"]) {
        // A history is found by a name that may be past: not the name of a resource that must be there.
        let path = path.replace("{name}/events", "{past_name}/events");
        paths.insert(format!("{}{path}", PREFIXES[0]), item);
    }
    paths.extend(entries(&open["paths"]));
    for (path, item) in &mut paths {
        let Some(operations) = item.as_object_mut() else {
            continue;
        };
        for (method, operation) in operations {
            complete(path, method, operation);
        }
    }
    let mut schemas = entries(&resources["components"]["schemas"]);
    schemas.extend(entries(&open["components"]["schemas"]));
    schemas.extend(entries(&problem_schema()));
    for (name, schema) in &mut schemas {
        if name.starts_with("Create") || name.starts_with("Update") || name == "RuleRequest" {
            constrain_maps(schema);
        }
        if let Some(variants) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
            variants.iter_mut().for_each(close);
        }
    }
    constrain_keys(&mut schemas["CreateKeypair"]);
    constrain_filter(&mut schemas["WebhookFilter"]);
    constrain_undo(&mut schemas["AskUndo"]);
    constrain_groups(&mut schemas);
    constrain_moment(&mut schemas["ArchiveLog"]);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "EdgeStack MM3",
            "version": site.version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "The site's API token; `edgectl config view` shows it.",
            }},
        },
    })
    .to_string()
}

fn entries(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn problem_schema() -> Value {
    use utoipa::{PartialSchema, ToSchema};
    let name = edgestack_wire::Problem::name().into_owned();
    let schema = serde_json::to_value(edgestack_wire::Problem::schema()).unwrap_or_default();
    json!({ name: schema })
}

fn tags() -> Value {
    json!([
        {"name": "vms", "description": "Virtual machines"},
        {"name": "images", "description": "Disk images that VMs are made from"},
        {"name": "flavors", "description": "Sizes of VMs"},
        {"name": "keypairs", "description": "SSH public keys that guests let in"},
        {"name": "nodes", "description": "Hosts that run VMs"},
        {"name": "volumes", "description": "Disks; today the root disks of VMs"},
        {"name": "networks", "description": "Layer-2 segments with their addresses, on which VMs have NICs"},
        {"name": "security_groups", "description": "What NICs of VMs let through: nothing but what a rule of one of their groups says"},
        {"name": "security_group_rules", "description": "Traffic that a security group lets through"},
        {"name": "routers", "description": "What joins networks, and leads to one outside"},
        {"name": "floating_ips", "description": "Addresses outside that lead to VMs and load balancers"},
        {"name": "lbs", "description": "Load balancers: addresses on networks, behind which members answer"},
        {"name": "webhooks", "description": "Addresses outside to which events are delivered"},
        {"name": "leases", "description": "Which process does the work that only one of the site may do"},
        {"name": "log", "description": "The log itself: what changed, and whether it is whole"},
        {"name": "site", "description": "The site itself; open paths"},
    ])
}

/// What an operation is, for what all of its sort share.
struct Sort {
    is_resource: bool,
    /// The log, its events, questions of the site as a whole.
    is_site: bool,
    is_change: bool,
    has_name: bool,
    has_body: bool,
    is_list: bool,
    is_stream: bool,
    is_upload: bool,
}

fn complete(path: &str, method: &str, operation: &mut Value) {
    let is_resource = path.starts_with(PREFIXES[0]);
    let is_change = is_resource && matches!(method, "post" | "put" | "patch" | "delete");
    let sort = Sort {
        is_resource,
        is_site: !is_resource && path.starts_with("/edgetron/"),
        is_change,
        has_name: path.contains('{'),
        has_body: operation.get("requestBody").is_some(),
        is_list: method == "get" && is_resource && !path.contains('{'),
        is_stream: method == "get" && is_resource && (!path.contains('{') || path.ends_with("/events")),
        is_upload: path.ends_with("/file"),
    };
    // PUT and PATCH are one handler; each operation needs an id of its own.
    if method == "put"
        && !sort.is_upload
        && let Some(id) = operation["operationId"].as_str().map(str::to_owned)
    {
        operation["operationId"] = id.replacen("update_", "replace_", 1).into();
    }
    if !path.starts_with("/edgetron/") {
        operation["security"] = json!([]);
    }
    add_parameters(path, &sort, operation);
    add_headers(method, &sort, operation);
    tell_streams(operation);
    add_problems(path, &sort, operation);
    if sort.has_body {
        operation["requestBody"]["required"] = true.into();
    }
}

fn add_parameters(path: &str, sort: &Sort, operation: &mut Value) {
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in &mut parameters {
        if parameter["name"] == "name" && parameter["in"] == "path" && path.contains("{past_name}") {
            parameter["name"] = "past_name".into();
        }
        let schema = match parameter["name"].as_str() {
            Some("code") => {
                json!({"type": "string", "enum": codes::ALL.iter().map(|code| code.code).collect::<Vec<_>>()})
            }
            Some("schema") => json!({"type": "string", "enum": schemas::names_and_versions().0}),
            Some("version") => json!({"type": "integer", "enum": schemas::names_and_versions().1}),
            Some("name" | "past_name") if parameter["in"] == "path" => {
                json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[A-Za-z0-9._-]+$"})
            }
            Some("kind") if parameter["in"] == "path" => {
                json!({"type": "string", "enum": Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>()})
            }
            Some("kind") => json!({"type": "string", "pattern": kinds_pattern()}),
            Some("outcome") => json!({"type": "string", "enum": ["events", "refused"]}),
            Some("order") => json!({"type": "string", "enum": ["newest", "oldest"]}),
            Some("continue") => json!({"type": "string", "pattern": r"^[A-Za-z0-9_-]*$"}),
            Some("label") => json!({"type": "string", "pattern": label_pattern()}),
            Some("watch" | "follow" | "cascade") => json!({"type": "boolean"}),
            Some("limit") => json!({"type": "integer", "minimum": 1, "maximum": 1000}),
            Some("tail") => json!({"type": "integer", "minimum": 0, "maximum": 1 << 30}),
            Some("state") => json!({"type": "string", "pattern": state_pattern(path)}),
            _ => continue,
        };
        parameter["schema"] = schema;
    }
    parameters.retain(|parameter| parameter["name"] != "state" || has_states(path));
    let mut header = |name: &str, description: &str, schema: Value| {
        parameters.push(
            json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema}),
        );
    };
    if sort.is_change {
        header(
            "Idempotency-Key",
            "1 to 255 visible ASCII characters, a fresh one for each new request.",
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!-~]{1,255}$"}),
        );
        header(
            "EdgeStack-Reason",
            "Why, in words (UTF-8, at most 1024 characters); kept in the history.",
            json!({"type": "string", "maxLength": 1024}),
        );
        if sort.has_name {
            header(
                "If-Match",
                "The ETag that the change is based on, or *.",
                json!({"type": "string", "pattern": r#"^(\*|"g[0-9]{1,18}\.r[0-9]{1,18}")$"#}),
            );
        }
        parameters.push(json!({
            "name": "dry_run", "in": "query", "required": false,
            "description": "true: decide and show what would be, change nothing (answered with 200).",
            "schema": {"type": "boolean"},
        }));
    }
    if sort.is_stream {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "The id of the last event seen; the stream goes on after it.",
            "schema": {"type": "string", "pattern": if sort.is_list { r"^[0-9]{1,18}$" } else { r"^[0-9]{1,18}\.[0-9]{1,9}$" }},
        }));
    } else if sort.is_resource && !sort.is_change && path.ends_with('}') {
        parameters.push(json!({
            "name": "If-None-Match", "in": "header", "required": false,
            "description": "ETags that the caller has; 304 when one is the present one.",
            "schema": {"type": "string"},
        }));
    }
    let (situational, parameters): (Vec<Value>, Vec<Value>) = parameters
        .into_iter()
        .partition(|parameter| parameter["name"].as_str().is_some_and(|name| SITUATIONAL.contains(&name)));
    operation["parameters"] = parameters.into();
    if !situational.is_empty() {
        operation["x-situational-parameters"] = situational.into();
    }
}

/// What is told of a stream is each of its events, whose `data` is JSON. Source: OpenAPI 3.2, "Server-Sent Event Streams",
/// whose form of an event this is, in words of JSON Schema that 3.1 has as well.
fn tell_streams(operation: &mut Value) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for response in responses.values_mut() {
        let Some(schema) = response.pointer_mut("/content/text~1event-stream/schema") else {
            continue;
        };
        let data = schema.take();
        *schema = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "event": {"type": "string"},
                "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
            },
        });
    }
}

fn add_headers(method: &str, sort: &Sort, operation: &mut Value) {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    let number = |description: &str| json!({"description": description, "schema": {"type": "integer", "minimum": 0}});
    if sort.is_change
        && let Some(first) = ["201", "202"].iter().find_map(|status| operation["responses"].get(*status).cloned())
        && operation["responses"].get("200").is_none()
    {
        let mut dry = first;
        dry["description"] = "Dry run: the resource as it would be".into();
        operation["responses"]["200"] = dry;
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for (status, response) in responses {
        let mut headers = Map::new();
        headers.insert("EdgeStack-Correlation-Id".to_owned(), text("Finds this request in logs and history."));
        if sort.is_change {
            headers
                .insert("EdgeStack-Sequence".to_owned(), number("The commit that the change is; absent on a dry run."));
            headers.insert("Idempotent-Replayed".to_owned(), text("true: the request had come before."));
        }
        if sort.is_resource && (sort.has_name || sort.is_change) && status != "204" {
            headers.insert("ETag".to_owned(), text("The resource's tag."));
        }
        if method == "post" && !sort.has_name && (status == "201" || status == "202") {
            headers.insert("Location".to_owned(), text("Where the resource is."));
        }
        response["headers"] = headers.into();
    }
    if sort.is_resource && !sort.is_change && sort.has_name && !sort.is_stream {
        operation["responses"]["304"] = json!({"description": "If-None-Match holds the present tag"});
    }
}

fn add_problems(path: &str, sort: &Sort, operation: &mut Value) {
    let mut statuses: Vec<u16> = vec![400, 414, 500];
    if sort.is_resource || sort.is_site {
        statuses.extend([401, 429]);
    }
    if sort.has_name {
        statuses.push(404);
    }
    if sort.is_resource || sort.is_site || path == "/readyz" {
        statuses.push(503);
    }
    if sort.is_change {
        statuses.extend([409, 410, 412, 413, 422, 429]);
    }
    if sort.has_body {
        statuses.extend([408, 413, 415, 422]);
    }
    if path == "/edgetron/undo" {
        statuses.extend([404, 412]);
    }
    if path == "/edgetron/log/archive" {
        // Nothing would leave; no node is registered, in whose history it would stand.
        statuses.extend([404, 409]);
    }
    if sort.is_upload {
        statuses.push(507);
    }
    if path.starts_with("/edgetron/network/") {
        // There is no network to test, or somebody named is not there.
        statuses.push(409);
    }
    if ["/logs", "/guest_info", "/login_users", "/health"].iter().any(|end| path.ends_with(end)) {
        statuses.push(409);
    }
    if sort.has_body && path.contains("/webhooks") && !path.ends_with("/action") {
        statuses.push(403);
    }
    for status in statuses {
        let names: Vec<&str> = codes::ALL.iter().filter(|code| code.status == status).map(|code| code.code).collect();
        let reason =
            StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Problem");
        let mut response = json!({
            "description": format!("{reason}: {}", names.join(", ")),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        match status {
            401 => {
                response["headers"] = json!({"WWW-Authenticate": {"schema": {"type": "string"}, "required": true, "description": "Bearer"}})
            }
            429 | 503 => {
                response["headers"] =
                    json!({"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds"}})
            }
            _ => {}
        }
        operation["responses"][status.to_string()] = response;
    }
}

/// A keypair is asked for in one of several ways: generated, or given with a type that agrees with the key.
fn constrain_keys(schema: &mut Value) {
    let way = |types: Value, key: Value, required: Value| {
        let mut properties = schema["properties"].clone();
        properties["type"] = types;
        let description = properties["public_key"]["description"].clone();
        properties["public_key"] = key;
        properties["public_key"]["description"] = description;
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let mut ways = vec![way(
        json!({"type": ["string", "null"], "enum": ["ed25519", "rsa", null], "description": "What to generate; ed25519 if absent."}),
        json!({"type": "null"}),
        json!(["name"]),
    )];
    for (key_type, pattern) in ssh_keys::patterns() {
        let types: Vec<Value> = match key_type {
            "ecdsa" => vec![Value::Null],
            other => vec![other.into(), Value::Null],
        };
        ways.push(way(
            json!({"enum": types, "description": "What the key must be, if you want to say it."}),
            json!({"type": "string", "maxLength": 16384, "pattern": pattern}),
            json!(["name", "public_key"]),
        ));
    }
    let (description, example) = (schema["description"].clone(), schema["example"].clone());
    *schema = json!({"description": description, "example": example, "oneOf": ways});
}

/// What is undone is told in one of two ways.
fn constrain_undo(schema: &mut Value) {
    let way = |said: &str, form: Value, other: &str| json!({"required": [said], "properties": {said: form, other: {"type": "null"}}});
    schema["oneOf"] = json!([
        way("sequence", json!({"type": "integer"}), "correlation"),
        way("correlation", json!({"type": "string"}), "sequence"),
    ]);
    schema["properties"]["reason"]["pattern"] = r"^[^\x00-\x1f\x7f-\x9f]*$".into();
}

/// Groups are named by names or ids, an edit of a NIC's groups says at least one thing, and a NIC to be detached is told
/// in one way.
fn constrain_groups(schemas: &mut Map<String, Value>) {
    let named = json!({"type": "string", "minLength": 1, "maxLength": 255});
    schemas["VmNetwork"]["properties"]["security_groups"]["items"] = named.clone();
    let variants = schemas["VmAction"]["oneOf"].as_array_mut();
    let of_groups = |variant: &&mut Value| variant["properties"]["security_groups"].is_object();
    for variant in variants.into_iter().flatten() {
        if variant["properties"]["action"]["enum"] == json!(["detach_nic"]) {
            let way = |said: &str, form: &str, other: &str| json!({"required": [said], "properties": {said: {"type": form}, other: {"type": "null"}}});
            variant["oneOf"] = json!([way("nic", "integer", "network"), way("network", "string", "nic")]);
        }
        if !of_groups(&variant) {
            continue;
        }
        variant["properties"]["security_groups"]["items"] = named.clone();
        if !variant["properties"]["add"].is_object() {
            continue;
        }
        let edit = variant;
        for field in ["add", "remove"] {
            edit["properties"][field]["items"] = named.clone();
        }
        let some = |field: &str, least: u32| json!({"required": [field], "properties": {field: {"type": "array", "minItems": least}}});
        edit["anyOf"] = json!([some("security_groups", 0), some("add", 1), some("remove", 1)]);
    }
}

/// A moment: a sequence, a time, or how long ago.
fn constrain_moment(schema: &mut Value) {
    schema["properties"]["before"]["pattern"] =
        r"^([0-9]{1,18}|[1-9][0-9]{0,4} (seconds|minutes|hours|days) ago|20[0-2][0-5]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)$".into();
}

/// The words of a filter are bounded, and kinds are known.
fn constrain_filter(schema: &mut Value) {
    constrain_maps(schema);
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    schema["properties"]["kinds"]["items"] = json!({"type": "string", "enum": kinds});
    for name in ["names", "types", "actors"] {
        schema["properties"][name]["maxItems"] = 64.into();
        schema["properties"][name]["items"] =
            json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"});
    }
}

/// Variants of a tagged enum take no fields but their own; utoipa leaves that out.
fn close(variant: &mut Value) {
    if variant["properties"].is_object() {
        variant["additionalProperties"] = false.into();
    }
}

/// Labels and selectors keep Kubernetes' syntax (see the model's `Labels`), in the schema too.
fn constrain_maps(schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for name in ["labels", "node_selector"] {
        if let Some(property) = properties.get_mut(name) {
            property["maxProperties"] = 64.into();
            property["propertyNames"] = json!({"pattern": format!("^{}$", label_key())});
            property["additionalProperties"] = json!({"type": "string", "pattern": format!("^({})?$", label_mark())});
        }
    }
}

fn label_mark() -> &'static str {
    "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
}

fn kinds_pattern() -> String {
    let one = Kind::ALL.map(Kind::as_str).join("|");
    format!("^({one})(,({one}))*$")
}

fn label_key() -> String {
    format!(r"([a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{{0,30}}[a-z0-9])?){{0,4}}/)?{}", label_mark())
}

fn label_pattern() -> String {
    format!("^{}=({})?$", label_key(), label_mark())
}

fn has_states(path: &str) -> bool {
    !path.ends_with("/flavors") && !path.ends_with("/keypairs")
}

fn state_pattern(path: &str) -> String {
    use crate::shown::Shown;
    use edgestack_wire::{
        floating_ip::FloatingIp, image::Image, lease::Lease, load_balancer::LoadBalancer, network::Network, node::Node,
        router::Router, security_group::SecurityGroup, security_group_rule::SecurityGroupRule, vm::Vm, volume::Volume,
        webhook::Webhook,
    };
    let words = match path.rsplit('/').next() {
        Some("vms") => Vm::states(),
        Some("images") => Image::states(),
        Some("nodes") => Node::states(),
        Some("volumes") => Volume::states(),
        Some("networks") => Network::states(),
        Some("security_groups") => SecurityGroup::states(),
        Some("security_group_rules") => SecurityGroupRule::states(),
        Some("routers") => Router::states(),
        Some("floating_ips") => FloatingIp::states(),
        Some("lbs") => LoadBalancer::states(),
        Some("webhooks") => Webhook::states(),
        Some("leases") => Lease::states(),
        _ => &[],
    };
    let one = words.join("|");
    format!("^({one})(,({one}))*$")
}
