//! Leases: of two that want one at once one gets it, and who lost it can't write.

use uuid::Uuid;

use super::{Fence, LeaseCommand};
use crate::{Command, builders::*, flavor::FlavorCommand};

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);

pub(crate) fn take(node: &str, process: Uuid, replaces: u64) -> LeaseCommand {
    LeaseCommand::Take { lease: name("scheduler"), node: name(node), process, replaces }
}

fn release(epoch: u64) -> LeaseCommand {
    LeaseCommand::Release { lease: name("scheduler"), epoch }
}

fn under(epoch: u64) -> Option<Fence> {
    Some(Fence { lease: name("scheduler"), epoch })
}

#[test]
fn of_two_that_want_it_at_once_one_gets_it() {
    let mut site = a_world();
    check(&site, take("edge-1", A, 1), Err("lease-moved"));
    site.has(take("edge-1", A, 0));
    check(&site, take("edge-2", B, 0), Err("lease-moved"));
    // Who asks again, not knowing that it was given it, has it.
    check(&site, take("edge-1", A, 0), Ok(&[]));
    let lease = site.world.lease(&name("scheduler")).unwrap();
    assert_eq!((lease.epoch, lease.state()), (1, "held"));
    assert_eq!(lease.holder.as_ref().unwrap().process, A);
}

#[test]
fn it_is_taken_over_given_back_and_taken_again() {
    let mut site = a_world();
    site.has(take("edge-1", A, 0));
    let events = site.has(take("edge-2", B, 1));
    assert_eq!(events[0].describe(), "taken over by a process on node edge-2 from one on node edge-1 (epoch 2)");
    check(&site, release(1), Err("lease-moved"));
    site.has(release(2));
    check(&site, release(2), Ok(&[]));
    assert_eq!(site.world.lease(&name("scheduler")).unwrap().state(), "free");
    let events = site.has(take("edge-1", A, 2));
    assert_eq!(events[0].describe(), "taken by a process on node edge-1 (epoch 3)");
}

#[test]
fn a_command_under_a_lease_that_moved_is_refused_whatever_it_is() {
    let mut site = a_world();
    let command: Command =
        FlavorCommand::Create { name: name("f"), description: String::new(), labels: labels(&[]), shape: a_shape() }
            .into();
    let decide = |site: &Site, fence| {
        let given = crate::Given { fence, ..site.given() };
        crate::decide(&site.world, &given, &command).map(drop).map_err(|refusal| refusal.code())
    };
    assert_eq!(decide(&site, under(1)), Err("lease-moved"));
    site.has(take("edge-1", A, 0));
    assert_eq!(decide(&site, under(1)), Ok(()));
    site.has(take("edge-2", B, 1));
    assert_eq!(decide(&site, under(1)), Err("lease-moved"));
    assert_eq!(decide(&site, under(2)), Ok(()));
    site.has(release(2));
    assert_eq!(decide(&site, under(2)), Err("lease-moved"));
    assert_eq!(decide(&site, None), Ok(()));
}
