//! The commands of a proposal, sent one after the other through the real routes.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, Uri, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Proposal, compensate::Prepared};
use crate::{change::REASON, observe::Seen, precondition, problem::Failure, refusals::Asked, router, state::Site};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Sends them, until one is refused. The same proposal run twice has one effect: each command has a key made of the
/// proposal's tag, and changes its object only in the generation that the proposal saw.
pub(super) async fn run(site: &Arc<Site>, proposal: &mut Proposal, seen: &Seen, reason: &str) -> Result<(), Failure> {
    let requests = router::resources_alone(site.clone());
    let reason = HeaderValue::from_bytes(reason.as_bytes()).map_err(|error| Failure::internal(error.to_string()))?;
    let mut touched = BTreeSet::new();
    proposal.told.ran = true;
    for (index, prepared) in proposal.found.commands.iter_mut().enumerate() {
        let path = format!("/{}", prepared.told.path);
        let seen = Seen { path: path.as_str().into(), ..seen.clone() };
        let mut request = Request::new(match body(site, prepared)? {
            Some(body) => Body::from(body.to_string()),
            None => Body::empty(),
        });
        let internal = |error: String| Failure::internal(format!("a command of undo is no request: {error}"));
        *request.method_mut() = prepared.told.method.parse::<Method>().map_err(|error| internal(error.to_string()))?;
        *request.uri_mut() = path.parse::<Uri>().map_err(|error| internal(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REASON, reason.clone());
        let key = HeaderValue::try_from(format!("undo-{}-{index}", proposal.told.tag));
        headers.insert(IDEMPOTENCY_KEY, key.map_err(|error| internal(error.to_string()))?);
        if let Some((kind, id)) = prepared.changes
            && touched.insert((kind, id))
            && let Some(meta) = proposal.now.meta(kind, id)
            && let Some(tag) = precondition::tag(&edgestack_wire::meta::Meta::of(id, meta))
        {
            headers.insert(header::IF_MATCH, tag);
        }
        let asked = Arc::new(Asked::begin(&request));
        // It is set here alone.
        let _ = asked.seen.set(seen.clone());
        request.extensions_mut().insert(seen);
        request.extensions_mut().insert(asked.clone());
        let mut response = match requests.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        prepared.told.status = Some(response.status().as_u16());
        if let Some(failure) = response.extensions_mut().remove::<Failure>() {
            if let Some(refused) = asked.refused(failure.problem()) {
                site.app.refusals.add(refused);
            }
            let mut problem = failure.problem().clone();
            problem.instance = Some(path);
            prepared.told.problem = Some(problem);
            return Ok(());
        }
    }
    Ok(())
}

/// A command's whole body, with what is not told of it.
pub(super) fn body(site: &Site, prepared: &Prepared) -> Result<Option<Value>, Failure> {
    let mut body = prepared.told.body.clone();
    if let (Some(sealed), Some(body)) = (&prepared.user_data, &mut body) {
        let open = site.app.seal.open(sealed);
        body["user_data"] = json!(open.map_err(|error| Failure::internal(edgestack_engine::error_chain(&error)))?);
    }
    Ok(body)
}
