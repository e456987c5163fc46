//! What the pool is woken by.

use edgestack_model::Kind;

use super::*;
use crate::world::*;

/// Whether what this command does to the network wakes the pool.
fn wakes(site: &mut Site, network: &str, command: Command) -> bool {
    let (kind, id) = (Kind::Network, site.network(network).id.uuid());
    let before = site.world.resource(kind, id);
    site.has(command);
    concerns(&Changed { kind, id, before, after: site.world.resource(kind, id) })
}

fn report(site: &Site, network: &str, report: RealizationReport) -> Command {
    of_network(site.network(network), report)
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
