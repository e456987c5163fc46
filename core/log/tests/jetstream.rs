//! The real log on a real nats-server: it keeps every promise of [`Log`], also when the server is killed.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_log::conformance::{CASES, Handles, append_some, commit};
use edgestack_log::jetstream::{Options, Role, ServerState};
use edgestack_log::{AppendError, ChainHead, Log, LogError, Resolution, resolve, verify, verify_from};
use futures::StreamExt;
use nats::{DEADLINE, Site, kill, until};

#[tokio::test]
async fn the_real_log_keeps_every_promise() {
    let Some(binary) = nats::binary("the_real_log_keeps_every_promise") else {
        return;
    };
    for case in CASES {
        let site = Site::start(&binary).await;
        let handles = Handles { log: Arc::new(site.log().await), other: Arc::new(site.log().await) };
        let outcome = (case.run)(handles).await;
        println!("jetstream {}: {outcome:?}", case.name);
        assert_eq!(outcome, Ok(()), "{}", case.name);
        site.stop().await;
    }
}

/// Appends with many in flight, kills the server at some moment, and looks whether each acknowledged commit is there.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_server_was_killed() {
    let Some(binary) = nats::binary("what_was_acknowledged_is_there_after_the_server_was_killed") else {
        return;
    };
    let rounds = std::env::var("EDGESTACK_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_u64);
    let site = Site::start(&binary).await;
    let log = site.log().await;
    let mut state = site.server().state();
    let mut chain = ChainHead::GENESIS;
    let (mut acknowledged_in_all, mut unsent_in_all, mut unknown_in_all, mut unknown_stored) =
        (0_u64, 0_u64, 0_u64, 0_u64);
    for round in 0..rounds {
        let mut speculative = chain;
        let mut pending = Vec::new();
        let victim = site.server().pid().unwrap();
        // Another moment in each round: while so many are in flight, or just after so many were acknowledged.
        let (in_flight, before_kill) = (1 + round * 7 % 60, round * 5 % 40);
        for number in 0..in_flight.max(before_kill) {
            let entry = commit(&speculative, &format!("r{round}-{number}"), 600);
            speculative = speculative.after(&entry.payload);
            let id = entry.commit_id.clone();
            match log.append(entry).await {
                Ok(ack) => pending.push((speculative.sequence, id, ack)),
                Err(error) => panic!("{error:?} before the kill"),
            }
        }
        let mut acknowledged = chain.sequence;
        let (mut unknown, mut unsent) = (Vec::new(), Vec::new());
        for (number, (sequence, id, ack)) in pending.into_iter().enumerate() {
            if number as u64 == before_kill {
                kill(victim);
            }
            match ack.await {
                Ok(stored) => {
                    assert_eq!(stored, sequence);
                    acknowledged = stored;
                    acknowledged_in_all += 1;
                }
                Err(AppendError::UnknownOutcome(_)) => unknown.push((sequence, id)),
                // It waited to share a message and was never sent.
                Err(AppendError::Unavailable(_)) => unsent.push((sequence, id)),
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        kill(victim);
        let back = state.wait_for(|state| matches!(state, ServerState::Running { pid, .. } if *pid != victim));
        tokio::time::timeout(DEADLINE, back).await.unwrap().unwrap();
        until("the log is connected again", async || log.is_connected()).await;
        for (sequence, id) in unknown {
            unknown_in_all += 1;
            match resolve(&log, sequence, &id, DEADLINE).await.unwrap() {
                Resolution::Ours => unknown_stored += 1,
                Resolution::Absent => {}
                Resolution::Foreign => panic!("round {round}: a foreign commit at {sequence}"),
            }
        }
        for (sequence, id) in unsent {
            unsent_in_all += 1;
            let found = resolve(&log, sequence, &id, DEADLINE).await.unwrap();
            assert_eq!(found, Resolution::Absent, "round {round}: {sequence} was not sent");
        }
        chain = verify_from(&log, chain, None).await.unwrap();
        assert!(chain.sequence >= acknowledged, "round {round}: {acknowledged} was acknowledged, the end is {chain:?}");
    }
    assert_eq!(verify(&log, Some(chain.sequence)).await.unwrap(), chain);
    println!(
        "{rounds} rounds: {acknowledged_in_all} acknowledged, all there; {unknown_in_all} unknown, {unknown_stored} of \
         them stored; {unsent_in_all} not sent"
    );
    site.stop().await;
}

#[tokio::test]
async fn while_the_server_is_away_appends_fail_at_once_and_nothing_is_sent_later() {
    let Some(binary) = nats::binary("while_the_server_is_away_appends_fail_at_once_and_nothing_is_sent_later") else {
        return;
    };
    let mut site = Site::start(&binary).await;
    let log = site.log().await;
    let chain = append_some(&log, ChainHead::GENESIS, 3).await.unwrap();
    site.server.take().unwrap().stop(DEADLINE).await;
    until("the loss is noticed", async || !log.is_connected()).await;
    for number in 0..50 {
        let begun = Instant::now();
        match log.append(commit(&chain, &format!("away{number}"), 600)).await.map(drop) {
            Err(AppendError::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < Duration::from_millis(100));
    }
    assert!(matches!(log.head().await, Err(LogError::Unavailable(_))));
    site.server = Some(edgestack_log::jetstream::NatsServer::start(site.options.clone()).await.unwrap());
    until("the log is connected again", async || log.is_connected()).await;
    append_some(&log, chain, 1).await.unwrap();
    assert_eq!(log.head().await.unwrap().messages, 4);
    site.stop().await;
}

#[tokio::test]
async fn appends_in_flight_hear_of_a_lost_connection_and_a_silent_server_at_once_or_in_time() {
    let name = "appends_in_flight_hear_of_a_lost_connection_and_a_silent_server_at_once_or_in_time";
    let Some(binary) = nats::binary(name) else {
        return;
    };
    let site = Site::start(&binary).await;
    site.log().await;
    let mut options = Options::new(site.server().credentials().url(Role::Engine), Role::Engine);
    options.ack_timeout = Duration::from_millis(500);
    let log = edgestack_log::jetstream::JetStreamLog::connect(options).await.unwrap();
    let chain = append_some(&log, ChainHead::GENESIS, 1).await.unwrap();
    let pid = rustix::process::Pid::from_raw(site.server().pid().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let silent = commit(&chain, "silent", 600);
    let outcome = log.append(silent.clone()).await.unwrap().await;
    assert!(matches!(outcome, Err(AppendError::UnknownOutcome(_))), "{outcome:?}");
    // It wakes up and stores what it had received: the late copy and the repetition are one commit.
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let again = match log.append(silent.clone()).await {
        Ok(ack) => ack.await,
        Err(error) => Err(error),
    };
    assert!(matches!(again, Ok(2) | Err(AppendError::WrongLastSequence { .. })), "{again:?}");
    assert_eq!(resolve(&log, 2, "silent", DEADLINE).await.unwrap(), Resolution::Ours);
    let chain = append_some(&log, verify(&log, Some(2)).await.unwrap(), 1).await.unwrap();

    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let mut ack = log.append(commit(&chain, "killed", 600)).await.unwrap();
    assert!(futures::poll!(&mut ack).is_pending());
    let begun = Instant::now();
    kill(pid.as_raw_nonzero().get() as u32);
    let outcome = ack.await;
    assert!(matches!(outcome, Err(AppendError::UnknownOutcome(_))), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}: only the time-out told", begun.elapsed());
    site.stop().await;
}

#[tokio::test]
async fn a_follower_misses_nothing_while_the_server_is_killed_again_and_again() {
    let Some(binary) = nats::binary("a_follower_misses_nothing_while_the_server_is_killed_again_and_again") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    let reader = site.server().log(Role::Reader).await.unwrap();
    let follower = tokio::spawn(async move {
        let mut chain = ChainHead::GENESIS;
        let mut followed = reader.follow(1).await.unwrap();
        while chain.sequence < 100 {
            chain.check_next(&followed.next().await.unwrap().unwrap()).unwrap();
        }
        chain
    });
    let mut chain = ChainHead::GENESIS;
    let mut state = site.server().state();
    for round in 0..5 {
        chain = append_some(&log, chain, 20).await.unwrap();
        if round < 4 {
            let victim = site.server().pid().unwrap();
            kill(victim);
            let back = state.wait_for(|state| matches!(state, ServerState::Running { pid, .. } if *pid != victim));
            tokio::time::timeout(DEADLINE, back).await.unwrap().unwrap();
            // An append right after the kill may find the old connection; the log tells when there is a new one.
            until("the log answers again", async || log.head().await.is_ok()).await;
        }
    }
    assert_eq!(tokio::time::timeout(DEADLINE, follower).await.unwrap().unwrap(), chain);
    site.stop().await;
}

/// Without any notice of new commits (a stream made by somebody else) the watchdog still finds them.
#[tokio::test]
async fn a_follower_without_notices_is_woken_by_the_watchdog() {
    let Some(binary) = nats::binary("a_follower_without_notices_is_woken_by_the_watchdog") else {
        return;
    };
    let bare = nats::Bare::start(&binary, "sync_interval: always").await;
    let client = bare.client("all").await;
    let config = r#"{"name":"MM3","subjects":["mm3.commit.>"],"storage":"file","retention":"limits","discard":"new",
        "num_replicas":1,"allow_direct":true}"#;
    client.request("$JS.API.STREAM.CREATE.MM3", config.into()).await.unwrap();
    let mut options = Options::new(bare.url("all"), Role::Engine);
    options.watchdog = Duration::from_millis(50);
    let log = edgestack_log::jetstream::JetStreamLog::connect(options).await.unwrap();
    let mut followed = log.follow(1).await.unwrap();
    let chain = append_some(&log, ChainHead::GENESIS, 2).await.unwrap();
    for sequence in 1..=2 {
        let next = tokio::time::timeout(DEADLINE, followed.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(next.sequence, sequence);
    }
    append_some(&log, chain, 1).await.unwrap();
    let next = tokio::time::timeout(DEADLINE, followed.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.sequence, 3);
}
