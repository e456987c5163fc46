//! `GET /edgetron/log/replay`: the whole log once more, checked, and compared with what the site shows.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    response::{IntoResponse, Sse, sse::Event},
};
use edgestack_engine::{Replica, error_chain};
use edgestack_model::World;
use edgestack_timeline::{Replayed, TimelineError};
use edgestack_views::Views;
use edgestack_wire::log::{Finding, ReplayEvent, ReplayResult};
use futures::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    codes,
    moment::at,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Looks at views that keep changing before they count as too busy to be compared.
const LOOKS: usize = 20;

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(replay_log))
}

/// How far, and what is compared.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct ReplayParams {
    /// Up to this moment: a sequence, a time (RFC 3339), or how long ago; to the end if absent.
    until: Option<String>,
    /// `true`: build the views anew as well, beside the live ones, and compare them; takes longer.
    views: Option<bool>,
}

#[utoipa::path(
    get, path = "/edgetron/log/replay", tag = "log", operation_id = "replay_log",
    summary = "Check the whole log, and that it leads to what the site shows",
    description = "Sequences, hash chain, each commit, each event, and that the worlds between are sound. One at a time; it ends when the client goes away.",
    params(ReplayParams),
    responses((status = 200, description = "Progress, then the result, then the end", content(
        (ReplayEvent = "text/event-stream"),
    )))
)]
async fn replay_log(State(site): State<Arc<Site>>, mut parameters: Parameters) -> Answer {
    let until = parameters.text("until")?;
    let views = parameters.flag("views")?;
    parameters.finish()?;
    let expected = match &until {
        None => {
            let (world, head) = site.app.replica.snapshot();
            (head.sequence, world)
        }
        Some(until) => {
            let moment = at(&site, "until", until).await?;
            (moment.head().sequence, moment.world().clone())
        }
    };
    if views && until.is_some() {
        return Err(Failure::parameter("views", "the views are of now; leave one of views and until out"));
    }
    let Ok(turn) = site.replays.clone().try_acquire_owned() else {
        return Err(Failure::new(&codes::TOO_MANY_REQUESTS, "a replay is running; try again when it has ended")
            .retry_after(Duration::from_secs(5)));
    };
    let (tell, told) = mpsc::channel(4);
    tokio::spawn(run(site, expected, views, tell, turn));
    let events = stream::unfold(told, async |mut told| {
        let event: ReplayEvent = told.recv().await?;
        let event = Event::default()
            .json_data(event)
            .inspect_err(|error| tracing::error!(%error, "the event of a replay cannot be written as JSON"))
            .ok()?;
        Some((Ok::<_, Infallible>(event), told))
    });
    Ok(Sse::new(events.boxed()).into_response())
}

async fn run(
    site: Arc<Site>,
    expected: (u64, World),
    views: bool,
    tell: mpsc::Sender<ReplayEvent>,
    _turn: OwnedSemaphorePermit,
) {
    let begun = Instant::now();
    let shutdown = site.app.shutdown.clone();
    let work = replay(&site, expected, views, &tell, begun);
    let outcome = tokio::select! {
        outcome = work => outcome,
        // Nobody listens any more.
        () = tell.closed() => return,
        () = shutdown.cancelled() => return,
    };
    let event = match outcome {
        Ok(result) => ReplayEvent::Result(result),
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "a replay broke off");
            ReplayEvent::BrokenOff { why: error_chain(&error) }
        }
    };
    // A listener that left meanwhile needs no result.
    let _ = tell.send(event).await;
}

async fn replay(
    site: &Site,
    (upto, expected): (u64, World),
    views: bool,
    tell: &mpsc::Sender<ReplayEvent>,
    begun: Instant,
) -> Result<ReplayResult, TimelineError> {
    let beside = if views { Some(Beside::open(site)?) } else { None };
    let mut told_at = Instant::now();
    let tell_progress = |checked| {
        if told_at.elapsed() >= TELL_EVERY {
            told_at = Instant::now();
            // A slow listener misses a step, never the result.
            let _ = tell.try_send(ReplayEvent::Progress { checked, of: upto });
        }
    };
    let projection = beside.as_ref().map(|beside| beside.views.projection());
    let Replayed { replica, finding } = site.app.timeline.replay(upto, projection, tell_progress).await?;
    let whole = finding.is_none();
    let head = replica.head();
    let same_world = whole.then(|| *replica.world() == expected);
    let same_views = match &beside {
        Some(beside) if whole => beside.are_same(site, &replica).await?,
        Some(_) | None => None,
    };
    Ok(ReplayResult {
        checked: head.sequence,
        head_hash: head.hash_hex(),
        finding: finding.map(|finding| Finding { sequence: finding.sequence, what: finding.what }),
        same_world,
        same_views,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Views made anew, in a folder that goes with them.
struct Beside {
    views: Views,
    _folder: tempfile::TempDir,
}

impl Beside {
    fn open(site: &Site) -> Result<Self, TimelineError> {
        let folder = site.app.timeline.folder_beside()?;
        let opened = edgestack_views::open(&folder.path().join("views"))?;
        opened.views.begin_anew()?;
        Ok(Self { views: opened.views, _folder: folder })
    }

    /// Their state is written at the end.
    async fn complete(&self, replica: &Arc<Replica>) -> Result<(), TimelineError> {
        let (views, (world, head)) = (self.views.clone(), replica.snapshot());
        let completed = tokio::task::spawn_blocking(move || views.complete(&world, &head)).await;
        let completed = completed.map_err(|error| TimelineError::BrokeOff(error.to_string()))?;
        completed.map_err(|error| TimelineError::BrokeOff(error_chain(&error)))
    }

    /// Compares at a moment at which both are of the same sequence; `None` when the site never stood still for that.
    async fn are_same(&self, site: &Site, replica: &Arc<Replica>) -> Result<Option<bool>, TimelineError> {
        self.complete(replica).await?;
        for _ in 0..LOOKS {
            let Some((live, sequence)) = digest(&site.app.views).await? else { continue };
            let world = site.app.timeline.replay_on(replica, sequence.0).await?;
            if world.is_some() {
                return Ok(Some(false));
            }
            match digest(&self.views).await? {
                Some((anew, at)) if at == sequence => return Ok(Some(anew == live)),
                Some(_) | None => {}
            }
        }
        Ok(None)
    }
}

async fn digest(views: &Views) -> Result<Option<([u8; 32], edgestack_model::Sequence)>, TimelineError> {
    let views = views.clone();
    let digest = tokio::task::spawn_blocking(move || views.digest()).await;
    let digest = digest.map_err(|error| TimelineError::BrokeOff(error.to_string()))?;
    digest.map_err(|error| TimelineError::BrokeOff(error_chain(&error)))
}
