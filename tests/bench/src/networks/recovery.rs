//! A hundred networks, fifty routers and two thousand rules: how soon an emptied database is filled again, and what a look costs
//! when nothing changed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use edgestack_engine::{Replica, catch_up};
use edgestack_log::{
    ChainHead,
    jetstream::{Credentials, JetStreamLog, Options as LogOptions, Role},
};
use edgestack_model::World;
use edgestack_ovn::ovsdb::{Client, Endpoint, LocalCopy, Watched};
use edgestack_worker_gateway::{
    desired::desired,
    driver::{NorthboundDriver as _, OvnConfig, OvnDriver},
    plan::plan,
};
use tokio::task::JoinSet;

use crate::{
    Failure, Options,
    http::{self, PREFIX},
    site::Site,
    stats::{Stats, ms, ratio},
    vms,
};

use super::{
    ARGUMENTS, DEADLINE, await_that,
    by_hand::{self, ByHand},
    create_network, create_outside, has_ready_nics, memory, twenty_rules,
};

const NETWORKS: usize = 100;
/// On each of them.
const NICS: usize = 10;
/// Each on one of the networks, and outside.
const ROUTERS: usize = 50;
/// Each with twenty rules, and the NICs of one of the networks in it.
const GROUPS: usize = NETWORKS;
const CLIENTS: usize = 8;
const RUNS: usize = 5;
const LOOKS: usize = 50;
const BEATS: u64 = 3;
/// What follows from a change is over by then.
const QUIET: Duration = Duration::from_secs(3);

/// Prints the rows.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let theirs = recover_by_hand(options).await?;
    let site = Site::start(options, &ARGUMENTS).await?;
    vms::prepare(&site).await?;
    let begun = Instant::now();
    create(&site).await?;
    println!(
        "| {NETWORKS} networks, {ROUTERS} routers, {GROUPS} groups of 20 rules, then {} VMs with a NIC each, {CLIENTS} clients: until all are ready | {} | | | | |",
        NETWORKS * NICS,
        ms(begun.elapsed())
    );
    memory::measure(&site, &format!("{NETWORKS} networks and {} NICs", NETWORKS * NICS), "").await?;
    let northbound = Northbound::connect(site.folder()).await?;
    recover(&ByHand::of(&site), &northbound, &theirs).await?;
    tokio::time::sleep(QUIET).await;
    look(site.folder()).await?;
    beats(&site, &northbound).await
}

/// The same rows in an OVN that has nothing else to do: emptied, and filled again in one transaction.
async fn recover_by_hand(options: &Options) -> Result<Stats, Failure> {
    let site = Site::start(options, &ARGUMENTS).await?;
    // Its OVN is up when it has made a network.
    create_network(&site, "first").await?;
    site.client().await?.change("DELETE", &format!("{PREFIX}/networks/first"), "").await?;
    let is_empty = |list: &serde_json::Value| are_all(list, 0, |_| true);
    await_that(&mut site.client().await?, "networks?limit=1", is_empty).await?;
    let by_hand = ByHand::of(&site);
    let network = |number| {
        if number < ROUTERS { by_hand::network_of_router(number, NICS) } else { by_hand::network(number, NICS) }
    };
    let routers = |number| by_hand::router(number, number..number + 1, ("hand-outside", "vm"));
    let group = |number| {
        let ports: Vec<String> = (0..NICS).map(|nic| format!("@port{number}x{nic}")).collect();
        by_hand::group_of_twenty(number, &ports)
    };
    let rows: Vec<String> = by_hand::outside()
        .into_iter()
        .chain((0..NETWORKS).flat_map(network))
        .chain((0..ROUTERS).flat_map(routers))
        .chain((0..GROUPS).flat_map(group))
        .collect();
    by_hand.realize(&rows)?;
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        tokio::time::sleep(QUIET).await;
        let begun = Instant::now();
        by_hand.empty()?;
        by_hand.realize(&rows)?;
        samples.push(begun.elapsed());
    }
    Ok(Stats::of(samples))
}

async fn create(site: &Site) -> Result<(), Failure> {
    let network = |number: usize| (format!("network-{number}"), "networks");
    let networks = (0..NETWORKS).map(network).map(|(name, path)| {
        let body = format!(r#"{{"name":"{name}","cidr":"10.0.0.0/24"}}"#);
        (path, body)
    });
    post_all(site, networks.collect()).await?;
    let mut client = site.client().await?;
    create_outside(&mut client).await?;
    let routers = (0..ROUTERS).map(|number| {
        let body = format!(
            r#"{{"name":"router-{number}","internal_networks":["network-{number}"],"external_network":"outside"}}"#
        );
        ("routers", body)
    });
    post_all(site, routers.collect()).await?;
    let groups = (0..GROUPS).map(|number| {
        let name = format!("group-{number}");
        ("security_groups", format!(r#"{{"name":"{name}","rules":[{}]}}"#, twenty_rules(&name)))
    });
    post_all(site, groups.collect()).await?;
    let vms = (0..NETWORKS * NICS).map(|number| {
        let network = number % NETWORKS;
        let nics = format!(r#"[{{"network":"network-{network}","security_groups":["group-{network}"]}}]"#);
        let body = format!(r#"{{"name":"vm-{number}","image":"image","flavor":"small","networks":{nics}}}"#);
        ("vms", body)
    });
    post_all(site, vms.collect()).await?;
    let is_active = |network: &serde_json::Value| network["state"] == "active";
    await_that(&mut client, "networks?limit=1000", |list| are_all(list, NETWORKS + 1, is_active)).await?;
    await_that(&mut client, "routers?limit=1000", |list| are_all(list, ROUTERS, is_active)).await?;
    await_that(&mut client, "security_groups?limit=1000", |list| {
        // And the default one.
        are_all(list, GROUPS + 1, is_active)
    })
    .await?;
    await_that(&mut client, "vms?limit=1000", |list| are_all(list, NETWORKS * NICS, has_ready_nics)).await?;
    Ok(())
}

fn are_all(list: &serde_json::Value, count: usize, holds: impl Fn(&serde_json::Value) -> bool) -> bool {
    list["items"].as_array().is_some_and(|items| items.len() == count && items.iter().all(holds))
}

async fn post_all(site: &Site, bodies: Vec<(&'static str, String)>) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let mine: Vec<_> = bodies.iter().skip(number).step_by(CLIENTS).cloned().collect();
        let mut client: http::Client = site.client().await?;
        tasks.spawn(async move {
            for (path, body) in mine {
                client.change("POST", &format!("{PREFIX}/{path}"), &body).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// Time runs from the start of the command that empties the database.
async fn recover(by_hand: &ByHand, northbound: &Northbound, theirs: &Stats) -> Result<(), Failure> {
    let (mut to_rows, mut to_realized) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        tokio::time::sleep(QUIET).await;
        let (before, written) = (northbound.0.copy(), northbound.global("nb_cfg"));
        let begun = Instant::now();
        by_hand.empty()?;
        let are_back = |now: &LocalCopy| {
            let (now, before) = (now.table(PORT), before.table(PORT));
            (now.len() == before.len() && now.keys().all(|uuid| !before.contains_key(uuid))).then_some(())
        };
        northbound.0.until("all ports", DEADLINE, are_back).await?;
        to_rows.push(begun.elapsed());
        let is_confirmed = |now: &LocalCopy| {
            let (nb, hv) = (global(now, "nb_cfg"), global(now, "hv_cfg"));
            (nb > written && hv >= nb).then_some(())
        };
        northbound.0.until("the node's confirmation", DEADLINE, is_confirmed).await?;
        to_realized.push(begun.elapsed());
    }
    let (to_rows, to_realized) = (Stats::of(to_rows), Stats::of(to_realized));
    println!(
        "| {NETWORKS} networks, {} NICs, {ROUTERS} routers and 2,000 rules, northbound database emptied: until all rows are back | {} | {} (the slowest of {RUNS}) | | | ≤ 10 s |",
        NETWORKS * NICS,
        ms(to_rows.median()),
        ms(to_rows.percentile(100))
    );
    println!(
        "| the same, until realized on the chassis | {} | {} (the slowest) | {} (the same two steps by `ovn-nbctl`, the second with `--wait=hv`) | {} | |",
        ms(to_realized.median()),
        ms(to_realized.percentile(100)),
        ms(theirs.median()),
        ratio(to_realized.median(), theirs.median())
    );
    Ok(())
}

/// What the pool does at each look, by its own parts, in this process: from the site's log and its database.
async fn look(folder: &Path) -> Result<(), Failure> {
    let credentials = Credentials::load(&folder.join("nats"))?;
    let log = JetStreamLog::connect(LogOptions::new(credentials.url(Role::Reader), Role::Reader)).await?;
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    catch_up(&log, &replica).await?;
    let northbound = socket(folder).into();
    let driver = OvnDriver::new(OvnConfig { northbound, southbound: None, site: "local".to_owned(), epoch: None });
    // The first one connects.
    driver.rows().await?;
    let (mut samples, mut rows, mut differences) = (Vec::new(), 0, 0);
    for _ in 0..LOOKS {
        let begun = Instant::now();
        let wished = desired(&replica.world());
        let plan = plan(&wished, &driver.rows().await?);
        samples.push(begun.elapsed());
        (rows, differences) = (wished.len(), plan.changes.len());
    }
    let stats = Stats::of(samples);
    println!(
        "| a look at the same site when nothing changed ({rows} rows compared, {differences} differ; the pool's own parts, in the bench's process) | {} | {} | | | ≤ 200 ms |",
        ms(stats.median()),
        ms(stats.percentile(99))
    );
    Ok(())
}

/// Waits until the daemon has looked a few times, and tells what was written meanwhile.
async fn beats(site: &Site, northbound: &Northbound) -> Result<(), Failure> {
    let mut client = site.client().await?;
    let file = site.folder().join("ovn/nb.db");
    // Each transaction makes the file longer; ovsdb(5).
    let state = || Ok::<_, Failure>((northbound.global("nb_cfg"), std::fs::metadata(&file)?.len()));
    let (before, from, begun) = (state()?, looks(&mut client).await?, Instant::now());
    let mut count = 0;
    while count < BEATS {
        if begun.elapsed() > DEADLINE {
            return Err(format!("the pool looked {count} times in {DEADLINE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        count = looks(&mut client).await? - from;
    }
    tokio::time::sleep(QUIET).await;
    let after = state()?;
    println!(
        "| the same by the daemon: {count} looks in {:.0} s | {} writes, nb.db {} bytes longer | | | | no write |",
        begun.elapsed().as_secs_f64(),
        after.0 - before.0,
        after.1.saturating_sub(before.1)
    );
    Ok(())
}

async fn looks(client: &mut http::Client) -> Result<u64, Failure> {
    let metrics = String::from_utf8(client.change("GET", "/metrics", "").await?)?;
    let of_pool =
        metrics.lines().find_map(|line| line.strip_prefix(r#"edgestack_pool_attempts_total{pool="gateway"} "#));
    Ok(of_pool.ok_or("the gateway pool has no metric")?.parse()?)
}

const PORT: &str = "Logical_Switch_Port";
const GLOBAL: &str = "NB_Global";
const WATCHED: [Watched; 2] =
    [Watched { table: PORT, columns: &["name"] }, Watched { table: GLOBAL, columns: &["nb_cfg", "hv_cfg"] }];

/// The northbound database, watched.
struct Northbound(Client);

impl Northbound {
    async fn connect(folder: &Path) -> Result<Self, Failure> {
        Ok(Self(Client::connect(&socket(folder).into(), "OVN_Northbound", &WATCHED, DEADLINE).await?))
    }

    fn global(&self, column: &str) -> i64 {
        global(&self.0.copy(), column)
    }
}

fn global(copy: &LocalCopy, column: &str) -> i64 {
    copy.rows(GLOBAL).find_map(|(_, row)| row.integer(column)).unwrap_or_default()
}

fn socket(folder: &Path) -> Endpoint {
    Endpoint::Unix(folder.join("ovn/nb.sock"))
}
