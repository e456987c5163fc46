//! Nodes: registered by their own worker, cordoned by people, lost and back.

use super::{LogRelease, NodeCommand, NodeFacts};
use crate::{builders::*, meta::MetaChange};

fn update(node: &str, change: MetaChange) -> NodeCommand {
    NodeCommand::Update { node: node.into(), change }
}

#[test]
fn a_node_registers_itself_and_tells_only_what_changed() {
    let mut site = an_empty_world();
    let other = NodeFacts { kernel: "6.12".into(), ..a_node() };
    check(&site, an_inventory("edge-1", a_node()), Ok(&["NodeRegistered"]));
    site.has(an_inventory("edge-1", a_node()));
    check(&site, an_inventory("edge-1", a_node()), Ok(&[]));
    check(&site, an_inventory("edge-1", other.clone()), Ok(&["NodeFactsChanged"]));
    site.has(lost("edge-1"));
    check(&site, an_inventory("edge-1", a_node()), Ok(&["NodeBecameReady"]));
    check(&site, an_inventory("edge-1", other), Ok(&["NodeFactsChanged", "NodeBecameReady"]));
}

#[test]
fn a_lost_node_is_lost_once() {
    let mut site = a_world();
    check(&site, lost("none"), Err("not-found"));
    site.has(lost("edge-1"));
    assert!(!site.node("edge-1").readiness.ready);
    check(&site, lost("edge-1"), Ok(&[]));
    site.has(an_inventory("edge-1", a_node()));
    assert!(site.node("edge-1").readiness.ready);
    assert_eq!(site.node("edge-1").readiness.reason, None);
}

#[test]
fn cordon_and_uncordon_are_wishes_and_the_same_again_is_nothing() {
    let mut site = a_world();
    check(&site, cordon("none"), Err("not-found"));
    check(&site, uncordon("none"), Err("not-found"));
    check(&site.clone().having_seen(9), cordon("edge-1"), Err("precondition-failed If-Match"));
    check(&site.clone().having_seen(9), uncordon("edge-1"), Err("precondition-failed If-Match"));
    check(&site, uncordon("edge-1"), Ok(&[]));
    site.has(cordon("edge-1"));
    check(&site, cordon("edge-1"), Ok(&[]));
    check(&site.clone().having_seen(2), uncordon("edge-1"), Ok(&["NodeUncordoned"]));
}

#[test]
fn reports_leave_the_generation_so_that_peoples_changes_do_not_fail_by_them() {
    let mut site = a_world();
    let before = site.node("edge-1").meta.generation;
    site.has(lost("edge-1"));
    site.has(an_inventory("edge-1", NodeFacts { kernel: "6.12".into(), ..a_node() }));
    assert_eq!(site.node("edge-1").meta.generation, before);
    check(&site.having_seen(before.0), cordon("edge-1"), Ok(&["NodeCordoned"]));
}

#[test]
fn description_and_labels_change_and_the_same_again_is_nothing() {
    let mut site = a_world();
    check(&site, update("none", described("x")), Err("not-found"));
    check(&site.clone().having_seen(9), update("edge-1", described(&too_long())), Err("precondition-failed If-Match"));
    check(&site, update("edge-1", described(&too_long())), Err("invalid-value description"));
    site.has(update("edge-1", described("rack 4")));
    check(&site, update("edge-1", described("rack 4")), Ok(&[]));
}

#[test]
fn commits_leave_the_live_log_for_a_reason_and_one_stays() {
    let release = |through| NodeCommand::ReleaseLog {
        node: "edge-1".into(),
        through: LogRelease { through, hash: "ab".repeat(32) },
    };
    let mut site = a_world();
    let last = site.world.sequence.0;
    check(&site, release(1), Err("reason-required EdgeStack-Reason"));
    site = site.because("a small disk");
    for none_or_all in [0, last, last + 1] {
        check(&site, release(none_or_all), Err("invalid-value before"));
    }
    assert_eq!(site.world.log_released(), None);
    check(&site, release(last - 1), Ok(&["NodeLogReleased"]));
    site.has(release(last - 1));
    assert_eq!(site.world.log_released().map(|released| released.through), Some(last - 1));
    check(&site, release(last - 1), Ok(&[]));
    check(&site, release(1), Ok(&[]));
    check(&site, release(last), Ok(&["NodeLogReleased"]));
}
