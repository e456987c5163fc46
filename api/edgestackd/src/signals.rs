//! The signals that end the daemon, and the limits that it asks the system for.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// File descriptors wanted: connections, and three for each watched VM.
const DESCRIPTORS: u64 = 65_536;

/// SIGTERM and SIGINT, from the moment of [`Signals::listen`] on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|source| Failure::System { what: "a signal handler", source });
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Returns when one of them has come.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Takes as many file descriptors as the system lets us have, up to what a busy site needs.
pub fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays low; many connections at once will be refused");
        }
    }
}
