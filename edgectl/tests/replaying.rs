//! The whole log once more, through the binary: compared, step by step, and how far it has come.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canned;

use std::{fs::File, io::Read as _, process::Stdio};

use canned::{Answer, Asked, Canned, DEADLINE, Ran, events, json, problem};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::{Value, json as value};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A log of four commits: of which kind and name each object is, and whether it was there before.
const LOG: [(&str, &str, &str); 4] =
    [("flavor", "small", "added"), ("vm", "web", "added"), ("flavor", "big", "added"), ("vm", "web", "changed")];

fn of_the_log(asked: &Asked) -> Answer {
    let url = reqwest::Url::parse(&format!("http://site{}", asked.path)).unwrap();
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let number = |name: &str| parameter(name).and_then(|value| value.parse::<usize>().ok());
    match url.path() {
        "/edgetron/log/diff" => {
            let (from, to) = (number("from").unwrap_or(0), number("to").unwrap_or(LOG.len()));
            let meant = |(kind, name, _): &&(&str, &str, &str)| {
                parameter("kind").is_none_or(|of| of == *kind)
                    && parameter("object").is_none_or(|of| of == format!("{kind}/{name}"))
            };
            let items: Vec<Value> = LOG[from..to].iter().filter(meant).map(item).collect();
            match items.is_empty() && parameter("object").is_some() {
                true => problem(404, "not-found", "there is no such object"),
                false => {
                    json(200, value!({"from": {"sequence": from}, "to": {"sequence": to}, "items": items}).to_string())
                }
            }
        }
        "/edgetron/log/history" => {
            let kinds = parameter("kind").unwrap();
            let (from, to) = (number("from").unwrap_or(1), number("to").unwrap_or(LOG.len()));
            let mut of_kind = (from..=to).filter(|at| kinds.split(',').any(|kind| kind == LOG[at - 1].0));
            let place = match parameter("order").as_deref() {
                Some("oldest") => of_kind.next(),
                _ => of_kind.next_back(),
            };
            let items: Vec<Value> = place.into_iter().map(|at| event(at, LOG[at - 1])).collect();
            json(200, value!({"items": items, "sequence": LOG.len()}).to_string())
        }
        other => panic!("{other}"),
    }
}

fn item((kind, name, change): &(&str, &str, &str)) -> Value {
    value!({
        "kind": kind, "id": "0197a5a0-0000-7000-8000-000000000001", "name": name, "change": change,
        "fields": [{"field": "labels.tier", "before": "front", "after": "back"}], "events": [], "more_events": false,
    })
}

fn event(sequence: usize, (kind, name, _): (&str, &str, &str)) -> Value {
    let id = "0197a5a0-0000-7000-8000-000000000001";
    value!({
        "outcome": "event", "sequence": sequence, "time": "2026-09-21T14:13:20Z", "type": "X", "version": 1, "kind": kind,
        "resource_id": id, "name": name, "generation": 1, "message": "", "command": "x", "commit_id": id,
        "actor": {"name": "admin", "credential": "token:3f9ac2d1", "from": "127.0.0.1"}, "correlation_id": id,
        "causation_id": null, "reason": null, "data": {},
    })
}

/// `replay --step` with lines of keys.
async fn stepped(server: &Canned, args: &[&str], keys: &str) -> Ran {
    let mut child = server.command(&[&["replay", "--step"], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(keys.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("it ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: ended.status.code(), out: text(ended.stdout), err: text(ended.stderr) }.expect(0)
}

/// The commits that were shown.
fn shown(ran: &Ran) -> Vec<u64> {
    let heads = ran.out.lines().filter_map(|line| line.strip_prefix("commit "));
    heads.map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn steps_go_forward_and_back_and_show_the_change_of_each_commit() {
    let server = Canned::start(|asked, _| of_the_log(asked)).await;
    let ran = stepped(&server, &[], "n\n\nn\np\np\nq\n").await;
    assert_eq!(shown(&ran), [1, 2, 3, 4, 3, 2]);
    let steps: Vec<&str> = ran.out.split("\n\n").collect();
    assert_eq!(steps[0], "commit 1 of 4  \n+ flavor small added\n    labels.tier  back");
    assert_eq!(steps[3], "commit 4 of 4  \n~ vm web changed\n    labels.tier  front -> back");
    assert_eq!((steps[4], steps[5]), (steps[2], steps[1]), "back is the same way");
    assert_eq!(ran.err, "", "no prompt in a pipe");
}

#[tokio::test]
async fn steps_stop_at_both_ends_and_turn_there() {
    let server = Canned::start(|asked, _| of_the_log(asked)).await;
    let ran = stepped(&server, &[], "p\np\nn\n4\nn\nn\np\n0\n").await;
    assert_eq!(shown(&ran), [1, 1, 4, 4, 1]);
    let notes: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        notes,
        ["that was the first one", "that was the first one", "that was the last one", "that was the last one"]
    );
    let ran = stepped(&server, &["--from", "3", "--until", "3"], "n\np\n").await;
    assert_eq!((shown(&ran), ran.err.as_str()), (vec![3, 3], "that was the last one\n"));
}

#[tokio::test]
async fn steps_are_those_of_one_kind_or_one_object() {
    let server = Canned::start(|asked, _| of_the_log(asked)).await;
    let of_vms = stepped(&server, &["vm"], "n\np\np\n").await;
    assert_eq!((shown(&of_vms), of_vms.err.as_str()), (vec![2, 4, 2], "that was the first one\n"));
    assert!(!of_vms.out.contains("flavor"), "{}", of_vms.out);
    assert_eq!(shown(&stepped(&server, &["vm/web"], "n\np\n").await), [2, 4, 2]);
    assert_eq!(shown(&stepped(&server, &["flavors", "--from", "2"], "p\n").await), [3, 1]);
    let until = stepped(&server, &["vm", "--until", "3"], "n\n").await;
    assert_eq!((shown(&until), until.err.as_str()), (vec![2], "that was the last one\n"));
}

fn result(more: Value) -> String {
    let mut result = value!({"type": "result", "checked": 4000, "head_hash": "ab", "same_world": true, "seconds": 2.0});
    result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    result.to_string()
}

#[tokio::test]
async fn what_is_compared_is_asked_for_and_told() {
    let compared = result(value!({"same_views": true, "rows_compared": 17}));
    let server = Canned::start(move |_, _| events(&[(1, compared.clone())], true)).await;
    for (args, query, told) in [
        (vec!["--verify"], "?views=true", "views made anew from it are the live ones, byte for byte (17 rows)\n"),
        (
            vec!["--verify", "sg"],
            "?views=true&kind=security_group",
            "views made anew from it say of kind security_group what the live ones say (17 rows)\n",
        ),
        (
            vec!["--verify", "--until", "5"],
            "?views=true&until=5",
            "views made anew up to there say what --at shows of then and what the live history says (17 rows)\n",
        ),
    ] {
        let ran = server.run(&[vec!["replay"], args].concat()).await.expect(0);
        assert_eq!(server.lines().pop().unwrap(), format!("GET /edgetron/log/replay{query}"));
        assert!(ran.out.ends_with(told), "{}", ran.out);
        assert!(ran.out.starts_with("4000 commits checked in 2.0 s (2000/s): "), "{}", ran.out);
        assert_eq!(ran.err, "", "no bar in a pipe");
    }
    let asked = server.lines().len();
    server.run(&["replay", "vm/web"]).await.expect(2);
    server.run(&["replay", "nothing"]).await.expect(2);
    assert_eq!(server.lines().len(), asked);
}

#[tokio::test]
async fn what_differs_is_a_failure() {
    for (more, told) in [
        (value!({"same_views": false}), "the views differ"),
        (value!({"same_world": false}), "another world"),
        (value!({"finding": {"sequence": 9, "what": "it is torn"}}), "from commit 9 on: it is torn"),
        (value!({}), "never stood still"),
    ] {
        let answer = result(more);
        let server = Canned::start(move |_, _| events(&[(1, answer.clone())], true)).await;
        let ran = server.run(&["replay", "--verify"]).await.expect(1);
        assert!(ran.err.contains(told), "{}", ran.err);
    }
}

/// All that is written on a terminal, piece by piece.
fn terminal() -> (Stdio, mpsc::UnboundedReceiver<String>) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 25, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let theirs = rustix::fs::open(ptsname(&ours, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    let (tell, told) = mpsc::unbounded_channel();
    let mut ours = File::from(ours);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        // It ends with an error when nobody has the other side open any more.
        while let Ok(length @ 1..) = ours.read(&mut piece) {
            if tell.send(String::from_utf8_lossy(&piece[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    (Stdio::from(theirs.unwrap()), told)
}

/// Answers one request with events, each when it is told to.
async fn answer(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut lines = BufReader::new(&mut stream).lines();
    while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
    stream.write_all(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").await.unwrap();
    stream
}

/// The rate in the last bar that is on a terminal: `… 1,000/4,000 commits 123.45/s 5s`.
fn rate(screen: &str) -> Option<f64> {
    let bar = screen.rsplit_once(" commits ")?.1;
    bar.split_once("/s")?.0.trim().replace(',', "").parse().ok()
}

#[tokio::test]
async fn a_terminal_shows_how_far_it_has_come_and_how_fast() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Canned::start(|_, _| panic!("another one answers")).await;
    let mut command = server.command(&["replay"]);
    let (stderr, mut written) = terminal();
    command
        .env("EDGESTACK_URL", format!("http://{}", listener.local_addr().unwrap()))
        .env("TERM", "xterm")
        .stderr(stderr);
    let child = command.spawn().unwrap();
    // Its copy of the terminal's other side would keep that open.
    drop(command);
    let shown = async {
        let mut stream = answer(&listener).await;
        let mut screen = String::new();
        for checked in 1000.. {
            let progress = value!({"type": "progress", "checked": checked, "of": 1_000_000});
            stream.write_all(format!("data: {progress}\n\n").as_bytes()).await.unwrap();
            while let Ok(piece) = written.try_recv() {
                screen.push_str(&piece);
            }
            if screen.contains("/1,000,000 commits ") && rate(&screen).is_some_and(|rate| rate > 0.0) {
                break;
            }
            tokio::task::yield_now().await;
        }
        stream.write_all(format!("data: {}\n\n", result(value!({}))).as_bytes()).await.unwrap();
        let ended = child.wait_with_output().await.unwrap();
        while let Some(piece) = written.recv().await {
            screen.push_str(&piece);
        }
        (ended, screen)
    };
    let (ended, screen) = tokio::time::timeout(DEADLINE, shown).await.expect("a bar with a rate comes");
    assert!(ended.status.success(), "{screen}");
    assert!(screen.ends_with("\r\x1b[2K"), "the bar goes with the result: {screen:?}");
}
