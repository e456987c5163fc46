//! The deliveries of one webhook.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use edgestack_engine::{Clock, crash_point, error_chain};
use edgestack_model::{
    Command, Commit, Id, Labels, Sequence,
    webhook::{GaveUp, Told, Webhook, WebhookCommand, WebhookReport, WebhookState},
};
use edgestack_pool::{Reported, Reporter};
use edgestack_seal::SealingKey;
use edgestack_wire::cloud_event::CloudEvent;
use tokio::{sync::watch, task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::{
    backoff::Patience,
    driver::{Answer, Meaning, PostError, WebhookDriver},
    progress::{Attempt, Progress, ProgressFolder, Waiting},
    queue::{Failed, Item, Next, Place, Queue},
    signature::Signer,
    source::{self, Past, Seen, Source, SourceError},
};

/// How long what arrived may be kept in memory alone: after a crash so much of it comes again.
const SAVE_WITHIN: Duration = Duration::from_millis(100);
/// The same for commits that were only looked at.
const SAVE_CURSOR_WITHIN: Duration = Duration::from_secs(2);
/// The pause after something of ours failed; it doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest time between two looks at the clock, for clocks that jump.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// What all webhooks of a site share.
pub(crate) struct Shared {
    pub past: Past,
    pub reporter: Reporter,
    pub seal: SealingKey,
    pub driver: Arc<dyn WebhookDriver>,
    pub progress: ProgressFolder,
    pub clock: Arc<dyn Clock>,
    pub patience: Patience,
}

/// Why deliveries stopped for a moment.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the log cannot be read")]
    Source(#[from] SourceError),
    #[error("it cannot be kept what was delivered")]
    Progress(#[from] io::Error),
    #[error("an event cannot be written as JSON")]
    Unwritable(#[from] serde_json::Error),
}

/// Delivers for a webhook as long as there is one.
pub(crate) async fn run(shared: Arc<Shared>, id: Id<Webhook>, mut wishes: watch::Receiver<()>) {
    let mut pause = PAUSE;
    loop {
        wishes.mark_unchanged();
        let webhook = shared.past.replica.world().webhooks.get(&id).cloned();
        let Some(webhook) = webhook else {
            if let Err(error) = shared.progress.remove(id.uuid()) {
                tracing::warn!(%id, %error, "what is left of a removed webhook stays where it is");
            }
            return;
        };
        if !webhook.state.delivers() {
            if wishes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let name = webhook.meta.name.clone();
        let outcome = match Deliveries::begin(shared.clone(), webhook).await {
            Ok(deliveries) => deliveries.run(&mut wishes).await,
            Err(error) => Err(error),
        };
        metrics::gauge!("edgestack_webhook_waiting_events", "webhook" => name.to_string()).set(0.0);
        match outcome {
            Ok(()) => pause = PAUSE,
            Err(stopped) => {
                let error = error_chain(&stopped);
                tracing::warn!(%name, error, pause_s = pause.as_secs(), "a webhook's deliveries rest for a while");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

struct Deliveries {
    shared: Arc<Shared>,
    webhook: Arc<Webhook>,
    /// Or why there is none.
    signer: Arc<Result<Signer, String>>,
    source: Source,
    queue: Queue,
    progress: Progress,
    on_their_way: JoinSet<(Item, Outcome)>,
    /// For tasks that panic.
    objects: BTreeMap<tokio::task::Id, (Uuid, Place)>,
    /// The target wants no more.
    gone: Option<String>,
    save_at: Option<Instant>,
    tell_not_before: Instant,
}

/// What came of an attempt.
enum Outcome {
    Delivered(Answer),
    Gone(Answer),
    Failed(Failed),
}

impl Deliveries {
    /// Takes up what was left.
    async fn begin(shared: Arc<Shared>, webhook: Arc<Webhook>) -> Result<Self, Stopped> {
        let progress = take_up(&shared, &webhook)?;
        let wants_labels = !webhook.spec.filter.labels.is_empty();
        let source = Source::new(shared.past.clone(), progress.cursor, wants_labels);
        let mut queue = Queue::new(webhook.id.uuid(), shared.patience);
        let mut last: Option<Commit> = None;
        for waiting in &progress.waiting {
            let commit = match last.take().filter(|last| last.sequence.0 == waiting.sequence) {
                Some(commit) => commit,
                None => source::commit(&shared.past, waiting.sequence).await?,
            };
            if let Some(item) = item(&commit, waiting.index)? {
                queue.push(item, waiting.failures.clone());
            }
            last = Some(commit);
        }
        let signer = Signer::open(&shared.seal, &webhook).map_err(|error| error_chain(&error));
        let mut deliveries = Self {
            shared,
            webhook,
            signer: Arc::new(signer),
            source,
            queue,
            progress,
            on_their_way: JoinSet::new(),
            objects: BTreeMap::new(),
            gone: None,
            save_at: None,
            tell_not_before: Instant::now(),
        };
        deliveries.save().await?;
        Ok(deliveries)
    }

    /// Delivers until the webhook is another, or none. What is on its way then is waited for.
    async fn run(mut self, wishes: &mut watch::Receiver<()>) -> Result<(), Stopped> {
        let outcome = self.deliver(wishes).await;
        while let Some(landed) = self.on_their_way.join_next_with_id().await {
            self.land(landed);
        }
        self.save().await?;
        outcome
    }

    async fn deliver(&mut self, wishes: &mut watch::Receiver<()>) -> Result<(), Stopped> {
        loop {
            self.tell().await?;
            if !self.is_wished() {
                return Ok(());
            }
            let now = self.shared.clock.now();
            let wait_until = loop {
                match self.queue.next(now) {
                    Next::Deliver(item) => self.start(item),
                    Next::Wait(until) => break until,
                }
            };
            let pause = wait_until.map_or(LOOK_AT_LEAST_EVERY, |until| (until - now).to_std().unwrap_or_default());
            let look_at = Instant::now() + pause.min(LOOK_AT_LEAST_EVERY);
            let save_at = self.save_at;
            tokio::select! {
                biased;
                changed = wishes.changed() => if changed.is_err() {
                    return Ok(());
                },
                Some(landed) = self.on_their_way.join_next_with_id(), if !self.on_their_way.is_empty() => {
                    self.land(landed);
                }
                () = tokio::time::sleep_until(save_at.unwrap_or(look_at)), if save_at.is_some() => self.save().await?,
                seen = self.source.next(), if self.queue.has_room() && self.gone.is_none() => self.take(&seen?)?,
                () = tokio::time::sleep_until(look_at) => {}
            }
        }
    }

    /// Whether this is still what people want. Reports change no wish.
    fn is_wished(&self) -> bool {
        let world = self.shared.past.replica.world();
        let now = world.webhooks.get(&self.webhook.id);
        now.is_some_and(|now| now.meta.generation == self.webhook.meta.generation && now.state.delivers())
    }

    /// Takes the events of a commit in that are for this webhook.
    fn take(&mut self, seen: &Seen) -> Result<(), Stopped> {
        let commit = &seen.commit;
        let none = Labels::default();
        for (index, event) in (0_u32..).zip(&commit.events) {
            let labels = usize::try_from(index).ok().and_then(|index| seen.labels.get(index)).unwrap_or(&none);
            let told = Told {
                sequence: commit.sequence,
                kind: event.fact.kind(),
                resource_id: event.resource_id,
                name: event.name.as_str(),
                event_type: event.fact.event_type(),
                actor: &commit.actor.name,
                labels,
            };
            if self.webhook.wants(&told)
                && let Some(item) = item(commit, index)?
            {
                self.queue.push(item, None);
                self.save_within(SAVE_WITHIN);
            }
        }
        self.progress.cursor = commit.sequence.0;
        self.save_within(SAVE_CURSOR_WITHIN);
        Ok(())
    }

    fn start(&mut self, item: Item) {
        let (object, place) = (item.object, item.place);
        let (shared, webhook, signer) = (self.shared.clone(), self.webhook.clone(), self.signer.clone());
        let task = self.on_their_way.spawn(async move {
            let outcome = attempt(&shared, &webhook, &signer, &item).await;
            (item, outcome)
        });
        self.objects.insert(task.id(), (object, place));
    }

    fn land(&mut self, landed: Result<(tokio::task::Id, (Item, Outcome)), tokio::task::JoinError>) {
        let now = self.shared.clock.now();
        let (task, outcome) = match landed {
            Ok((task, (_, outcome))) => (task, outcome),
            Err(error) => {
                tracing::error!(name = %self.webhook.meta.name, %error, "a delivery panicked; it is repeated");
                let reason = "edgestackd failed to make the request; its log tells more".to_owned();
                let failed = Failed { reason, fix: None, retry_after: None, of_target: false, is_certain: false };
                (error.id(), Outcome::Failed(failed))
            }
        };
        let Some((object, place)) = self.objects.remove(&task) else { return };
        let (word, delivered, answer) = match outcome {
            Outcome::Delivered(answer) => {
                self.queue.delivered(object);
                self.progress.delivered += 1;
                self.progress.last_delivered_at = Some(now);
                ("delivered", true, answer.words())
            }
            Outcome::Gone(answer) => {
                let reason = format!("the target answered {}: it wants no more events", answer.words());
                self.gone = Some(reason.clone());
                let failed = Failed { reason, fix: None, retry_after: None, of_target: true, is_certain: true };
                self.queue.failed(object, failed, now);
                ("failed", false, answer.words())
            }
            Outcome::Failed(failed) => {
                let reason = failed.reason.clone();
                let word = if failed.is_certain { "refused" } else { "failed" };
                let fix = failed.fix.map(|fix| fix.replace("NAME", self.webhook.meta.name.as_str()));
                self.queue.failed(object, Failed { fix, ..failed }, now);
                (word, false, reason)
            }
        };
        metrics::counter!("edgestack_webhook_deliveries_total", "outcome" => word).increment(1);
        let event = format!("{}.{}", place.0, place.1);
        tracing::debug!(name = %self.webhook.meta.name, event, delivered, answer, "an attempt to deliver ended");
        self.progress.last_attempt = Some(Attempt { at: now, event, delivered, answer });
        self.save_within(SAVE_WITHIN);
    }

    /// Tells the log what people must see, where that is not what it says already.
    async fn tell(&mut self) -> Result<(), Stopped> {
        if self.tell_not_before > Instant::now() {
            return Ok(());
        }
        let Some(report) = self.report() else { return Ok(()) };
        // The log must not know more than what is kept.
        self.save().await?;
        let command = WebhookCommand::Report {
            webhook: self.webhook.id,
            generation: self.webhook.meta.generation,
            report: report.clone(),
        };
        let name = &self.webhook.meta.name;
        match self.shared.reporter.report(&self.webhook.meta, Command::Webhook(command)).await {
            Reported::Taken => match report {
                WebhookReport::Failing { reason, next_attempt_at, .. } => {
                    tracing::warn!(%name, reason, %next_attempt_at, "a webhook fails");
                }
                WebhookReport::Recovered { .. } => tracing::info!(%name, "a webhook delivers again"),
                WebhookReport::GaveUp { reason, .. } => {
                    tracing::error!(%name, reason, "a webhook is disabled; resume it: edgectl update-webhook {name} --resume");
                }
            },
            Reported::Stale | Reported::NotNow => self.tell_not_before = Instant::now() + PAUSE,
        }
        Ok(())
    }

    fn report(&self) -> Option<WebhookReport> {
        let now = self.shared.clock.now();
        let delivered_through = Sequence(self.delivered_through());
        let state = self.shared.past.replica.world().webhooks.get(&self.webhook.id)?.state.clone();
        if let Some(reason) = self.gone.clone() {
            return Some(WebhookReport::GaveUp { why: GaveUp::Gone, reason, delivered_through });
        }
        if let Some((item, failures)) = self.queue.overdue(now) {
            let (sequence, index) = item.place;
            let reason = format!(
                "event {sequence}.{index} could not be delivered since {}, in {} attempts; the last: {}",
                failures.since.format("%Y-%m-%d %H:%M:%S UTC"),
                failures.attempts,
                failures.reason
            );
            return Some(WebhookReport::GaveUp { why: GaveUp::TooLong, reason, delivered_through });
        }
        match state {
            WebhookState::Active => {
                let (item, failures) = self.queue.failing()?;
                let (sequence, index) = item.place;
                Some(WebhookReport::Failing {
                    attempt: failures.attempts,
                    reason: format!("event {sequence}.{index}: {}", failures.reason),
                    fix: failures.fix.clone(),
                    next_attempt_at: self.queue.next_attempt_at().unwrap_or(failures.next_attempt_at),
                    delivered_through,
                })
            }
            WebhookState::Failing { .. } => {
                (!self.queue.has_failures()).then_some(WebhookReport::Recovered { delivered_through })
            }
            WebhookState::Paused | WebhookState::Disabled { .. } => None,
        }
    }

    fn delivered_through(&self) -> u64 {
        let first = self.queue.waiting().first().map(|((sequence, _), _)| sequence.saturating_sub(1));
        first.unwrap_or(self.progress.cursor).min(self.progress.cursor)
    }

    fn save_within(&mut self, within: Duration) {
        let at = Instant::now() + within;
        self.save_at = Some(self.save_at.map_or(at, |before| before.min(at)));
    }

    async fn save(&mut self) -> Result<(), Stopped> {
        let waiting = self.queue.waiting().into_iter();
        let waiting =
            waiting.map(|((sequence, index), failures)| Waiting { sequence, index, failures: failures.cloned() });
        self.progress.waiting = waiting.collect();
        self.progress.next_attempt_at = self.queue.next_attempt_at();
        #[allow(clippy::cast_precision_loss)] // A gauge is a float; the queue is short.
        metrics::gauge!("edgestack_webhook_waiting_events", "webhook" => self.webhook.meta.name.to_string())
            .set(self.queue.len() as f64);
        let (folder, id, progress) = (self.shared.progress.clone(), self.webhook.id.uuid(), self.progress.clone());
        // Syncing takes as long as the disk does.
        let written = tokio::task::spawn_blocking(move || folder.write(id, &progress)).await;
        written.map_err(io::Error::other)??;
        self.save_at = None;
        Ok(())
    }
}

/// What was kept, made to fit the webhook as it is now.
fn take_up(shared: &Shared, webhook: &Webhook) -> Result<Progress, Stopped> {
    let (id, name) = (webhook.id.uuid(), &webhook.meta.name);
    let known = webhook.delivered_through.0.max(webhook.begin_after.0);
    let mut progress = match shared.progress.read(id) {
        Ok(Some(progress)) => progress,
        Ok(None) => Progress::after(known),
        Err(error) if error.kind() == io::ErrorKind::InvalidData || error.kind() == io::ErrorKind::UnexpectedEof => {
            let aside = shared.progress.set_aside(id)?;
            tracing::error!(
                %name, %error, after = known,
                "it cannot be read what a webhook has delivered; it begins anew after what the log knows, and the file is in {}",
                aside.display()
            );
            Progress::after(known)
        }
        Err(error) => return Err(error.into()),
    };
    let head = shared.past.replica.head().sequence;
    if progress.cursor > head {
        // The log was restored from an older copy.
        tracing::warn!(%name, cursor = progress.cursor, head, "a webhook had come further than the log; it goes on at its end");
        progress.cursor = head;
        progress.waiting.retain(|waiting| waiting.sequence <= head);
    }
    progress.cursor = progress.cursor.max(webhook.begin_after.0);
    progress.waiting.retain(|waiting| waiting.sequence > webhook.begin_after.0);
    let url = webhook.spec.url.to_string();
    // After a pause, and at another target, there is no reason to wait.
    if progress.url != url || !matches!(webhook.state, WebhookState::Failing { .. }) && is_new_wish(webhook, &progress)
    {
        progress.waiting.iter_mut().for_each(|waiting| waiting.failures = None);
    }
    progress.url = url;
    Ok(progress)
}

/// Whether a person asked for something since the first failure that is kept.
fn is_new_wish(webhook: &Webhook, progress: &Progress) -> bool {
    let since =
        progress.waiting.iter().filter_map(|waiting| waiting.failures.as_ref()).map(|failures| failures.since).min();
    since.is_some_and(|since| webhook.meta.updated_at > since)
}

/// An event as it is delivered; `None`: the commit has no such event.
fn item(commit: &Commit, index: u32) -> Result<Option<Item>, Stopped> {
    let Some(event) = usize::try_from(index).ok().and_then(|index| commit.events.get(index)) else {
        return Ok(None);
    };
    let body = serde_json::to_vec(&CloudEvent::of(commit, index, event, &commit.site)?)?;
    Ok(Some(Item {
        place: (commit.sequence.0, index),
        object: event.resource_id,
        // Without a full stop, as that parts what is signed; and of the commit's own id, since a log that was restored
        // gives a sequence to another event.
        message_id: format!("evt_{}_{index}", commit.id),
        body: Bytes::from(body),
    }))
}

async fn attempt(shared: &Shared, webhook: &Webhook, signer: &Result<Signer, String>, item: &Item) -> Outcome {
    let signer = match signer {
        Ok(signer) => signer,
        Err(why) => {
            return Outcome::Failed(Failed {
                reason: why.clone(),
                fix: Some(
                    "give it another secret: edgectl rotate-webhook-secret NAME --previous-valid-seconds 0".to_owned(),
                ),
                retry_after: None,
                of_target: true,
                is_certain: true,
            });
        }
    };
    let now = shared.clock.now();
    let within = shared.patience.answer_within;
    let headers = [
        ("content-type", "application/cloudevents+json; charset=utf-8".to_owned()),
        ("webhook-id", item.message_id.clone()),
        ("webhook-timestamp", now.timestamp().to_string()),
        ("webhook-signature", signer.sign(&item.message_id, now, &item.body)),
    ];
    crash_point::pass("webhook.deliver.before");
    let begun = Instant::now();
    let posted = shared.driver.post(&webhook.spec.url, &headers, &item.body);
    let answered = tokio::time::timeout(within, posted).await;
    metrics::histogram!("edgestack_webhook_delivery_seconds").record(begun.elapsed().as_secs_f64());
    crash_point::pass("webhook.deliver.after");
    outcome(answered.ok(), within, shared.clock.now())
}

fn outcome(answered: Option<Result<Answer, PostError>>, within: Duration, now: DateTime<Utc>) -> Outcome {
    let failed = |reason: String, fix: Option<&str>| Failed {
        reason,
        fix: fix.map(str::to_owned),
        retry_after: None,
        of_target: true,
        is_certain: false,
    };
    let answer = match answered {
        None => return Outcome::Failed(failed(format!("no answer within {} s", within.as_secs_f32()), None)),
        Some(Err(error @ PostError::NotAllowed(_))) => {
            let fix = Some(
                "have the operator allow the target, or give the webhook another: edgectl update-webhook NAME --target URL",
            );
            return Outcome::Failed(Failed { is_certain: true, ..failed(error_chain(&error), fix) });
        }
        Some(Err(error)) => return Outcome::Failed(failed(error_chain(&error), None)),
        Some(Ok(answer)) => answer,
    };
    match answer.meaning() {
        Meaning::Delivered => Outcome::Delivered(answer),
        Meaning::Gone => Outcome::Gone(answer),
        Meaning::Failed { of_target, fix } => {
            let retry_after = answer.retry_after.map(|after| after.from(now));
            let reason = format!("the target answered {}", answer.words());
            Outcome::Failed(Failed { retry_after, of_target, ..failed(reason, fix) })
        }
    }
}
