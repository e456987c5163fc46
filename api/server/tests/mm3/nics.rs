//! NICs that are attached to VMs and detached from them: what is asked, shown and refused. The workers don't play here.

use edgestack_model::{
    Command,
    vm::{Instance, VmCommand, VmReport},
};
use serde_json::{Value, json};

use crate::{
    routers::{a_router, change, of, undo, with_networks},
    site::{BASE, Site, vm_of},
};

const ACTION: &str = "/vms/a/action";

/// What its workers say of VM `a`.
pub async fn told(site: &Site, report: VmReport) {
    let vm = vm_of(site, "a").unwrap();
    let (vm, generation) = (vm.id, vm.meta.generation);
    site.submit(Command::Vm(VmCommand::Report { vm, generation, report })).await;
}

/// Networks `blue`, `red` and `outside`, router `edge` between all of them, and VM `a` on `blue`, which runs.
pub async fn with_vm() -> Site {
    let site = with_networks().await;
    let edge = json!({"name": "edge", "internal_networks": ["blue", "red"], "external_network": "outside"});
    a_router(&site, edge).await;
    site.with_flavor_and_image().await;
    let vm = json!({"name": "a", "image": "debian", "flavor": "small", "networks": [{"network": "blue"}]});
    site.call("POST", "/vms", Some(vm)).await.expect(202);
    let instance = Instance {
        pid: 4242,
        start_time_ticks: 1,
        host_boot: "test".to_owned(),
        boot_epoch: 1,
        accelerator: "none".to_owned(),
        hypervisor: "simulated".to_owned(),
        started_at: chrono::Utc::now(),
        nics: Some(vec![0]),
    };
    told(&site, VmReport::Started(instance)).await;
    site
}

pub async fn nics(site: &Site) -> Value {
    let vm = site.get("/vms/a").await.json();
    let shown = |nic: &Value| of(nic, &["number", "network", "fixed_ip", "state"]);
    vm["networks"].as_array().unwrap().iter().map(shown).collect()
}

fn attach(more: Value) -> Option<Value> {
    let mut body = json!({"action": "attach_nic", "network": "red"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Some(body)
}

fn detach(which: Value) -> Option<Value> {
    let mut body = which;
    body["action"] = "detach_nic".into();
    Some(body)
}

#[tokio::test]
async fn a_nic_comes_and_goes_while_its_vm_runs_and_undo_brings_one_like_it() {
    let site = with_vm().await;
    let blue = json!([0, "blue", "10.0.0.2", "attached"]);
    let dry = site.call("POST", &format!("{ACTION}?dry_run=true"), attach(json!({}))).await.expect(200).json();
    assert_eq!((dry["networks"].as_array().unwrap().len(), nics(&site).await), (2, json!([blue])));
    let wish = json!({"fixed_ip": "10.1.0.20", "mac": "fa:16:3e:00:00:20", "security_groups": []});
    let answer = site.call("POST", ACTION, attach(wish)).await.expect(202);
    let attached: u64 = answer.header("edgestack-sequence").parse().unwrap();
    let vm = answer.json();
    let nic = &vm["networks"][1];
    assert_eq!(of(nic, &["mac", "security_groups", "ready"]), json!(["fa:16:3e:00:00:20", [], false]));
    assert_eq!(vm["waiting"]["reason"], "NIC 1 is being put into the VM");
    assert_eq!(nics(&site).await, json!([blue, [1, "red", "10.1.0.20", "attaching"]]));
    told(&site, VmReport::NicPlugged { number: 1 }).await;
    assert_eq!(nics(&site).await, json!([blue, [1, "red", "10.1.0.20", "attached"]]));
    let vm = site.get("/vms/a").await.json();
    assert_eq!((&vm["addresses"][1]["ip"], &vm["waiting"]), (&json!("10.1.0.20"), &Value::Null));

    let ip = json!({"floating_ip": "192.0.2.10", "vm": "a", "fixed_ip": "10.1.0.20"});
    site.call("POST", "/floating_ips", Some(ip)).await.expect(202);
    let detached = change(&site, "POST", ACTION, detach(json!({"network": "red"}))).await;
    assert_eq!(nics(&site).await, json!([blue, [1, "red", "10.1.0.20", "detaching"]]));
    assert_eq!(site.get("/floating_ips/192.0.2.10").await.json()["vm"], Value::Null);
    let proposed = site.call("POST", "//edgetron/undo", Some(json!({"sequence": detached, "dry_run": true}))).await;
    assert!(proposed.expect(200).text().contains("NIC 1 is still on its way out"));
    told(&site, VmReport::NicUnplugged { number: 1 }).await;
    assert_eq!(nics(&site).await, json!([blue]));

    let undone = undo(&site, detached).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.starts_with("edgectl api POST"), "a NIC in no group: {line}");
    assert_eq!(undone["commands"][1]["what"], "have it lead there again", "{undone}");
    assert_eq!(nics(&site).await, json!([blue, [2, "red", "10.1.0.20", "attaching"]]));
    let ip = site.get("/floating_ips/192.0.2.10").await.json();
    assert_eq!(of(&ip, &["vm", "fixed_ip", "nic"]), json!(["a", "10.1.0.20", 2]));
    // The first one is gone for good, and what is there in its place is another's.
    let gone = site.call("POST", "//edgetron/undo", Some(json!({"sequence": attached}))).await.expect(200).json();
    assert_eq!((&gone["commands"], &gone["already"][0]["why"]), (&json!([]), &json!("NIC 1 is gone")));
    let once_more = change(&site, "POST", ACTION, attach(json!({}))).await;
    let undone = undo(&site, once_more).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.starts_with("edgectl detach-nic ") && line.ends_with(" --nic 3"), "{line}");
    assert_eq!(nics(&site).await[2], json!([3, "red", "10.1.0.2", "detaching"]));
    told(&site, VmReport::NicUnplugged { number: 3 }).await;
    // What undo did is undone.
    let undone = undo(&site, once_more + 1).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.contains(" --network red,ip=10.1.0.2,mac=fa:16:3e:") && line.ends_with(",sg=default"), "{line}");
}

#[tokio::test]
async fn what_cannot_be_attached_or_detached_is_refused_by_field() {
    let site = with_vm().await;
    for (body, status, code, field) in [
        (attach(json!({"fixed_ip": "10.0.0.9"})), 422, "invalid-value", "fixed_ip"),
        (attach(json!({"fixed_ip": "x"})), 422, "invalid-value", "fixed_ip"),
        (attach(json!({"fixed_ip": "10.1.0.1"})), 409, "address-in-use", "fixed_ip"),
        (attach(json!({"network": "green"})), 409, "reference-not-found", "network"),
        (attach(json!({"security_groups": ["none"]})), 409, "reference-not-found", "security_groups.0"),
        (detach(json!({})), 422, "invalid-value", "nic"),
        (detach(json!({"nic": 1})), 409, "reference-not-found", "nic"),
        (detach(json!({"network": "red"})), 409, "reference-not-found", "network"),
        (detach(json!({"nic": 0, "network": "blue"})), 422, "invalid-value", "nic"),
    ] {
        site.call("POST", ACTION, body).await.expect_problem(status, code, Some(field));
    }
    let document = site.get("//openapi.json").await.expect(200).json();
    let schema = json!({"$ref": "#/components/schemas/VmAction", "components": document["components"]});
    let schema = jsonschema::draft202012::options().build(&schema).unwrap();
    for (takes_it, body) in [
        (true, attach(json!({}))),
        (true, attach(json!({"fixed_ip": "10.1.0.9", "mac": "fa:16:3e:00:00:20", "security_groups": ["web"]}))),
        (false, attach(json!({"mac": "x"}))),
        (false, attach(json!({"security_groups": [""]}))),
        (false, attach(json!({"network": ""}))),
        (true, detach(json!({"nic": 0}))),
        (true, detach(json!({"network": "blue", "nic": null}))),
        (false, detach(json!({}))),
        (false, detach(json!({"nic": 0, "network": "blue"}))),
    ] {
        let body = body.unwrap();
        assert_eq!(schema.is_valid(&body), takes_it, "{body}");
    }
    assert!(document["paths"][format!("{BASE}/vms/{{name}}/action")].is_object());
}

#[tokio::test]
async fn port_security_is_switched_off_and_on_and_undo_puts_it_back() {
    let site = with_vm().await;
    let shown = async || -> Value {
        let vm = site.get("/vms/a").await.json();
        vm["networks"].as_array().unwrap().iter().map(|nic| nic["port_security"].clone()).collect()
    };
    assert_eq!(shown().await, json!([true]));
    let edit = |more: Value| {
        let mut body = json!({"action": "edit_nic", "port_security": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(body)
    };
    site.call("POST", ACTION, edit(json!({"nic": 9}))).await.expect_problem(409, "reference-not-found", Some("nic"));
    let reply = site.call("POST", ACTION, edit(json!({"port_security": "no"}))).await.expect(422);
    assert!(reply.text().contains("expected a boolean"), "{}", reply.text());
    let off = change(&site, "POST", ACTION, edit(json!({"nic": 0}))).await;
    assert_eq!(shown().await, json!([false]));
    let undone = undo(&site, off).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.ends_with(" --nic 0 --port-security on"), "{line}");
    assert_eq!(shown().await, json!([true]));

    // As the network has it, where a NIC says nothing.
    let before = change(&site, "PATCH", "/networks/red", Some(json!({"port_security": false}))).await;
    assert_eq!(site.get("/networks/red").await.json()["port_security"], false);
    site.call("POST", ACTION, attach(json!({}))).await.expect(202);
    told(&site, VmReport::NicPlugged { number: 1 }).await;
    assert_eq!(shown().await, json!([true, false]));
    undo(&site, before).await;
    assert_eq!(site.get("/networks/red").await.json()["port_security"], true);
    // One like it is not held to its addresses either.
    let detached = change(&site, "POST", ACTION, detach(json!({"nic": 1}))).await;
    told(&site, VmReport::NicUnplugged { number: 1 }).await;
    let undone = undo(&site, detached).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.contains(",port-security=off"), "{line}");
    assert_eq!(shown().await, json!([true, false]));
}
