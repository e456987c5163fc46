//! Webhook commands to events.

use chrono::TimeDelta;

use super::{
    CreateWebhook, PREVIOUS_SECRET_SECONDS_MAX, UpdateWebhook, WEBHOOKS_MAX, Webhook, WebhookCommand, WebhookEvent,
    WebhookReport, WebhookState,
};
use crate::{
    Decision, Event, Generation, Given, Kind, Refusal, Sequence, World,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    waiting::Failure,
};

/// The longest sentence of a report, characters: what a target answers is not ours.
const REASON_LENGTH_MAX: usize = 1024;

pub(crate) fn decide(world: &World, given: &Given, command: &WebhookCommand) -> Result<Decision, Refusal> {
    match command {
        WebhookCommand::Create(create) => decide_create(world, given, create),
        WebhookCommand::Update(update) => decide_update(world, given, update),
        WebhookCommand::RotateSecret { webhook, secret, previous_valid_seconds } => {
            let webhook = world.webhook(webhook)?;
            check_precondition(given, Kind::Webhook, &webhook.meta)?;
            if *previous_valid_seconds > PREVIOUS_SECRET_SECONDS_MAX {
                return Err(Refusal::Invalid {
                    field: "previous_valid_seconds".into(),
                    reason: format!("must be 0 to {PREVIOUS_SECRET_SECONDS_MAX}, got {previous_valid_seconds}"),
                });
            }
            let until = given.time + TimeDelta::seconds(i64::from(*previous_valid_seconds));
            let previous_until = (*previous_valid_seconds > 0).then_some(until);
            let fact = WebhookEvent::WebhookSecretRotated { secret: secret.clone(), previous_until };
            Ok(Decision::of(Kind::Webhook, webhook.id.uuid(), vec![wish(webhook, fact)]))
        }
        WebhookCommand::Delete { webhook } => {
            let webhook = world.webhook(webhook)?;
            check_precondition(given, Kind::Webhook, &webhook.meta)?;
            Ok(Decision::of(Kind::Webhook, webhook.id.uuid(), vec![wish(webhook, WebhookEvent::WebhookDeleted {})]))
        }
        WebhookCommand::Report { webhook, generation, report } => {
            let webhook = world.webhook(&Reference::id(*webhook))?;
            check_generation(Kind::Webhook, &webhook.meta, *generation)?;
            let told = decide_report(world, given, webhook, report);
            let event = told.map(|fact| Event { generation: webhook.meta.generation, ..wish(webhook, fact) });
            Ok(Decision::of(Kind::Webhook, webhook.id.uuid(), event.into_iter().collect()))
        }
    }
}

fn decide_create(world: &World, given: &Given, create: &CreateWebhook) -> Result<Decision, Refusal> {
    let CreateWebhook { name, description, labels, spec, secret, paused, after } = create;
    check_description(description)?;
    spec.filter.check()?;
    check_name_free(world, Kind::Webhook, name)?;
    if world.webhooks.len() >= WEBHOOKS_MAX {
        return Err(Refusal::TooMany { kind: Kind::Webhook, most: WEBHOOKS_MAX as u64 });
    }
    let id = given.new_ids[0];
    let fact = WebhookEvent::WebhookCreated {
        description: description.clone(),
        labels: labels.clone(),
        spec: spec.clone(),
        secret: secret.clone(),
        paused: *paused,
        begin_after: after.map_or(world.sequence, |after| after.min(world.sequence)),
    };
    let event = Event { resource_id: id, name: name.clone(), generation: Generation::FIRST, fact: Fact::Webhook(fact) };
    Ok(Decision::of(Kind::Webhook, id, vec![event]))
}

fn decide_update(world: &World, given: &Given, update: &UpdateWebhook) -> Result<Decision, Refusal> {
    let UpdateWebhook { webhook, change, url, filter, paused, skip } = update;
    let webhook = world.webhook(webhook)?;
    check_precondition(given, Kind::Webhook, &webhook.meta)?;
    change.description.as_deref().map_or(Ok(()), check_description)?;
    filter.as_ref().map_or(Ok(()), super::EventFilter::check)?;
    let change = change.clone().against(&webhook.meta);
    let url = url.clone().filter(|new| *new != webhook.spec.url);
    let filter = filter.clone().filter(|new| *new != webhook.spec.filter);
    let paused = paused.filter(|paused| match &webhook.state {
        WebhookState::Paused => !paused,
        WebhookState::Active => *paused,
        // Who resumes one that fails has mended something, and wants it tried at once.
        WebhookState::Failing { .. } | WebhookState::Disabled { .. } => true,
    });
    let begin_after = skip.then_some(world.sequence).filter(|now| *now != webhook.begin_after);
    let same = change.is_empty() && url.is_none() && filter.is_none() && paused.is_none() && begin_after.is_none();
    let fact = WebhookEvent::WebhookUpdated { change, url, filter, paused, begin_after };
    let events = if same { vec![] } else { vec![wish(webhook, fact)] };
    Ok(Decision::of(Kind::Webhook, webhook.id.uuid(), events))
}

fn decide_report(world: &World, given: &Given, webhook: &Webhook, report: &WebhookReport) -> Option<WebhookEvent> {
    // A worker that kept less than the log knows delivers some again; the bound stays where it was.
    let through = |told: Sequence| told.clamp(webhook.delivered_through, webhook.delivered_through.max(world.sequence));
    match (report, &webhook.state) {
        (WebhookReport::Failing { attempt, reason, fix, next_attempt_at, delivered_through }, WebhookState::Active) => {
            let failure = Failure {
                step: "deliver".to_owned(),
                attempt: *attempt,
                reason: shortened(reason),
                fix: fix.as_deref().map(shortened),
                at: given.time,
                next_attempt_at: *next_attempt_at,
            };
            Some(WebhookEvent::WebhookFailing { failure, delivered_through: through(*delivered_through) })
        }
        (WebhookReport::Recovered { delivered_through }, WebhookState::Failing { failure }) => {
            let delivered_through = through(*delivered_through);
            Some(WebhookEvent::WebhookRecovered { failing_since: failure.at, delivered_through })
        }
        (
            WebhookReport::GaveUp { why, reason, delivered_through },
            WebhookState::Active | WebhookState::Failing { .. },
        ) => Some(WebhookEvent::WebhookDisabled {
            why: *why,
            reason: shortened(reason),
            delivered_through: through(*delivered_through),
        }),
        // Told already, or about something that is past.
        (
            WebhookReport::Failing { .. } | WebhookReport::Recovered { .. } | WebhookReport::GaveUp { .. },
            WebhookState::Active | WebhookState::Failing { .. } | WebhookState::Paused | WebhookState::Disabled { .. },
        ) => None,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_LENGTH_MAX).collect()
}

fn wish(webhook: &Webhook, fact: WebhookEvent) -> Event {
    Event {
        resource_id: webhook.id.uuid(),
        name: webhook.meta.name.clone(),
        generation: webhook.meta.generation.next(),
        fact: Fact::Webhook(fact),
    }
}
