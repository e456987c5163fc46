//! A fork of the site: a copy in memory that goes its own way. The server plays on one to tell what would happen; it
//! knows no worker, so who makes forks comes from outside, as [`crate::GuestAccess`] does.

use std::{future::Future, io, pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use edgestack_engine::{CommandPort, Replica};
use edgestack_log::{ChainHead, Log};
use edgestack_model::{Id, World, node::Node, vm::Vm};
use edgestack_seal::SealingKey;

/// What a fork begins with.
pub struct ForkSeed {
    /// All that is.
    pub world: World,
    /// The last commit in it; the fork's first one follows it.
    pub head: ChainHead,
    /// What time it is there.
    pub now: DateTime<Utc>,
    /// The site's name.
    pub site: String,
    /// Opens user data.
    pub seal: SealingKey,
}

/// A running fork.
pub struct Fork {
    /// Where commands go.
    pub port: Arc<dyn CommandPort>,
    /// Its folded world.
    pub replica: Arc<Replica>,
    /// Its commits.
    pub log: Arc<dyn Log>,
    /// What people don't command.
    pub outside: Box<dyn Outside>,
}

/// What happens to a fork from outside.
pub trait Outside: Send + Sync {
    /// A node's power fails: its workers fall silent, its VMs end. False: it is off already, or not of this fork.
    fn lose_node(&self, node: Id<Node>) -> bool;

    /// A node comes back, in another boot. False: it is on, or not of this fork.
    fn return_node(&self, node: Id<Node>) -> bool;

    /// A VM's process dies. False: none runs.
    fn crash_vm(&self, vm: Id<Vm>) -> bool;
}

/// What is done on a fork, from its beginning to its end.
pub type Play = Box<dyn FnOnce(Fork) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Makes forks.
///
/// **Guarantees.** Nothing that a fork does touches the site: it has a log, an engine and workers of its own, simulated
/// drivers, and neither metrics nor a place in the process's log. Its time (tokio's) goes on by itself as soon as
/// nothing is left to do, so minutes pass in milliseconds.
///
/// **Caveats.** A play bounds itself: it takes a thread, and goes on until it ends.
pub trait Forks: Send + Sync {
    /// Begins a play on a thread of its own, and returns at once.
    ///
    /// # Errors
    /// When there is no thread to be had. A play that can't begin is dropped.
    fn begin(&self, seed: ForkSeed, play: Play) -> io::Result<()>;
}
