//! `/edgetron/log/archive`: where the commits of the log are, and letting older ones leave the live log for the archive.
//!
//! The command only records the wish, with who and why; the daemon that runs nats-server does it, however often it is
//! killed meanwhile.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use chrono::Utc;
use edgestack_log::chain;
use edgestack_model::{
    Command,
    command::Reference,
    node::{LogRelease, NodeCommand},
};
use edgestack_wire::archive::{ArchiveLog, LogArchive};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    change::Change,
    codes,
    moment::{At, failure, parse},
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(show_log_archive, archive_log))
}

#[utoipa::path(
    get, path = "/edgetron/log/archive", tag = "log", operation_id = "show_log_archive",
    summary = "Show which commits are in the live log, and which in the archive",
    responses((status = 200, description = "Where they are", body = LogArchive))
)]
async fn show_log_archive(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let released = site.app.replica.world().log_released().map_or(0, |released| released.through);
    Ok(Json(standing(&site, released).await?).into_response())
}

#[utoipa::path(
    post, path = "/edgetron/log/archive", tag = "log", operation_id = "archive_log",
    summary = "Let older commits leave the live log",
    description = "They are in the archive, which is read as a whole and compared before anything leaves; chain, times past, history and subscriptions reach through it as before. The archive is their only copy then: keep it on a disk or store of its own, and take backups. Needs a reason. It is done by the daemon afterwards: ask again how far it is. What has left doesn't come back.",
    request_body = ArchiveLog,
    responses(
        (status = 200, description = "A dry run: what would leave", body = LogArchive),
        (status = 202, description = "It is recorded, and done in a while", body = LogArchive),
    )
)]
async fn archive_log(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let asked: ArchiveLog = change.parse()?;
    if !site.app.log_can_leave {
        let text = "commits can't leave a log that is on three nodes; nothing was done";
        return Err(Failure::new(&codes::WRONG_STATE, text));
    }
    let through = last_before(&site, &asked.before).await?;
    // By id, so the one that was registered first: whose history it stands in makes no difference.
    let node = site.app.replica.world().nodes.values().next().map(|node| Reference::id(node.id));
    let no_node = || Failure::new(&codes::NOT_FOUND, "no node is registered yet, in whose history this would stand");
    let node = node.ok_or_else(no_node)?;
    let dry_run = change.origin.dry_run;
    let release = NodeCommand::ReleaseLog { node, through: through.clone() };
    change.submit(&site, Command::Node(release)).await?;
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let standing = standing(&site, through.through).await?;
    Ok::<Response, Failure>((status, Json(standing)).into_response())
}

/// The last commit before a moment.
async fn last_before(site: &Site, text: &str) -> Result<LogRelease, Failure> {
    let wrong = |why: String| Failure::new(&codes::INVALID_VALUE, format!("before: {why}")).field("before");
    let failed = |error| failure("before", error);
    let timeline = &site.app.timeline;
    let through = match parse(text, Utc::now()).map_err(wrong)? {
        At::Sequence(sequence) => sequence.saturating_sub(1),
        At::Time(time) => timeline.sequence_at(time).await.map_err(failed)?,
    };
    let last = site.app.replica.head().sequence;
    if through == 0 || through >= last {
        let text = format!("nothing would leave, or all: the log has the commits 1 to {last}");
        return Err(Failure::new(&codes::WRONG_STATE, text).field("before"));
    }
    let stored = timeline.stored(through, 1).await.map_err(failed)?;
    let missing = || Failure::internal(format!("commit {through} is not in the log"));
    let stored = stored.first().ok_or_else(missing)?;
    Ok(LogRelease { through, hash: hex::encode(chain::hash(&stored.payload)) })
}

async fn standing(site: &Site, released: u64) -> Result<LogArchive, Failure> {
    let extent = site.app.timeline.extent().await.map_err(|error| failure("before", error))?;
    Ok(LogArchive {
        live_first: extent.live_first,
        last: extent.last,
        archived_through: extent.archived_through,
        release_through: released,
        leaving: (released + 1).saturating_sub(extent.live_first),
    })
}
