//! What the pool is woken by, and what it tells of others' doing.

use edgestack_model::{Kind, network::NetworkCommand};
use edgestack_ovn::ovsdb::Value;
use futures::FutureExt as _;

use super::*;
use crate::{
    driver::SimDriver,
    rows::{Key, Table},
    world::*,
};

/// Whether what this command does to the network wakes the pool.
fn wakes(site: &mut Site, network: &str, command: Command) -> bool {
    let (kind, id) = (Kind::Network, site.network(network).id.uuid());
    let before = site.world.resource(kind, id);
    site.has(command);
    concerns(&Changed { kind, id, before, after: site.world.resource(kind, id) })
}

fn report(site: &Site, network: &str, report: RealizationReport) -> Command {
    let network = site.network(network);
    let (network, generation) = (network.id, network.meta.generation);
    Command::Network(NetworkCommand::Report { network, generation, report })
}

#[test]
fn who_asks_for_another_look_wakes_it_and_other_words_do_not() {
    let mut site = Site::new();
    site.has(create(a_network("blue", "10.0.0.0/24")));
    assert!(wakes(&mut site, "blue", reconcile("blue")), "while it is made");
    site.realized("blue");
    let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]).try_into().unwrap();
    assert!(!wakes(&mut site, "blue", update("blue", |update| update.change.labels = Some(labels))));
    let words = Some("words".to_owned());
    assert!(!wakes(&mut site, "blue", update("blue", |update| update.change.description = words)));
    assert!(wakes(&mut site, "blue", reconcile("blue")), "while it is ready");
    assert!(wakes(&mut site, "blue", reconcile("blue")), "each time");
    assert!(wakes(&mut site, "blue", update("blue", |update| update.mtu = Some(1300))));
}

#[test]
fn its_own_failures_do_not_wake_it_and_one_that_is_forgotten_does() {
    let mut site = Site::new();
    site.has(create(a_network("blue", "10.0.0.0/24")));
    for _ in 0..2 {
        let failed = DriverError::retry("no way").failed_attempt("write");
        let failed = report(&site, "blue", RealizationReport::AttemptFailed(failed));
        assert!(!wakes(&mut site, "blue", failed));
    }
    assert!(wakes(&mut site, "blue", reconcile("blue")));
}

/// What is told where this was written, others did something to it, and this is wished by now.
fn told(written: &Desired, deed: impl FnOnce(&SimDriver), site: &Site) -> Vec<Command> {
    let sim = SimDriver::new();
    let first = plan_of(written, &Seen::default()).changes;
    sim.write(&Seen::default(), &first).now_or_never().unwrap().unwrap();
    deed(&sim);
    let (wished, seen) = (desired(&site.world), sim.rows().now_or_never().unwrap().unwrap());
    let plan = plan_of(&wished, &seen);
    let told = drifted(&plan, &wished, &seen, Some(written), &Waiting::in_world(&site.world));
    told.into_iter().map(|(_, command)| command).collect()
}

#[test]
fn what_others_did_is_told_also_where_the_wish_for_the_row_changed_at_the_same_time() {
    let mut site = Site::new();
    site.has(create(a_network("blue", "10.0.0.0/24")));
    site.realized("blue");
    let (written, id) = (desired(&site.world), site.network("blue").id.to_string());
    // The switch is to have another port, and its network another name to resolve.
    site.has(create_vm("web", &[a_nic("blue")]));
    let (switch, names) = (Key::new(Table::LogicalSwitch, id.clone()), Key::new(Table::Dns, id));
    let drifted = |what: &str| vec![report(&site, "blue", RealizationReport::Drifted { what: vec![what.to_owned()] })];
    assert_eq!(told(&written, |_| {}, &site), []);
    let remove = |sim: &SimDriver| sim.others_remove_row(&switch);
    assert_eq!(told(&written, remove, &site), drifted("the logical switch is gone"));
    let rename = |sim: &SimDriver| sim.others_set(&switch, "name", Value::text("taken"));
    assert_eq!(told(&written, rename, &site), drifted("the logical switch's name changed"));
    let forge = |sim: &SimDriver| sim.others_set(&names, "records", Value::map([("web", "192.0.2.66")]));
    assert_eq!(told(&written, forge, &site), drifted("the DNS entry's records changed"));
}
