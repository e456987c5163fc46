//! What the owner of a connection has in hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

use super::{
    connection::{Connection, Phase, Request, State},
    copy::{LocalCopy, Watched},
    endpoint::{Endpoint, Endpoints, Stream},
    error::{Attempt, Ended, Lost, OvsdbError, Refused},
    message::{self, Answer, Element},
    operation::{Operation, OperationResult},
};

/// How many requests wait for the connection's task before those who ask wait themselves.
const REQUESTS_MAX: usize = 64;

/// A connection to a server of one database, with a copy of the watched tables.
///
/// Cheap to clone; the connection ends when the last clone is dropped. It is one connection: once it has ended, by
/// whatever cause, it does not come back, and its owner connects anew. So nobody takes an old copy for the present one.
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
    at: Arc<At>,
}

#[derive(Debug)]
struct At {
    endpoint: Endpoint,
    database: String,
    transactions: AtomicU64,
}

impl Client {
    /// Connects, asks for a copy of the watched tables (RFC 7047 section 4.1.5) and waits for it.
    ///
    /// Several endpoints are tried in turn, each for its share of the time that is left. A server that has no contact
    /// with its cluster is passed over; whether it leads the cluster does not matter, as it passes transactions on.
    ///
    /// # Errors
    /// [`OvsdbError::Unreachable`] if none can be used; [`OvsdbError::Refused`] if the last one has no such database,
    /// table or column. The database is the same after either.
    pub async fn connect(
        endpoints: &Endpoints,
        database: &str,
        watched: &[Watched],
        deadline: Duration,
    ) -> Result<Self, OvsdbError> {
        let until = Instant::now() + deadline;
        let mut attempts = Vec::new();
        let count = u32::try_from(endpoints.list().len()).unwrap_or(u32::MAX);
        for (endpoint, left) in endpoints.list().iter().zip((1..=count).rev()) {
            let share = until.saturating_duration_since(Instant::now()) / left;
            let attempt = async {
                let stream = endpoint.open(endpoints.tls()).await?;
                Self::over(stream, endpoint, database, watched).await
            };
            let ended = match timeout(share, attempt).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(ended)) => ended,
                Err(_) => Ended::NoCopy(share),
            };
            attempts.push(Attempt { endpoint: endpoint.clone(), ended });
        }
        if let Some(Attempt { ended: Ended::Refused(refused), .. }) = attempts.last() {
            return Err(refused.clone().into());
        }
        Err(OvsdbError::Unreachable { database: database.to_owned(), attempts })
    }

    /// The client of an open connection, once it has its first copy.
    pub(super) async fn over(
        stream: Stream,
        endpoint: &Endpoint,
        database: &str,
        watched: &[Watched],
    ) -> Result<Self, Ended> {
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let (connection, mut state) = Connection::new(stream, database, watched, asked);
        tokio::spawn(connection.run());
        let started = state.wait_for(|state| !matches!(state.phase, Phase::Starting)).await;
        match started.map(|state| state.phase.clone()) {
            Ok(Phase::Ended(ended)) => return Err(ended),
            Ok(Phase::Starting | Phase::Live) => {}
            Err(_) => return Err(Ended::GivenUp),
        }
        let at = At { endpoint: endpoint.clone(), database: database.to_owned(), transactions: AtomicU64::default() };
        Ok(Self { requests, state, at: Arc::new(at) })
    }

    /// The copy as it is now; as it was last, once the connection has ended.
    #[must_use]
    pub fn copy(&self) -> Arc<LocalCopy> {
        self.state.borrow().copy.clone()
    }

    /// The server that it is connected to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.at.endpoint
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.at.database
    }

    /// Whether the connection has not ended, as far as is known.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.ended().is_none()
    }

    /// Why the connection has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        ended(&self.state)
    }

    /// Tells of changes from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let mut state = self.state.clone();
        state.mark_unchanged();
        Changes(state)
    }

    /// Waits until `condition` finds in the copy what it looks for; it is asked at once, and then at every change.
    /// `awaited` says what that is, for the error.
    ///
    /// # Errors
    /// [`OvsdbError::TimedOut`], or [`OvsdbError::Ended`] as soon as the connection ends. The last copy of a connection
    /// that has ended satisfies nothing.
    pub async fn until<T>(
        &self,
        awaited: &str,
        deadline: Duration,
        mut condition: impl FnMut(&LocalCopy) -> Option<T>,
    ) -> Result<T, OvsdbError> {
        let found = async {
            let mut changes = self.changes();
            let mut copy = changes.present()?;
            loop {
                if let Some(found) = condition(&copy) {
                    return Ok(found);
                }
                // Not to be held while waiting: a copy that nobody holds changes without being cloned.
                drop(copy);
                copy = changes.changed().await?;
            }
        };
        let timed_out = |_| OvsdbError::TimedOut { awaited: awaited.to_owned(), after: deadline };
        timeout(deadline, found).await.map_err(timed_out)?
    }

    /// Carries out one transaction, all of it or nothing (RFC 7047 section 4.1.3); answers with what became of each
    /// operation, in order. What it changed in watched tables is in the copy by then.
    ///
    /// Who drops the future gives the transaction up: the server is told to cancel it, which it may or may not do.
    ///
    /// # Errors
    /// [`OvsdbError::Refused`] with the server's words; [`OvsdbError::Ended`] and [`OvsdbError::TimedOut`] if it was not
    /// sent; [`OvsdbError::UnknownOutcome`] if it was sent and no answer came.
    pub async fn transact(
        &self,
        operations: &[Operation],
        deadline: Duration,
    ) -> Result<Vec<OperationResult>, OvsdbError> {
        let until = Instant::now() + deadline;
        let id = self.at.transactions.fetch_add(1, Ordering::Relaxed);
        let message = message::transact(id, self.database(), operations);
        let permit = match timeout_at(until, self.requests.reserve()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(OvsdbError::Ended(self.ended().unwrap_or(Ended::GivenUp))),
            Err(_) => {
                return Err(OvsdbError::TimedOut { awaited: "the transaction is sent".to_owned(), after: deadline });
            }
        };
        let (answer, answered) = oneshot::channel();
        let mut sent = Sent { requests: &self.requests, id, answered: false };
        permit.send(Request::Transact { id, message, answer });
        let answer = match timeout_at(until, answered).await {
            Ok(answer) => answer,
            Err(_) => return Err(OvsdbError::UnknownOutcome(Lost::TimedOut(deadline))),
        };
        sent.answered = true;
        match answer {
            Ok(answer) => results(operations, answer?),
            // The task is gone without a word.
            Err(_) => Err(OvsdbError::UnknownOutcome(Lost::Ended(self.ended().unwrap_or(Ended::GivenUp)))),
        }
    }
}

/// A transaction under way; dropped before it is answered, it is to be canceled.
struct Sent<'a> {
    requests: &'a mpsc::Sender<Request>,
    id: u64,
    answered: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.answered {
            // With no room or no connection it stays undone; the outcome is unknown either way.
            let _ = self.requests.try_send(Request::Cancel(self.id));
        }
    }
}

/// Tells that the copy changed. It does not keep the connection open.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<State>);

impl Changes {
    /// Waits until the copy differs from that of the last call, or of when this was made; answers with the copy then.
    /// Changes that follow fast may be told as one. Nothing is lost by dropping the future.
    ///
    /// # Errors
    /// [`OvsdbError::Ended`] as soon as the connection has ended, and ever after.
    pub async fn changed(&mut self) -> Result<Arc<LocalCopy>, OvsdbError> {
        if ended(&self.0).is_none() && self.0.changed().await.is_err() && ended(&self.0).is_none() {
            return Err(OvsdbError::Ended(Ended::GivenUp));
        }
        self.present()
    }

    fn present(&mut self) -> Result<Arc<LocalCopy>, OvsdbError> {
        let state = self.0.borrow_and_update();
        match &state.phase {
            Phase::Ended(ended) => Err(OvsdbError::Ended(ended.clone())),
            Phase::Starting | Phase::Live => Ok(state.copy.clone()),
        }
    }
}

fn ended(state: &watch::Receiver<State>) -> Option<Ended> {
    match &state.borrow().phase {
        Phase::Ended(ended) => Some(ended.clone()),
        // The task sets the phase before it goes; without that, the runtime has dropped it.
        Phase::Starting | Phase::Live => state.has_changed().is_err().then_some(Ended::GivenUp),
    }
}

/// What became of the operations, by the server's answer (RFC 7047 section 4.1.3).
fn results(operations: &[Operation], answer: Answer) -> Result<Vec<OperationResult>, OvsdbError> {
    let elements = match answer {
        Answer::Elements(elements) => elements,
        Answer::Refused(refused) => return Err(refused.into()),
        Answer::Canceled => return Err(OvsdbError::UnknownOutcome(Lost::Canceled)),
    };
    let count = elements.len();
    let mut results = Vec::with_capacity(operations.len());
    for (index, element) in elements.into_iter().enumerate() {
        let result = match (element, operations.get(index)) {
            (Some(Element::Refused(refused)), of) => {
                return Err(Refused { operation: of.map(|_| index), ..refused }.into());
            }
            (Some(Element::Answered(answered)), Some(operation)) => operation.result(answered),
            (Some(Element::Answered(_)), None) | (None, _) => None,
        };
        let Some(result) = result else {
            let what = format!("element {index} fits no such operation");
            return Err(OvsdbError::UnknownOutcome(Lost::Answer(what)));
        };
        results.push(result);
    }
    if count != operations.len() {
        let what = format!("{count} elements answer to {} operations", operations.len());
        return Err(OvsdbError::UnknownOutcome(Lost::Answer(what)));
    }
    Ok(results)
}
