//! Lists, sheets, histories, logs and raw calls, through the binary.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canned;

use canned::{Canned, DEADLINE, a_vm, change, edgectl, events, json, list, problem, run, text};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

fn vm_named(name: &str) -> String {
    let mut vm = a_vm("running", "running", 17);
    vm.meta.name = name.to_owned();
    text(&vm)
}

#[tokio::test]
async fn a_list_reads_all_pages_and_prints_each_format() {
    let server = Canned::start(|asked, _| match asked.path.as_str() {
        "/vms?limit=500" => json(200, list(&[vm_named("a")], Some("t1"))),
        "/vms?limit=500&continue=t1" => json(200, list(&[vm_named("b")], None)),
        other => panic!("{other}"),
    })
    .await;
    let table = server.run(&["list-vms"]).await.expect(0);
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", table.out);
    assert!(lines[0].starts_with("NAME  STATE    NODE"), "{}", lines[0]);
    assert!(lines[2].starts_with("b     running  edge-1  debian-12  small   127.0.0.1:22000"));
    assert!(!table.out.contains('\x1b'), "colour in a pipe");
    let names = server.run(&["list-vms", "-o", "name"]).await.expect(0);
    assert_eq!(names.out, "a\nb\n");
    let raw = server.run(&["list-vms", "-o", "json"]).await.expect(0);
    let expected = list(&[vm_named("a"), vm_named("b")], None);
    assert_eq!(squeezed(&raw.out), expected);
    let yaml = server.run(&["list-vms", "-o", "yaml"]).await.expect(0);
    assert!(yaml.out.starts_with("items:\n- id: "), "{}", yaml.out);
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), Some("Bearer secret"));
    }
}

/// JSON without white space outside of strings (the canned VM's only blanks are in strings).
fn squeezed(pretty: &str) -> String {
    pretty.lines().map(|line| line.trim_start().replacen("\": ", "\":", 1)).collect()
}

#[tokio::test]
async fn filters_and_limit_become_the_query() {
    let server = Canned::start(|_, _| json(200, list(&[], Some("more")))).await;
    let args =
        ["list-vms", "--label", "a=b,c=d", "--label", "e=f", "--state", "running", "--name", "x", "--limit", "3"];
    // A server that always has more but gives nothing must not be asked for ever.
    let ran = server.run(&args).await.expect(1);
    assert!(ran.err.contains("the same page"), "{}", ran.err);
    let line = "GET /vms?limit=3&name=x&label=a%3Db%2Cc%3Dd%2Ce%3Df&state=running";
    assert_eq!(server.lines(), [line.to_owned(), format!("{line}&continue=more")]);
}

#[tokio::test]
async fn an_empty_list_says_what_to_try_on_standard_error() {
    let server = Canned::start(|_, _| json(200, list(&[], None))).await;
    let ran = server.run(&["list-vms"]).await.expect(0);
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("edgectl create-vm"), "{}", ran.err);
    let ran = server.run(&["list-vols", "--state", "available"]).await.expect(0);
    assert!(ran.err.contains("edgectl list-vols"), "{}", ran.err);
}

#[tokio::test]
async fn json_of_one_resource_is_the_apis_with_fields_unknown_here() {
    let body = r#"{"zeta":1.50,"name":"x","alpha":{"later":true}}"#;
    let server = Canned::start(move |_, _| json(200, body)).await;
    let ran = server.run(&["show-vm", "x", "-o", "json"]).await.expect(0);
    assert_eq!(squeezed(&ran.out), body);
    let ran = server.run(&["show-vm", "x"]).await.expect(1);
    assert!(ran.err.contains("-o json"), "{}", ran.err);
}

#[tokio::test]
async fn a_refusal_is_one_line_and_exit_code_1() {
    let server = Canned::start(|_, _| problem(404, "not-found", "vm \"x\" does not exist; see the list of vms")).await;
    let ran = server.run(&["show-vm", "x"]).await.expect(1);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "edgectl: vm \"x\" does not exist; see the list of vms\n"));
}

#[tokio::test]
async fn no_configuration_is_exit_code_2_and_no_server_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = edgectl(&["list-vms"]);
    command.env("XDG_CONFIG_HOME", folder.path());
    let ran = run(command).await.expect(2);
    assert!(ran.err.contains("deploy/quickstart") && ran.err.lines().count() == 1, "{}", ran.err);
    let mut command = edgectl(&["list-vms", "--url", "http://127.0.0.1:1"]);
    command.env("EDGESTACK_TOKEN", "t").env("XDG_CONFIG_HOME", folder.path());
    let ran = run(command).await.expect(1);
    assert!(ran.err.contains("cannot reach http://127.0.0.1:1") && ran.err.contains("refused"), "{}", ran.err);
}

#[tokio::test]
async fn a_config_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edgestack/config.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, r#"{"url":"http://h:1","token":"t","nats_url":"nats://n"}"#).unwrap();
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let mut command = edgectl(&["config", "view", "-o", "json"]);
        command.env("XDG_CONFIG_HOME", folder.path());
        let ran = run(command).await.expect(0);
        assert_eq!(ran.err.contains("chmod 600"), warned, "{}", ran.err);
        assert_eq!(squeezed(&ran.out), r#"{"url":"http://h:1","token":"t","nats_url":"nats://n","ca_file":null}"#);
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let items: Vec<String> = (0..2000).map(|n| vm_named(&format!("vm-{n}"))).collect();
    let body = list(&items, None);
    let server = Canned::start(move |_, _| json(200, body.clone())).await;
    let mut child = server.spawn(&["list-vms", "-o", "json"]);
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).await.unwrap();
    drop(out);
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

fn history(sequence: u64, event: &str, cause: Option<u64>) -> String {
    let cause = cause.map_or("null".to_owned(), |n| format!("\"00000000-0000-0000-0000-{n:012}\""));
    format!(
        r#"{{"sequence":{sequence},"time":"2026-09-21T14:13:20Z","type":"{event}","version":1,"kind":"vm","resource_id":"0197a5a0-0000-7000-8000-000000000001","name":"hello","generation":1,"message":"so it is","actor":{{"name":"admin","credential":"token:3f9ac2d1","from":"127.0.0.1"}},"command":"create-vm","commit_id":"00000000-0000-0000-0000-{sequence:012}","correlation_id":"00000000-0000-0000-0000-000000000007","causation_id":{cause},"reason":null,"data":{{}}}}"#
    )
}

#[tokio::test]
async fn a_history_is_told_and_then_followed_without_repeating() {
    let server = Canned::start(|asked, _| match asked.path.as_str() {
        "/vms/hello/events?limit=500" => {
            json(200, list(&[history(12, "VmCreated", None), history(15, "VmStarted", Some(12))], None))
        }
        "/vms/hello/events?follow=true" => {
            let event = |n, name: &str| (n, history(n, name, Some(12)));
            events(&[event(15, "VmStarted"), event(16, "VmStopped")], true)
        }
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["show-vm-events", "hello"]).await.expect(0);
    assert_eq!(
        ran.out,
        "SEQ  TIME                 EVENT      WHO    CAUSE               MESSAGE\n\
         12   2026-09-21 14:13:20  VmCreated  admin  create-vm           so it is\n\
         15   2026-09-21 14:13:20  VmStarted  admin  create-vm after 12  so it is\n"
    );
    let mut child = server.spawn(&["show-vm-events", "hello", "--follow", "-o", "name"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for expected in ["VmCreated", "VmStarted", "VmStopped"] {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some(expected));
    }
    child.kill().await.unwrap();
    let follow = server.asked().into_iter().find(|a| a.path.ends_with("follow=true")).unwrap();
    assert_eq!(follow.header("last-event-id"), Some("15.0"));
}

#[tokio::test]
async fn a_watch_prints_each_change_as_one_line_of_json() {
    let vm = a_vm("running", "running", 17);
    let added = change("ADDED", 17, &vm);
    let data = added.1.clone();
    let server = Canned::start(move |_, _| events(std::slice::from_ref(&added), true)).await;
    let mut child = server.spawn(&["watch-vms", "-o", "json", "--state", "running"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line, Some(data));
    child.kill().await.unwrap();
    assert_eq!(server.lines(), ["GET /vms?watch=true&state=running"]);
}

#[tokio::test]
async fn a_raw_call_prints_the_body_whatever_the_status() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "GET /healthz" => json(200, "fine"),
        "POST /flavors" => problem(422, "invalid-value", "vcpus: at least 1"),
        "GET /vms?watch=true" => events(&[(1, "{}".to_owned())], false),
        other => panic!("{other}"),
    })
    .await;
    assert_eq!(server.run(&["api", "get", "/healthz"]).await.expect(0).out, "fine");
    std::fs::write(server.folder().join("body.json"), r#"{"a":1}"#).unwrap();
    let args = ["api", "POST", "flavors", "-d", "@body.json", "-H", "Idempotency-Key: mine"];
    let ran = server.run(&args).await.expect(1);
    assert!(ran.out.contains("\"code\":\"invalid-value\""), "{}", ran.out);
    assert_eq!(ran.err, "edgectl: vcpus: at least 1\n");
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.header("idempotency-key"), Some("mine"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.body, br#"{"a":1}"#);
    let absolute = format!("{}/vms?watch=true", canned::PREFIX);
    let ran = server.run(&["api", "GET", &absolute]).await.expect(0);
    assert_eq!(ran.out, "id: 1\ndata: {}\n\n");
}

#[tokio::test]
async fn logs_and_manifest_come_as_they_are() {
    let server = Canned::start(|asked, _| match asked.path.as_str() {
        "/vms/hello/logs?tail=2" => json(200, "a\r\nb"),
        "/vms/hello/manifest" => match asked.header("accept") {
            Some("application/json") => json(200, r#"{"kind":"VirtualMachine"}"#),
            Some("application/yaml") => json(200, "kind: VirtualMachine\napiVersion: kubevirt.io/v1\n"),
            other => panic!("{other:?}"),
        },
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["show-vm-logs", "hello", "--tail", "2"]).await.expect(0);
    assert_eq!(ran.out, "a\r\nb");
    let ran = server.run(&["show-vm-manifest", "hello"]).await.expect(0);
    assert_eq!(ran.out, "kind: VirtualMachine\napiVersion: kubevirt.io/v1\n");
    let ran = server.run(&["show-vm-manifest", "hello", "-o", "json"]).await.expect(0);
    assert_eq!(squeezed(&ran.out), r#"{"kind":"VirtualMachine"}"#);
}

#[tokio::test]
async fn the_shell_is_given_names_from_the_server() {
    let server =
        Canned::start(|_, _| json(200, list(&[vm_named("hello"), vm_named("help"), vm_named("web")], None))).await;
    let mut command = server.command(&["--", "edgectl", "show-vm", "hel"]);
    command
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n");
    let ran = run(command).await.expect(0);
    let names: Vec<&str> = ran.out.split_whitespace().collect();
    assert_eq!(names, ["hello", "help"], "{ran:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(edgectl(&["completion", shell])).await.expect(0);
        assert!(script.out.contains("COMPLETE") && script.out.contains("edgectl"), "{}", script.out);
    }
}
