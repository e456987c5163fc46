//! Open paths: whether the process lives, whether the site takes commands, its
//! numbers, and what problems mean.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use edgestack_wire::health::{Alive, LogInfo, ProblemMeaning, Ready};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    codes, path,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(show_problem))
}

#[utoipa::path(
    get, path = "/healthz", tag = "site", operation_id = "healthz",
    summary = "Whether the process answers",
    responses((status = 200, description = "It does", body = Alive))
)]
async fn healthz(parameters: Parameters) -> Answer {
    parameters.finish()?;
    Ok(Json(Alive { status: "ok".to_owned() }).into_response())
}

#[utoipa::path(
    get, path = "/readyz", tag = "site", operation_id = "readyz",
    summary = "Whether the site takes commands",
    responses((status = 200, description = "It does", body = Ready))
)]
async fn readyz(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let not_ready = |why: String| {
        Failure::new(&codes::NOT_READY, format!("the site takes no commands now: {why}"))
            .retry_after(Duration::from_secs(2))
    };
    if let Some(error) = site.app.replica.failure() {
        return Err(not_ready(edgestack_engine::error_chain(&error)));
    }
    if site.app.shutdown.is_cancelled() {
        return Err(not_ready("it is stopping".to_owned()));
    }
    (site.app.readiness)().map_err(not_ready)?;
    Ok(Json(Ready {
        site: site.app.site.name.clone(),
        version: site.app.site.version.clone(),
        sequence: site.app.replica.head().sequence,
        log: LogInfo { backend: site.app.site.log_backend.clone() },
    })
    .into_response())
}

#[utoipa::path(
    get, path = "/metrics", tag = "site", operation_id = "metrics",
    summary = "Numbers for Prometheus",
    description = "Open on loopback; from elsewhere with the token.",
    responses((status = 200, description = "Prometheus' text format 0.0.4", body = String, content_type = "text/plain"))
)]
async fn metrics(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let mut response = Response::new((site.app.metrics)().into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}

#[utoipa::path(
    get, path = "/problems/{code}", tag = "site", operation_id = "show_problem",
    summary = "What a problem's code means",
    params(("code" = String, Path, description = "A problem's code", example = "name-taken")),
    responses((status = 200, description = "Its meaning, and what to do", body = ProblemMeaning))
)]
async fn show_problem(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let (mut parts, _) = request.into_parts();
    Parameters::parse(parts.uri.query().unwrap_or(""))?.finish()?;
    let name = path::segment(&mut parts, &site).await?;
    match codes::find(&name) {
        Some(code) => Ok(Json(code.meaning()).into_response()),
        None => Err(Failure::new(
            &codes::NO_SUCH_PATH,
            "there is no problem of this code; the problems that the API answers name theirs",
        )),
    }
}
