//! `POST /edgetron/network/ping` and `/edgetron/network/trace`: whether, and by which way, a packet comes from one place of
//! the virtual network to another. Nothing of it is in the log: it changes nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    response::IntoResponse,
};
use edgestack_wire::network_test::{AskPing, AskTrace, Counters, Ping, Trace};
use serde::de::DeserializeOwned;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    NetworkError, body, codes,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(ping)).routes(routes!(trace)).routes(routes!(counters))
}

#[utoipa::path(
    post, path = "/edgetron/network/ping", tag = "networks", operation_id = "test_ping",
    summary = "Send echo requests from one place of the virtual network to another",
    description = "Real packets: from a VM by its guest's own ping (through the guest agent), from a network, a router or the outside by a host that is there for the test. Where not all are answered, OVN's own trace tells where they stop.",
    request_body = AskPing,
    responses((status = 200, description = "What came of it", body = Ping))
)]
async fn ping(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let asked: AskPing = asked(&site, request).await?;
    asked.check()?;
    Ok(Json(site.app.network.ping(asked).await?).into_response())
}

#[utoipa::path(
    post, path = "/edgetron/network/trace", tag = "networks", operation_id = "trace_packet",
    summary = "Tell which way a packet would take, and where it would stop",
    description = "By OVN's own trace, in words about the site's objects: rules, routes, addresses that become others. No packet is sent.",
    request_body = AskTrace,
    responses((status = 200, description = "The way", body = Trace))
)]
async fn trace(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let asked: AskTrace = asked(&site, request).await?;
    asked.check()?;
    Ok(Json(site.app.network.trace(asked).await?).into_response())
}

#[utoipa::path(
    get, path = "/edgetron/network/counters", tag = "networks", operation_id = "show_network_counters",
    summary = "Show what went over the NICs of this daemon's node",
    responses((status = 200, description = "A NIC each", body = Counters))
)]
async fn counters(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    Ok(Json(site.app.network.counters().await?).into_response())
}

async fn asked<T: DeserializeOwned>(site: &Arc<Site>, request: Request) -> Result<T, Failure> {
    let (mut parts, body) = request.into_parts();
    Parameters::from_request_parts(&mut parts, site).await?.finish()?;
    body::parse(&body::read_json(&parts.method, &parts.headers, body).await?)
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::NotFound { field, why } => {
                Self::new(&codes::REFERENCE_NOT_FOUND, format!("{field}: {why}")).field(field)
            }
            NetworkError::Invalid(invalid) => invalid.into(),
            NetworkError::NotHere { why } => Self::new(&codes::NETWORK_NOT_HERE, why),
            NetworkError::NotNow { why } => {
                Self::new(&codes::NETWORK_UNREACHABLE, why).retry_after(Duration::from_secs(2))
            }
        }
    }
}
