//! `POST /edgetron/what-if`: steps are played on a fork of the site, and what came of them is told. Nothing real is
//! touched ([ADR 0028](../../../ADR/0028-what-if-is-the-real-engine-on-a-fork.md)).

mod play;
mod told;

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use edgestack_engine::error_chain;
use edgestack_log::ChainHead;
use edgestack_model::{Actor, World};
use edgestack_wire::{
    log::Moment as MomentInfo,
    what_if::{Action, AskWhatIf, STEPS_MAX, Step, WAIT_SECONDS_MAX, WhatIf},
};
use tokio::sync::oneshot;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    body, codes,
    fork::{Fork, ForkSeed},
    moment::{self, AtParam},
    observe::Seen,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(ask_what_if))
}

#[utoipa::path(
    post, path = "/edgetron/what-if", tag = "site", operation_id = "ask_what_if",
    summary = "Tell what would happen",
    description = "The steps are played on a fork of the site: a copy in memory, with the real engine and workers, simulated drivers and simulated time. Nothing of it is in the log, and nothing real is touched. It ends when the client goes away.",
    params(AtParam),
    request_body = AskWhatIf,
    responses((status = 200, description = "What would happen", body = WhatIf))
)]
async fn ask_what_if(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let mut parameters = Parameters::from_request_parts(&mut parts, &site).await?;
    let at = parameters.text("at")?;
    parameters.finish()?;
    let seen = parts.extensions.get::<Seen>().and_then(|seen| seen.actor.clone());
    let actor = seen.ok_or_else(|| Failure::internal("a question on an open path"))?;
    let asked: AskWhatIf = body::parse(&body::read_json(&parts.method, &parts.headers, body).await?)?;
    let plan = Plan { actor, steps: checked(asked)? };
    let beginning = Beginning::at(&site, at.as_deref()).await?;
    Ok(Json(ask(&site, beginning, plan).await?).into_response())
}

/// The steps, each with what it says.
fn checked(asked: AskWhatIf) -> Result<Vec<(Step, Action)>, Failure> {
    if asked.steps.len() > STEPS_MAX {
        let (got, most) = (asked.steps.len(), STEPS_MAX);
        return Err(
            Failure::new(&codes::INVALID_VALUE, format!("steps: must be at most {most}, got {got}")).field("steps")
        );
    }
    let mut steps = Vec::new();
    let mut waits = 0_u64;
    for (at, step) in asked.steps.into_iter().enumerate() {
        let action = step.action(&format!("steps.{at}"))?;
        if let Action::Wait(seconds) = action {
            waits += u64::from(seconds);
        }
        steps.push((step, action));
    }
    if waits > u64::from(WAIT_SECONDS_MAX) {
        let rule = format!("steps: all waits together must be at most {WAIT_SECONDS_MAX} s, got {waits}");
        return Err(Failure::new(&codes::INVALID_VALUE, rule).field("steps"));
    }
    Ok(steps)
}

/// What is played, and as whom.
pub(crate) struct Plan {
    pub actor: Actor,
    pub steps: Vec<(Step, Action)>,
}

/// Where a fork begins.
pub(crate) struct Beginning {
    world: World,
    head: ChainHead,
    now: DateTime<Utc>,
    moment: MomentInfo,
}

impl Beginning {
    /// The site as it is.
    pub fn now(site: &Site) -> Result<Self, Failure> {
        let (world, head) = site.app.replica.snapshot();
        let time = site.app.views.time_of(world.sequence)?;
        let moment = MomentInfo { sequence: head.sequence, time };
        Ok(Self { world, head, now: Utc::now(), moment })
    }

    /// As it was.
    pub async fn at(site: &Site, at: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = at else { return Self::now(site) };
        let asked = moment::time_in(text);
        let past = moment::at(site, "at", text).await?;
        let (head, time) = (past.head(), past.time());
        let now = asked.or(time).unwrap_or_else(Utc::now);
        Ok(Self { world: past.world().clone(), head, now, moment: MomentInfo { sequence: head.sequence, time } })
    }
}

/// Plays a plan on a fork and tells what came of it. Dropping it ends the fork.
pub(crate) async fn ask(site: &Arc<Site>, beginning: Beginning, plan: Plan) -> Result<WhatIf, Failure> {
    let place = site.forks.clone().try_acquire_owned().map_err(|_| {
        Failure::new(&codes::TOO_MANY_REQUESTS, "too many forks of the site run at once; try again in a moment")
            .retry_after(std::time::Duration::from_secs(1))
    })?;
    let (mut answer, answered) = oneshot::channel();
    let Beginning { world, head, now, moment } = beginning;
    let seed =
        ForkSeed { world: world.clone(), head, now, site: site.app.site.name.clone(), seal: site.app.seal.clone() };
    let (app, shutdown) = (site.app.clone(), site.app.shutdown.clone());
    let play = move |fork: Fork| {
        let life = async move {
            let played = async {
                let mut player = play::Player::new(app, fork, plan.actor, head.sequence);
                player.play(plan.steps).await;
                told::tell(&world, moment, player).await
            };
            tokio::select! {
                biased;
                // Nobody waits for the answer any more.
                () = answer.closed() => {}
                () = shutdown.cancelled() => {}
                told = played => drop(answer.send(told)),
            }
            drop(place);
        };
        Box::pin(life) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    };
    site.app.forks.begin(seed, Box::new(play)).map_err(|error| Failure::internal(error_chain(&error)))?;
    answered.await.unwrap_or_else(|_| Err(Failure::internal("a fork broke off before its end")))
}
