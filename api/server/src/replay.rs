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
use edgestack_model::{Kind, Sequence, World};
use edgestack_timeline::{Replayed, TimelineError};
use edgestack_views::{Digest, ViewError, Views, digest_of_world};
use edgestack_wire::log::{Finding, ReplayEvent, ReplayResult};
use futures::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    codes,
    moment::at,
    path::the_kind,
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

/// How far, and what is compared. The whole log up to there is checked in any case.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct ReplayParams {
    /// Up to this moment: a sequence, a time (RFC 3339), or how long ago; to the end if absent.
    until: Option<String>,
    /// `true`: build the views anew as well, beside the live ones, and compare them; takes longer. Of now every row as it is
    /// stored; with `until` or `kind` the objects (those of then are what `at` shows) and, event by event, the history.
    views: Option<bool>,
    /// Compare only what there is of this kind.
    #[param(example = "vm")]
    kind: Option<String>,
}

/// What is asked for.
struct Asked {
    upto: u64,
    /// What the site shows of then.
    expected: World,
    /// Whether that is the past.
    past: bool,
    views: bool,
    kind: Option<Kind>,
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
    let kind = parameters.text("kind")?.map(|word| the_kind("kind", &word)).transpose()?;
    parameters.finish()?;
    let (upto, expected) = match &until {
        None => {
            let (world, head) = site.app.replica.snapshot();
            (head.sequence, world)
        }
        Some(until) => {
            let moment = at(&site, "until", until).await?;
            (moment.head().sequence, moment.world().clone())
        }
    };
    let asked = Asked { upto, expected, past: until.is_some(), views, kind };
    let Ok(turn) = site.replays.clone().try_acquire_owned() else {
        return Err(Failure::new(&codes::TOO_MANY_REQUESTS, "a replay is running; try again when it has ended")
            .retry_after(Duration::from_secs(5)));
    };
    let (tell, told) = mpsc::channel(4);
    tokio::spawn(run(site, asked, tell, turn));
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

async fn run(site: Arc<Site>, asked: Asked, tell: mpsc::Sender<ReplayEvent>, turn: OwnedSemaphorePermit) {
    let begun = Instant::now();
    let shutdown = site.app.shutdown.clone();
    let turn = Arc::new(turn);
    let work = replay(&site, asked, &tell, begun, &turn);
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
    asked: Asked,
    tell: &mpsc::Sender<ReplayEvent>,
    begun: Instant,
    turn: &Arc<OwnedSemaphorePermit>,
) -> Result<ReplayResult, TimelineError> {
    let beside = if asked.views { Some(Beside::open(site, turn.clone())?) } else { None };
    let mut told_at = Instant::now();
    let tell_progress = |checked| {
        if told_at.elapsed() >= TELL_EVERY {
            told_at = Instant::now();
            // A slow listener misses a step, never the result.
            let _ = tell.try_send(ReplayEvent::Progress { checked, of: asked.upto });
        }
    };
    let projection = beside.as_ref().map(|beside| beside.views.projection());
    let Replayed { replica, finding } = site.app.timeline.replay(asked.upto, projection, tell_progress).await?;
    let whole = finding.is_none();
    let head = replica.head();
    let same_world = whole.then(|| is_same_world(&replica.world(), &asked.expected, asked.kind));
    let compared = match &beside {
        Some(beside) if whole && asked.past => Some(beside.compared_then(site, &replica, asked).await?),
        Some(beside) if whole => beside.compared_now(site, &replica, asked.kind).await?,
        Some(_) | None => None,
    };
    Ok(ReplayResult {
        checked: head.sequence,
        head_hash: head.hash_hex(),
        finding: finding.map(|finding| Finding { sequence: finding.sequence, what: finding.what }),
        same_world,
        same_views: compared.map(|compared| compared.same),
        rows_compared: compared.map(|compared| compared.rows),
        seconds: begun.elapsed().as_secs_f64(),
    })
}

fn is_same_world(one: &World, other: &World, kind: Option<Kind>) -> bool {
    match kind {
        None => one == other,
        Some(kind) => one.list(kind, None).eq(other.list(kind, None)),
    }
}

/// What a comparison of views came to.
#[derive(Clone, Copy)]
struct Compared {
    same: bool,
    /// Of those made anew.
    rows: u64,
}

/// Views made anew, in a folder that goes with them.
struct Beside {
    views: Views,
    /// Threads that read them hold it as well: they go on when the client leaves, and the next replay waits for them.
    turn: Arc<OwnedSemaphorePermit>,
    _folder: tempfile::TempDir,
}

impl Beside {
    fn open(site: &Site, turn: Arc<OwnedSemaphorePermit>) -> Result<Self, TimelineError> {
        let folder = site.app.timeline.folder_beside()?;
        let opened = edgestack_views::open(&folder.path().join("views"))?;
        opened.views.begin_anew()?;
        Ok(Self { views: opened.views, turn, _folder: folder })
    }

    /// Their state is written at the end.
    async fn complete(&self, replica: &Arc<Replica>) -> Result<(), TimelineError> {
        let (world, head) = replica.snapshot();
        self.told(&self.views, move |views| views.complete(&world, &head)).await
    }

    /// Compares at a moment at which both are of the same sequence; `None` when the site never stood still for that.
    async fn compared_now(
        &self,
        site: &Site,
        replica: &Arc<Replica>,
        kind: Option<Kind>,
    ) -> Result<Option<Compared>, TimelineError> {
        self.complete(replica).await?;
        for _ in 0..LOOKS {
            let Some((live, sequence)) = self.told(&site.app.views, move |views| views.digest(kind)).await? else {
                continue;
            };
            let finding = site.app.timeline.replay_on(replica, sequence.0).await?;
            let anew = self.told(&self.views, move |views| views.digest(kind)).await?;
            match anew {
                Some((anew, at)) if finding.is_some() || at == sequence => {
                    return Ok(Some(Compared { same: finding.is_none() && anew == live, rows: anew.rows }));
                }
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    /// Compares up to a commit of the past. What is written of now has no rows of then: the objects are those of the world
    /// that the site shows of then, the history is the live one's up to there.
    async fn compared_then(
        &self,
        site: &Site,
        replica: &Arc<Replica>,
        asked: Asked,
    ) -> Result<Compared, TimelineError> {
        self.complete(replica).await?;
        let Asked { upto, expected, kind, .. } = asked;
        let upto = Sequence(upto);
        let state = self.told(&self.views, move |views| views.state_digest(kind)).await?;
        let then = self.told(&self.views, move |_| digest_of_world(&expected, kind)).await?;
        let [events, live]: [Digest; 2] = [
            self.told(&self.views, move |views| views.events_digest(kind, upto)).await?,
            self.told(&site.app.views, move |views| views.events_digest(kind, upto)).await?,
        ];
        Ok(Compared { same: state == then && events == live, rows: state.rows + events.rows })
    }

    /// What views tell, on a thread that may take its time.
    async fn told<T: Send + 'static>(
        &self,
        views: &Views,
        ask: impl FnOnce(&Views) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, TimelineError> {
        let (views, turn) = (views.clone(), self.turn.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let told = ask(&views);
            drop(turn);
            told
        });
        let told = asked.await.map_err(|error| TimelineError::BrokeOff(error.to_string()))?;
        told.map_err(|error| TimelineError::BrokeOff(error_chain(&error)))
    }
}
