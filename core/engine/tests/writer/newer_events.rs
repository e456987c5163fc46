//! A rolling upgrade: a process that is older than what another one wrote stops there, says why, and skips nothing.

use std::{sync::Arc, time::Duration};

use edgestack_engine::{Replica, ReplicaError, SubmitError, catch_up, error_chain};
use edgestack_log::{Append, ChainHead, Log as _};
use edgestack_model::{World, event::EventError};
use serde_json::Value;

use crate::site::{Site, a_flavor, a_site, committed};

/// A commit like the last one, of another process: its flavor has this name, and its event this version.
async fn append_foreign(site: &Site, mut last: ChainHead, flavor: &str, version: u64) -> ChainHead {
    let stored = site.log.get(1).await.unwrap().unwrap();
    let mut commit: Value = serde_json::from_slice(&stored.payload).unwrap();
    let id = format!("0190ffff-0000-7000-8000-{:012}", last.sequence + 1);
    for place in ["/id", "/resource_id", "/events/0/resource_id"] {
        *commit.pointer_mut(place).unwrap() = id.clone().into();
    }
    commit["sequence"] = (last.sequence + 1).into();
    commit["previous_hash"] = last.hash_hex().into();
    commit["events"][0]["name"] = flavor.into();
    commit["events"][0]["version"] = version.into();
    let entry = Append {
        expected_last_sequence: last.sequence,
        commit_id: id.clone(),
        subject: format!("mm3.commit.flavor.{id}"),
        payload: serde_json::to_vec(&commit).unwrap().into(),
    };
    let sequence = site.log.inner.append_foreign(entry).unwrap();
    last.check_next(&site.log.get(sequence).await.unwrap().unwrap()).unwrap();
    last
}

fn says_what_is_to_be_done(error: &ReplicaError) {
    assert!(!error.is_damage(), "no repair helps: {error:?}");
    let text = error_chain(error);
    for part in ["commit 3", "FlavorCreated", "version 7", "up to version 1", "install the edgestackd that wrote it"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_process_stops_before_a_newer_event_and_skips_nothing() {
    let site = a_site().await;
    committed(&site.submit(a_flavor("a")).await);
    let mut failed = site.replica.watch_failure();
    let mut head = site.replica.head();
    for (flavor, version) in [("b", 1), ("of-a-newer-one", 7), ("c", 1)] {
        head = append_foreign(&site, head, flavor, version).await;
    }
    tokio::time::timeout(Duration::from_secs(60), failed.wait_for(Option::is_some)).await.unwrap().unwrap();

    says_what_is_to_be_done(&site.replica.failure().unwrap());
    assert_eq!(site.replica.head().sequence, 2, "neither the newer one nor what comes after it is folded");
    assert_eq!(site.replica.world().flavors.len(), 2, "reads go on");
    let refused = site.submit(a_flavor("d")).await;
    let Err(SubmitError::Damaged { why }) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("install the edgestackd that wrote it"), "{why}");
    assert_eq!(site.log.inner.head().await.unwrap().last_sequence, 4, "nothing was written behind it");

    // The same after a restart.
    let restarted = Replica::new(World::default(), ChainHead::GENESIS, None);
    let caught_up = catch_up(&site.log.inner, &restarted).await;
    assert!(caught_up.is_err() || restarted.failure().is_some(), "{caught_up:?}");
    says_what_is_to_be_done(&restarted.failure().unwrap());
    assert_eq!(restarted.head().sequence, 2);
    let ReplicaError::Undecodable(error) = restarted.failure().unwrap() else { panic!("{:?}", restarted.failure()) };
    let edgestack_model::DecodeError::Event { source, .. } = Arc::as_ref(&error) else { panic!("{error:?}") };
    assert!(matches!(source, EventError::UnknownVersion { version: 7, newest: 1, .. }), "{source:?}");
}
