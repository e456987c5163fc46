//! All routes, under both spellings of the prefix.

use std::sync::Arc;

use axum::{Router, middleware, response::IntoResponse, routing::get};
use edgestack_model::Kind;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    AppState, archive, backup, codes, diff, docs, events, explain, flavors, floating_ips, health, history_search,
    images, keypairs, leases, load_balancers, network_tests, networks, nodes, observe, openapi, problem::Failure,
    replay, routers, schemas, security_group_rules, security_groups, state::Site, undo, vms, volumes, webhooks,
    what_if,
};

/// The prefixes, both in the field. Links that the API hands out use the first.
pub const PREFIXES: [&str; 2] = ["/edgetron/resources/kubevirt", "/edgetron/resources/kubvirt"];

/// The whole surface as a router that needs no socket. Serve it with
/// [`crate::Listener`], which tells it the peer of each connection.
pub fn app(state: AppState) -> Router {
    let (open, open_document) = health::routes()
        .merge(archive::routes())
        .merge(backup::routes())
        .merge(diff::routes())
        .merge(events::routes())
        .merge(explain::routes())
        .merge(history_search::routes())
        .merge(network_tests::routes())
        .merge(replay::routes())
        .merge(schemas::routes())
        .merge(undo::routes())
        .merge(what_if::routes())
        .split_for_parts();
    let (resources, document) = resources().split_for_parts();
    let document = openapi::document(document, open_document, &state.site);
    let site = Site::new(state, document);
    PREFIXES
        .iter()
        .fold(open, |router, prefix| router.nest(prefix, resources.clone()))
        .route("/openapi.json", get(docs::openapi))
        .route("/asyncapi.json", get(schemas::show_asyncapi))
        .route("/docs", get(docs::docs))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(site.clone(), observe::observe))
        .with_state(site)
}

/// The resources alone, without prefix, and without the outermost layer: whoever calls says who asks ([`observe::Seen`]),
/// and finds a [`Failure`] as an extension of its answer.
pub(crate) fn resources_alone(site: Arc<Site>) -> Router {
    let (resources, _document) = resources().split_for_parts();
    resources.fallback(no_such_path).method_not_allowed_fallback(method_not_allowed).with_state(site)
}

/// The resources, without prefix.
fn resources() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .merge(vms::routes())
        .merge(images::routes())
        .merge(flavors::routes())
        .merge(keypairs::routes())
        .merge(nodes::routes())
        .merge(volumes::routes())
        .merge(networks::routes())
        .merge(security_groups::routes())
        .merge(security_group_rules::routes())
        .merge(routers::routes())
        .merge(floating_ips::routes())
        .merge(load_balancers::routes())
        .merge(webhooks::routes())
        .merge(leases::routes())
}

/// The link to a resource.
pub(crate) fn link(kind: Kind, name: &str) -> String {
    format!("{}/{}/{name}", PREFIXES[0], kind.plural())
}

/// A path without its prefix: both spellings of a request are one request.
pub(crate) fn without_prefix(path: &str) -> &str {
    PREFIXES
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(path)
}

async fn no_such_path() -> impl IntoResponse {
    Failure::new(&codes::NO_SUCH_PATH, "there is no such path; /docs and /openapi.json list those that are")
}

async fn method_not_allowed() -> impl IntoResponse {
    Failure::new(
        &codes::METHOD_NOT_ALLOWED,
        "the path does not take this method; the Allow header lists those that it takes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_path() {
        assert_eq!(without_prefix("/edgetron/resources/kubvirt/vms/a"), "/vms/a");
        assert_eq!(without_prefix("/edgetron/resources/kubevirt/vms/a"), "/vms/a");
        assert_eq!(without_prefix("/edgetron/resources/kubevirtx"), "/edgetron/resources/kubevirtx");
        assert_eq!(link(Kind::Vm, "a"), "/edgetron/resources/kubevirt/vms/a");
    }
}
