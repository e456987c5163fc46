//! The log as a contract for programs in any language: `/schemas`, a JSON Schema for each type and version of event, and
//! `/asyncapi.json`, which tells where the events are heard. Both are made from the types that the log is written with.

pub(crate) mod asyncapi;

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use edgestack_model::schema::{Dialect, NamedSchema, Schemas};
use edgestack_wire::schema::{SchemaLink, SchemaList};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SiteInfo, codes, path,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::generate(Dialect::Draft202012));

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(list_schemas)).routes(routes!(show_schema))
}

/// Where the schema of a type and version is.
pub(crate) fn url(site: &SiteInfo, name: &str, version: u32) -> String {
    format!("{}/schemas/{name}/{version}", site.url)
}

/// The names and versions that there are, for the parameters of the OpenAPI document.
pub(crate) fn names_and_versions() -> (BTreeSet<&'static str>, BTreeSet<u32>) {
    let names: BTreeSet<_> = SCHEMAS.all.iter().map(|named| named.name.as_str()).collect();
    let versions: BTreeSet<_> = SCHEMAS.all.iter().map(|named| named.version).collect();
    (names, versions)
}

#[utoipa::path(
    get, path = "/schemas", tag = "site", operation_id = "list_schemas",
    summary = "List the schemas of what the log holds",
    description = "A JSON Schema for each type and version of event, and for the commit around them: what a reader of the log in any language can rely on.",
    responses((status = 200, description = "Where they are", body = SchemaList))
)]
async fn list_schemas(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let link = |named: &NamedSchema| SchemaLink {
        name: named.name.clone(),
        version: named.version,
        kind: named.kind.map(|kind| kind.to_string()),
        description: named.schema["description"].as_str().unwrap_or_default().to_owned(),
        url: url(&site.app.site, &named.name, named.version),
    };
    Ok(Json(SchemaList { items: SCHEMAS.all.iter().map(link).collect() }).into_response())
}

#[utoipa::path(
    get, path = "/schemas/{schema}/{version}", tag = "site", operation_id = "show_schema",
    summary = "The JSON Schema of one version of one type of event",
    description = "JSON Schema 2020-12 of the event as it stands in a commit, and of the `data` of its CloudEvent. It says what is there; a reader bears with fields that it does not name.",
    params(
        ("schema" = String, Path, description = "An event's type, or `Commit`"),
        ("version" = u32, Path, description = "The version of the type's data"),
    ),
    responses((status = 200, description = "The schema", body = serde_json::Value, content_type = "application/schema+json"))
)]
async fn show_schema(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let (mut parts, _) = request.into_parts();
    Parameters::parse(parts.uri.query().unwrap_or(""))?.finish()?;
    let mut segments = path::segments(&mut parts, &site).await?.into_iter();
    let (name, version) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let named = SCHEMAS.all.iter().find(|named| named.name == name && named.version.to_string() == version);
    let Some(named) = named else {
        let why = "there is no schema of this name and version; /schemas lists those that there are";
        return Err(Failure::new(&codes::NO_SUCH_PATH, why));
    };
    let mut document = SCHEMAS.document(named);
    document["$id"] = url(&site.app.site, &named.name, named.version).into();
    Ok(json_as("application/schema+json", document.to_string()))
}

/// `GET /asyncapi.json`.
pub(crate) async fn show_asyncapi(State(site): State<Arc<Site>>) -> Response {
    json_as("application/json", site.asyncapi().to_owned())
}

fn json_as(content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
