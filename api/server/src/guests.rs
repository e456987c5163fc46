//! What guests themselves say: console log, guest agent.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use edgestack_model::{Id, Kind, command::Reference, vm::Vm, world::Resource};
use edgestack_wire::vm::{GuestInfo, LoginUsers};
use futures::StreamExt;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    GuestError, list,
    path::Named,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(show_vm_logs))
        .routes(routes!(show_guest_info))
        .routes(routes!(show_login_users))
}

/// How much of a console log, and whether to go on.
#[derive(serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct LogParams {
    /// Only the last so many bytes.
    #[param(maximum = 1_073_741_824_u64, example = 65536)]
    tail: Option<u64>,
    /// `true`: go on with what the guest writes.
    follow: Option<bool>,
}

#[utoipa::path(
    get, path = "/vms/{name}/logs", tag = "vms", operation_id = "show_vm_logs",
    summary = "Show the serial console's log of a VM",
    description = "What the guest wrote to its serial console, as it came (text/plain; bytes that are not UTF-8 are passed on). A stopped VM shows its last run.",
    params(("name" = String, Path, description = "Name or id"), LogParams),
    responses((status = 200, description = "The log", body = String, content_type = "text/plain"))
)]
async fn show_vm_logs(State(site): State<Arc<Site>>, Named(reference): Named, mut parameters: Parameters) -> Answer {
    let tail_bytes = parameters.number("tail", 0..=1 << 30)?;
    let follow = parameters.flag("follow")?;
    parameters.finish()?;
    let vm = vm_id(&site, &reference)?;
    let log = site.app.guests()?.console(vm, tail_bytes, follow).await?;
    let ended = site.app.shutdown.clone().cancelled_owned();
    let mut response = Response::new(Body::from_stream(log.take_until(ended)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[utoipa::path(
    get, path = "/vms/{name}/guest_info", tag = "vms", operation_id = "show_guest_info",
    summary = "Show what the guest's agent says of the guest now",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 200, description = "The guest", body = GuestInfo))
)]
async fn show_guest_info(State(site): State<Arc<Site>>, Named(reference): Named, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let vm = running_vm(&site, &reference)?;
    Ok(Json(site.app.guests()?.guest_info(vm).await?).into_response())
}

#[utoipa::path(
    get, path = "/vms/{name}/login_users", tag = "vms", operation_id = "show_login_users",
    summary = "Show who is logged in in the guest",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 200, description = "One item for each session", body = LoginUsers))
)]
async fn show_login_users(State(site): State<Arc<Site>>, Named(reference): Named, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let vm = running_vm(&site, &reference)?;
    let items = site.app.guests()?.login_users(vm).await?;
    Ok(Json(LoginUsers { items }).into_response())
}

/// A VM that has a process by the log. Just after its end the process may still be going, and would give an odd answer.
fn running_vm(site: &Site, reference: &Reference) -> Result<Id<Vm>, Failure> {
    match list::find(site, Kind::Vm, reference)? {
        Resource::Vm(vm) if vm.power.instance().is_none() => Err(GuestError::NotRunning.into()),
        resource => Ok(Id::new(resource.id())),
    }
}

fn vm_id(site: &Site, reference: &Reference) -> Result<Id<Vm>, Failure> {
    Ok(Id::new(list::find(site, Kind::Vm, reference)?.id()))
}
