//! Watches: a list that stays (server-sent events, WHATWG HTML 9.2).
//!
//! First every present matching resource comes as `ADDED`, then a `BOOKMARK`
//! that says the list is whole, then each change in the order of the log, and a
//! `BOOKMARK` after each quiet 15 s. A resource that stops matching the filter is
//! `DELETED` for the watcher, with the resource as it is now.
//!
//! `Last-Event-ID`: at the present sequence the watch goes on without `ADDED`. At
//! an older one the list comes anew; whatever is not in it, up to its `BOOKMARK`,
//! is gone. The same happens within one connection to a client that reads too
//! slowly: what it missed is made up from a fresh list, with `DELETED` for what
//! went. Nothing is kept for a slow client but the resources it knows, which it
//! shares with the world.
//!
//! What follows without a commit of the resource itself (a node's `used`) is
//! shown with the next change of that resource.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderName},
    response::{IntoResponse, Sse, sse::Event},
};
use edgestack_engine::Applied;
use edgestack_model::world::Resource;
use edgestack_wire::list::{WatchChange, WatchEvent};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    list::Filter,
    precondition::single,
    problem::{Answer, Failure},
    shown::{Shown, Surroundings},
    state::Site,
};

/// How often a quiet stream shows that it lives.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(crate) fn watch<T: Shown>(site: &Arc<Site>, headers: &HeaderMap, filter: Filter) -> Answer {
    let known_up_to =
        match single(headers, &LAST_EVENT_ID)? {
            None => None,
            Some(id) => Some(id.parse::<u64>().map_err(|_| {
                Failure::bad_header("Last-Event-ID", "must be the id of an event of this watch, a number")
            })?),
        };
    let mut watcher = Watcher {
        // Subscribed before the first look: nothing falls between the two.
        feed: site.app.replica.subscribe(),
        site: site.clone(),
        filter,
        known: BTreeMap::new(),
        queue: VecDeque::new(),
        sequence: 0,
        told_at: Instant::now(),
    };
    watcher.look_anew::<T>();
    if known_up_to == Some(watcher.sequence) {
        watcher.queue.clear();
        watcher.queue.push_back((WatchChange::Bookmark, None));
    }
    let events = futures::stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next::<T>().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Ok(Sse::new(events).into_response())
}

struct Watcher {
    site: Arc<Site>,
    feed: Receiver<Arc<Applied>>,
    filter: Filter,
    /// What the client has been told of, as it was then.
    known: BTreeMap<Uuid, Resource>,
    /// What is to be told next.
    queue: VecDeque<(WatchChange, Option<Resource>)>,
    /// The sequence up to which `known` and `queue` tell.
    sequence: u64,
    told_at: Instant,
}

impl Watcher {
    async fn next<T: Shown>(&mut self) -> Option<Event> {
        let shutdown = self.site.app.shutdown.clone();
        loop {
            if let Some((change, resource)) = self.queue.pop_front() {
                self.told_at = Instant::now();
                match self.event::<T>(change, resource) {
                    Ok(event) => return Some(event),
                    Err(failure) => {
                        // The client connects again and begins with a fresh list.
                        tracing::warn!(?failure, "a watch ended because an event could not be shown");
                        return None;
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep_until(self.told_at + KEEP_ALIVE) => {
                    self.queue.push_back((WatchChange::Bookmark, None));
                }
                applied = self.feed.recv() => match applied {
                    Ok(applied) => self.take::<T>(&applied),
                    Err(RecvError::Lagged(_)) => self.look_anew::<T>(),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Compares everything that matches now with what the client knows.
    fn look_anew<T: Shown>(&mut self) {
        let site = self.site.clone();
        let world = site.app.replica.world();
        let mut around = Surroundings::of_world(&world);
        let mut present: Vec<Resource> =
            resources(&world, T::KIND).filter(|resource| self.matches::<T>(resource, &mut around)).collect();
        present.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        let mut before = std::mem::take(&mut self.known);
        for resource in present {
            let change = match before.remove(&resource.id()) {
                None => Some(WatchChange::Added),
                Some(old) if old != resource => Some(WatchChange::Modified),
                Some(_) => None,
            };
            if let Some(change) = change {
                self.queue.push_back((change, Some(resource.clone())));
            }
            self.known.insert(resource.id(), resource);
        }
        for (_, gone) in before {
            self.queue.push_back((WatchChange::Deleted, Some(gone)));
        }
        self.queue.push_back((WatchChange::Bookmark, None));
        self.sequence = world.sequence.0;
    }

    fn take<T: Shown>(&mut self, applied: &Applied) {
        let sequence = applied.commit.sequence.0;
        if sequence <= self.sequence {
            return;
        }
        self.sequence = sequence;
        let site = self.site.clone();
        let world = site.app.replica.world();
        let mut around = Surroundings::of_world(&world);
        for change in applied.changes.iter().filter(|change| change.kind == T::KIND) {
            let matching = change.after.clone().filter(|after| self.matches::<T>(after, &mut around));
            match (matching, self.known.remove(&change.id)) {
                (Some(now), before) => {
                    let word = if before.is_some() { WatchChange::Modified } else { WatchChange::Added };
                    self.queue.push_back((word, Some(now.clone())));
                    self.known.insert(change.id, now);
                }
                (None, Some(before)) => {
                    let last = change.after.clone().unwrap_or(before);
                    self.queue.push_back((WatchChange::Deleted, Some(last)));
                }
                (None, None) => {}
            }
        }
    }

    fn matches<T: Shown>(&self, resource: &Resource, around: &mut Surroundings<'_>) -> bool {
        self.filter.takes(resource)
            && matches!(T::show(resource, around), Ok(Some(shown)) if self.filter.takes_state(&shown))
    }

    fn event<T: Shown>(&self, change: WatchChange, resource: Option<Resource>) -> Result<Event, Failure> {
        let object = match &resource {
            None => None,
            Some(resource) => {
                let world = self.site.app.replica.world();
                T::show(resource, &mut Surroundings::of_world(&world))?
            }
        };
        // Within a list that is still being told, its id is not yet a place to go on from.
        let event =
            if self.queue.is_empty() { Event::default().id(self.sequence.to_string()) } else { Event::default() };
        event
            .json_data(WatchEvent { change, sequence: self.sequence, object })
            .map_err(|error| Failure::internal(error.to_string()))
    }
}

/// All living resources of a kind; sharing them costs no copies.
fn resources(world: &edgestack_model::World, kind: edgestack_model::Kind) -> Box<dyn Iterator<Item = Resource> + '_> {
    use edgestack_model::Kind;
    match kind {
        Kind::Vm => Box::new(world.vms.values().cloned().map(Resource::Vm)),
        Kind::Image => Box::new(world.images.values().cloned().map(Resource::Image)),
        Kind::Flavor => Box::new(world.flavors.values().cloned().map(Resource::Flavor)),
        Kind::Keypair => Box::new(world.keypairs.values().cloned().map(Resource::Keypair)),
        Kind::Node => Box::new(world.nodes.values().cloned().map(Resource::Node)),
        Kind::Volume => Box::new(world.volumes.values().cloned().map(Resource::Volume)),
        Kind::Network => Box::new(world.networks.values().cloned().map(Resource::Network)),
        Kind::SecurityGroup => Box::new(world.security_groups.values().cloned().map(Resource::SecurityGroup)),
        Kind::SecurityGroupRule => {
            Box::new(world.security_group_rules.values().cloned().map(Resource::SecurityGroupRule))
        }
        Kind::Router => Box::new(world.routers.values().cloned().map(Resource::Router)),
        Kind::FloatingIp => Box::new(world.floating_ips.values().cloned().map(Resource::FloatingIp)),
        Kind::LoadBalancer => Box::new(world.load_balancers.values().cloned().map(Resource::LoadBalancer)),
        Kind::Webhook => Box::new(world.webhooks.values().cloned().map(Resource::Webhook)),
        Kind::Lease => Box::new(world.leases.values().cloned().map(Resource::Lease)),
    }
}
