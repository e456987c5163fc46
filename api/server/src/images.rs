//! Images.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Command, Kind, image::ImageCommand, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    image::{CreateImage, Image, ImageAction, UpdateImage},
    list::{List, ListParams, WatchEvent},
    meta::Meta,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer},
    change::Change,
    history, list,
    moment::AtParam,
    path::Named,
    problem::Answer,
    query::Parameters,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_images, create_image))
        .routes(routes!(show_image, update_image, remove_image))
        .routes(routes!(act_on_image))
        .routes(routes!(crate::upload::upload_image))
        .routes(routes!(show_image_events))
}

impl Shown for Image {
    const KIND: Kind = Kind::Image;

    fn states() -> &'static [&'static str] {
        &["queued", "importing", "active", "failed", "deleting"]
    }

    fn show(resource: &Resource, _around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        match resource {
            Resource::Image(resource) => Ok(Some(resource.as_ref().into())),
            _ => Ok(None),
        }
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

#[utoipa::path(
    get, path = "/images", tag = "images", operation_id = "list_images",
    summary = "List images, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Image> = "application/json"),
        (WatchEvent<Image> = "text/event-stream"),
    )))
)]
async fn list_images(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Image>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/images", tag = "images", operation_id = "create_image",
    summary = "Create an image",
    description = "From a file on the node (source.type path), or from an upload: then send the bytes to PUT images/{name}/file.",
    request_body = CreateImage,
    responses((status = 202, description = "It is recorded; it becomes active when its content is stored", body = Image))
)]
async fn create_image(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateImage>()?.try_into()?;
    let outcome = change.submit(&site, Command::Image(command)).await?;
    answer::<Image>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/images/{name}", tag = "images", operation_id = "show_image",
    summary = "Show an image",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The image", body = Image))
)]
async fn show_image(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Image>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/images/{name}", tag = "images", operation_id = "update_image",
    summary = "Change an image",
    description = "An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateImage = "application/json"), (UpdateImage = "application/merge-patch+json"))),
    responses((status = 200, description = "The image with the change", body = Image))
)]
async fn update_image(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateImage = change.parse()?;
    let command = update.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::Image(command)).await?;
    answer::<Image>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/images/{name}", tag = "images", operation_id = "remove_image",
    summary = "Remove an image",
    description = "Refused while VMs use it. Its file is removed by the storage worker.",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 202, description = "It is being removed", body = Image), (status = 204, description = "It is gone"), (status = 200, description = "Dry run: the image as it would be", body = Image))
)]
async fn remove_image(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = ImageCommand::Delete { image: change.reference()? };
    let outcome = change.submit(&site, Command::Image(command)).await?;
    answer::<Image>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/images/{name}/action", tag = "images", operation_id = "act_on_image",
    summary = "Have an image looked at again now, or force its removal",
    params(("name" = String, Path, description = "Name or id")),
    request_body = ImageAction,
    responses(
        (status = 202, description = "It is recorded; its worker looks", body = Image),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the image as it would be", body = Image),
    )
)]
async fn act_on_image(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<ImageAction>()?;
    let success = match action {
        ImageAction::Reconcile {} => Success::WorkFollows,
        ImageAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::Image(command)).await?;
    answer::<Image>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/images/{name}/events", tag = "images", operation_id = "show_image_events",
    summary = "Show the history of an image, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_image_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Image, &reference, &headers, parameters).await
}
