//! Changes, waiting, retries and uploads, through the binary.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canned;

use std::os::unix::fs::PermissionsExt;

use canned::{Answer, Canned, a_vm, change, events, json, problem, text};
use edgestack_wire::{image::Image, keypair::Keypair, meta::Waiting};
use serde_json::json as value;

const CREATE: [&str; 6] = ["create-vm", "hello", "--image", "debian-12", "--flavor", "small"];
const WATCH: &str = "GET /vms?watch=true&name=hello";
const SHOW: &str = "GET /vms/0197a5a0-0000-7000-8000-000000000001";

#[tokio::test]
async fn a_create_waits_on_the_watch_and_says_each_state_once() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /vms" => json(202, text(&a_vm("pending", "running", 10))),
        SHOW => json(200, text(&a_vm("pending", "running", 10))),
        WATCH => {
            let mut failed = a_vm("back_off", "running", 12);
            failed.waiting = Some(Waiting {
                owner: "worker.vm@edge-1".to_owned(),
                reason: "QEMU: no memory".to_owned(),
                fix: Some("stop another VM".to_owned()),
                next_attempt_at: None,
                attempts: 1,
            });
            // Of before the change: it must not count.
            let stale = a_vm("running", "running", 3);
            events(
                &[
                    change("ADDED", 9, &stale),
                    change("MODIFIED", 11, &a_vm("starting", "running", 11)),
                    change("MODIFIED", 11, &a_vm("starting", "running", 11)),
                    change("MODIFIED", 12, &failed),
                    (13, r#"{"type":"BOOKMARK","sequence":13}"#.to_owned()),
                    change("MODIFIED", 14, &a_vm("running", "running", 14)),
                ],
                true,
            )
        }
        other => panic!("{other}"),
    })
    .await;
    let args = [&CREATE[..], &["--label", "app=demo", "--disk-gib", "8", "--reason", "a demö"]].concat();
    let ran = server.run(&args).await.expect(0);
    assert_eq!(ran.out, "vm \"hello\" is running\n");
    let said: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        said,
        [
            "vm \"hello\" is pending",
            "vm \"hello\" is starting",
            "vm \"hello\" is back_off: QEMU: no memory (worker.vm@edge-1), attempt 1 failed; fix: stop another VM"
        ]
    );
    let create = &server.asked()[0];
    assert_eq!(create.json()["labels"], value!({"app": "demo"}));
    assert_eq!(create.json()["boot_disk"], value!({"size_gib": 8}));
    assert_eq!(create.json()["run_strategy"], "always");
    assert_eq!(create.header("edgestack-reason"), Some("a demö"));
    assert_eq!(create.header("idempotency-key").map(str::len), Some(36));
}

#[tokio::test]
async fn waiting_goes_on_where_a_broken_stream_ended() {
    let server = Canned::start(|asked, before| match asked.line().as_str() {
        "POST /vms/hello/action" => json(202, text(&a_vm("starting", "running", 10))),
        SHOW => json(200, text(&a_vm("starting", "running", 10))),
        WATCH if before == 0 => events(&[change("ADDED", 11, &a_vm("starting", "running", 11))], false),
        WATCH => {
            assert_eq!(asked.header("last-event-id"), Some("11"));
            events(&[change("MODIFIED", 12, &a_vm("running", "running", 12))], true)
        }
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["start-vm", "hello", "--wait-for", "guest-agent", "-o", "json"]).await;
    let ran = ran.expect(0);
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["state"], "running");
    assert_eq!(server.asked()[0].json(), value!({"action": "start"}));
}

#[tokio::test]
async fn time_out_while_waiting_is_exit_code_3_and_tells_the_last_reason() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /vms/hello/action" | SHOW => json(202, text(&a_vm("stopping", "stopped", 10))),
        WATCH => events(&[], true),
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["stop-vm", "hello", "--force", "--timeout", "1"]).await.expect(3);
    assert!(ran.err.contains("after 1 s; vm \"hello\" is stopping"), "{}", ran.err);
    assert_eq!(server.asked()[0].json(), value!({"action": "stop", "grace_seconds": 0}));
}

#[tokio::test]
async fn another_wish_meanwhile_ends_the_waiting() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /vms/hello/action" => json(202, text(&a_vm("starting", "running", 10))),
        SHOW => json(200, text(&a_vm("stopping", "stopped", 11))),
        WATCH => events(&[], true),
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["start-vm", "hello"]).await.expect(1);
    assert!(ran.err.contains("shall be stopped by now"), "{}", ran.err);
}

#[tokio::test]
async fn no_wait_and_dry_run_return_at_once() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /vms" => json(202, text(&a_vm("pending", "running", 10))),
        "POST /vms?dry_run=true" => json(200, text(&a_vm("pending", "running", 0))),
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&[&CREATE[..], &["--no-wait"]].concat()).await.expect(0);
    assert_eq!(ran.out, "vm \"hello\" is pending\n");
    let ran = server.run(&[&CREATE[..], &["--dry-run"]].concat()).await.expect(0);
    assert_eq!(ran.out, "vm \"hello\" would be created (dry run: nothing changed)\n");
    let ran = server.run(&[&CREATE[..], &["--no-wait", "-o", "name"]].concat()).await.expect(0);
    assert_eq!(ran.out, "hello\n");
}

#[tokio::test]
async fn removing_several_tells_each_and_fails_if_one_did() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "DELETE /vms/nope" => problem(404, "not-found", "vm \"nope\" does not exist"),
        "DELETE /vms/hello" => json(202, text(&a_vm("deleting", "deleted", 10))),
        SHOW => json(200, text(&a_vm("deleting", "deleted", 10))),
        WATCH => events(&[change("DELETED", 12, &a_vm("deleting", "deleted", 12))], true),
        "DELETE /flavors/small" => json(204, ""),
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["remove-vm", "nope", "hello"]).await.expect(1);
    assert_eq!(ran.out, "vm \"hello\" is removed\n");
    assert!(ran.err.contains("vm \"nope\" does not exist"), "{}", ran.err);
    assert!(ran.err.contains("1 of 2 failed"), "{}", ran.err);
    let ran = server.run(&["remove-flavor", "small"]).await.expect(0);
    assert_eq!(ran.out, "flavor \"small\" is removed\n");
}

#[tokio::test]
async fn a_resource_gone_before_the_watch_began_is_gone() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "DELETE /vms/hello" => json(202, text(&a_vm("deleting", "deleted", 10))),
        SHOW => problem(404, "not-found", "gone"),
        WATCH => events(&[], true),
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["remove-vm", "hello"]).await.expect(0);
    assert_eq!(ran.out, "vm \"hello\" is removed\n");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_with_the_same_key() {
    let server = Canned::start(|_, before| {
        if before < 2 {
            problem(503, "log-unavailable", "the log is away").with("retry-after", "0")
        } else {
            json(202, text(&a_vm("pending", "running", 10)))
        }
    })
    .await;
    let ran = server.run(&[&CREATE[..], &["--no-wait"]].concat()).await.expect(0);
    assert!(ran.err.contains("the log is away; trying again in 0 s (2 of 6)"), "{}", ran.err);
    let keys: Vec<String> =
        server.asked().iter().map(|asked| asked.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test]
async fn a_busy_server_is_not_asked_for_ever() {
    let server = Canned::start(|_, _| problem(429, "queue-full", "too many requests").with("retry-after", "0")).await;
    let ran = server.run(&[&CREATE[..], &["--no-wait"]].concat()).await.expect(1);
    assert!(ran.err.ends_with("edgectl: too many requests\n"), "{}", ran.err);
    assert_eq!(server.asked().len(), 6);
}

fn an_image(state: &str, reason: Option<&str>) -> Image {
    let mut image = value!({
        "id": "0197a5a0-0000-7000-8000-000000000002", "name": "debian-12", "description": "", "labels": {},
        "generation": 1, "revision": 5, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:13:20Z",
        "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": state, "waiting": null,
        "format": "qcow2", "source": {"type": "upload"}, "size_bytes": null, "virtual_size_bytes": null,
        "checksum": null, "architecture": "x86_64", "min_disk_gib": 0, "min_memory_mib": 0, "visibility": "private"
    });
    if let Some(reason) = reason {
        image["waiting"] = value!({"owner": "user", "reason": reason, "attempts": 1});
    }
    serde_json::from_value(image).unwrap()
}

#[tokio::test]
async fn an_image_is_made_sent_and_awaited() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /images" => json(202, text(&an_image("queued", None))),
        "PUT /images/debian-12/file" => json(202, text(&an_image("importing", None))),
        "GET /images?watch=true&name=debian-12" => events(&[change("MODIFIED", 7, &an_image("active", None))], true),
        "GET /images/0197a5a0-0000-7000-8000-000000000002" => json(200, text(&an_image("importing", None))),
        other => panic!("{other}"),
    })
    .await;
    let mut content = b"QFI\xfb".to_vec();
    content.resize(1_000_000, 7);
    std::fs::write(server.folder().join("disk.qcow2"), &content).unwrap();
    let ran = server.run(&["create-image", "debian-12", "--file", "disk.qcow2"]).await.expect(0);
    assert_eq!(ran.out, "image \"debian-12\" is active\n");
    assert!(ran.err.contains("sending 976.56 KiB"), "{}", ran.err);
    let asked = server.asked();
    assert_eq!(asked[0].json()["format"], "qcow2");
    assert_eq!(asked[0].json()["source"], value!({"type": "upload"}));
    let put = &asked[1];
    assert_eq!(put.header("content-length"), Some("1000000"));
    assert_eq!(put.header("transfer-encoding"), None);
    assert!(put.body == content);
}

#[tokio::test]
async fn an_image_that_fails_ends_the_waiting_with_its_reason() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /images" => json(202, text(&an_image("importing", None))),
        "GET /images/0197a5a0-0000-7000-8000-000000000002" => {
            json(200, text(&an_image("failed", Some("it is not qcow2"))))
        }
        _ => events(&[], true),
    })
    .await;
    let ran = server.run(&["create-image", "debian-12", "--path", "/srv/x"]).await.expect(1);
    assert!(ran.err.contains("is failed: it is not qcow2"), "{}", ran.err);
    assert_eq!(server.asked()[0].json()["source"], value!({"type": "path", "path": "/srv/x"}));
}

#[tokio::test]
async fn a_file_that_is_no_disk_is_refused_before_anything_is_asked() {
    let server = Canned::start(|asked, _| panic!("{asked:?}")).await;
    std::fs::write(server.folder().join("x"), "<!doctype html>").unwrap();
    let ran = server.run(&["create-image", "a", "--file", "x"]).await.expect(1);
    assert!(ran.err.contains("--format raw"), "{}", ran.err);
    assert!(server.asked().is_empty());
}

fn a_keypair(private_key: Option<&str>) -> Keypair {
    serde_json::from_value(value!({
        "id": "0197a5a0-0000-7000-8000-000000000005", "name": "demo", "description": "", "labels": {},
        "generation": 1, "revision": 5, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:13:20Z",
        "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "type": "ed25519",
        "public_key": "ssh-ed25519 AAAA demo", "fingerprint": "SHA256:x", "private_key": private_key
    }))
    .unwrap()
}

#[tokio::test]
async fn a_generated_key_goes_to_its_file_or_to_standard_output() {
    let server = Canned::start(|_, _| json(201, text(&a_keypair(Some("PRIVATE\n"))))).await;
    let args = ["create-keypair", "demo", "--private-key-file", "demo.pem", "-o", "json"];
    let ran = server.run(&args).await.expect(0);
    assert!(!ran.out.contains("PRIVATE"), "{}", ran.out);
    let path = server.folder().join("demo.pem");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "PRIVATE\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let before = server.asked().len();
    server.run(&args).await.expect(1);
    assert_eq!(server.asked().len(), before, "a key was made that has no place");
    let ran = server.run(&["create-keypair", "demo"]).await.expect(0);
    assert_eq!(ran.out, "PRIVATE\n");
}

#[tokio::test]
async fn a_private_key_lost_on_the_way_is_said() {
    let server = Canned::start(|_, _| json(201, text(&a_keypair(None)))).await;
    let ran = server.run(&["create-keypair", "demo"]).await.expect(1);
    assert!(ran.err.contains("edgectl remove-keypair demo"), "{}", ran.err);
}

#[tokio::test]
async fn an_update_sends_only_what_changes_and_null_for_what_is_cleared() {
    let server = Canned::start(|_, _| json(200, text(&a_vm("running", "running", 18)))).await;
    server
        .run(&["update-vm", "hello", "--description", "", "--label", "a=b", "--run-strategy", "manual"])
        .await
        .expect(0);
    let args = ["update-vm", "hello", "--clear-labels", "--clear-node-selector"];
    let ran = server.run(&args).await.expect(0);
    assert_eq!(ran.out, "vm \"hello\" is updated\n");
    let bodies: Vec<_> = server.asked().iter().map(canned::Asked::json).collect();
    assert_eq!(
        bodies,
        [
            value!({"description": null, "labels": {"a": "b"}, "run_strategy": "manual"}),
            value!({"labels": null, "node_selector": null})
        ]
    );
}

#[tokio::test]
async fn an_edit_of_groups_waits_until_all_nics_are_ready_again() {
    let on_blue = |ready: bool, revision: u64| {
        let mut vm = a_vm("running", "running", revision);
        let nic = value!({
            "number": 0, "network": "blue", "network_id": vm.meta.id, "fixed_ip": "10.0.0.2", "addresses": ["10.0.0.2"],
            "mac": "fa:16:3e:00:00:01", "security_groups": ["web"], "ready": ready,
        });
        vm.networks = vec![serde_json::from_value(nic).unwrap()];
        vm
    };
    let server = Canned::start(move |asked, _| match asked.line().as_str() {
        "POST /vms/hello/action" => json(202, text(&on_blue(false, 10))),
        SHOW => json(200, text(&on_blue(false, 10))),
        WATCH => events(&[change("MODIFIED", 12, &on_blue(true, 12))], true),
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["edit-vm-sg", "hello", "--nic", "0", "--add", "web", "--remove", "default"]).await.expect(0);
    assert_eq!(ran.err, "vm \"hello\" is running, NIC 0 is not as it shall be yet\n");
    for args in [["--set", "web,db", "--no-wait"], ["--clear", "--no-wait", "--dry-run"]] {
        let server = Canned::start(move |_, _| json(202, text(&on_blue(false, 10)))).await;
        server.run(&[&["edit-vm-sg", "hello"], &args[..]].concat()).await.expect(0);
        let groups = &server.asked()[0].json()["security_groups"];
        assert_eq!(*groups, if args[0] == "--clear" { value!([]) } else { value!(["web", "db"]) });
    }
    let asked = server.asked()[0].json();
    assert_eq!(asked, value!({"action": "edit_security_groups", "nic": 0, "add": ["web"], "remove": ["default"]}));
}

#[tokio::test]
async fn a_vm_is_made_in_the_groups_that_are_named_for_all_of_its_nics() {
    let server = Canned::start(|_, _| json(202, text(&a_vm("pending", "running", 10)))).await;
    let nics = ["--network", "blue,sg=web", "--network", "red", "--security-group", "db", "--no-wait"];
    server.run(&[&CREATE[..], &nics].concat()).await.expect(0);
    let networks = server.asked()[0].json()["networks"].clone();
    let expect =
        value!([{"network": "blue", "security_groups": ["web"]}, {"network": "red", "security_groups": ["db"]}]);
    assert_eq!(networks, expect);
}

#[tokio::test]
async fn a_group_is_removed_with_what_uses_it_only_when_that_is_said() {
    let server = Canned::start(|_, _| problem(409, "in-use", "security_group \"web\" is in use by vm \"a\"")).await;
    server.run(&["remove-sg", "web"]).await.expect(1);
    server.run(&["remove-sg", "web", "--cascade", "--dry-run"]).await.expect(1);
    let lines = ["DELETE /security_groups/web", "DELETE /security_groups/web?cascade=true&dry_run=true"];
    assert_eq!(server.lines(), lines);
    server.run(&["remove-network", "blue"]).await.expect(1);
    server.run(&["remove-network", "blue", "--cascade", "--dry-run"]).await.expect(1);
    let of_network = ["DELETE /networks/blue", "DELETE /networks/blue?cascade=true&dry_run=true"];
    assert_eq!(server.lines()[2..], of_network);
}

#[tokio::test]
async fn kinds_are_repaired_by_the_words_of_their_commands_too() {
    let server = Canned::start(|_, _| Answer { status: 204, ..json(204, "") }).await;
    for object in [
        "sg/web",
        "security_group/web",
        "sgr/ssh",
        "security_group_rule/ssh",
        "router/edge",
        "fip/a",
        "floating_ip/a",
        "lb/l",
    ] {
        server.run(&["force-remove", object, "--reason", "gone"]).await.expect(0);
    }
    let (group, rule) = ("POST /security_groups/web/action", "POST /security_group_rules/ssh/action");
    let (router, ip) = ("POST /routers/edge/action", "POST /floating_ips/a/action");
    assert_eq!(server.lines(), [group, group, rule, rule, router, ip, ip, "POST /lbs/l/action"]);
}

fn meta(name: &str, state: &str, revision: u64) -> serde_json::Value {
    value!({
        "id": "0197a5a0-0000-7000-8000-000000000001", "name": name, "description": "", "labels": {}, "generation": 1,
        "revision": revision, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:14:20Z",
        "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": state, "waiting": null,
    })
}

fn a_router(state: &str, revision: u64) -> serde_json::Value {
    let mut router = meta("edge", state, revision);
    let what = value!({
        "enable_snat": true, "internal_networks": ["blue"], "internal_network_ids": [], "external": {"192.0.2.2": "outside"},
        "external_network": "outside", "external_network_id": null, "external_ips": ["192.0.2.2"], "peer_router": null,
        "routes": [], "floating_ips": [],
    });
    router.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    router
}

fn a_floating_ip(vm: Option<&str>, state: &str, revision: u64) -> serde_json::Value {
    let mut ip = meta("192.0.2.10", state, revision);
    let id = "0197a5a0-0000-7000-8000-000000000002";
    let what = value!({
        "router": "edge", "router_id": id, "external_network": "outside", "external_network_id": id,
        "floating_ip": "192.0.2.10", "vm": vm, "vm_id": null, "fixed_ip": null, "nic": null,
        "load_balancer": null, "load_balancer_id": null,
    });
    ip.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    ip
}

#[tokio::test]
async fn a_routers_commands_send_what_they_say() {
    let server = Canned::start(|_, _| json(200, a_router("active", 10).to_string())).await;
    let create = ["create-router", "edge", "--network", "blue,red", "--external-network", "outside", "--no-snat"];
    let ran = server.run(&[&create[..], &["--route", "10.9.0.0/16=10.0.0.254"]].concat()).await.expect(0);
    assert_eq!(ran.out, "router \"edge\" is active\n");
    server.run(&["update-router", "edge", "--attach", "red", "--detach", "blue", "--no-external"]).await.expect(0);
    server
        .run(&["update-router", "edge", "--network", "red", "--enable-snat", "true", "--clear-routes"])
        .await
        .expect(0);
    server.run(&["create-peer-router", "edge", "--ip", "192.0.2.254", "--mac", "02:00:00:00:00:01"]).await.expect(0);
    server.run(&["remove-peer-router", "edge"]).await.expect(0);
    let asked = server.asked();
    let lines: Vec<String> = asked.iter().map(canned::Asked::line).collect();
    let peer = "/routers/edge/peer_router";
    let patch = "PATCH /routers/edge".to_owned();
    assert_eq!(
        lines,
        ["POST /routers".to_owned(), patch.clone(), patch, format!("PUT {peer}"), format!("DELETE {peer}")]
    );
    let made = asked[0].json();
    assert_eq!((&made["internal_networks"], &made["enable_snat"]), (&value!(["blue", "red"]), &value!(false)));
    assert_eq!(made["routes"], value!([{"destination": "10.9.0.0/16", "next_hop": "10.0.0.254"}]));
    let bodies: Vec<_> = asked[1..4].iter().map(canned::Asked::json).collect();
    assert_eq!(
        bodies,
        [
            value!({"attach": ["red"], "detach": ["blue"], "external_network": null}),
            value!({"internal_networks": ["red"], "enable_snat": true, "routes": null}),
            value!({"ip_address": "192.0.2.254", "mac_address": "02:00:00:00:00:01"}),
        ]
    );
}

#[tokio::test]
async fn an_association_waits_until_the_floating_ip_is_active_again() {
    let server = Canned::start(|asked, _| match asked.line().as_str() {
        "POST /floating_ips/192.0.2.10/action" => json(202, a_floating_ip(Some("web"), "updating", 10).to_string()),
        "GET /floating_ips/0197a5a0-0000-7000-8000-000000000001" => {
            json(200, a_floating_ip(Some("web"), "updating", 10).to_string())
        }
        "GET /floating_ips?watch=true&name=192.0.2.10" => {
            let now = a_floating_ip(Some("web"), "active", 12);
            events(&[(12, value!({"type": "MODIFIED", "sequence": 12, "object": now}).to_string())], true)
        }
        other => panic!("{other}"),
    })
    .await;
    let ran = server.run(&["associate-fip", "192.0.2.10", "web", "--fixed-ip", "10.0.0.2"]).await.expect(0);
    assert_eq!(ran.out, "floating_ip \"192.0.2.10\" is active\n");
    let asked = server.asked()[0].json();
    assert_eq!(asked, value!({"action": "associate", "vm": "web", "fixed_ip": "10.0.0.2"}));
    let server = Canned::start(|_, _| json(202, a_floating_ip(None, "updating", 10).to_string())).await;
    server.run(&["create-fip", "--ip", "192.0.2.10", "--vm", "web", "--no-wait"]).await.expect(0);
    let ran = server.run(&["disassociate-fip", "192.0.2.10", "--dry-run"]).await.expect(0);
    assert_eq!(ran.out, "floating_ip \"192.0.2.10\" would be disassociated (dry run: nothing changed)\n");
    let bodies: Vec<_> = server.asked().iter().map(canned::Asked::json).collect();
    assert_eq!((&bodies[0]["floating_ip"], &bodies[0]["vm"]), (&value!("192.0.2.10"), &value!("web")));
    assert_eq!(bodies[1], value!({"action": "disassociate"}));
}

fn a_balancer(state: &str, revision: u64) -> serde_json::Value {
    let mut balancer = meta("shop", state, revision);
    let what = value!({
        "network": "blue", "network_id": "0197a5a0-0000-7000-8000-000000000002", "vip": "10.0.0.50",
        "members": ["10.0.0.2"], "member_vms": [], "rules": [], "session_affinity": "none", "health_check": null,
        "floating_ips": [], "limits": ["no VM has 10.0.0.2: not checked"],
    });
    balancer.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    balancer
}

#[tokio::test]
async fn a_load_balancers_commands_send_what_they_say() {
    let server = Canned::start(|_, _| json(200, a_balancer("active", 10).to_string())).await;
    let create = ["create-lb", "shop", "--network", "blue", "--vip", "10.0.0.50", "--member", "web-1,10.0.0.9"];
    let more = ["--rule", "tcp-80=8080", "--rule", "icmp", "--health-check", "--check-interval", "9"];
    let ran = server.run(&[&create[..], &more].concat()).await.expect(0);
    assert_eq!(ran.out, "load_balancer \"shop\" is active\n");
    assert!(ran.err.contains("no VM has 10.0.0.2: not checked"), "{}", ran.err);
    server.run(&["update-lb", "shop", "--add", "web-3", "--remove", "web-1", "--no-health-check"]).await.expect(0);
    let whole = ["update-lb", "shop", "--member", "web-1", "--clear-rules", "--session-affinity", "client-ip"];
    server.run(&whole).await.expect(0);
    server.run(&["create-lbr", "shop", "--protocol", "udp", "--port", "5000-5010"]).await.expect(0);
    server.run(&["remove-lbr", "shop", "tcp-80", "icmp"]).await.expect(0);
    server.run(&["associate-fip", "192.0.2.10", "--lb", "shop", "--dry-run"]).await;
    let asked = server.asked();
    let lines: Vec<String> = asked.iter().map(canned::Asked::line).collect();
    let patch = "PATCH /lbs/shop";
    let (add, gone) = ("POST /lbs/shop/rules", ["DELETE /lbs/shop/rules/tcp-80", "DELETE /lbs/shop/rules/icmp"]);
    let to_balancer = "POST /floating_ips/192.0.2.10/action?dry_run=true";
    assert_eq!(lines, ["POST /lbs", patch, patch, add, gone[0], gone[1], to_balancer]);
    let made = asked[0].json();
    assert_eq!(made["members"], value!(["web-1", "10.0.0.9"]));
    assert_eq!(made["health_check"]["interval_seconds"], 9);
    let rules = value!([
        {"protocol": "tcp", "port_range_min": 80, "port_range_max": 80, "member_port": 8080}, {"protocol": "icmp"},
    ]);
    assert_eq!(made["rules"], rules);
    let bodies: Vec<_> = asked[1..4].iter().chain([&asked[6]]).map(canned::Asked::json).collect();
    assert_eq!(
        bodies,
        [
            value!({"add": ["web-3"], "remove": ["web-1"], "health_check": null}),
            value!({"members": ["web-1"], "rules": null, "session_affinity": "client_ip"}),
            value!({"protocol": "udp", "port_range_min": 5000, "port_range_max": 5010}),
            value!({"action": "associate", "load_balancer": "shop"}),
        ]
    );
}

#[tokio::test]
async fn a_nic_is_attached_and_detached_and_waited_for() {
    let with = |nics: &[(u32, &str)], revision: u64| {
        let mut vm = a_vm("running", "running", revision);
        let nic = |(number, state): &(u32, &str)| {
            let nic = value!({
                "number": number, "network": "blue", "network_id": vm.meta.id, "fixed_ip": "10.0.0.2",
                "addresses": ["10.0.0.2"], "mac": "fa:16:3e:00:00:01", "security_groups": [], "ready": true, "state": state,
            });
            serde_json::from_value(nic).unwrap()
        };
        vm.networks = nics.iter().map(nic).collect();
        vm
    };
    let follows = |first: edgestack_wire::vm::Vm, then: edgestack_wire::vm::Vm| {
        Canned::start(move |asked, _| match asked.line().as_str() {
            "POST /vms/hello/action" => json(202, text(&first)),
            SHOW => json(200, text(&first)),
            WATCH => events(&[change("MODIFIED", 12, &then)], true),
            other => panic!("{other}"),
        })
    };
    let server =
        follows(with(&[(0, "attached"), (2, "attaching")], 10), with(&[(0, "attached"), (2, "attached")], 12)).await;
    let ran = server.run(&["attach-nic", "hello", "--network", "blue,ip=10.0.0.9,sg=web"]).await.expect(0);
    assert_eq!(ran.err, "vm \"hello\" is running, NIC 2 is not in it yet\n");
    let asked = server.asked()[0].json();
    let expect =
        value!({"action": "attach_nic", "network": "blue", "fixed_ip": "10.0.0.9", "security_groups": ["web"]});
    assert_eq!(asked, expect);

    let server = follows(with(&[(0, "attached"), (2, "detaching")], 10), with(&[(0, "attached")], 12)).await;
    let ran = server.run(&["detach-nic", "hello", "--nic", "2"]).await.expect(0);
    assert_eq!(ran.err, "vm \"hello\" is running, NIC 2 is on its way out\n");
    assert_eq!(server.asked()[0].json(), value!({"action": "detach_nic", "nic": 2}));
    let server = Canned::start(move |_, _| json(202, text(&with(&[(0, "attached"), (1, "awaits_start")], 10)))).await;
    let ran = server.run(&["attach-nic", "hello", "--network", "blue"]).await.expect(0);
    assert!(ran.err.contains("NIC 1 comes with the VM's next start") && ran.err.contains("edgectl restart-vm hello"));
    server.run(&["detach-nic", "hello", "--network", "blue", "--no-wait"]).await.expect(0);
    assert_eq!(server.asked()[1].json(), value!({"action": "detach_nic", "network": "blue"}));
}
