//! A tiny HTTP server with canned answers, and the binary run against it.

#![allow(dead_code)] // Each test file uses a part.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use edgestack_wire::vm::Vm;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

pub const PREFIX: &str = "/edgetron/resources/kubevirt";
/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What the binary asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With its query, without [`PREFIX`].
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What it is told.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// The body has no end: sent, then held open until the client goes (true) or cut (false).
    pub endless: Option<bool>,
}

pub fn json(status: u16, body: impl Into<String>) -> Answer {
    Answer { status, headers: vec![("content-type", "application/json".to_owned())], body: body.into(), endless: None }
}

pub fn problem(status: u16, code: &str, detail: &str) -> Answer {
    let problem = edgestack_wire::Problem::new(status, code, detail);
    json(status, serde_json::to_string(&problem).unwrap())
}

/// Server-sent events, each with its id; then held open or cut.
pub fn events(events: &[(u64, String)], hold: bool) -> Answer {
    let body: String = events.iter().map(|(id, data)| format!("id: {id}\ndata: {data}\n\n")).collect();
    Answer { status: 200, headers: vec![("content-type", "text/event-stream".to_owned())], body, endless: Some(hold) }
}

impl Answer {
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// The server; it ends with the test's runtime.
pub struct Canned {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    folder: tempfile::TempDir,
}

type Answering = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

impl Canned {
    /// Starts it; `answer` also gets how often the same method and path came before.
    pub async fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answering> = Arc::new(answer);
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move { serve(stream, &*answer, &log).await });
            }
        });
        Self { url, asked, folder: tempfile::tempdir().unwrap() }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }

    /// A folder of this test's own.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = edgectl(args);
        command
            .env("EDGESTACK_URL", &self.url)
            .env("EDGESTACK_TOKEN", "secret")
            .env("XDG_CONFIG_HOME", self.folder())
            .current_dir(self.folder());
        command
    }

    pub async fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }
}

/// The binary, away from this machine's own configuration.
pub fn edgectl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgectl"));
    command
        .args(args)
        .env_clear()
        .env("TZ", "UTC")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

pub async fn run(mut command: Command) -> Ran {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends in time").unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn serve(mut stream: TcpStream, answer: &Answering, log: &Mutex<Vec<Asked>>) {
    let Some(asked) = read(&mut stream).await else {
        return;
    };
    let before = {
        let mut log = log.lock().unwrap();
        let line = asked.line();
        let before = log.iter().filter(|earlier| earlier.line() == line).count();
        log.push(asked.clone());
        before
    };
    let answer = answer(&asked, before);
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if answer.endless.is_none() && answer.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    let text = format!("{head}\r\n{}", answer.body);
    // A client that has gone is the client's business.
    let _ = stream.write_all(text.as_bytes()).await;
    if answer.endless == Some(true) {
        let _ = stream.read(&mut [0]).await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(key, _)| key == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let path = path.strip_prefix(PREFIX).map_or(path.clone(), str::to_owned);
    Some(Asked { method, path, headers, body })
}

/// The canned VM in another state.
pub fn a_vm(state: &str, target: &str, revision: u64) -> Vm {
    let mut vm: Vm = serde_json::from_str(include_str!("vm.json")).unwrap();
    vm.state = state.to_owned();
    vm.target = target.to_owned();
    vm.meta.revision = revision;
    if state != "running" {
        vm.guest = None;
    }
    vm
}

pub fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// A watch's event.
pub fn change(kind: &str, sequence: u64, object: &impl serde::Serialize) -> (u64, String) {
    let object = text(object);
    let data = format!(r#"{{"type":"{kind}","sequence":{sequence},"object":{object}}}"#);
    (sequence, data)
}

pub fn list(items: &[String], next: Option<&str>) -> String {
    let next = next.map_or(String::new(), |next| format!(r#""continue":"{next}","#));
    format!(r#"{{"items":[{}],{next}"sequence":17}}"#, items.join(","))
}
