//! What each user of the NATS server may do, and what it must not, tried over real connections.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use edgestack_log::conformance::{append_some, commit};
use edgestack_log::jetstream::{Credentials, JetStreamLog, Role, sender};
use edgestack_log::side::{SIDE_BYTES_MAX, SIDE_MESSAGE_BYTES_MAX, SideLog};
use edgestack_log::{AppendError, ChainHead, Log, LogError, StoredCommit};
use futures::{StreamExt as _, stream};
use nats::{DEADLINE, Site, until};
use serde_json::{Value, json};

async fn client(credentials: &Credentials, role: Role) -> Client {
    let url = credentials.url(role);
    let password = url.split([':', '@']).nth(2).unwrap().to_owned();
    ConnectOptions::with_user_and_password(role.user().to_owned(), password)
        .custom_inbox_prefix(role.inbox())
        .request_timeout(Some(Duration::from_millis(250)))
        .connect(credentials.address().to_string())
        .await
        .unwrap()
}

/// Returns when the server has done what was sent on this connection before: `flush` only says that it was written.
async fn settled(client: &Client) {
    client.request("$JS.API.STREAM.INFO.MM3", "".into()).await.unwrap();
}

async fn contents(log: &JetStreamLog) -> (Vec<StoredCommit>, Value) {
    let client = log.client().unwrap();
    let info = client.request("$JS.API.STREAM.INFO.MM3", "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    (log.read(1, 100).await.unwrap(), info["config"].clone())
}

/// Everything that would change the log or how it is kept. The server refuses silently towards the requester, so what
/// counts is that nothing has happened; each ask must also not be answered with a success.
#[tokio::test]
async fn nobody_can_purge_delete_or_update_and_only_the_engine_can_append() {
    let Some(binary) = nats::binary("nobody_can_purge_delete_or_update_and_only_the_engine_can_append") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    let chain = append_some(&log, ChainHead::GENESIS, 3).await.unwrap();
    let before = contents(&log).await;
    let mut weak = before.1.clone();
    weak["max_msgs"] = json!(1);
    weak["discard"] = json!("old");
    let requests = [
        ("$JS.API.STREAM.PURGE.MM3", json!({})),
        ("$JS.API.STREAM.DELETE.MM3", Value::Null),
        ("$JS.API.STREAM.UPDATE.MM3", weak.clone()),
        ("$JS.API.STREAM.CREATE.MM3", weak),
        ("$JS.API.STREAM.MSG.DELETE.MM3", json!({"seq": 1})),
        ("$JS.API.STREAM.RESTORE.MM3", json!({})),
        ("$JS.API.STREAM.SNAPSHOT.MM3", json!({"deliver_subject": "mm3.commit.vm.x"})),
        ("$JS.API.STREAM.CREATE.OTHER", json!({"name": "OTHER", "subjects": ["other"]})),
        ("$JS.API.ACCOUNT.PURGE.EDGESTACK", Value::Null),
    ];
    for role in Role::ALL {
        let client = client(site.server().credentials(), role).await;
        for (subject, body) in &requests {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            if let Ok(answer) = client.request(*subject, body.into()).await {
                let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
                assert!(answer.get("error").is_some(), "{role} did {subject}: {answer}");
            }
        }
        if role != Role::Engine {
            let entry = commit(&chain, "stolen", 600);
            assert!(client.request(entry.subject.clone(), entry.payload.clone()).await.is_err(), "{role} appended");
            client.publish("mm3.stored.vm.x", "".into()).await.unwrap();
        }
        client.flush().await.unwrap();
        if role != Role::Monitor {
            settled(&client).await;
        }
    }
    assert_eq!(contents(&log).await, before);
    for role in [Role::Reader, Role::Auditor] {
        let log = site.server().log(role).await.unwrap();
        let refused = log.append(commit(&chain, "polite", 600)).await.map(drop);
        assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    }
    site.stop().await;
}

/// JetStream answers to any subject that the asker names, with its own rights: the way around "may not publish".
#[tokio::test]
async fn an_answer_can_not_be_led_into_the_log() {
    let Some(binary) = nats::binary("an_answer_can_not_be_led_into_the_log") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    append_some(&log, ChainHead::GENESIS, 3).await.unwrap();
    let before = contents(&log).await;
    let engine = client(site.server().credentials(), Role::Engine).await;
    let commands = engine.subscribe("mm3.command.>").await.unwrap();
    let mut commands = stream::select(commands, engine.subscribe("mm3.engine.>").await.unwrap());
    settled(&engine).await;
    for role in [Role::Reader, Role::Auditor] {
        let client = client(site.server().credentials(), role).await;
        // From engine to engine, and from nobody else.
        client.publish("mm3.engine.x", "start".into()).await.unwrap();
        let aims = ["mm3.commit.vm.x", "mm3.command.x", "mm3.engine.x"];
        for aim in aims.into_iter().chain(["$JS.API.STREAM.PURGE.MM3", "$JS.API.STREAM.DELETE.MM3"]) {
            for (subject, body) in [
                ("$JS.API.DIRECT.GET.MM3", json!({"seq": 1, "no_hdr": true})),
                ("$JS.API.DIRECT.GET.MM3", json!({"seq": 1, "batch": 3})),
                ("$JS.API.STREAM.MSG.GET.MM3", json!({"seq": 1})),
                ("$JS.API.STREAM.INFO.MM3", json!({})),
            ] {
                client.publish_with_reply(subject, aim, body.to_string().into()).await.unwrap();
            }
        }
        // A consumer may not deliver into the log either; the request itself is refused or never arrives.
        for aim in ["mm3.commit.vm.x", "$JS.API.STREAM.DELETE.MM3"] {
            let config = json!({"stream_name": "MM3", "config": {"name": "lead", "deliver_subject": aim,
                "deliver_policy": "all", "ack_policy": "none", "headers_only": true}});
            let _ = client.request("$JS.API.CONSUMER.CREATE.MM3.lead", config.to_string().into()).await;
        }
        let reader = site.server().log(role).await.unwrap();
        assert_eq!(reader.read(1, 100).await.unwrap().len(), 3, "{role}");
        settled(&client).await;
    }
    let nothing = tokio::time::timeout(Duration::from_millis(300), commands.next()).await;
    assert!(nothing.is_err(), "an answer came as a command: {nothing:?}");
    assert_eq!(contents(&log).await, before);
    site.stop().await;
}

/// What an auditor may ask the server to say inside the stream's account, and how it is told from a command.
#[tokio::test]
async fn a_commit_delivered_as_a_command_is_not_taken_for_one() {
    let Some(binary) = nats::binary("a_commit_delivered_as_a_command_is_not_taken_for_one") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    append_some(&log, ChainHead::GENESIS, 1).await.unwrap();
    let engine = client(site.server().credentials(), Role::Engine).await;
    let mut commands = engine.subscribe("mm3.command.>").await.unwrap();
    settled(&engine).await;
    let auditor = client(site.server().credentials(), Role::Auditor).await;
    let config = json!({"stream_name": "MM3", "config": {"name": "lead", "deliver_subject": "mm3.command.x",
        "deliver_policy": "all", "ack_policy": "none"}});
    auditor.request("$JS.API.CONSUMER.CREATE.MM3.lead", config.to_string().into()).await.unwrap();
    // This server doesn't deliver it at all; one that does must not make it look like another process's command.
    if let Ok(led) = tokio::time::timeout(Duration::from_millis(500), commands.next()).await {
        assert_eq!(sender(&led.unwrap()), None);
    }
    site.stop().await;
}

#[tokio::test]
async fn each_role_can_do_its_work() {
    let Some(binary) = nats::binary("each_role_can_do_its_work") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    append_some(&log, ChainHead::GENESIS, 20).await.unwrap();
    let all = log.read(1, 100).await.unwrap();
    for role in [Role::Reader, Role::Auditor] {
        let reader = site.server().log(role).await.unwrap();
        assert_eq!(reader.read(1, 100).await.unwrap(), all, "{role}");
        assert_eq!(reader.get(7).await.unwrap().as_ref(), Some(&all[6]), "{role}");
        assert_eq!(reader.head().await.unwrap().messages, 20, "{role}");
    }

    // Another process sends a command to the engine and has its answer; it also says that it lives.
    let credentials = site.server().credentials();
    let engine = client(credentials, Role::Engine).await;
    let reader = client(credentials, Role::Reader).await;
    let mut commands = engine.queue_subscribe("mm3.command.>", "engine".to_owned()).await.unwrap();
    let mut heartbeats = engine.subscribe("mm3.heartbeat.>").await.unwrap();
    settled(&engine).await;
    reader.publish("mm3.heartbeat.worker.vm", "alive".into()).await.unwrap();
    let asked = tokio::spawn(async move { reader.request("mm3.command.vm", "start".into()).await });
    let command = tokio::time::timeout(DEADLINE, commands.next()).await.unwrap().unwrap();
    assert_eq!(sender(&command), Some(Role::Reader));
    assert_eq!((command.subject.as_str(), &command.payload[..]), ("mm3.command.vm", &b"start"[..]));
    engine.publish(command.reply.unwrap(), "done".into()).await.unwrap();
    assert_eq!(&asked.await.unwrap().unwrap().payload[..], b"done");
    let heartbeat = tokio::time::timeout(DEADLINE, heartbeats.next()).await.unwrap().unwrap();
    assert_eq!(&heartbeat.payload[..], b"alive");
    site.stop().await;
}

/// The words any NATS client uses: find the stream, make a pull consumer, ask for messages, hear what is new.
#[tokio::test]
async fn an_auditor_reads_with_an_ordinary_pull_consumer() {
    let Some(binary) = nats::binary("an_auditor_reads_with_an_ordinary_pull_consumer") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    let chain = append_some(&log, ChainHead::GENESIS, 20).await.unwrap();
    let auditor = client(site.server().credentials(), Role::Auditor).await;
    let names = auditor.request("$JS.API.STREAM.NAMES", r#"{"subject":"mm3.commit.>"}"#.into()).await.unwrap();
    let names: Value = serde_json::from_slice(&names.payload).unwrap();
    assert_eq!(names["streams"], json!(["MM3"]));

    let stream = async_nats::jetstream::new(auditor.clone()).get_stream("MM3").await.unwrap();
    let config = async_nats::jetstream::consumer::pull::Config::default();
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.fetch().max_messages(20).messages().await.unwrap();
    for sequence in 1..=20 {
        let message = tokio::time::timeout(DEADLINE, messages.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(message.info().unwrap().stream_sequence, sequence);
        message.ack().await.unwrap();
    }

    let mut notices = auditor.subscribe("mm3.stored.>").await.unwrap();
    settled(&auditor).await;
    append_some(&log, chain, 1).await.unwrap();
    let notice = tokio::time::timeout(DEADLINE, notices.next()).await.unwrap().unwrap();
    assert_eq!(notice.headers.unwrap().get("Nats-Sequence").unwrap().as_str(), "21");
    until("the auditor's log ends at 21", async || log.head().await.unwrap().last_sequence == 21).await;
    site.stop().await;
}

/// Beside the log: who answers clients tells what was refused and reads it again; an auditor does neither, nobody empties it.
#[tokio::test]
async fn refused_commands_are_kept_apart_and_bounded() {
    let Some(binary) = nats::binary("refused_commands_are_kept_apart_and_bounded") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    log.refused().ensure(1).await.unwrap();
    log.refused().ensure(1).await.unwrap();
    append_some(&log, ChainHead::GENESIS, 3).await.unwrap();
    let before = contents(&log).await;
    let reader = site.server().log(Role::Reader).await.unwrap();
    assert_eq!(reader.refused().read_all().await.unwrap().len(), 0);
    // More than is kept: the oldest go.
    let message = |number: usize| format!("{number} {}", "x".repeat(SIDE_MESSAGE_BYTES_MAX - 200));
    let sent = usize::try_from(SIDE_BYTES_MAX).unwrap() / SIDE_MESSAGE_BYTES_MAX + 5;
    for number in 0..sent {
        let side = if number % 2 == 0 { log.refused() } else { reader.refused() };
        side.append(message(number).into()).await.unwrap();
    }
    let kept = reader.refused().read_all().await.unwrap();
    assert!((sent - 10..sent).contains(&kept.len()), "{} of {sent}", kept.len());
    assert_eq!(kept.last().unwrap()[..], *message(sent - 1).as_bytes());
    assert_eq!(kept[0][..], *message(sent - kept.len()).as_bytes());
    let too_large = reader.refused().append(vec![b'x'; SIDE_MESSAGE_BYTES_MAX + 1].into()).await;
    assert!(matches!(too_large, Err(LogError::Refused(_))), "{too_large:?}");
    assert_eq!(contents(&log).await, before, "the log is as it was");
    let auditor = client(site.server().credentials(), Role::Auditor).await;
    assert!(auditor.request("mm3.refused", "x".into()).await.is_err());
    assert!(auditor.request("$JS.API.DIRECT.GET.MM3_REFUSED", r#"{"seq":1}"#.into()).await.is_err());
    for role in [Role::Engine, Role::Reader] {
        let client = client(site.server().credentials(), role).await;
        for action in ["PURGE", "DELETE", "UPDATE", "MSG.DELETE"] {
            let asked = client.request(format!("$JS.API.STREAM.{action}.MM3_REFUSED"), r#"{"seq":1}"#.into()).await;
            assert!(asked.is_err(), "{role} may {action}");
        }
    }
    assert_eq!(reader.refused().read_all().await.unwrap().len(), kept.len());
    site.stop().await;
}
