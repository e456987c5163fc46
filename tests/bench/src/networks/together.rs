//! A network, a router between it and the one outside, a floating IP of that, and a group of twenty rules, from the first
//! command until the nodes work by all of them, against OVN's own time for the same rows.

use std::time::{Duration, Instant};

use crate::{
    Failure,
    http::PREFIX,
    site::Site,
    stats::{Stats, ms, ratio},
};

use super::{
    await_that,
    by_hand::{self, ByHand},
    create_outside, twenty_rules,
};

const RUNS: usize = 30;
/// Between two: what follows from the one before is over by then.
const PAUSE: Duration = Duration::from_millis(300);
/// Where the networks by hand begin.
const FIRST: usize = 2000;

/// Prints the row.
pub async fn measure(site: &Site) -> Result<(), Failure> {
    let by_hand = ByHand::of(site);
    create_outside(&mut site.client().await?).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        tokio::time::sleep(PAUSE).await;
        ours.push(create(site, number).await?);
        tokio::time::sleep(PAUSE).await;
        let chassis = by_hand.run(&["--bare", "--columns=chassis_name", "list", "Gateway_Chassis"])?;
        let chassis = chassis.first().ok_or("no node is the way outside")?.clone();
        let number = FIRST + number;
        let rows = [
            by_hand::network_of_router(number, 0),
            by_hand::router(number, number..number + 1, ("edgestack-outside", &chassis)),
            by_hand::group_of_twenty(number, &[]),
        ];
        let begun = Instant::now();
        by_hand.realize(&rows.concat())?;
        theirs.push(begun.elapsed());
    }
    let (ours, theirs) = (Stats::of(ours), Stats::of(theirs));
    println!(
        "| network, router, floating IP and group of 20 rules: first command to all realized on the chassis | {} | {} | {} (the same rows in one transaction of `ovn-nbctl --wait=hv`; p99 {}) | {} | p50 ≤ 300 ms, ≤ 1.5 |",
        ms(ours.median()),
        ms(ours.percentile(99)),
        ms(theirs.median()),
        ms(theirs.percentile(99)),
        ratio(ours.median(), theirs.median())
    );
    Ok(())
}

/// One command after the other, as each names what the one before made; none is waited for before the last.
async fn create(site: &Site, number: usize) -> Result<Duration, Failure> {
    let mut client = site.client().await?;
    let (network, router, ip, group) =
        (format!("t{number}"), format!("r{number}"), format!("ip{number}"), format!("g{number}"));
    let bodies = [
        ("networks", format!(r#"{{"name":"{network}","cidr":"10.0.0.0/24"}}"#)),
        ("routers", format!(r#"{{"name":"{router}","internal_networks":["{network}"],"external_network":"outside"}}"#)),
        ("floating_ips", format!(r#"{{"name":"{ip}","router":"{router}"}}"#)),
        ("security_groups", format!(r#"{{"name":"{group}","rules":[{}]}}"#, twenty_rules(&group))),
    ];
    let begun = Instant::now();
    for (path, body) in &bodies {
        client.change("POST", &format!("{PREFIX}/{path}"), body).await?;
    }
    for (path, name) in
        [("networks", &network), ("routers", &router), ("floating_ips", &ip), ("security_groups", &group)]
    {
        let is_active = |shown: &serde_json::Value| {
            let rules = shown["rules"].as_array().into_iter().flatten();
            shown["state"] == "active" && rules.into_iter().all(|rule| rule["state"] == "active")
        };
        await_that(&mut client, &format!("{path}/{name}"), is_active).await?;
    }
    Ok(begun.elapsed())
}
