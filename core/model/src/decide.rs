//! From a command to events: the checks that all kinds share, then the kind's own.

use edgestack_planted::{self as planted, Bug};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Command, Event, Given, Kind, Meta, Refusal, Sequence, World, flavor, floating_ip, image, keypair, lease,
    load_balancer, network, node, router, security_group, security_group_rule, vm, volume, webhook,
};

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Append these as one commit; the pair is the primary resource.
    Commit {
        /// What the command was about.
        primary: (Kind, Uuid),
        /// The facts, in order; never empty.
        events: Vec<Event>,
    },
    /// Everything is as wished already: nothing to append.
    Nothing {
        /// What the command was about.
        primary: (Kind, Uuid),
    },
    /// The same request came before (its idempotency key says so) and led to this.
    Before(EarlierOutcome),
}

/// What the first of two equal requests led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierOutcome {
    /// The commit.
    pub sequence: Sequence,
    /// The primary resource.
    pub primary: (Kind, Uuid),
}

impl Decision {
    /// The usual outcome of a kind's `decide`: a commit, or nothing when no event is needed.
    pub(crate) fn of(kind: Kind, id: Uuid, events: Vec<Event>) -> Self {
        let primary = (kind, id);
        if events.is_empty() { Self::Nothing { primary } } else { Self::Commit { primary, events } }
    }
}

/// Decides a command on a world. Pure: the same arguments give the same answer.
///
/// # Errors
/// A [`Refusal`] when the command is not legal; nothing has changed then.
pub fn decide(world: &World, given: &Given, command: &Command) -> Result<Decision, Refusal> {
    if let Some(fence) = &given.fence {
        lease::check_fence(world, fence)?;
    }
    if let Some(claim) = &given.idempotency
        && let Some(first) = world.idempotency.get(&given.actor.name, &claim.key, given.time)
    {
        if first.fingerprint != claim.fingerprint && !planted::is(Bug::KeyOfAnotherRequestAccepted) {
            return Err(Refusal::IdempotencyKeyReused { first: first.sequence });
        }
        return Ok(Decision::Before(EarlierOutcome {
            sequence: first.sequence,
            primary: (first.kind, first.resource_id),
        }));
    }
    match command {
        Command::Vm(command) => vm::decide(world, given, command),
        Command::Image(command) => image::decide(world, given, command),
        Command::Flavor(command) => flavor::decide(world, given, command),
        Command::Keypair(command) => keypair::decide(world, given, command),
        Command::Node(command) => node::decide(world, given, command),
        Command::Volume(command) => volume::decide(world, given, command),
        Command::Network(command) => network::decide(world, given, command),
        Command::SecurityGroup(command) => security_group::decide(world, given, command),
        Command::SecurityGroupRule(command) => security_group_rule::decide(world, given, command),
        Command::Router(command) => router::decide(world, given, command),
        Command::FloatingIp(command) => floating_ip::decide(world, given, command),
        Command::LoadBalancer(command) => load_balancer::decide(world, given, command),
        Command::Webhook(command) => webhook::decide(world, given, command),
        Command::Lease(command) => lease::decide(world, given, command),
    }
}

/// `If-Match` against the resource's generation. The revision is left out on
/// purpose: workers' reports move it, and they must not make people's changes fail.
pub(crate) fn check_precondition(given: &Given, kind: Kind, meta: &Meta) -> Result<(), Refusal> {
    match given.precondition {
        Some(seen) if seen.generation != meta.generation && !planted::is(Bug::PreconditionIgnored) => {
            Err(Refusal::PreconditionFailed {
                kind,
                name: meta.name.clone(),
                expected: seen.generation,
                actual: meta.generation,
            })
        }
        _ => Ok(()),
    }
}

/// A report on another generation than the present one is refused.
pub(crate) fn check_generation(kind: Kind, meta: &Meta, reported: crate::Generation) -> Result<(), Refusal> {
    if reported == meta.generation || planted::is(Bug::StaleReportAccepted) {
        return Ok(());
    }
    Err(Refusal::StaleReport { kind, name: meta.name.clone(), reported, actual: meta.generation })
}

/// Names are unique within a kind.
pub(crate) fn check_name_free(world: &World, kind: Kind, name: &crate::Name) -> Result<(), Refusal> {
    match world.id_of(kind, name) {
        Some(_) if planted::is(Bug::NameGivenTwice) => Ok(()),
        Some(_) => Err(Refusal::NameTaken { kind, name: name.clone() }),
        None => Ok(()),
    }
}

/// Descriptions are bounded, so that a commit is.
pub(crate) fn check_description(description: &str) -> Result<(), Refusal> {
    let length = description.chars().count();
    if length > crate::meta::DESCRIPTION_LENGTH_MAX {
        return Err(Refusal::Invalid {
            field: "description".into(),
            reason: format!("at most {} characters, got {length}", crate::meta::DESCRIPTION_LENGTH_MAX),
        });
    }
    Ok(())
}
