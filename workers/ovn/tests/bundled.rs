//! A real OVN on this machine, as root: it moves packets, outlives the daemon, comes back from kills and ends without a
//! trace. Each test has a network namespace of its own, for there is one userspace datapath in each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

#[path = "bundled/node.rs"]
mod node;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edgestack_ovn::bundled::{Bundled, BundledConfig, BundledError, Datapath, Part, Phase, Programs};
use edgestack_ovn::chassis::{ChassisError, Plug, Plugged};
use node::{Answers, Node, Pinger, eventually, kill, processes, resident_kib, run};

/// What a busy machine may lose or delay by itself.
const HARDLY: Duration = Duration::from_millis(400);

/// Nothing was lost, and nothing came late.
fn flowed(answers: &Answers) -> bool {
    answers.sent > 0 && answers.longest_loss < HARDLY && answers.longest_delay < HARDLY
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_go_on_without_the_daemon_and_stop_ends_everything() {
    let Some(mut node) = Node::new("packets_go_on_without_the_daemon_and_stop_ends_everything") else {
        return;
    };
    let begun = Instant::now();
    let bundled = node.start().await;
    println!("a first start took {:?}", begun.elapsed());
    node.add_logical_switch(&bundled, 2);
    for number in [1, 2] {
        node.add_guest(&bundled, number);
    }
    println!("the first answer came after {:?}", node.pings().await);
    let pids = bundled.pids();
    assert_eq!(pids.len(), 6, "{pids:?}");
    for (part, pid) in &pids {
        println!("{part}: {} KiB", resident_kib(*pid));
    }
    assert!(matches!(Bundled::start(node.config.clone()).await, Err(BundledError::InUse { .. })));

    let pinger = Pinger::start(&node);
    drop(bundled);
    let begun = Instant::now();
    let bundled = node.start().await;
    println!("adopting took {:?}", begun.elapsed());
    assert_eq!(bundled.pids(), pids);
    node.pings().await;
    let answers = pinger.finish().await;
    println!("while the daemon was away: {answers:?}");
    assert!(flowed(&answers), "{answers:?}");

    let plug = Plug { device: "tap7".into(), owner: "nobody".into(), port: "p7".into(), vm: "vm7".into(), mtu: 1400 };
    bundled.chassis().plug(&plug).await.expect("plugged");
    let begun = Instant::now();
    bundled.stop().await.expect("ended");
    println!("a stop took {:?}", begun.elapsed());
    assert_eq!(node.processes(), []);
    // The guests' own ends are not the chassis's.
    assert_eq!(node.devices(), ["g1", "g2"]);
    Bundled::end(node.config.clone()).await.expect("nothing is left to end");

    let bundled = node.start().await;
    node.pings().await;
    assert_eq!(bundled.chassis().plugged().await.expect("asked"), []);
    bundled.stop().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_comes_back_and_only_the_switch_is_missed() {
    let Some(mut node) = Node::new("whatever_is_killed_comes_back_and_only_the_switch_is_missed") else {
        return;
    };
    let bundled = node.start().await;
    node.add_logical_switch(&bundled, 2);
    for number in [1, 2] {
        node.add_guest(&bundled, number);
    }
    node.pings().await;
    for part in Part::ALL {
        let pinger = Pinger::start(&node);
        let back = kill_and_await(&bundled, &[part]).await;
        let pinged = node.pings().await;
        let answers = pinger.finish().await;
        println!("{part} was killed: back after {back:?}, a ping answered after {pinged:?}, {answers:?}");
        match part {
            Part::Switch => {}
            // Without it a switch of the userspace moves nothing; the packets wait for it.
            Part::SwitchDatabase => assert!(answers.longest_loss < HARDLY, "{answers:?}"),
            _ => assert!(flowed(&answers), "{part}: {answers:?}"),
        }
        let states = bundled.state();
        let end = states.borrow()[&part].last_end.clone().expect("its end is told");
        assert!(end.why.contains("signal: 9"), "{}", end.why);
    }
    let all_but_the_switch: Vec<_> = Part::ALL.into_iter().filter(|part| *part != Part::Switch).collect();
    let pinger = Pinger::start(&node);
    let back = kill_and_await(&bundled, &all_but_the_switch).await;
    node.pings().await;
    let answers = pinger.finish().await;
    println!("all but the switch were killed: back after {back:?}, {answers:?}");
    assert!(answers.longest_loss < HARDLY, "{answers:?}");

    let pinger = Pinger::start(&node);
    let back = kill_and_await(&bundled, &Part::ALL).await;
    node.pings().await;
    println!("all six were killed: back after {back:?}, {:?}", pinger.finish().await);
    bundled.stop().await.expect("ended");
}

/// Kills them and waits until they do their work again, under other ids.
async fn kill_and_await(bundled: &Bundled, parts: &[Part]) -> Duration {
    let before = bundled.pids();
    for part in parts {
        kill(before[part]);
    }
    eventually("they are back", async || {
        let states = bundled.state().borrow().clone();
        let is_back = |part: &Part| matches!(states[part].phase, Phase::Running { pid, .. } if pid != before[part]);
        if parts.iter().all(is_back) { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_with_the_daemon_comes_back_with_it() {
    let Some(mut node) = Node::new("what_died_with_the_daemon_comes_back_with_it") else {
        return;
    };
    let mut bundled = node.start().await;
    node.add_logical_switch(&bundled, 2);
    for number in [1, 2] {
        node.add_guest(&bundled, number);
    }
    use Part::{Controller, NorthboundDatabase, Northd, SouthboundDatabase, Switch, SwitchDatabase};
    let combinations: [&[Part]; 5] = [
        &[SwitchDatabase, Switch],
        &[NorthboundDatabase, Northd],
        &[SouthboundDatabase, Controller],
        &[SwitchDatabase, NorthboundDatabase, SouthboundDatabase, Controller],
        &Part::ALL,
    ];
    for dead in combinations {
        let before = bundled.pids();
        drop(bundled);
        for part in dead {
            kill(before[part]);
        }
        let begun = Instant::now();
        bundled = node.start().await;
        let started = begun.elapsed();
        println!("{} were dead: started after {started:?}, a ping answered after {:?}", dead.len(), node.pings().await);
        let after = bundled.pids();
        for part in Part::ALL {
            assert_eq!(before[&part] != after[&part], dead.contains(&part), "{part} of {dead:?}");
        }
    }
    assert_eq!(node.processes().len(), 6);
    bundled.stop().await.expect("ended");
}

const DAEMON_CONFIG: &str = "EDGESTACK_OVN_TEST_DAEMON";

/// Not a test: the daemon that the next one kills.
#[tokio::test]
#[ignore = "the daemon that a_daemon_killed_at_any_moment_of_its_start_is_followed_by_another kills"]
async fn daemon() {
    let Ok(text) = std::env::var(DAEMON_CONFIG) else {
        return;
    };
    let (folder, name) = text.split_once(' ').expect("folder and name");
    let programs = Programs::find().expect("installed");
    let mut config = BundledConfig::new(folder, name, Datapath::Userspace, programs);
    config.netns = Some(name.to_owned());
    let _bundled = Bundled::start(config).await.expect("started");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_at_any_moment_of_its_start_is_followed_by_another() {
    let Some(node) = Node::new("a_daemon_killed_at_any_moment_of_its_start_is_followed_by_another") else {
        return;
    };
    let exe = std::env::current_exe().expect("a path");
    let text = format!("{} {}", node.config.folder.display(), node.name);
    for moment in 1..16 {
        let mut daemon = Command::new(&exe)
            .args(["--exact", "daemon", "--ignored"])
            .env(DAEMON_CONFIG, &text)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // Not awaiting anything: another moment of the start each time.
        tokio::time::sleep(Duration::from_millis(12 * moment)).await;
        daemon.kill().expect("killed");
        daemon.wait().expect("ended");
        if moment % 5 == 0 {
            // Now and then from nothing.
            Bundled::end(node.config.clone()).await.expect("ended");
            assert_eq!(node.processes(), []);
        }
    }
    let bundled = node.start().await;
    let seen: BTreeSet<_> = node.processes().into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(bundled.pids().into_values().collect::<BTreeSet<_>>(), seen);
    bundled.stop().await.expect("ended");
    assert_eq!(node.devices(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn taps_plugged_before_anyone_opens_them_carry_frames_and_keep_the_host_out() {
    let Some(node) = Node::new("taps_plugged_before_anyone_opens_them_carry_frames_and_keep_the_host_out") else {
        return;
    };
    let bundled = node.start().await;
    node.add_logical_switch(&bundled, 2);
    // An address of the host, on another of its devices.
    run(&["ip", "-n", &node.name, "link", "add", "host0", "type", "veth", "peer", "name", "host1"]);
    run(&["ip", "-n", &node.name, "address", "add", "10.0.0.99/24", "dev", "host0"]);
    for end in ["host0", "host1"] {
        run(&["ip", "-n", &node.name, "link", "set", end, "up"]);
    }
    let chassis = bundled.chassis();
    let plug = |number: u32, owner: &str| Plug {
        device: format!("tap{number}"),
        owner: owner.to_owned(),
        port: format!("p{number}"),
        vm: format!("a \"vm\", {number}"),
        mtu: 1400,
    };
    for number in [1, 2] {
        // Made anew for another owner, and left alone for the same.
        for owner in ["root", "nobody", "65534"] {
            let begun = Instant::now();
            chassis.plug(&plug(number, owner)).await.expect("plugged");
            println!("plugging took {:?}", begun.elapsed());
        }
    }
    let plugged = |number: u32| Plugged {
        device: format!("tap{number}"),
        port: format!("p{number}"),
        vm: format!("a \"vm\", {number}"),
        is_installed: true,
        problem: None,
    };
    let installed = eventually("both are bound", async || {
        let seen = chassis.plugged().await.expect("asked");
        if seen == [plugged(1), plugged(2)] { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    println!("ovn-controller had made their flows {installed:?} later");
    for times in ["first", "second, the switch being another one"] {
        println!("the {times}: {}", node.frames());
        kill_and_await(&bundled, &[Part::Switch]).await;
    }
    // A device that is lost is told; plugged again, it works.
    run(&["ip", "-n", &node.name, "link", "delete", "tap2"]);
    let problems = async || {
        let seen = chassis.plugged().await.expect("asked");
        seen.into_iter().filter_map(|plugged| Some((plugged.device, plugged.problem?))).collect::<Vec<_>>()
    };
    assert_eq!(problems().await, [("tap2".to_owned(), "the device is gone".to_owned())]);
    chassis.plug(&plug(2, "nobody")).await.expect("plugged");
    assert_eq!(problems().await, []);
    println!("after a loss: {}", node.frames());
    // What wasn't made for a VM is left alone, be it a TAP device.
    for device in ["host1", "br-int", "ovs-netdev"] {
        let plug = Plug { device: device.to_owned(), ..plug(3, "root") };
        assert!(matches!(chassis.plug(&plug).await, Err(ChassisError::NotOurs { .. })), "{device}");
        assert!(matches!(chassis.unplug(device).await, Err(ChassisError::NotOurs { .. })), "{device}");
    }
    for device in ["tap1", "tap2", "tap1", "tap2"] {
        chassis.unplug(device).await.expect("unplugged");
    }
    assert_eq!(chassis.plugged().await.expect("asked"), []);
    bundled.stop().await.expect("ended");
}

#[tokio::test]
async fn the_datapath_that_works_here_is_found() {
    let probed = Datapath::probe().await;
    println!("{probed:?}");
    let is_there = std::path::Path::new("/sys/module/openvswitch").exists();
    assert!(probed.datapath == Datapath::Userspace || is_there, "{probed:?}");
    assert!(!probed.why.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn physical_networks_get_their_bridges_and_a_second_switch_is_refused() {
    let Some(mut node) = Node::new("physical_networks_get_their_bridges_and_a_second_switch_is_refused") else {
        return;
    };
    node.config.integration_bridge = "br-tenant".to_owned();
    let networks = [("outside", "br-ex"), ("storage", "br-st")];
    node.config.physical_networks = networks.map(|(network, bridge)| (network.into(), bridge.into())).into();
    let bundled = node.start().await;
    let database = format!("--db={}", bundled.switch());
    let mapping =
        ["ovs-vsctl", &database, "--if-exists", "get", "Open_vSwitch", ".", "external_ids:ovn-bridge-mappings"];
    assert_eq!(run(&mapping).trim(), r#""outside:br-ex,storage:br-st""#);
    let mut devices = node.devices();
    devices.sort();
    assert_eq!(devices, ["br-ex", "br-st", "br-tenant", "ovs-netdev"]);

    let mut second = node.config.clone();
    second.folder = node.config.folder.with_extension("second");
    let pid = bundled.pids()[&Part::Switch];
    let refused = Bundled::start(second.clone()).await;
    assert!(matches!(refused, Err(BundledError::OtherSwitch { pid: other }) if other == pid), "{refused:?}");
    assert_eq!(processes(&second.folder), []);
    // Ending what never ran leaves the other's devices alone.
    Bundled::end(second).await.expect("nothing to end");
    assert_eq!(node.devices().len(), 4);

    // One network less, on switches that run.
    drop(bundled);
    node.config.physical_networks.clear();
    let bundled = node.start().await;
    assert_eq!(run(&mapping).trim(), "");
    assert_eq!(bundled.pids()[&Part::Switch], pid);
    bundled.stop().await.expect("ended");
    assert_eq!(node.devices(), [""; 0]);
}
