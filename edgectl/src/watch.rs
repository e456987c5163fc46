//! Server-sent events: the parser, and a stream that finds its way back after
//! a broken connection. Source: WHATWG HTML, 9.2 "Server-sent events".

use std::{collections::VecDeque, time::Duration};

use edgestack_wire::{Problem, list::WatchEvent};
use reqwest::{Response, Url};
use serde_json::value::RawValue;

use crate::{
    client::{self, Client, ClientError},
    failure::{self, Failure},
    output,
};

/// A silent stream may be a dead one: after this time it is opened anew, which costs nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; empty for the usual `message`.
    pub event: String,
    /// Its data, lines joined.
    pub data: String,
}

/// Turns bytes as they come into events.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    after_cr: bool,
    event: String,
    data: Option<String>,
    /// The id of the last event that had one.
    pub last_id: Option<String>,
}

impl SseParser {
    /// Takes the next bytes; gives the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<SseEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.take_line(&String::from_utf8_lossy(&line)));
                }
                byte => self.line.push(byte),
            }
        }
        events
    }

    fn take_line(&mut self, line: &str) -> Option<SseEvent> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return self.data.take().map(|data| SseEvent { event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            // `retry` and comments: we have our own pauses.
            _ => {}
        }
        None
    }
}

/// What a stream brings next.
#[derive(Debug)]
pub enum Incoming {
    /// The connection stands, for the first time or again.
    Connected,
    /// An event.
    Event(SseEvent),
}

/// A stream of events from the server, reconnecting with `Last-Event-ID`.
pub struct Stream<'a> {
    client: &'a Client,
    url: Url,
    parser: SseParser,
    response: Option<Response>,
    ready: VecDeque<SseEvent>,
    pause: Duration,
    connected_before: bool,
    told: bool,
}

impl<'a> Stream<'a> {
    /// The stream behind a URL; opened by the first [`Stream::next`].
    pub fn new(client: &'a Client, url: Url, last_event_id: Option<String>) -> Self {
        Self {
            client,
            url,
            parser: SseParser { last_id: last_event_id, ..SseParser::default() },
            response: None,
            ready: VecDeque::new(),
            pause: PAUSE_MIN,
            connected_before: false,
            told: false,
        }
    }

    /// The next event, or that the connection stands again.
    ///
    /// # Errors
    /// The server refuses; or the very first connection fails. Later breaks are
    /// mended for as long as the caller has patience.
    pub async fn next(&mut self) -> Result<Incoming, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Incoming::Event(event));
            }
            let Some(response) = &mut self.response else {
                match self.connect().await {
                    Ok(()) => return Ok(Incoming::Connected),
                    Err(error) => self.rest_before_retry(error).await?,
                }
                continue;
            };
            match tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    self.pause = PAUSE_MIN;
                    self.ready.extend(self.parser.feed(&chunk));
                }
                Ok(Ok(None)) => {
                    self.response = None;
                    tokio::time::sleep(self.next_pause()).await;
                }
                Ok(Err(error)) => {
                    self.response = None;
                    self.rest_before_retry(client::broken(&self.url, error)).await?;
                }
                Err(_silence) => self.response = None,
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let last_id = self.parser.last_id.take();
        // Half an event of the broken connection must not join the next one's first.
        self.parser = SseParser { last_id: last_id.clone(), ..SseParser::default() };
        let response = self.client.open(self.url.clone(), "text/event-stream", last_id.as_deref()).await?;
        self.response = Some(response);
        if std::mem::take(&mut self.told) {
            output::note("edgectl: connected again");
        }
        self.connected_before = true;
        Ok(())
    }

    /// Waits before the next attempt, or gives the error up to the caller.
    async fn rest_before_retry(&mut self, error: ClientError) -> Result<(), ClientError> {
        let pause = match &error {
            // 410: the server no longer has what follows that event; begin anew.
            _ if error.status() == Some(410) && self.parser.last_id.is_some() => {
                self.parser.last_id = None;
                Duration::ZERO
            }
            ClientError::Refused { .. } | ClientError::NotOurs { .. } => match error.retry_after() {
                Some(pause) => pause,
                None => return Err(error),
            },
            _ if !self.connected_before => return Err(error),
            _ => self.next_pause(),
        };
        if !std::mem::replace(&mut self.told, true) {
            output::note(&format!("edgectl: {}; trying again", failure::line(&error)));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

/// A watch's event; its object stays as it came. A bookmark may have none.
pub type Change = WatchEvent<Option<Box<RawValue>>>;

/// Reads a watch's event.
///
/// # Errors
/// It is none; a problem document in its place is told as such.
pub fn change(event: &SseEvent) -> Result<Change, Failure> {
    serde_json::from_str(&event.data).map_err(|error| match serde_json::from_str::<Problem>(&event.data) {
        Ok(problem) => Failure::Failed(problem.detail),
        Err(_) => Failure::Unreadable(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str, data: &str) -> SseEvent {
        SseEvent { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_come_out_the_same_however_the_bytes_are_cut() {
        let text =
            "\u{feff}: hello\nid: 7\nevent:x\ndata: a\ndata:  b\r\n\r\ndata: ä\rid: 8\r\rretry: 5\n\n:\n\ndata\n\n";
        let expected = [event("x", "a\n b"), event("", "ä"), event("", "")];
        for size in 1..text.len() {
            let mut parser = SseParser::default();
            let events: Vec<SseEvent> = text.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk)).collect();
            assert_eq!(events, expected, "in pieces of {size}");
            assert_eq!(parser.last_id.as_deref(), Some("8"));
        }
    }

    #[test]
    fn a_bookmark_needs_no_object() {
        let mark = change(&event("", r#"{"type":"BOOKMARK","sequence":9}"#)).unwrap();
        assert_eq!((mark.sequence, mark.object.is_none()), (9, true));
        let problem = serde_json::to_string(&Problem::new(503, "log-down", "later")).unwrap();
        assert_eq!(change(&event("", &problem)).unwrap_err().to_string(), "later");
    }
}
