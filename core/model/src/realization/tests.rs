//! Law 8 for what the gateway pool makes: whose turn it is, and why it is not done.

use uuid::Uuid;

use super::{GATEWAY_LEASE, RealizationReport};
use crate::{Waiting, builders::*, lease::LeaseCommand};

fn waiting(site: &Site) -> Waiting {
    site.network("blue").waiting(&site.world).unwrap()
}

#[test]
fn who_waits_is_told_that_nobody_works_on_it_or_that_who_does_is_not_heard() {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    let nobody = waiting(&site);
    assert_eq!(nobody.owner, "worker.gateway");
    assert!(nobody.reason.starts_with("no process of this site"), "{nobody:?}");

    let (lease, node) = (name(GATEWAY_LEASE), name("edge-1"));
    site.has(LeaseCommand::Take { lease, node, process: Uuid::from_u128(0xa), replaces: 0 });
    let made = waiting(&site);
    assert_eq!(
        (made.owner.as_str(), made.reason.as_str()),
        ("worker.gateway@edge-1", "it is being made in the virtual network")
    );

    // What failed before is past where nobody tries again.
    let failed = RealizationReport::AttemptFailed(failed("write"));
    site.has(site.told_of_network("blue", failed));
    assert!(!waiting(&site).reason.contains("not ready"));
    site.has(lost("edge-1"));
    let silent = waiting(&site);
    assert_eq!(silent.owner, "worker.gateway@edge-1");
    assert_eq!(
        silent.reason,
        "node \"edge-1\", which works on the virtual network, is not ready: nothing was heard for 10 s"
    );
    assert_eq!(silent.fix.as_deref(), Some("start edgestackd on node edge-1"));
}
