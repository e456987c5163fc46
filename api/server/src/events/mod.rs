//! `GET /edgetron/events`: every event of the site as CloudEvents, from any place of the log on, and then as it happens.
//!
//! A subscriber reads at its own pace: what it is behind comes from the log, and then it joins the live feed, which is
//! rendered once for all. So a slow one holds up nobody. Nothing is missed or told twice: the place that it has come to
//! decides what is next, whichever of the two it comes from.

mod filter;
mod hub;
mod rendered;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use edgestack_engine::error_chain;
use edgestack_model::{Commit, World, webhook::EventFilter};
use edgestack_timeline::{Moment, TimelineError};
use edgestack_wire::cloud_event::{CloudEvent, Dropped, Heartbeat};
use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    precondition::single,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
    watch::{KEEP_ALIVE, LAST_EVENT_ID},
};
pub(crate) use hub::Hub;
use rendered::{Rendered, labels_in};

/// Commits read from the log at once.
const BATCH: usize = 256;
/// The most that is sent at once, bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// The least time between two chunks of one subscriber, for each of all subscribers, and at most: events that come closer
/// go together, so that a thousand subscribers cost no thousand writes an event, and a few wait for nothing.
const BETWEEN_CHUNKS_EACH: Duration = Duration::from_micros(25);
const BETWEEN_CHUNKS_MAX: Duration = Duration::from_millis(25);
/// How long a commit that is folded may take to come over the live feed, before who keeps up with it reads the log.
const FEED_LAG_MAX: Duration = Duration::from_millis(250);
/// A reader that took nothing for so long, with so many commits waiting, is sent away.
const STALLED: Duration = Duration::from_secs(60);
const STALLED_COMMITS: u64 = 10_000;

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(follow_events))
}

/// Where to begin, and what to tell.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct EventsParams {
    /// Begin after the commit of this sequence, 0 for all; with what happens from now on if absent. `Last-Event-ID` is
    /// stronger.
    after: Option<u64>,
    /// Only events of these kinds; more with commas.
    #[param(example = "vm,volume")]
    kind: Option<String>,
    /// Only events of objects of this name or id.
    name: Option<String>,
    /// Only events of objects that have these labels then: `key=value`, more with commas.
    label: Option<String>,
    /// Only events of these types; more with commas.
    #[serde(rename = "type")]
    #[param(example = "VmStarted,VmStopped")]
    event_type: Option<String>,
    /// Only what these did; more with commas.
    #[param(example = "admin")]
    actor: Option<String>,
}

#[utoipa::path(
    get, path = "/edgetron/events", tag = "log", operation_id = "follow_events",
    summary = "Follow what happens on the site, from any place of the log on",
    description = "Server-sent events. Each has an `id`; give the last one back as `Last-Event-ID` and nothing is missed or told twice. The event `heartbeat` is a sign of life and has an `id` too; the event `dropped` is the last one to a reader that was too slow. To list and then follow: take the list's `sequence` as `Last-Event-ID`.",
    params(EventsParams),
    responses((status = 200, description = "CloudEvents 1.0, endless", content(
        (CloudEvent = "text/event-stream"),
    )))
)]
async fn follow_events(State(site): State<Arc<Site>>, headers: HeaderMap, mut parameters: Parameters) -> Answer {
    let after = parameters.number("after", 0..=u64::MAX)?;
    let filter = filter::take(&mut parameters)?;
    parameters.finish()?;
    let resumed = single(&headers, &LAST_EVENT_ID)?.map(place).transpose()?;
    // Listening comes before looking at the end, so that nothing falls in between.
    let live = Hub::listen(&site);
    let end = site.app.replica.head().sequence;
    let (position, told) = resumed.unwrap_or((after.unwrap_or(end), None));
    if position > end {
        let why = format!("the log ends at commit {end}");
        return Err(if resumed.is_some() {
            Failure::bad_header("Last-Event-ID", why)
        } else {
            Failure::parameter("after", why)
        });
    }
    let subscriber = Subscriber {
        site,
        filter,
        live,
        position,
        told,
        keeps_up: after.is_none() && resumed.is_none(),
        world: None,
        coming: None,
        behind: VecDeque::new(),
        chunk: BytesMut::new(),
        greeted: false,
        sent_at: Instant::now(),
        ended: false,
    };
    let chunks = futures::stream::unfold(subscriber, async |mut subscriber| {
        let chunk = subscriber.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), subscriber))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `17` is behind the whole commit, `17.0` behind its first event.
fn place(text: &str) -> Result<(u64, Option<u32>), Failure> {
    let wrong = || Failure::bad_header("Last-Event-ID", "must be the id of an event, as 17.0, or a sequence, as 17");
    let (sequence, index) = match text.split_once('.') {
        None => (text, None),
        Some((sequence, index)) => (sequence, Some(index.parse().map_err(|_| wrong())?)),
    };
    let sequence: u64 = sequence.parse().map_err(|_| wrong())?;
    // The commit whose part is told comes again, without that part.
    Ok(match index {
        Some(index) if sequence > 0 => (sequence - 1, Some(index)),
        Some(_) | None => (sequence, None),
    })
}

struct Subscriber {
    site: Arc<Site>,
    filter: EventFilter,
    live: Receiver<Arc<Rendered>>,
    /// The last commit that was told, or looked at and not wanted.
    position: u64,
    /// Of the commit after that: the last event that was told before.
    told: Option<u32>,
    /// Whether it has all that was rendered; else what it lacks is in the log alone.
    keeps_up: bool,
    /// With a filter by label, while it is behind: the world after `position`.
    world: Option<World>,
    /// That world, asked for; it is had in turn, which may take longer than a heart-beat.
    coming: Option<AbortOnDropHandle<Result<Moment, TimelineError>>>,
    /// Read from the log, and not told yet.
    behind: VecDeque<Arc<Rendered>>,
    /// Told, and not sent yet.
    chunk: BytesMut,
    greeted: bool,
    sent_at: Instant,
    ended: bool,
}

impl Subscriber {
    /// The next text to be sent; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let shutdown = self.site.app.shutdown.clone();
        let chunk = if !self.greeted {
            self.greeted = true;
            self.heartbeat()
        } else if self.is_stalled() {
            self.ended = true;
            self.dropped()
        } else {
            let quiet_until = self.sent_at + KEEP_ALIVE;
            tokio::select! {
                () = shutdown.cancelled() => return None,
                collected = self.collect() => if let Err(error) = collected {
                    // Whoever listens comes again, from where it was.
                    tracing::warn!(error = error_chain(&error), "a subscriber's stream ended: the log cannot be read");
                    self.ended = true;
                },
                () = tokio::time::sleep_until(quiet_until) => {}
            }
            if self.chunk.is_empty() && !self.ended { self.heartbeat() } else { self.chunk.split().freeze() }
        };
        self.sent_at = Instant::now();
        Some(chunk)
    }

    /// Whether the reader took nothing for long, while much came.
    fn is_stalled(&self) -> bool {
        let waiting = self.site.app.replica.head().sequence.saturating_sub(self.position);
        self.sent_at.elapsed() > STALLED && waiting > STALLED_COMMITS
    }

    fn heartbeat(&self) -> Bytes {
        text("heartbeat", &self.place(), &Heartbeat { sequence: self.position })
    }

    fn dropped(&self) -> Bytes {
        let id = self.place();
        let reason = format!("you read too slowly; go on with Last-Event-ID: {id}");
        text("dropped", &id, &Dropped { reason, sequence: self.position })
    }

    /// What to give back as `Last-Event-ID`: halfway through a commit, its last event that was told.
    fn place(&self) -> String {
        match self.told {
            None => self.position.to_string(),
            Some(index) => format!("{}.{index}", self.position + 1),
        }
    }

    /// Waits for something that is wanted, and takes along all that is there by then. Dropping it loses nothing: what was
    /// taken from a source is in `self`.
    async fn collect(&mut self) -> Result<(), TimelineError> {
        let between = (BETWEEN_CHUNKS_EACH * self.site.events.listeners()).min(BETWEEN_CHUNKS_MAX);
        tokio::time::sleep_until(self.sent_at + between).await;
        loop {
            while let Some(commit) = self.behind.pop_front() {
                self.tell(&commit);
                if self.chunk.len() >= CHUNK_BYTES {
                    return Ok(());
                }
            }
            match self.live.try_recv() {
                Ok(commit) => self.take(commit).await?,
                // What it lost is in the log.
                Err(TryRecvError::Lagged(_)) => self.keeps_up = false,
                Err(TryRecvError::Closed) => {
                    self.ended = true;
                    return Ok(());
                }
                Err(TryRecvError::Empty) if !self.chunk.is_empty() => return Ok(()),
                Err(TryRecvError::Empty) => self.wait().await?,
            }
        }
    }

    /// The feed is empty: waits for what comes next, or reads what came before it.
    async fn wait(&mut self) -> Result<(), TimelineError> {
        let is_behind = self.position < self.site.app.replica.head().sequence;
        if is_behind && !self.keeps_up {
            return self.read_log().await;
        }
        self.keeps_up = true;
        let received = if is_behind {
            // It is being rendered; a thousand readers of the log instead would be in the way of that.
            match timeout(FEED_LAG_MAX, self.live.recv()).await {
                Ok(received) => received,
                Err(_) => return self.read_log().await,
            }
        } else {
            self.live.recv().await
        };
        match received {
            Ok(commit) => self.take(commit).await,
            Err(RecvError::Lagged(_)) => {
                self.keeps_up = false;
                Ok(())
            }
            Err(RecvError::Closed) => {
                self.ended = true;
                Ok(())
            }
        }
    }

    /// A commit of the live feed.
    async fn take(&mut self, commit: Arc<Rendered>) -> Result<(), TimelineError> {
        if commit.sequence == self.position + 1 {
            self.keeps_up = true;
            // Folded along only while the log is read.
            self.world = None;
            self.behind.push_back(commit);
        } else if commit.sequence > self.position {
            // A gap: what is missing is in the log, and so is this one.
            self.keeps_up = false;
            self.read_log().await?;
        }
        Ok(())
    }

    /// What comes after the position, from the log.
    async fn read_log(&mut self) -> Result<(), TimelineError> {
        let from = self.position + 1;
        if !self.filter.labels.is_empty() && self.world.as_ref().is_none_or(|world| world.sequence.0 != self.position) {
            // Labels are those of the moment, so they are folded along.
            self.world = Some(self.world_now().await?);
        }
        let commits = self.site.app.timeline.commits(from, BATCH).await?;
        let end = self.site.app.replica.head().sequence;
        if commits.is_empty() {
            // What was folded must be there; who listens comes again when the log is repaired.
            return Err(TimelineError::Beyond { last: self.position });
        }
        for commit in commits {
            // What is stored but not folded here yet is not believed yet.
            if commit.sequence.0 > end {
                break;
            }
            let rendered = self.render(&commit)?;
            self.behind.push_back(Arc::new(rendered));
        }
        Ok(())
    }

    /// The world after the position. Dropping it loses no place in the row.
    async fn world_now(&mut self) -> Result<World, TimelineError> {
        let coming = self.coming.get_or_insert_with(|| {
            let (timeline, position) = (self.site.app.timeline.clone(), self.position);
            AbortOnDropHandle::new(tokio::spawn(async move { timeline.at_in_turn(position).await }))
        });
        let moment = coming.await.map_err(|error| TimelineError::BrokeOff(error.to_string()));
        self.coming = None;
        Ok(moment??.world().clone())
    }

    fn render(&mut self, commit: &Commit) -> Result<Rendered, TimelineError> {
        let broke_off = |error: &(dyn std::error::Error + 'static)| TimelineError::BrokeOff(error_chain(error));
        let site = &self.site.app.site;
        let Some(world) = &mut self.world else {
            return Rendered::of(commit, site, |_, _| Default::default()).map_err(|error| broke_off(&error));
        };
        let objects = commit.events.iter().map(|event| (event.fact.kind(), event.resource_id));
        let before: Vec<_> = objects.map(|(kind, id)| (id, labels_in(world, kind, id))).collect();
        world.evolve(commit)?;
        let had = |id| before.iter().find(|(of, _)| *of == id).and_then(|(_, labels)| labels.clone());
        let labels = |kind, id| labels_in(world, kind, id).or_else(|| had(id)).unwrap_or_default();
        Rendered::of(commit, site, labels).map_err(|error| broke_off(&error))
    }

    fn tell(&mut self, commit: &Rendered) {
        let told = self.told.take();
        for event in &commit.events {
            if told.is_none_or(|told| event.index > told) && filter::takes(&self.filter, commit.sequence, event) {
                self.chunk.extend_from_slice(&event.text);
            }
        }
        self.position = commit.sequence;
    }
}

fn text(event: &str, id: &str, data: &impl serde::Serialize) -> Bytes {
    // Plain fields: nothing that JSON could refuse.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {event}\nid: {id}\ndata: {data}\n\n").into()
}
