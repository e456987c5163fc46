//! The site's northbound database: it outlives the control plane, knows whose turn it is to write, and keeps account of
//! what others did to it, so that checkers can say what must have been told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, Weak},
};

use edgestack_engine::Replica;
use edgestack_model::World;
use edgestack_planted::{self as planted, Bug};
use edgestack_worker_gateway::{
    desired::desired,
    driver::{NorthboundDriver as _, SimDriver},
    plan::{Change, as_found, plan},
    rows::{Desired, Key, Seen},
};
use futures::FutureExt as _;
use uuid::Uuid;

use crate::{
    objects::{Whose, is_ready},
    outside::Violations,
};

/// The database, and the account that is kept of it.
#[derive(Default)]
pub struct Northbound {
    pub rows: SimDriver,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Under which taking of the lease somebody looked last. The real one keeps it in `NB_Global`.
    epoch: u64,
    /// Counts looks, writes, and what others do.
    now: u64,
    /// Writes so far, those that their senders gave up included. (`nb_cfg`)
    written: u64,
    /// The last one whose sender waited for it.
    awaited: u64,
    /// By how many of them the nodes work. (`hv_cfg`)
    confirmed: u64,
    /// Whose rows may be otherwise than the pool left them, and since when.
    loose: BTreeMap<Whose, u64>,
    /// After which commits others did something to somebody's rows.
    disturbed: BTreeMap<Whose, Vec<u64>>,
    /// What the pool must tell before it mends it.
    to_be_told: BTreeMap<Key, ToBeTold>,
    wakes: Vec<Arc<dyn Fn() + Send + Sync>>,
    /// The worlds of the processes that may hold the lease.
    replicas: Vec<Weak<Replica>>,
}

/// A row that others changed or removed while it was as wished.
struct ToBeTold {
    since: u64,
    whose: Whose,
}

/// One write, as its sender meant it.
pub struct Write {
    /// Under which taking of the lease.
    pub epoch: u64,
    /// When its sender looked.
    pub looked: u64,
    /// What it saw.
    pub seen: Seen,
    pub changes: Vec<Change>,
    /// Whether its sender has given it up meanwhile.
    pub is_late: bool,
}

/// What others did.
pub struct Deed {
    /// The first row that is otherwise than it shall be.
    pub what: Option<String>,
    /// Who must be told of it, if all was as wished before.
    pub owners: BTreeSet<Whose>,
    /// Nothing is left.
    pub is_emptied: bool,
}

impl Northbound {
    /// A control plane begins.
    pub fn begin_life(&self) {
        let mut kept = self.kept.lock().unwrap();
        kept.wakes.clear();
        kept.replicas.clear();
    }

    /// A process that may hold the lease, by its world.
    pub fn known_to(&self, replica: &Arc<Replica>) {
        self.kept.lock().unwrap().replicas.push(Arc::downgrade(replica));
    }

    pub fn wake_at_changes(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.kept.lock().unwrap().wakes.push(wake);
    }

    /// Tells whoever watches that something may have changed.
    pub fn wake(&self) {
        let wakes = self.kept.lock().unwrap().wakes.clone();
        wakes.iter().for_each(|wake| wake());
    }

    /// All rows that there are.
    pub fn seen(&self) -> Seen {
        self.rows.rows().now_or_never().unwrap().unwrap()
    }

    /// A process looks, and takes the turn; the error: it is that of a later one.
    pub fn look(&self, epoch: u64) -> Result<(Seen, u64), u64> {
        let mut kept = self.kept.lock().unwrap();
        if kept.epoch > epoch && !planted::is(Bug::NorthboundWithoutFence) {
            return Err(kept.epoch);
        }
        kept.epoch = kept.epoch.max(epoch);
        kept.now += 1;
        Ok((self.seen(), kept.now))
    }

    /// A process writes; the error: it is a later one's turn.
    pub fn write(&self, violations: &Violations, write: &Write) -> Result<(), u64> {
        let mut kept = self.kept.lock().unwrap();
        let kept = &mut *kept;
        if kept.epoch > write.epoch {
            if !planted::is(Bug::NorthboundWithoutFence) {
                return Err(kept.epoch);
            }
            let (ours, last) = (write.epoch, kept.epoch);
            violations.add(format!("the virtual network was written under epoch {ours}, after a look under {last}"));
        }
        self.rows.write(&write.seen, &write.changes).now_or_never().unwrap().unwrap();
        tracing::debug!(write.epoch, write.is_late, changes = ?write.changes, "the virtual network is written");
        kept.now += 1;
        kept.written += 1;
        if write.is_late {
            kept.disturb(write);
        } else {
            kept.awaited = kept.written;
            kept.loose.retain(|_, since| *since > write.looked);
        }
        Ok(())
    }

    /// A write that is told as done, and isn't; or that is still to come.
    pub fn leave_out(&self, write: &Write) {
        let mut kept = self.kept.lock().unwrap();
        kept.now += 1;
        kept.disturb(write);
    }

    /// Law 9, at each write: what others did is told before it is mended.
    pub fn check_told(&self, violations: &Violations, write: &Write) {
        let mut kept = self.kept.lock().unwrap();
        let worlds = kept.worlds();
        for key in write.changes.iter().filter_map(changed_key) {
            let Some(told) = kept.to_be_told.remove(key).filter(|told| told.since <= write.looked) else { continue };
            let still = |(_, world): &(u64, World)| is_ready(world, told.whose) && desired(world).contains_key(key);
            if !worlds.is_empty() && planted::without(|| worlds.iter().all(still)) {
                violations.add(format!("others changed the {key}, and it is mended before that is told"));
            }
        }
    }

    /// Whether the nodes work by all that is written; they do from now on if `they_have_got_it`.
    pub fn confirmed(&self, they_have_got_it: bool) -> bool {
        let mut kept = self.kept.lock().unwrap();
        if they_have_got_it {
            kept.confirmed = kept.written;
        }
        kept.confirmed == kept.written
    }

    /// The world of whoever may write and is furthest.
    pub fn newest(&self) -> Option<World> {
        let kept = self.kept.lock().unwrap();
        let alive = kept.replicas.iter().filter_map(Weak::upgrade);
        alive.max_by_key(|replica| replica.head().sequence).map(|replica| replica.world().clone())
    }

    /// How often somebody wrote.
    pub fn writes(&self) -> u64 {
        self.kept.lock().unwrap().written
    }

    /// Whether the nodes have not confirmed the last write yet.
    pub fn is_unconfirmed(&self) -> bool {
        let kept = self.kept.lock().unwrap();
        kept.confirmed < kept.awaited
    }

    /// Whether somebody's rows may be otherwise than the pool left them.
    pub fn is_loose(&self, whose: Whose) -> bool {
        self.kept.lock().unwrap().loose.contains_key(&whose)
    }

    /// After which commits others did something to somebody's rows, in order.
    pub fn disturbed(&self, whose: Whose) -> Vec<u64> {
        self.kept.lock().unwrap().disturbed.get(&whose).cloned().unwrap_or_default()
    }

    /// Takes down what others have just done.
    pub fn take_down(&self, before: &Seen, after: &Seen) -> Deed {
        let mut kept = self.kept.lock().unwrap();
        kept.now += 1;
        let now = kept.now;
        let keys: BTreeSet<&Key> = before.rows.keys().chain(after.rows.keys()).collect();
        let differ = keys.into_iter().filter(|key| before.rows.get(key) != after.rows.get(key));
        let mut touched: BTreeSet<Whose> = differ.filter_map(Whose::is_named).collect();
        // A copy may be made between a look and the write that removes the row.
        if before.doubles != after.doubles {
            touched.extend(after.rows.keys().filter_map(Whose::is_named));
        }
        kept.loosen(touched, now);
        let is_emptied = after.rows.is_empty();
        if is_emptied {
            // A database made anew is filled again without a word.
            kept.to_be_told.clear();
        }
        let worlds = kept.worlds();
        let mut deed = Deed { what: None, owners: BTreeSet::new(), is_emptied };
        let Some((_, newest)) = worlds.iter().max_by_key(|(head, _)| head) else { return deed };
        let wished = desired(newest);
        let (differed, differ) = (plan(&wished, before).differences, plan(&wished, after).differences);
        let for_sure = plan(&without_references(as_found(&wished, after), after), after).differences;
        // Also others' doing, and done with.
        kept.to_be_told.retain(|key, _| !differed.contains_key(key) || differ.contains_key(key));
        let due: Vec<BTreeSet<Key>> = worlds.iter().map(|(_, world)| planned(world, before)).collect();
        for (key, what) in differ.iter().filter(|(key, _)| !differed.contains_key(key)) {
            let Some(wanted) = wished.get(key) else { continue };
            deed.what.get_or_insert(what.clone());
            let whose = wanted.owner.into();
            deed.owners.insert(whose);
            let ready = worlds.iter().all(|(_, world)| is_ready(world, whose));
            let is_due = due.iter().any(|keys| keys.contains(key));
            // What follows from others, and which rows it refers to, may be wished otherwise while nobody looks, or be
            // settled after the last look. That is asked for at rest.
            if ready && !is_due && for_sure.contains_key(key) && !is_emptied {
                kept.to_be_told.insert(key.clone(), ToBeTold { since: now, whose });
            }
        }
        deed
    }
}

impl Kept {
    /// The worlds of those who may write, each with how far it is. One that stands still is worked by as it is.
    fn worlds(&self) -> Vec<(u64, World)> {
        let alive = self.replicas.iter().filter_map(Weak::upgrade);
        alive.map(|replica| replica.snapshot()).map(|(world, head)| (head.sequence, world)).collect()
    }

    fn loosen(&mut self, owners: BTreeSet<Whose>, since: u64) {
        let known = self.replicas.iter().filter_map(Weak::upgrade).map(|replica| replica.head().sequence).max();
        for owner in owners {
            self.loose.insert(owner, since);
            self.disturbed.entry(owner).or_default().push(known.unwrap_or_default());
        }
    }

    /// What is not as its sender takes it to be is as if others had done it.
    fn disturb(&mut self, write: &Write) {
        let keys = touched(write);
        let owners = keys.iter().filter_map(Whose::is_named).collect();
        self.loosen(owners, self.now);
        self.to_be_told.retain(|key, _| !keys.contains(key));
    }
}

/// The rows that a write changes.
fn touched(write: &Write) -> BTreeSet<Key> {
    let by_uuid: BTreeMap<Uuid, &Key> = write.seen.rows.iter().map(|(key, row)| (row.uuid, key)).collect();
    let key = |change: &Change| match change {
        Change::Delete { uuid, .. } => by_uuid.get(uuid).map(|key| (*key).clone()),
        Change::Insert { .. } | Change::Update { .. } => changed_key(change).cloned(),
    };
    write.changes.iter().filter_map(key).collect()
}

fn changed_key(change: &Change) -> Option<&Key> {
    match change {
        Change::Insert { key, .. } | Change::Update { key, .. } => Some(key),
        Change::Delete { .. } => None,
    }
}

/// The rows that a world would have written otherwise, or anew.
fn planned(world: &World, seen: &Seen) -> BTreeSet<Key> {
    plan(&desired(world), seen).changes.iter().filter_map(changed_key).cloned().collect()
}

/// The wish, with references as they are found.
fn without_references(mut desired: Desired, seen: &Seen) -> Desired {
    for (key, wanted) in &mut desired {
        if let Some(row) = seen.rows.get(key) {
            let found = row.references.iter().map(|(column, to)| (*column, to.keys().cloned().collect()));
            wanted.references = found.collect();
        }
    }
    desired
}
