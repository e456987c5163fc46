//! What a client is told, and when.

use std::time::Duration;

use edgestack_engine::{EngineConfig, Origin, Outcome, SubmitError};
use edgestack_log::{
    Append, Log as _,
    memory::{Fault, MemoryLog},
};
use edgestack_model::{
    Command,
    node::{Capacity, Hypervisor, NodeCommand, NodeFacts, NodeReport, PortRange},
};
use futures::future::join_all;

use crate::site::{
    Valve, a_flavor, a_keypair, a_person, a_site, a_worker, a_writer_with, committed, refused, settle, with_key,
};

fn an_inventory(node: &str) -> Command {
    let has = Capacity { vcpus: 8, memory_mib: 1024, disk_gib: 10 };
    let facts = NodeFacts {
        addresses: vec![],
        architecture: "x86_64".into(),
        kernel: "6".into(),
        operating_system: "os".into(),
        hypervisor: Hypervisor {
            name: "simulated".into(),
            version: "1".into(),
            accelerator: "none".into(),
            accelerator_reason: "a test".into(),
            simulated: true,
        },
        capacity: has,
        allocatable: has,
        ssh_ports: PortRange { first: 1024, last: 2048 },
        network: None,
    };
    Command::Node(NodeCommand::Report(NodeReport::Inventory { name: node.parse().unwrap(), facts: Box::new(facts) }))
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_only_after_the_log_has_acknowledged() {
    let site = a_site().await;
    site.log.hold_answers();
    let submitted = tokio::spawn({
        let site = site.clone();
        async move { site.submit(a_flavor("a")).await }
    });
    settle().await;
    assert_eq!(site.log.inner.head().await.unwrap().last_sequence, 1, "it is stored");
    assert!(!submitted.is_finished(), "and not acknowledged yet");
    site.log.release_answers();
    committed(&submitted.await.unwrap());
    assert_eq!(site.replica.head().sequence, 1, "the replica shows it by then");
}

#[tokio::test(start_paused = true)]
async fn commands_are_pipelined_and_keep_their_order() {
    let site = a_site().await;
    site.log.hold_answers();
    let names: Vec<String> = (0..20).map(|number| format!("f{number:02}")).collect();
    let all = join_all(names.iter().map(|name| site.submit(a_flavor(name))));
    let release = async {
        settle().await;
        assert_eq!(site.log.inner.head().await.unwrap().last_sequence, 20, "all are sent before the first answer");
        site.log.release_answers();
    };
    let (outcomes, ()) = tokio::join!(all, release);
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(committed(outcome).sequence.0, number as u64 + 1);
    }
    site.holds(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_is_decided_on_those_in_flight_before_it() {
    let site = a_site().await;
    let (first, second) = tokio::join!(site.submit(a_flavor("a")), site.submit(a_flavor("a")));
    committed(&first);
    assert_eq!(refused(&second), "name-taken");
}

#[tokio::test(start_paused = true)]
async fn that_all_is_so_already_is_said_only_when_it_is_durable() {
    let site = a_site().await;
    site.log.hold_answers();
    let both = tokio::spawn({
        let site = site.clone();
        async move { tokio::join!(site.submit(an_inventory("edge-1")), site.submit(an_inventory("edge-1"))) }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!both.is_finished());
    site.log.release_answers();
    let (first, second) = both.await.unwrap();
    let node = committed(&first).primary;
    assert!(matches!(second, Ok(Outcome::Unchanged { primary }) if primary == node), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_takes_effect_once_however_often_it_is_sent() {
    let site = a_site().await;
    let sends = (0..8).map(|_| site.submit_as(with_key("k", "f"), a_flavor("a")));
    let outcomes = join_all(sends).await;
    let first = committed(&outcomes[0]);
    for outcome in &outcomes[1..] {
        let Ok(Outcome::Before { sequence, primary }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((*sequence, *primary), (first.sequence, first.primary));
    }
    let other = site.submit_as(with_key("k", "another request"), a_flavor("b")).await;
    assert_eq!(refused(&other), "idempotency-key-reused");
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_world_and_changes_nothing() {
    let site = a_site().await;
    let dry = |key| Origin { dry_run: true, ..with_key(key, "f") };
    let outcome = site.submit_as(dry("k"), a_flavor("a")).await;
    let Ok(Outcome::DryRun { primary, world }) = outcome else { panic!("{outcome:?}") };
    assert!(world.meta(primary.0, primary.1).is_some());
    site.holds(&[]).await;
    // Its key is not used up.
    committed(&site.submit_as(with_key("k", "f"), a_flavor("a")).await);
    assert_eq!(refused(&site.submit_as(dry("k2"), a_flavor("a")).await), "name-taken");
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_turns_people_away_and_leaves_room_for_workers() {
    let config = EngineConfig { queue_max: 3, in_flight_max: 1, ..EngineConfig::for_site("test") };
    let site = a_writer_with(config, 1, Valve::new(MemoryLog::new())).await;
    site.log.hold_answers();
    let names: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    let first = tokio::spawn({
        let site = site.clone();
        async move { site.submit(a_flavor("first")).await }
    });
    settle().await;
    let all = join_all(names.iter().map(|name| site.submit(a_flavor(name))));
    let report = site.submit_as(a_worker(), an_inventory("edge-1"));
    let release = async {
        settle().await;
        site.log.release_answers();
    };
    let (outcomes, report, ()) = tokio::join!(all, report, release);
    committed(&first.await.unwrap());
    committed(&report);
    let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(SubmitError::Busy { .. }))).count();
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((done, busy), (3, 7));
    assert_eq!(site.commits().await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn workers_get_their_share_while_people_ask_without_end() {
    let config = EngineConfig { in_flight_max: 1, ..EngineConfig::for_site("test") };
    let site = a_writer_with(config, 1, Valve::new(MemoryLog::new())).await;
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let all = join_all(names.iter().map(|name| site.submit(a_flavor(name))));
    let (outcomes, report) = tokio::join!(all, site.submit_as(a_worker(), an_inventory("edge-1")));
    assert!(outcomes.iter().all(Result::is_ok));
    let place = committed(&report).sequence.0;
    assert!(place <= 10, "the report came as number {place}");
}

#[tokio::test(start_paused = true)]
async fn a_command_too_large_for_a_commit_is_told_so_and_harms_no_other() {
    let site = a_site().await;
    let (before, large, after) = tokio::join!(
        site.submit(a_flavor("before")),
        site.submit(a_keypair("large", 300 << 10)),
        site.submit(a_flavor("after")),
    );
    committed(&before);
    assert!(matches!(large, Err(SubmitError::TooLarge { .. })), "{large:?}");
    committed(&after);
    site.holds(&["before", "after"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_turn_comes_too_late_is_told_to_try_again() {
    let config = EngineConfig { in_flight_max: 1, ..EngineConfig::for_site("test") };
    let site = a_writer_with(config, 1, Valve::new(MemoryLog::new())).await;
    site.log.hold_answers();
    let release = async {
        tokio::time::sleep(Duration::from_secs(11)).await;
        site.log.release_answers();
    };
    let (first, second, ()) =
        tokio::join!(site.submit(a_flavor("a")), site.submit_as(a_person(), a_flavor("b")), release);
    committed(&first);
    assert!(matches!(second, Err(SubmitError::Busy { .. })), "{second:?}");
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_rests_on_a_commit_in_flight_waits_for_it_and_falls_with_it() {
    let site = a_site().await;
    site.log.inner.inject(Fault::LostBeforeStoring);
    site.log.hold_answers();
    let away = async {
        settle().await;
        site.log.set_away(true);
        site.log.release_answers();
    };
    // The first never gets into the log, so its name is not taken.
    let (first, second, ()) = tokio::join!(site.submit(a_flavor("a")), site.submit(a_flavor("a")), away);
    assert!(matches!(first, Err(SubmitError::OutcomeUnknown { .. })), "{first:?}");
    assert!(matches!(second, Err(SubmitError::Unavailable { .. })), "{second:?}");
    site.log.set_away(false);
    site.holds(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_try_is_told_where_the_first_one_ended() {
    let site = a_site().await;
    site.log.hold_answers();
    let first = tokio::spawn({
        let site = site.clone();
        async move { site.submit(a_flavor("first")).await }
    });
    settle().await;
    // A foreign commit takes the place that ours is on its way to.
    let before = edgestack_log::chain::hash(&site.log.inner.get(1).await.unwrap().unwrap().payload);
    let mut foreign = site.commits().await.remove(0);
    foreign.id = uuid::Uuid::from_u128(7);
    foreign.sequence = foreign.sequence.next();
    foreign.previous_hash = before.iter().map(|byte| format!("{byte:02x}")).collect();
    foreign.events[0].name = "foreign".parse().unwrap();
    foreign.events[0].resource_id = uuid::Uuid::from_u128(8);
    foreign.primary.1 = foreign.events[0].resource_id;
    site.log.inner.inject(Fault::ForeignFirst(Append {
        expected_last_sequence: 1,
        commit_id: foreign.id.to_string(),
        subject: foreign.subject(),
        payload: foreign.encode().unwrap().into(),
    }));
    let release = async {
        settle().await;
        site.log.release_answers();
    };
    let (ours, again, ()) = tokio::join!(
        site.submit_as(with_key("k", "f"), a_flavor("ours")),
        site.submit_as(with_key("k", "f"), a_flavor("ours")),
        release
    );
    committed(&first.await.unwrap());
    assert_eq!(committed(&ours).sequence.0, 3);
    assert!(matches!(again, Ok(Outcome::Before { sequence, .. }) if sequence.0 == 3), "{again:?}");
    site.holds(&["first", "foreign", "ours"]).await;
}
