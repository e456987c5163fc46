//! Why a command was refused: a person or program can act on each.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Generation, Kind, Name, Sequence};

/// A refusal changes nothing. `Display` is one clear line with the fix; the
/// code is stable, documented in `docs/problems.md`, and never reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "kebab-case")]
pub enum Refusal {
    /// The command's own resource does not exist.
    #[error("{kind} \"{name}\" does not exist; see the list of {plural}", plural = kind.plural())]
    NotFound {
        /// Of what kind.
        kind: Kind,
        /// The name or id that was asked for.
        name: String,
    },
    /// A field names another resource that does not exist.
    #[error("{field}: {kind} \"{name}\" does not exist; create it first or name another")]
    ReferenceNotFound {
        /// The request's field.
        field: Cow<'static, str>,
        /// What was looked for.
        kind: Cow<'static, str>,
        /// The name or id given.
        name: String,
    },
    /// Names are unique within a kind.
    #[error("{kind} \"{name}\" exists already; choose another name or remove it first")]
    NameTaken {
        /// Of what kind.
        kind: Kind,
        /// The name.
        name: Name,
    },
    /// A field's value breaks a rule.
    #[error("{field}: {reason}")]
    Invalid {
        /// The request's field, as in the JSON body.
        field: Cow<'static, str>,
        /// The rule and how to keep it.
        reason: String,
    },
    /// Others depend on it.
    #[error("{kind} \"{name}\" is in use by {users}; remove {pronoun} first", users = by.join(", "), pronoun = if by.len() == 1 { "that" } else { "those" })]
    InUse {
        /// Of what kind.
        kind: Kind,
        /// The resource.
        name: Name,
        /// Who uses it, as `vm "web-1"`.
        by: Vec<String>,
    },
    /// The action does not fit the resource's state.
    #[error("cannot {action} {kind} \"{name}\" while it is {state}; {fix}")]
    WrongState {
        /// Of what kind.
        kind: Kind,
        /// The resource.
        name: Name,
        /// Its state.
        state: Cow<'static, str>,
        /// What was asked.
        action: Cow<'static, str>,
        /// What would work.
        fix: Cow<'static, str>,
    },
    /// `If-Match` named another generation.
    #[error(
        "{kind} \"{name}\" is at generation {actual}, not {expected}; read it again and repeat the change on what you find"
    )]
    PreconditionFailed {
        /// Of what kind.
        kind: Kind,
        /// The resource.
        name: Name,
        /// What the client has seen.
        expected: Generation,
        /// What is.
        actual: Generation,
    },
    /// One idempotency key, two different requests.
    #[error("this Idempotency-Key was used for another request (commit {first}); take a new key for a new request")]
    IdempotencyKeyReused {
        /// The commit that the key led to.
        first: Sequence,
    },
    /// No node could ever hold it, even when empty.
    #[error(
        "flavor: \"{flavor}\" asks for {wanted}, more than any node has ({largest}); take a smaller flavor or add a node"
    )]
    FlavorLargerThanAnyNode {
        /// The flavor's name.
        flavor: Name,
        /// What it asks for.
        wanted: String,
        /// What each node has in all.
        largest: String,
    },
    /// A VM can only be made from an active image.
    #[error("image: \"{image}\" is {state}, not active; wait until it is (edgectl show-image {image}) or name another")]
    ImageNotActive {
        /// The image's name.
        image: Name,
        /// Its state.
        state: Cow<'static, str>,
    },
    /// The image asks for more than the VM would get.
    #[error("{field}: image \"{image}\" needs {needs}, got {got}; {fix}")]
    TooSmallForImage {
        /// The request's field.
        field: Cow<'static, str>,
        /// The image's name.
        image: Name,
        /// What it needs, with what.
        needs: String,
        /// What there would be.
        got: String,
        /// What would do.
        fix: Cow<'static, str>,
    },
    /// An address that only one may have has another holder.
    #[error("{field}: {address} is taken by {by}; leave it out for a free one, or choose another")]
    AddressInUse {
        /// The request's field.
        field: Cow<'static, str>,
        /// The IP or MAC address.
        address: String,
        /// Who has it.
        by: String,
    },
    /// A network has no free address.
    #[error(
        "{field}: all addresses of network \"{network}\" ({pool}) are taken: {holders}; remove one of them, or give the network another pool (edgectl update-network {network} --ip-pool)",
        holders = by.join(", ")
    )]
    AddressesExhausted {
        /// The request's field.
        field: Cow<'static, str>,
        /// The network.
        network: Name,
        /// What addresses are given from.
        pool: String,
        /// Who has them, as `10.0.0.2 by vm "web"`; the first of them, and how many more.
        by: Vec<String>,
    },
    /// What tells networks apart on the wire is another's.
    #[error("segment_id: {segment} is taken by {by}; leave segment_id out for a free one, or choose another")]
    SegmentInUse {
        /// What of the wire.
        segment: String,
        /// Which network has it.
        by: String,
    },
    /// A group has one rule of a kind.
    #[error("security group \"{group}\" has this rule already: \"{rule}\"; nothing is to be done, or name another")]
    RuleExists {
        /// The rule that is so.
        rule: Name,
        /// The group.
        group: Name,
    },
    /// A group has room for so many rules.
    #[error(
        "security group \"{group}\" has {most} rules already, which is the most; remove one first, or spread them over \
         groups: a NIC may be in several"
    )]
    GroupFull {
        /// The group.
        group: Name,
        /// How many there can be.
        most: u64,
    },
    /// What forces something must say why.
    #[error(
        "to {action} {kind} \"{name}\" needs a reason, which stays in the history; give --reason (header EdgeStack-Reason)"
    )]
    ReasonRequired {
        /// Of what kind.
        kind: Kind,
        /// The resource, by name or id.
        name: String,
        /// What was asked.
        action: Cow<'static, str>,
    },
    /// It takes its usual way, which needs no force.
    #[error("will not force the removal of {kind} \"{name}\": {why}; {fix}")]
    ForceNotNeeded {
        /// Of what kind.
        kind: Kind,
        /// The resource.
        name: Name,
        /// Why not now.
        why: String,
        /// What would work.
        fix: String,
    },
    /// What is on a node can't be taken over.
    #[error("cannot adopt {id}: {why}; {fix}")]
    NotAdoptable {
        /// The id that it carries.
        id: uuid::Uuid,
        /// Why not.
        why: String,
        /// What would work.
        fix: String,
    },
    /// A site has room for so many of a kind.
    #[error("this site has {most} {plural} already, which is the most; remove one first", plural = kind.plural())]
    TooMany {
        /// Of what kind.
        kind: Kind,
        /// How many there can be.
        most: u64,
    },
    /// A worker acted on a wish that has changed since. Only workers see it.
    #[error("stale report on {kind} \"{name}\": it acted on generation {reported}, the wish is at {actual}")]
    StaleReport {
        /// Of what kind.
        kind: Kind,
        /// The resource.
        name: Name,
        /// What the worker acted on.
        reported: Generation,
        /// What is.
        actual: Generation,
    },
    /// Another process does this work of the site by now. Only processes of the site see it.
    #[error("lease \"{lease}\" is at epoch {actual}, not {expected}: another process does this work now")]
    LeaseMoved {
        /// The lease.
        lease: Name,
        /// Under which taking the command was sent.
        expected: u64,
        /// The present one; 0: it was never taken.
        actual: u64,
    },
}

/// What kind of answer a refusal is; each has its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// 404: the thing itself is not there.
    Missing,
    /// 409: it does not fit the state of things now.
    Conflict,
    /// 412: the client acted on an old state.
    Precondition,
    /// 422: the request can never work as it is.
    Invalid,
}

impl Refusal {
    /// The stable, kebab-case code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::ReferenceNotFound { .. } => "reference-not-found",
            Self::NameTaken { .. } => "name-taken",
            Self::Invalid { .. } => "invalid-value",
            Self::InUse { .. } => "in-use",
            Self::WrongState { .. } => "wrong-state",
            Self::PreconditionFailed { .. } => "precondition-failed",
            Self::IdempotencyKeyReused { .. } => "idempotency-key-reused",
            Self::FlavorLargerThanAnyNode { .. } => "flavor-larger-than-any-node",
            Self::ImageNotActive { .. } => "image-not-active",
            Self::TooSmallForImage { .. } => "too-small-for-image",
            Self::AddressInUse { .. } => "address-in-use",
            Self::AddressesExhausted { .. } => "addresses-exhausted",
            Self::SegmentInUse { .. } => "segment-in-use",
            Self::RuleExists { .. } => "rule-exists",
            Self::GroupFull { .. } => "group-full",
            Self::ReasonRequired { .. } => "reason-required",
            Self::ForceNotNeeded { .. } => "force-not-needed",
            Self::NotAdoptable { .. } => "not-adoptable",
            Self::TooMany { .. } => "too-many",
            Self::StaleReport { .. } => "stale-report",
            Self::LeaseMoved { .. } => "lease-moved",
        }
    }

    /// Which kind of answer it is.
    pub const fn category(&self) -> Category {
        match self {
            Self::NotFound { .. } => Category::Missing,
            Self::NameTaken { .. }
            | Self::ReferenceNotFound { .. }
            | Self::FlavorLargerThanAnyNode { .. }
            | Self::InUse { .. }
            | Self::WrongState { .. }
            | Self::ImageNotActive { .. }
            | Self::TooSmallForImage { .. }
            | Self::AddressInUse { .. }
            | Self::AddressesExhausted { .. }
            | Self::SegmentInUse { .. }
            | Self::RuleExists { .. }
            | Self::GroupFull { .. }
            | Self::ReasonRequired { .. }
            | Self::ForceNotNeeded { .. }
            | Self::NotAdoptable { .. }
            | Self::TooMany { .. }
            | Self::StaleReport { .. }
            | Self::LeaseMoved { .. } => Category::Conflict,
            Self::PreconditionFailed { .. } => Category::Precondition,
            Self::Invalid { .. } | Self::IdempotencyKeyReused { .. } => Category::Invalid,
        }
    }

    /// The request's field at fault, when one is.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::ReferenceNotFound { field, .. }
            | Self::Invalid { field, .. }
            | Self::TooSmallForImage { field, .. }
            | Self::AddressInUse { field, .. }
            | Self::AddressesExhausted { field, .. } => Some(field.as_ref()),
            Self::SegmentInUse { .. } => Some("segment_id"),
            Self::NameTaken { .. } => Some("name"),
            Self::FlavorLargerThanAnyNode { .. } => Some("flavor"),
            Self::ImageNotActive { .. } => Some("image"),
            Self::PreconditionFailed { .. } => Some("If-Match"),
            Self::IdempotencyKeyReused { .. } => Some("Idempotency-Key"),
            Self::ReasonRequired { .. } => Some("EdgeStack-Reason"),
            Self::NotFound { .. }
            | Self::InUse { .. }
            | Self::WrongState { .. }
            | Self::RuleExists { .. }
            | Self::GroupFull { .. }
            | Self::ForceNotNeeded { .. }
            | Self::NotAdoptable { .. }
            | Self::TooMany { .. }
            | Self::StaleReport { .. }
            | Self::LeaseMoved { .. } => None,
        }
    }
}
