//! The task that owns a connection: it keeps the copy, sends what clients ask for, and notices when the server is gone.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    copy::{LocalCopy, TableUpdates, Watched},
    endpoint::Stream,
    error::{Ended, Lost, OvsdbError, Refused},
    framing::{Frames, MESSAGE_MAX},
    message::{self, Answer, Incoming, Monitor},
};

/// After so long without a word from the server it is asked for a sign of life.
pub const PROBE_AFTER: Duration = Duration::from_secs(5);
/// After so long again without one the connection is given up. A server does one thing at a time, and a large
/// transaction takes it seconds.
pub const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(10);

/// While so much waits to be written, bytes, no further transactions are taken.
const OUTGOING_PAUSE: usize = 1 << 20;
/// Messages from this size on, bytes, are read on a thread where that holds up nobody else.
const ASIDE: usize = 1 << 20;

/// What the server tells of the databases that it serves (ovsdb-server(5)).
const SERVER_DATABASE: &str = "_Server";
const SERVER_WATCHED: Watched = Watched { table: "Database", columns: &["name", "connected"] };

/// What clients see of a connection.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub copy: Arc<LocalCopy>,
    pub phase: Phase,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The first copy has not come.
    Starting,
    Live,
    Ended(Ended),
}

/// What clients ask of a connection.
pub(super) enum Request {
    Transact { id: u64, message: Vec<u8>, answer: oneshot::Sender<Result<Answer, OvsdbError>> },
    Cancel(u64),
}

pub(super) struct Connection {
    stream: Stream,
    frames: Frames,
    outgoing: BytesMut,
    /// Something was written, and may still wait within TLS.
    unflushed: bool,
    requests: mpsc::Receiver<Request>,
    state: watch::Sender<State>,
    database: String,
    /// What the server tells of itself.
    server: LocalCopy,
    pending: BTreeMap<u64, oneshot::Sender<Result<Answer, OvsdbError>>>,
    heard: Instant,
    probed: bool,
}

enum Event {
    Written(io::Result<()>),
    Asked(Option<Request>),
    Read(io::Result<usize>),
    Quiet,
}

impl Connection {
    /// A connection over this stream, and what it tells; it begins once it is run.
    pub fn new(
        stream: Stream,
        database: &str,
        watched: &[Watched],
        requests: mpsc::Receiver<Request>,
    ) -> (Self, watch::Receiver<State>) {
        let copy = Arc::new(LocalCopy::of(watched));
        let (state, told) = watch::channel(State { copy, phase: Phase::Starting });
        let mut connection = Self {
            stream,
            frames: Frames::new(),
            outgoing: BytesMut::new(),
            unflushed: false,
            requests,
            state,
            database: database.to_owned(),
            server: LocalCopy::of(&[SERVER_WATCHED]),
            pending: BTreeMap::new(),
            heard: Instant::now(),
            probed: false,
        };
        // The server itself first, so that a copy of one outside of its cluster is never taken for good.
        connection.send(&message::monitor(Monitor::Server, SERVER_DATABASE, &[SERVER_WATCHED]));
        connection.send(&message::monitor(Monitor::Copy, database, watched));
        (connection, told)
    }

    /// Runs until the connection ends.
    pub async fn run(mut self) {
        let ended = loop {
            if let Err(ended) = self.step().await {
                break ended;
            }
        };
        tracing::debug!(database = self.database, reason = &ended as &dyn std::error::Error, "OVSDB connection ended");
        // First of all, so that who learns of it below sees it.
        self.state.send_modify(|state| state.phase = Phase::Ended(ended.clone()));
        for answer in self.pending.into_values() {
            let _ = answer.send(Err(OvsdbError::UnknownOutcome(Lost::Ended(ended.clone()))));
        }
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            if let Request::Transact { answer, .. } = request {
                let _ = answer.send(Err(OvsdbError::Ended(ended.clone())));
            }
        }
    }

    async fn step(&mut self) -> Result<(), Ended> {
        let quiet = self.heard + if self.probed { PROBE_AFTER + SIGN_OF_LIFE_WITHIN } else { PROBE_AFTER };
        let to_write = !self.outgoing.is_empty() || self.unflushed;
        let takes_requests = self.outgoing.len() < OUTGOING_PAUSE;
        // In this order: what the server has sent counts before the time that passed while nobody looked (a suspended
        // machine). It is read also while something waits to be written, as a server reads nothing while it waits to
        // write itself.
        let event = tokio::select! {
            biased;
            written = write(&mut self.stream.writer, &mut self.outgoing, &mut self.unflushed), if to_write => {
                Event::Written(written)
            }
            request = self.requests.recv(), if takes_requests => Event::Asked(request),
            read = self.stream.reader.read_buf(self.frames.room()) => Event::Read(read),
            () = sleep_until(quiet) => Event::Quiet,
        };
        match event {
            Event::Written(written) => written.map_err(lost),
            Event::Asked(None) => Err(Ended::GivenUp),
            Event::Asked(Some(request)) => {
                self.take(request);
                Ok(())
            }
            Event::Read(Ok(0)) => Err(Ended::Closed),
            Event::Read(Ok(_)) => {
                self.heard = Instant::now();
                self.probed = false;
                self.hear().await
            }
            Event::Read(Err(error)) => Err(lost(error)),
            Event::Quiet if self.probed => Err(Ended::Silent(PROBE_AFTER + SIGN_OF_LIFE_WITHIN)),
            Event::Quiet => {
                self.probed = true;
                self.send(&message::echo());
                Ok(())
            }
        }
    }

    fn send(&mut self, message: &[u8]) {
        self.outgoing.extend_from_slice(message);
    }

    fn take(&mut self, request: Request) {
        match request {
            // Nobody waits for it any more; and nothing was sent, so it stays undone.
            Request::Transact { answer, .. } if answer.is_closed() => {}
            Request::Transact { id, message, answer } => {
                self.send(&message);
                self.pending.insert(id, answer);
            }
            Request::Cancel(id) => {
                if self.pending.contains_key(&id) {
                    self.send(&message::cancel(id));
                }
            }
        }
    }

    async fn hear(&mut self) -> Result<(), Ended> {
        while let Some(message) = self.frames.next().map_err(|error| Ended::Violation(error.to_string()))? {
            match decode(message).await? {
                Incoming::Echo { id, params } => {
                    if self.outgoing.len() > MESSAGE_MAX {
                        return Err(Ended::Violation("it asks for signs of life and does not read them".to_owned()));
                    }
                    self.send(&message::echoed(&id, &params));
                }
                Incoming::Monitored(Monitor::Copy, outcome) => {
                    self.modify(outcome.map_err(Ended::Refused)?, Some(Phase::Live))?;
                }
                Incoming::Updated(Monitor::Copy, updates) => self.modify(updates, None)?,
                Incoming::Monitored(Monitor::Server, outcome) => self.begin(outcome)?,
                Incoming::Updated(Monitor::Server, updates) => self.look_at_server(updates)?,
                // What the transaction changed was told before (ovsdb-server(7) section 4.1.5), so it is in the copy.
                Incoming::Transacted(id, answer) => {
                    if let Some(pending) = self.pending.remove(&id) {
                        let _ = pending.send(Ok(answer));
                    }
                }
                Incoming::Other => {}
            }
        }
        Ok(())
    }

    fn modify(&mut self, updates: TableUpdates, phase: Option<Phase>) -> Result<(), Ended> {
        let mut outcome = Ok(());
        self.state.send_modify(|state| {
            outcome = Arc::make_mut(&mut state.copy).apply(updates);
            if let (Ok(()), Some(phase)) = (&outcome, phase) {
                state.phase = phase;
            }
        });
        outcome.map_err(|table| Ended::Violation(format!("it tells of the table {}, which nobody watches", table.0)))
    }

    fn begin(&mut self, outcome: Result<TableUpdates, Refused>) -> Result<(), Ended> {
        match outcome {
            Ok(updates) => self.look_at_server(updates),
            // A server without that database (Open vSwitch before 2.9) knows no clusters either.
            Err(_) => Ok(()),
        }
    }

    fn look_at_server(&mut self, updates: TableUpdates) -> Result<(), Ended> {
        let of_nobody = |_| Ended::Violation("it tells of itself what nobody asked for".to_owned());
        self.server.apply(updates).map_err(of_nobody)?;
        let database = self.server.find(SERVER_WATCHED.table, "name", &self.database);
        // Whether it has the database at all is told by the answer to the other monitor.
        match database.and_then(|(_, row)| row.boolean("connected")) {
            Some(false) => Err(Ended::Outside),
            Some(true) | None => Ok(()),
        }
    }
}

/// Writes some of what waits. Who drops it before it is done loses nothing.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<()> {
    if outgoing.is_empty() {
        writer.flush().await?;
        *unflushed = false;
        return Ok(());
    }
    if writer.write_buf(outgoing).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    *unflushed = true;
    Ok(())
}

/// The end of a server looks otherwise while something is on its way to it, or without TLS's farewell.
fn lost(error: io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Ended::Closed,
        _ => Ended::Io(Arc::new(error)),
    }
}

async fn decode(message: Bytes) -> Result<Incoming, Ended> {
    let decoded = if message.len() < ASIDE {
        message::decode(&message)
    } else {
        tokio::task::spawn_blocking(move || message::decode(&message)).await.map_err(|_| Ended::GivenUp)?
    };
    decoded.map_err(Ended::Violation)
}

#[cfg(test)]
mod tests;
