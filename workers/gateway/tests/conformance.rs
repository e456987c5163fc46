//! Both drivers keep the promises of `NorthboundDriver`; the real one on an OVN of its own in a network namespace.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

#[allow(dead_code, reason = "those of the OVN's own tests take more of it")]
#[path = "../../ovn/tests/bundled/node.rs"]
mod node;
mod world;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use edgestack_model::{
    Command,
    command::Reference,
    security_group::CreateSecurityGroup,
    security_group_rule::{Direction, EtherType, Protocol, RuleRequest, SecurityGroupRuleCommand},
    vm::port_name,
};
use edgestack_ovn::{
    bundled::{Bundled, Part},
    chassis::Plug,
};
use edgestack_worker_gateway::{
    desired::{FORM, desired},
    driver::{NorthboundDriver as _, OvnConfig, OvnDriver, SimDriver, conformance},
    plan::{Plan, plan},
    rows::{Desired, Key, Seen, Table},
};
use node::{Node, eventually, kill, run};
use rustix::process::{Pid, Signal, kill_process};
use world::{
    Site, a_dual_network, a_group, a_network, a_nic, a_nic_in, a_provider_network, a_rule, create, create_group,
    create_vm, remove_vm,
};

fn driver(bundled: &Bundled, epoch: Option<u64>) -> OvnDriver {
    driver_of(bundled, "test", epoch)
}

fn driver_of(bundled: &Bundled, site: &str, epoch: Option<u64>) -> OvnDriver {
    let northbound = bundled.northbound().parse().expect("an endpoint");
    let southbound = bundled.southbound().parse().ok();
    OvnDriver::new(OvnConfig { northbound, southbound, site: site.to_owned(), epoch })
}

/// Runs ovn-nbctl.
fn nbctl(bundled: &Bundled, words: &[&str]) -> String {
    let database = format!("--db={}", bundled.northbound());
    run(&[&["ovn-nbctl", "--timeout=10", &database], words].concat()).trim().to_owned()
}

/// All that the database has of a table, but for what was made by the site `test`.
fn of_others(bundled: &Bundled) -> String {
    let tables = ["Logical_Switch", "Logical_Switch_Port", "DHCP_Options", "DNS", "Port_Group", "ACL"];
    let rows = tables.map(|table| {
        let list = nbctl(bundled, &["--format=csv", "--no-headings", "list", table]);
        let mut others: Vec<&str> = list.lines().filter(|line| !line.contains(r#"edgestack:site""=test"#)).collect();
        others.sort_unstable();
        others.join("\n")
    });
    rows.join("\n\n")
}

/// Waits until northd has written of each port whether it is up, which it does a moment after the nodes' confirmation.
async fn settles(bundled: &Bundled) {
    eventually("of each port it is known whether it is up", async || {
        let unknown = nbctl(bundled, &["--bare", "--columns=name", "find", "Logical_Switch_Port", "up=[]"]);
        if unknown.is_empty() { Ok(()) } else { Err(unknown) }
    })
    .await;
}

/// What somebody else's cloud has there.
fn litter(bundled: &Bundled) {
    nbctl(bundled, &["ls-add", "foreign", "--", "lsp-add", "foreign", "foreign-1"]);
    nbctl(bundled, &["set", "Logical_Switch", "foreign", "external_ids:neutron=x"]);
    nbctl(bundled, &["acl-add", "foreign", "to-lport", "1000", "ip4", "allow"]);
    nbctl(bundled, &["pg-add", "foreign_group", "foreign-1"]);
    nbctl(bundled, &["--type=port-group", "acl-add", "foreign_group", "to-lport", "1000", "ip4", "allow"]);
    nbctl(bundled, &["create", "DHCP_Options", "cidr=10.0.0.0/24", "options:mtu=1300"]);
    nbctl(bundled, &["create", "DNS", "records:who=10.0.0.77"]);
    nbctl(bundled, &["set", "NB_Global", ".", "external_ids:somebody=else"]);
}

/// A world with three networks and two VMs.
fn a_world() -> Site {
    let mut site = Site::new();
    let dual = a_dual_network("blue", "fd00::/64", edgestack_model::network::Ipv6Mode::Slaac);
    for network in [dual, a_network("red", "10.0.0.0/24"), a_provider_network("out", "192.0.2.0/24", Some(42))] {
        site.has(create(network));
    }
    site.has(create_vm("web", &[a_nic("blue"), a_nic("red"), a_nic("out")]));
    let to_web = RuleRequest { protocol: Protocol::Any, ..a_rule(Direction::Ingress, EtherType::Ipv4) };
    site.has(create_group(CreateSecurityGroup { rules: Some(vec![to_web]), ..a_group("web") }));
    site.has(create_vm("db", &[a_nic_in("blue", &["web"])]));
    site
}

fn signal(bundled: &Bundled, part: Part, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(bundled.pids()[&part]).unwrap()).unwrap();
    kill_process(pid, signal).expect("it runs");
}

#[tokio::test]
async fn the_simulated_driver_keeps_every_promise() {
    conformance::run(&SimDriver::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ovn_driver_keeps_every_promise_and_leaves_all_else_as_it_was() {
    let Some(node) = Node::new("the_ovn_driver_keeps_every_promise_and_leaves_all_else_as_it_was") else { return };
    let bundled = node.start().await;
    let mut other = Site::new();
    other.has(create(a_network("blue", "10.0.0.0/24")));
    other.has(create_vm("web", &[a_nic("blue")]));
    // Before there is anything of others, and before northd may have made the global settings.
    conformance::run(&driver(&bundled, Some(7))).await;
    litter(&bundled);
    conformance::reach(&driver_of(&bundled, "elsewhere", Some(3)), &desired(&other.world)).await;
    settles(&bundled).await;
    let before = of_others(&bundled);
    // A switch, two ports, options and names; the network's guard and the default group, with three and four ACLs.
    assert_eq!(before.matches(r#"edgestack:site""=elsewhere"#).count(), 5 + 2 + 7, "{before}");
    for epoch in [None, Some(7), Some(8)] {
        conformance::run(&driver(&bundled, epoch)).await;
        assert_eq!(of_others(&bundled), before);
    }
    // Neither their turn.
    conformance::reach(&driver_of(&bundled, "elsewhere", Some(3)), &desired(&other.world)).await;
    assert_eq!(nbctl(&bundled, &["get", "NB_Global", ".", "external_ids:somebody"]), "else");
    bundled.stop().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_into_our_rows_stays() {
    let Some(node) = Node::new("what_others_put_into_our_rows_stays") else { return };
    let bundled = node.start().await;
    let (driver, mut site) = (driver(&bundled, Some(1)), a_world());
    let rows = desired(&site.world);
    let seen = conformance::reach(&driver, &rows).await;
    let switch = |seen: &Seen, name: &str| {
        let key = Key::new(Table::LogicalSwitch, site.network(name).id.to_string());
        seen.rows[&key].uuid.to_string()
    };
    let (blue, red) = (switch(&seen, "blue"), switch(&seen, "red"));
    nbctl(&bundled, &["lsp-add", &blue, "foreign-1", "--", "set", "Logical_Switch", &blue, "external_ids:foreign=1"]);
    nbctl(&bundled, &["acl-add", &blue, "to-lport", "1000", "ip4", "allow"]);
    let dns = nbctl(&bundled, &["create", "DNS", "records:who=10.0.0.77"]);
    nbctl(&bundled, &["add", "Logical_Switch", &blue, "dns_records", &dns]);
    assert_eq!(plan(&rows, &driver.rows().await.unwrap()), Plan::default(), "none of it is ours to judge");
    let still = || {
        assert_eq!(nbctl(&bundled, &["lsp-get-ls", "foreign-1"]), format!("{blue} (edgestack-blue)"));
        assert_eq!(nbctl(&bundled, &["get", "Logical_Switch", &blue, "external_ids:foreign"]), "\"1\"");
        assert!(nbctl(&bundled, &["get", "Logical_Switch", &blue, "dns_records"]).contains(&dns));
        assert!(nbctl(&bundled, &["acl-list", &blue]).contains("ip4"));
    };
    // A port comes, one goes, and the name for people is written anew.
    site.has(create_vm("new", &[a_nic("blue")]));
    site.has(remove_vm("db"));
    conformance::reach(&driver, &desired(&site.world)).await;
    still();
    nbctl(&bundled, &["set", "Logical_Switch", &blue, "external_ids:\"edgestack:name\"=x", "name=y"]);
    nbctl(&bundled, &["set", "Logical_Switch", &red, "external_ids:\"edgestack:form\"=0"]);
    // It is told of what others do a moment later.
    eventually("both are seen", async || {
        let rows = driver.rows().await.unwrap().rows;
        let of = |name: &str| &rows[&Key::new(Table::LogicalSwitch, site.network(name).id.to_string())];
        if (of("blue").label.as_str(), of("red").form.as_str()) == ("x", "0") { Ok(()) } else { Err(String::new()) }
    })
    .await;
    conformance::reach(&driver, &desired(&site.world)).await;
    still();
    bundled.stop().await.expect("ended");
}

/// Plans on what is seen after this was done, and mends it.
async fn mend(driver: &OvnDriver, rows: &Desired, doing: impl FnOnce()) -> Vec<String> {
    doing();
    let deadline = Instant::now() + node::PATIENCE;
    // It is told of what others do a moment later.
    let planned = loop {
        let planned = plan(rows, &driver.rows().await.unwrap());
        if planned != Plan::default() {
            break planned;
        }
        assert!(Instant::now() < deadline, "it is not seen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    conformance::reach(driver, rows).await;
    planned.differences.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_others_do_is_seen_and_mended() {
    let Some(node) = Node::new("whatever_others_do_is_seen_and_mended") else { return };
    let bundled = node.start().await;
    litter(&bundled);
    let (driver, mut site) = (driver(&bundled, Some(1)), a_world());
    site.nics_ready("db");
    let rows = desired(&site.world);
    let seen = conformance::reach(&driver, &rows).await;
    settles(&bundled).await;
    let before = of_others(&bundled);
    let uuid = |table, id: String| seen.rows[&Key::new(table, id)].uuid.to_string();
    let blue = uuid(Table::LogicalSwitch, site.network("blue").id.to_string());
    let red = uuid(Table::LogicalSwitch, site.network("red").id.to_string());
    let names = uuid(Table::Dns, site.network("blue").id.to_string());
    let options = uuid(Table::DhcpOptions, format!("{}-0", site.network("blue").id));
    let port = port_name(site.vm("db").id, 0);
    let foreign = nbctl(&bundled, &["--bare", "--columns=_uuid", "find", "DHCP_Options", "options:mtu=\"1300\""]);
    let nbctl = |words: &[&str]| nbctl(&bundled, words);
    let mend = async |words: &[&str]| mend(&driver, &rows, || drop(nbctl(words))).await;

    assert_eq!(mend(&["lsp-del", &port]).await, ["the port is gone"]);
    assert_eq!(mend(&["lsp-set-addresses", &port, "unknown"]).await, ["the port's addresses changed"]);
    assert_eq!(mend(&["lsp-set-enabled", &port, "disabled"]).await, ["the port's enabled changed"]);
    assert_eq!(mend(&["lsp-set-type", &port, "virtual"]).await, ["the port's type changed"]);
    assert_eq!(mend(&["lsp-set-dhcpv4-options", &port]).await, ["the port's dhcpv4_options changed"]);
    // There is room for one: beside what others put there, ours would be refused.
    let taken = ["lsp-set-dhcpv4-options", &port, &foreign];
    assert_eq!(mend(&taken).await, ["the port's dhcpv4_options changed"]);
    assert_eq!(mend(&["dhcp-options-set-options", &options, "mtu=9000"]).await, ["the DHCP entry's options changed"]);
    assert_eq!(mend(&["dhcp-options-del", &options]).await, ["the DHCP entry is gone"]);
    assert_eq!(mend(&["destroy", "DNS", &names]).await, ["the DNS entry is gone"]);
    let records = ["clear", "Logical_Switch", &blue, "dns_records"];
    assert_eq!(mend(&records).await, ["the logical switch's dns_records changed"]);
    assert_eq!(
        mend(&["set", "Logical_Switch", &red, "other_config:requested-tnl-key=7777"]).await,
        ["the logical switch's other_config changed"]
    );
    // A security group: its ACLs, its ports, itself.
    let web = site.world.security_group(&"web".into()).unwrap().id;
    let rule = site.world.rules_of(web).find(|rule| rule.spec.direction == Direction::Ingress).unwrap().id.to_string();
    let (group, acl) = (uuid(Table::PortGroup, web.to_string()), uuid(Table::Acl, rule.clone()));
    assert_eq!(mend(&["set", "ACL", &acl, "match=ip4"]).await, ["the ACL's match changed"]);
    assert_eq!(mend(&["set", "ACL", &acl, "action=drop"]).await, ["the ACL's action changed"]);
    assert_eq!(mend(&["remove", "Port_Group", &group, "acls", &acl]).await, ["the ACL is gone"]);
    assert_eq!(mend(&["clear", "Port_Group", &group, "ports"]).await, ["the port group's ports changed"]);
    let default = site.world.security_group(&"default".into()).unwrap().id;
    let (default, db) =
        (uuid(Table::PortGroup, default.to_string()), nbctl(&["get", "Logical_Switch_Port", &port, "_uuid"]));
    let one_more = mend(&["add", "Port_Group", &default, "ports", &db]).await;
    assert_eq!(one_more, ["the port group's ports changed"], "a NIC was put into a group that it is not in");
    assert_eq!(mend(&["set", "Port_Group", &group, "name=other"]).await, ["the port group's name changed"]);
    assert_eq!(mend(&["destroy", "Port_Group", &group]).await, ["the port group is gone", "the ACL is gone"]);

    // With its ports, the gateway's among them, as nothing else refers to them.
    let gone = mend(&["ls-del", &blue]).await;
    assert_eq!(gone, ["the logical switch is gone", "the port is gone", "the port is gone", "the port is gone"]);

    // Copies that others made, id included: of a port, which the database keeps as long as a switch has it …
    // (several times: which of two is the copy must not hang on their UUIDs.)
    for switch in [&red, "foreign", "foreign", "foreign", "foreign"] {
        let copy = ["lsp-add", switch, "copy", "--", "set", "Logical_Switch_Port", "copy"].map(str::to_owned);
        let copy: Vec<String> = copy.into_iter().chain(marks(&port)).collect();
        mend(&copy.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert!(!nbctl(&["lsp-list", "foreign"]).contains(&port), "the port itself stays where it is");
    }
    // … and of a switch.
    let copy = ["create", "Logical_Switch", "name=copy"].map(str::to_owned);
    let copy: Vec<String> = copy.into_iter().chain(marks(&site.network("red").id.to_string())).collect();
    mend(&copy.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // A port that was moved to another switch.
    let seen = driver.rows().await.unwrap();
    let uuid = |table, id: String| seen.rows[&Key::new(table, id)].uuid.to_string();
    let port = uuid(Table::LogicalSwitchPort, port);
    let blue = uuid(Table::LogicalSwitch, site.network("blue").id.to_string());
    let red = uuid(Table::LogicalSwitch, site.network("red").id.to_string());
    let away = ["remove", "Logical_Switch", &blue, "ports", &port];
    let moved = [&away[..], &["--", "add", "Logical_Switch", &red, "ports", &port]].concat();
    assert_eq!(mend(&moved).await, ["the logical switch's ports changed"; 2], "both are told");
    assert_eq!(of_others(&bundled), before);
    bundled.stop().await.expect("ended");
}

/// What makes a row one of ours, for ovn-nbctl's `set` and `create`.
fn marks(id: &str) -> [String; 4] {
    [("site", "test"), ("id", id), ("form", FORM), ("name", "db")]
        .map(|(key, value)| format!("external_ids:\"edgestack:{key}\"=\"{value}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_turn_is_over_writes_nothing() {
    let Some(node) = Node::new("a_process_whose_turn_is_over_writes_nothing") else { return };
    let bundled = node.start().await;
    let (first, mut site) = (driver(&bundled, Some(4)), a_world());
    conformance::reach(&first, &desired(&site.world)).await;
    let seen = first.rows().await.unwrap();
    site.has(remove_vm("web"));
    let changes = plan(&desired(&site.world), &seen).changes;
    assert!(!changes.is_empty());

    // It has only looked, and has nothing to write.
    let second = driver(&bundled, Some(5));
    let before = second.rows().await.unwrap();
    let refused = first.write(&seen, &changes).await.unwrap_err().to_string();
    assert!(
        refused == "another process writes the virtual network by now (epoch 5, ours is 4)"
            || refused == "somebody else wrote the database's global settings at the same time",
        "{refused}"
    );
    assert!(first.write(&seen, &changes).await.is_err(), "ever after");
    // Whether it still has its connection or makes a new one.
    for late in [&first, &driver(&bundled, Some(4))] {
        let error = late.rows().await.unwrap_err().to_string();
        assert!(error.contains("epoch 5, ours is 4"), "{error}");
    }
    assert_eq!(second.rows().await.unwrap(), before, "nothing was written");
    assert_eq!(driver(&bundled, Some(5)).rows().await.unwrap(), before, "as the server has it, too");
    conformance::reach(&second, &desired(&site.world)).await;

    // Where the global settings are lost, with the turn in them, it is taken again.
    signal(&bundled, Part::Northd, Signal::STOP);
    nbctl(&bundled, &["destroy", "NB_Global", "."]);
    let taken = async || match second.rows().await {
        Ok(_) => {
            let stands = nbctl(&bundled, &["get", "NB_Global", ".", "external_ids"]);
            if stands.contains("edgestack:epoch:test\"=\"5\"") { Ok(()) } else { Err(stands) }
        }
        Err(error) => Err(error.to_string()),
    };
    eventually("the turn is taken", taken).await;
    eventually("it is over", async || match first.rows().await {
        Err(error) if error.to_string().contains("epoch 5, ours is 4") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    signal(&bundled, Part::Northd, Signal::CONT);
    conformance::reach(&second, &desired(&site.world)).await;
    bundled.stop().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_asked_again_for_what_a_switch_that_died_has_forgotten() {
    let Some(node) = Node::new("nodes_are_asked_again_for_what_a_switch_that_died_has_forgotten") else { return };
    let bundled = node.start().await;
    let (driver, mut site) = (driver(&bundled, Some(1)), a_world());
    conformance::reach(&driver, &desired(&site.world)).await;
    // So that the switch has flows of ours, and gets some for the change.
    let port = port_name(site.vm("db").id, 0);
    let plug = Plug { device: "tap1".into(), owner: "root".into(), port, vm: "db".into(), mtu: 1400 };
    bundled.chassis().plug(&plug).await.expect("plugged");
    settles(&bundled).await;
    site.has(create_vm("more", &[a_nic("blue")]));
    let seen = driver.rows().await.unwrap();
    let changes = plan(&desired(&site.world), &seen).changes;
    kill(bundled.pids()[&Part::Switch]);
    let begun = Instant::now();
    driver.write(&seen, &changes).await.unwrap();
    // As long as the pool waits before it calls that an attempt in vain.
    driver.realized(&BTreeSet::new(), Duration::from_secs(10)).await.unwrap();
    println!("confirmed {:?} after the switch was killed", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chassis_that_is_dead_or_somebody_elses_keeps_nothing_from_being_ready() {
    let Some(node) = Node::new("a_chassis_that_is_dead_or_somebody_elses_keeps_nothing_from_being_ready") else {
        return;
    };
    let bundled = node.start().await;
    let (driver, mut site) = (driver(&bundled, Some(1)), a_world());
    conformance::reach(&driver, &desired(&site.world)).await;
    let database = format!("--db={}", bundled.southbound());
    let sbctl = |words: &[&str]| run(&[&["ovn-sbctl", "--timeout=10", &database], words].concat()).trim().to_owned();
    let own = sbctl(&["--bare", "--columns=name", "list", "Chassis"]);
    sbctl(&["chassis-add", "theirs", "geneve", "127.0.0.9"]);
    let theirs = sbctl(&["--bare", "--columns=_uuid", "find", "Chassis", "name=theirs"]);
    sbctl(&["create", "Chassis_Private", "name=theirs", &format!("chassis={theirs}")]);
    site.has(create_vm("more", &[a_nic("blue")]));
    let seen = driver.rows().await.unwrap();
    driver.write(&seen, &plan(&desired(&site.world), &seen).changes).await.unwrap();
    let told = driver.realized(&[own.clone(), "theirs".to_owned()].into(), Duration::from_secs(3)).await.unwrap_err();
    assert!(told.to_string().contains("chassis theirs has not confirmed it"), "{told}");
    assert!(driver.realized(&BTreeSet::new(), Duration::from_secs(1)).await.is_err(), "all that there are");
    driver.realized(&[own].into(), Duration::from_secs(10)).await.unwrap();
    bundled.stop().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_realized_when_the_nodes_say_so_and_only_what_matters_wakes() {
    let Some(node) = Node::new("it_is_realized_when_the_nodes_say_so_and_only_what_matters_wakes") else { return };
    let bundled = node.start().await;
    let (driver, site) = (driver(&bundled, Some(1)), a_world());
    let rows = desired(&site.world);
    conformance::reach(&driver, &rows).await;
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    driver.watch(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    // How often, once nothing has woken it for a while.
    let woken_so_far = async || {
        let mut last = (woken.load(Ordering::SeqCst), Instant::now());
        eventually("nothing wakes it", async || match woken.load(Ordering::SeqCst) {
            now if now != last.0 => {
                last = (now, Instant::now());
                Err(format!("{now}"))
            }
            _ if last.1.elapsed() < Duration::from_millis(300) => Err("a moment".to_owned()),
            _ => Ok(()),
        })
        .await;
        last.0
    };
    let woken_after = async |before: usize, by: &str| {
        let is_so = || if woken.load(Ordering::SeqCst) > before { Ok(()) } else { Err(format!("{woken:?}")) };
        eventually(by, async || is_so()).await;
        woken_so_far().await
    };
    let asked = woken_so_far().await;
    assert!(asked >= 1, "to look at what was written before it was asked for");

    signal(&bundled, Part::Controller, Signal::STOP);
    for _ in 0..3 {
        driver.write(&driver.rows().await.unwrap(), &[]).await.unwrap();
    }
    let error = driver.realized(&BTreeSet::new(), Duration::from_secs(1)).await.unwrap_err();
    let failed = error.failed_attempt("realize");
    assert_eq!(failed.reason, "the nodes have not confirmed it within 1 s");
    assert!(failed.fix.unwrap().contains("ovn-controller"));
    assert_eq!(woken_so_far().await, asked, "what each write adds to the counters wakes nobody");

    signal(&bundled, Part::Controller, Signal::CONT);
    driver.realized(&BTreeSet::new(), node::PATIENCE).await.unwrap();
    woken_after(asked, "woken by the nodes").await;
    // A port comes up, as a VM is plugged in; OVN writes so into its row.
    let port = port_name(site.vm("db").id, 0);
    let plug = Plug { device: "tap1".into(), owner: "root".into(), port: port.clone(), vm: "db".into(), mtu: 1400 };
    bundled.chassis().plug(&plug).await.expect("plugged");
    eventually("the port is up", async || match nbctl(&bundled, &["lsp-get-up", &port]) {
        up if up == "up" => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(plan(&rows, &driver.rows().await.unwrap()), Plan::default());
    conformance::reach(&driver, &rows).await;
    let before = woken_so_far().await;
    nbctl(&bundled, &["lsp-set-enabled", &port, "disabled"]);
    woken_after(before, "woken by others").await;
    conformance::reach(&driver, &rows).await;
    let before = woken_so_far().await;
    kill(bundled.pids()[&Part::NorthboundDatabase]);
    woken_after(before, "woken by the connection's end").await;
    eventually("it is there again", async || driver.rows().await.map(drop).map_err(|error| error.to_string())).await;
    conformance::reach(&driver, &rows).await;
    let before = woken_so_far().await;
    nbctl(&bundled, &["lsp-set-enabled", &port, "disabled"]);
    woken_after(before, "woken on the new connection").await;
    conformance::reach(&driver, &rows).await;
    bundled.stop().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_lost_our_marks_is_told_of_and_not_touched() {
    let Some(node) = Node::new("a_row_that_lost_our_marks_is_told_of_and_not_touched") else { return };
    let bundled = node.start().await;
    let (driver, site) = (driver(&bundled, Some(1)), a_world());
    let rows = desired(&site.world);
    conformance::reach(&driver, &rows).await;
    let port = port_name(site.vm("db").id, 0);
    nbctl(&bundled, &["clear", "Logical_Switch_Port", &port, "external_ids"]);
    let refused = async || {
        let seen = driver.rows().await.unwrap();
        let plan = plan(&rows, &seen);
        if plan == Plan::default() { Ok(()) } else { driver.write(&seen, &plan.changes).await }
    };
    eventually("it is refused", async || match refused().await {
        Err(error) if error.to_string().contains(&port) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let error = refused().await.unwrap_err();
    println!("{error:?}");
    assert!(error.failed_attempt("write").fix.unwrap().contains("ovn-nbctl"), "a person can help");
    nbctl(&bundled, &["lsp-del", &port]);
    eventually("it is seen", async || {
        let gone = !driver.rows().await.unwrap().rows.contains_key(&Key::new(Table::LogicalSwitchPort, port.clone()));
        if gone && nbctl(&bundled, &["show"]).matches(&port).count() == 0 { Ok(()) } else { Err(String::new()) }
    })
    .await;
    conformance::reach(&driver, &rows).await;
    bundled.stop().await.expect("ended");
}

/// What a look costs where nothing is to be done, and what the first write costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_nics_are_looked_at_in_no_time() {
    let Some(node) = Node::new("a_thousand_nics_are_looked_at_in_no_time") else { return };
    let bundled = node.start().await;
    let (driver, site) = (driver(&bundled, Some(1)), world::many(100, 10));
    let seen = driver.rows().await.unwrap();
    let begun = Instant::now();
    let rows = desired(&site.world);
    println!("100 networks with 1,000 NICs are {} rows; desired() first took {:?}", rows.len(), begun.elapsed());
    let begun = Instant::now();
    let planned = plan(&rows, &seen);
    println!("plan() of the first write took {:?}", begun.elapsed());
    let begun = Instant::now();
    driver.write(&seen, &planned.changes).await.unwrap();
    println!("the first write took {:?}", begun.elapsed());
    driver.realized(&BTreeSet::new(), Duration::from_secs(120)).await.unwrap();
    println!("realized {:?} after its begin", begun.elapsed());
    let mut best = [Duration::MAX; 4];
    for _ in 0..20 {
        let mut at = 0;
        let mut lap = |begun: Instant| {
            best[at] = best[at].min(begun.elapsed());
            at += 1;
        };
        let begun = Instant::now();
        let rows = desired(&site.world);
        lap(begun);
        let begun = Instant::now();
        let seen = driver.rows().await.unwrap();
        lap(begun);
        let begun = Instant::now();
        let planned = plan(&rows, &seen);
        lap(begun);
        assert_eq!(planned, Plan::default());
        let begun = Instant::now();
        drop((rows, seen));
        lap(begun);
    }
    let [wish, look, compare, end] = best;
    println!("nothing to do: desired() {wish:?}, rows() {look:?}, plan() {compare:?}, dropping both {end:?}");
    // One VM more.
    let mut site = site;
    site.has(create_vm("one-more", &[a_nic("n50")]));
    let begun = Instant::now();
    let (rows, seen) = (desired(&site.world), driver.rows().await.unwrap());
    driver.write(&seen, &plan(&rows, &seen).changes).await.unwrap();
    println!("one NIC more: written after {:?}", begun.elapsed());
    driver.realized(&BTreeSet::new(), Duration::from_secs(120)).await.unwrap();
    println!("one NIC more: realized after {:?}", begun.elapsed());
    bundled.stop().await.expect("ended");
}

/// ACLs and ports live by what refers to them, and the database refuses to remove what somebody still refers to.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_refer_to_goes_all_the_same() {
    let Some(node) = Node::new("what_others_refer_to_goes_all_the_same") else { return };
    let bundled = node.start().await;
    litter(&bundled);
    let (driver, mut site) = (driver(&bundled, Some(1)), a_world());
    let seen = conformance::reach(&driver, &desired(&site.world)).await;
    let web = site.world.security_group(&"web".into()).unwrap().id;
    let rule = site.world.rules_of(web).next().unwrap().id;
    let acl = seen.rows[&Key::new(Table::Acl, rule.to_string())].uuid.to_string();
    let port = seen.rows[&Key::new(Table::LogicalSwitchPort, port_name(site.vm("db").id, 0))].uuid.to_string();
    nbctl(&bundled, &["add", "Logical_Switch", "foreign", "acls", &acl]);
    nbctl(&bundled, &["add", "Port_Group", "foreign_group", "acls", &acl]);
    nbctl(&bundled, &["add", "Port_Group", "foreign_group", "ports", &port]);
    site.has(Command::SecurityGroupRule(SecurityGroupRuleCommand::Delete { rule: Reference::id(rule) }));
    site.has(remove_vm("db"));
    // It is told of what others do a moment later, and refused until then.
    eventually("they are gone", async || {
        let seen = driver.rows().await.unwrap();
        let changes = plan(&desired(&site.world), &seen).changes;
        driver.write(&seen, &changes).await.map_err(|error| error.to_string())
    })
    .await;
    conformance::reach(&driver, &desired(&site.world)).await;
    let acls = nbctl(&bundled, &["--bare", "--columns=_uuid", "list", "ACL"]);
    assert!(!acls.contains(&acl), "{acls}");
    for (table, name) in [("Logical_Switch", "foreign"), ("Port_Group", "foreign_group")] {
        let left = nbctl(&bundled, &["get", table, name, "acls"]);
        assert_eq!(left.matches('-').count(), 4, "its own one stays: {left}");
    }
    bundled.stop().await.expect("ended");
}
