//! `POST /edgetron/undo`: the commands that compensate a change, what they would lead to, and what no command brings
//! back. They are commands like any others: nothing is taken out of the log.

mod again;
mod compensate;
mod floating_ips;
mod load_balancers;
mod nics;
mod power;
mod routers;
mod run;
mod security_groups;

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    response::IntoResponse,
};
use edgestack_model::{Actor, Commit, Sequence, World};
use edgestack_views::{Order, Term};
use edgestack_wire::{
    event,
    undo::{AskUndo, Undo, UndoRemark, UndoneCommit},
};
use sha2::{Digest as _, Sha256};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    body, codes,
    moment::{self, failure},
    observe::Seen,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
    what_if,
};
use compensate::{Findings, compensate, is_of_people};

/// The longest reason, characters: what undo says itself stands before it.
const REASON_LENGTH_MAX: usize = 900;
/// The most events of a correlation that are looked at.
const EVENTS_MAX: usize = 10_000;
/// The most commits of people that are taken back at once.
const COMMITS_MAX: usize = 20;

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(undo))
}

#[utoipa::path(
    post, path = "/edgetron/undo", tag = "log", operation_id = "undo",
    summary = "Propose the commands that take a change back, or run them",
    description = "With dry_run nothing changes: the commands are told, and what they would lead to, tried on a fork. Without, they are sent, each as a change of its own; after one that is refused no further one is. What was changed by others since is left as it is.",
    request_body = AskUndo,
    responses((status = 200, description = "The commands, and what became of them", body = Undo))
)]
async fn undo(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    Parameters::from_request_parts(&mut parts, &site).await?.finish()?;
    let seen = parts.extensions.get::<Seen>().cloned();
    let asked: AskUndo = body::parse(&body::read_json(&parts.method, &parts.headers, body).await?)?;
    let (seen, actor) = seen
        .and_then(|seen| seen.actor.clone().map(|actor| (seen, actor)))
        .ok_or_else(|| Failure::internal("a change on an open path"))?;
    let (of, commits) = meant(&site, &asked).await?;
    let reason = reason(&of, asked.reason.as_deref())?;
    let mut proposal = Proposal::of(&site, of, commits).await?;
    if asked.dry_run {
        proposal.told.effect = effect(&site, &proposal, actor).await?;
        return Ok(Json(proposal.finish()).into_response());
    }
    if asked.tag.is_some_and(|tag| tag != proposal.told.tag) {
        let detail = "what would take it back is something else by now; ask for the proposal again";
        return Err(Failure::new(&codes::PRECONDITION_FAILED, detail).field("tag"));
    }
    run::run(&site, &mut proposal, &seen, &reason).await?;
    Ok(Json(proposal.finish()).into_response())
}

/// The reason in the history: "undo of commit 12", then the caller's own words.
fn reason(of: &str, own: Option<&str>) -> Result<String, Failure> {
    let wrong = |rule: String| Failure::new(&codes::INVALID_VALUE, format!("reason: {rule}")).field("reason");
    let Some(own) = own.filter(|own| !own.is_empty()) else { return Ok(format!("undo of {of}")) };
    let length = own.chars().count();
    if length > REASON_LENGTH_MAX {
        return Err(wrong(format!("must have at most {REASON_LENGTH_MAX} characters, has {length}")));
    }
    if own.chars().any(char::is_control) {
        return Err(wrong("must be one line".to_owned()));
    }
    Ok(format!("undo of {of}: {own}"))
}

/// The commits that are meant, newest first, and what they are called.
async fn meant(site: &Site, asked: &AskUndo) -> Result<(String, Vec<Commit>), Failure> {
    match (asked.sequence, asked.correlation) {
        (Some(sequence), None) => Ok((format!("commit {sequence}"), vec![commit(site, sequence).await?])),
        (None, Some(id)) => Ok((format!("correlation {id}"), correlated(site, id).await?)),
        (Some(_), Some(_)) | (None, None) => {
            let rule = "must be one of sequence and correlation";
            Err(Failure::new(&codes::INVALID_VALUE, format!("sequence: {rule}")).field("sequence"))
        }
    }
}

async fn commit(site: &Site, sequence: u64) -> Result<Commit, Failure> {
    let missing = || Failure::new(&codes::NOT_FOUND, format!("there is no commit {sequence} in the log"));
    if sequence == 0 || sequence > site.app.replica.head().sequence {
        return Err(missing());
    }
    let read = site.app.timeline.commits(sequence, 1).await;
    read.map_err(|error| failure("sequence", error))?.into_iter().next().ok_or_else(missing)
}

/// What people asked for under a correlation id; workers carry it on, and what they report is nobody's wish.
async fn correlated(site: &Site, id: Uuid) -> Result<Vec<Commit>, Failure> {
    let cursor = (Sequence(site.app.replica.head().sequence + 1), 0);
    let rows = site.app.views.search(vec![vec![Term::Correlation(id)]], Order::NewestFirst, cursor);
    let mut sequences =
        rows.take(EVENTS_MAX).map(|row| row.map(|row| row.sequence.0)).collect::<Result<Vec<_>, _>>()?;
    sequences.dedup();
    if sequences.is_empty() {
        return Err(Failure::new(&codes::NOT_FOUND, format!("no commit has the correlation id {id}")));
    }
    let mut commits = Vec::new();
    for sequence in sequences {
        commits.extend(Some(commit(site, sequence).await?).filter(is_of_people));
        if commits.len() > COMMITS_MAX {
            let detail = format!("more than {COMMITS_MAX} commits are meant; take them back one by one, by sequence");
            return Err(Failure::new(&codes::INVALID_VALUE, detail).field("correlation"));
        }
    }
    Ok(commits)
}

/// What is proposed.
struct Proposal {
    told: Undo,
    found: Findings,
    /// The site as it was when the proposal was made.
    now: World,
}

impl Proposal {
    async fn of(site: &Site, of: String, commits: Vec<Commit>) -> Result<Self, Failure> {
        let mut found = Findings::default();
        let (now, _) = site.app.replica.snapshot();
        for commit in &commits {
            if !is_of_people(commit) {
                found.cannot.push(nobodys(commit));
                continue;
            }
            let sequence = commit.sequence.0;
            let before = moment::at(site, "sequence", &(sequence - 1).to_string()).await?;
            let after = moment::at(site, "sequence", &sequence.to_string()).await?;
            compensate(commit, [before.world(), after.world(), &now], &mut found);
        }
        let tag = tag(site, &now, &found)?;
        let told = Undo {
            of,
            commits: commits.iter().map(told).collect(),
            commands: Vec::new(),
            changed_since: Vec::new(),
            already: Vec::new(),
            cannot: Vec::new(),
            tag,
            effect: None,
            ran: false,
        };
        Ok(Self { told, found, now })
    }

    fn finish(self) -> Undo {
        let Findings { commands, changed_since, already, cannot } = self.found;
        let commands = commands.into_iter().map(|prepared| prepared.told).collect();
        Undo { commands, changed_since, already, cannot, ..self.told }
    }
}

fn told(commit: &Commit) -> UndoneCommit {
    let Actor { name, credential, from } = commit.actor.clone();
    UndoneCommit {
        sequence: commit.sequence.0,
        time: commit.time,
        actor: event::Actor { name, credential, from },
        command: commit.command.clone(),
        reason: commit.reason.clone(),
    }
}

/// What nobody asked for can't be taken back; what it followed from may.
fn nobodys(commit: &Commit) -> UndoRemark {
    let name = commit.events.first().map(|event| event.name.to_string()).unwrap_or_default();
    let wish = commit.correlation_id;
    UndoRemark {
        sequence: commit.sequence.0,
        object: format!("{}/{name}", commit.primary.0),
        why: format!(
            "{} by {} followed from something else, and nobody asked for it in itself; to take back the wish that led to it: edgectl undo {wish}",
            commit.command, commit.actor.name
        ),
    }
}

/// Stands for the commands, and for the state of what they are about: the same again is the same undo.
fn tag(site: &Site, now: &World, found: &Findings) -> Result<String, Failure> {
    let mut hasher = Sha256::new();
    for prepared in &found.commands {
        let told = serde_json::to_vec(&prepared.told).map_err(|error| Failure::internal(error.to_string()))?;
        hasher.update(told);
        if let Some(meta) = prepared.changes.and_then(|(kind, id)| now.meta(kind, id)) {
            hasher.update(meta.generation.0.to_be_bytes());
        }
        if let (Some(kind), Some(name)) =
            (prepared.makes, prepared.told.body.as_ref().and_then(|body| body["name"].as_str()))
        {
            // Who had the name last: another one since means that this was done and removed again.
            let last = site.app.views.id_up_to(kind, &name.into(), now.sequence)?;
            hasher.update(last.unwrap_or_default().as_bytes());
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    Ok(hex::encode(&digest[..12]))
}

/// What the commands would lead to; `None`: there are none.
async fn effect(
    site: &Arc<Site>,
    proposal: &Proposal,
    actor: Actor,
) -> Result<Option<edgestack_wire::what_if::WhatIf>, Failure> {
    use edgestack_wire::what_if::Step;
    if proposal.found.commands.is_empty() {
        return Ok(None);
    }
    let mut steps = Vec::new();
    for prepared in &proposal.found.commands {
        let (method, path) = (Some(prepared.told.method.clone()), Some(prepared.told.path.clone()));
        let step = Step { method, path, body: run::body(site, prepared)?, ..Step::default() };
        let action = step.action("commands")?;
        steps.push((step, action));
    }
    let plan = what_if::Plan { actor, steps };
    what_if::ask(site, what_if::Beginning::now(site)?, plan).await.map(Some)
}
