//! network-cli: the virtual network at one place, a command at a time, as lines from a script, and at a terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    io::{Read as _, Write as _},
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use edgestack_e2e::{
    Site, edgectl, in_own_network,
    run_edgectl::{fails, works},
    virtual_network::{a_guest, a_router, a_site, await_active},
};
use serde_json::{Value, json};

fn command(site: &Site, program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("EDGESTACK_URL", &site.api().url)
        .env("EDGESTACK_TOKEN", &site.api().token)
        .env("HOME", site.folder())
        .env("TERM", "xterm")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Lines as a script sends them.
fn lines(site: &Site, lines: &str) -> Output {
    let mut child = command(site, &edgectl()).arg("network-cli").spawn().expect("edgectl runs");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn json_of(site: &Site, words: &[&str]) -> Value {
    serde_json::from_str(&works(site, &[&["network-cli"], words, &["-o", "json"]].concat())).expect("JSON")
}

/// What a person types: each text is sent once the one before it is answered by the word beside it.
fn typed(site: &Site, exchange: &[(&str, &str)]) -> String {
    let program = std::path::Path::new("script");
    let words = format!("{} network-cli", edgectl().display());
    let mut child = command(site, program).args(["-qec", &words, "/dev/null"]).spawn().expect("script runs");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = screen.read(&mut bytes) {
            if length == 0 || sender.send(bytes[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let (mut all, mut seen) = (Vec::new(), 0);
    for (awaited, text) in exchange {
        let until = Instant::now() + Duration::from_secs(20);
        while !String::from_utf8_lossy(&all[seen..]).contains(awaited) {
            let left = until.saturating_duration_since(Instant::now());
            let more = shown.recv_timeout(left);
            let so_far = String::from_utf8_lossy(&all).into_owned();
            all.extend(more.unwrap_or_else(|_| panic!("{awaited:?} does not come: {so_far}")));
        }
        seen = all.len();
        keys.write_all(text.as_bytes()).unwrap();
    }
    drop(keys);
    assert!(child.wait().unwrap().success());
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn the_virtual_network_is_shown_traced_and_typed_at() {
    let test = "the_virtual_network_is_shown_traced_and_typed_at";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let (_, _web) = a_guest(&site, "web", "blue").await;
        let (_, _far) = a_guest(&site, "far", "red").await;
        let ip = json!({"floating_ip": "192.0.2.50", "vm": "web"});
        site.api().post("floating_ips", &ip).await.accepted();
        await_active(&site, "floating_ips/192.0.2.50").await;
        let balancer = json!({"name": "l", "network": "blue", "members": ["web"], "rules": [{"protocol": "tcp", "port_range_min": 80}]});
        site.api().post("lbs", &balancer).await.accepted();
        await_active(&site, "lbs/l").await;

        let tree = works(&site, &["network-cli", "topology"]);
        for line in [
            "router r (SNAT)",
            "floating IP 192.0.2.50 → vm web",
            "vm web NIC 0 10.0.0.2 (open)",
            "load balancer l",
            "network red",
        ] {
            assert!(tree.contains(line), "{line}: {tree}");
        }
        assert_eq!(json_of(&site, &["topology", "r"]).as_array().unwrap().len(), 1);
        let ports = json_of(&site, &["ports", "web"]);
        assert_eq!((&ports[0]["network"], &ports[0]["addresses"]), (&json!("blue"), &json!("10.0.0.2")), "{ports}");
        let routes = json_of(&site, &["routes"]);
        let default = routes.as_array().unwrap().iter().find(|route| route["destination"] == "0.0.0.0/0").expect("one");
        assert_eq!(default["next_hop"], "192.0.2.1");
        let nat = json_of(&site, &["nat", "web"]);
        assert_eq!((&nat[0]["outside"], &nat[0]["inside"]), (&json!("192.0.2.50"), &json!("10.0.0.2")), "{nat}");
        assert_eq!(json_of(&site, &["lb"])[0]["members"], "10.0.0.2 (web)");
        assert_eq!(json_of(&site, &["acl", "open"]).as_array().unwrap().len(), 2);
        assert_eq!(json_of(&site, &["addresses", "web"])[0]["address"], "10.0.0.2");
        assert_eq!(json_of(&site, &["counters"]), json!([]), "simulated VMs have no devices");
        works(&site, &["network-cli", "ping", "web", "-c", "1"]);
        fails(&site, &["network-cli", "trace", "vm:far", "web"], "no router is on network \"red\"");

        let good = lines(&site, "ports web\n\nhelp\nquit\n");
        assert!(good.status.success(), "{good:?}");
        assert!(String::from_utf8_lossy(&good.stdout).contains("10.0.0.2"));
        let bad = lines(&site, "prots\ntrace vm:far web\nnat\n");
        let told = String::from_utf8_lossy(&bad.stderr);
        assert_eq!(bad.status.code(), Some(1), "{told}");
        assert!(
            told.contains("prots") && told.contains("no router is on network") && told.contains("2 of 3 failed"),
            "{told}"
        );

        // Half a word and the TAB key; the next time, the line is remembered.
        typed(&site, &[("network> ", "topo\t\r"), ("load balancer l", ""), ("network> ", "quit\r")]);
        let again = typed(
            &site,
            &[("network> ", "\u{1b}[A"), ("topology", "\r"), ("load balancer l", ""), ("network> ", "\u{4}")],
        );
        assert!(again.contains("router r (SNAT)"), "{again}");
    });
}
