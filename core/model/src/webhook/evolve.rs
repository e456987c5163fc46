//! Webhook events to the world.

use std::sync::Arc;

use super::{PreviousSecret, Webhook, WebhookEvent, WebhookState};
use crate::{
    Id, Kind, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &WebhookEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        WebhookEvent::WebhookCreated { description, labels, spec, secret, paused, begin_after } => {
            world.claim_name(Kind::Webhook, at)?;
            let webhook = Webhook {
                id,
                meta: at.new_meta(description, labels),
                spec: spec.clone(),
                secret: secret.clone(),
                previous_secret: None,
                begin_after: *begin_after,
                delivered_through: *begin_after,
                state: if *paused { WebhookState::Paused } else { WebhookState::Active },
            };
            world.webhooks.insert(id, Arc::new(webhook));
            return Ok(());
        }
        WebhookEvent::WebhookDeleted {} => {
            let webhook = world.webhooks.remove(&id).ok_or_else(|| at.impossible("no such webhook"))?;
            world.release_name(Kind::Webhook, &webhook.meta.name);
            return Ok(());
        }
        WebhookEvent::WebhookUpdated { .. }
        | WebhookEvent::WebhookSecretRotated { .. }
        | WebhookEvent::WebhookFailing { .. }
        | WebhookEvent::WebhookRecovered { .. }
        | WebhookEvent::WebhookDisabled { .. } => {}
    }
    let webhook = Arc::make_mut(world.webhooks.get_mut(&id).ok_or_else(|| at.impossible("no such webhook"))?);
    at.touch(&mut webhook.meta);
    match event {
        WebhookEvent::WebhookCreated { .. } | WebhookEvent::WebhookDeleted {} => {}
        WebhookEvent::WebhookUpdated { change, url, filter, paused, begin_after } => {
            change.apply(&mut webhook.meta);
            if let Some(url) = url {
                webhook.spec.url = url.clone();
                // What failed was the other target.
                if matches!(webhook.state, WebhookState::Failing { .. }) {
                    webhook.state = WebhookState::Active;
                }
            }
            if let Some(filter) = filter {
                webhook.spec.filter = filter.clone();
            }
            match paused {
                Some(true) => webhook.state = WebhookState::Paused,
                Some(false) => webhook.state = WebhookState::Active,
                None => {}
            }
            if let Some(begin_after) = begin_after {
                webhook.begin_after = *begin_after;
                webhook.delivered_through = webhook.delivered_through.max(*begin_after);
            }
        }
        WebhookEvent::WebhookSecretRotated { secret, previous_until } => {
            let previous = std::mem::replace(&mut webhook.secret, secret.clone());
            webhook.previous_secret = previous_until.map(|until| PreviousSecret { secret: previous, until });
        }
        WebhookEvent::WebhookFailing { failure, delivered_through } => {
            webhook.state = WebhookState::Failing { failure: failure.clone() };
            webhook.delivered_through = *delivered_through;
        }
        WebhookEvent::WebhookRecovered { delivered_through, .. } => {
            webhook.state = WebhookState::Active;
            webhook.delivered_through = *delivered_through;
        }
        WebhookEvent::WebhookDisabled { why, reason, delivered_through } => {
            webhook.state = WebhookState::Disabled { why: *why, reason: reason.clone(), since: at.time() };
            webhook.delivered_through = *delivered_through;
        }
    }
    Ok(())
}
