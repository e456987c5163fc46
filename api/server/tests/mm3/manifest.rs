use std::collections::BTreeSet;

use proptest::{
    collection::btree_map,
    option,
    prelude::{Just, Strategy},
    prop_oneof, sample,
    strategy::ValueTree,
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use crate::site::Site;

async fn manifest(site: &Site, vm: Value) -> Value {
    let name = vm["name"].as_str().unwrap().to_owned();
    site.call("POST", "/vms", Some(vm)).await.expect(202);
    read_manifest(site, &name).await
}

/// The manifest, after making sure that both forms say the same and that KubeVirt would take it.
async fn read_manifest(site: &Site, name: &str) -> Value {
    let path = format!("/vms/{name}/manifest");
    let accept = [("accept", "application/json")];
    let as_json = site.call_with("GET", &path, &accept, None).await.expect(200).json();
    let yaml = site.get(&path).await.expect(200);
    assert_eq!(yaml.header("content-type"), "application/yaml");
    let parsed: Value = serde_norway::from_slice(&yaml.body).unwrap();
    assert_eq!(parsed, as_json);
    assert_eq!(edgestack_kubevirt::complaints(&parsed), Vec::<String>::new(), "{parsed}");
    as_json
}

#[tokio::test]
async fn a_manifest_is_the_kubevirt_virtual_machine_that_runs() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let key = site.call("POST", "/keypairs", Some(json!({"name": "laptop"}))).await.expect(201).json();
    let vm = json!({"name": "web", "image": "debian", "flavor": "small", "keypair": "laptop", "labels": {"app": "db"}});
    let manifest = manifest(&site, vm).await;
    let shown = site.get("/vms/web").await.json();
    assert_eq!((&manifest["apiVersion"], &manifest["kind"]), (&json!("kubevirt.io/v1"), &json!("VirtualMachine")));
    assert_eq!(manifest["metadata"]["name"], "web");
    assert_eq!(manifest["metadata"]["labels"], json!({"app": "db"}));
    assert_eq!(manifest["metadata"]["annotations"]["edgestack.io/vm-id"], shown["id"]);
    assert_eq!(manifest["spec"]["runStrategy"], "Always");
    let template = &manifest["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({"app": "db", "kubevirt.io/domain": "web"}));
    let spec = &template["spec"];
    assert_eq!(spec["architecture"], "amd64");
    assert_eq!(spec["hostname"], "web");
    assert_eq!(spec["domain"]["cpu"], json!({"sockets": 1, "cores": 1, "threads": 1}));
    assert_eq!(spec["domain"]["memory"], json!({"guest": "256Mi"}));
    assert_eq!(spec["domain"]["firmware"]["uuid"], shown["id"]);
    assert_eq!(spec["networks"], json!([{"name": "default", "pod": {}}]));
    let interface = &spec["domain"]["devices"]["interfaces"][0];
    assert!(interface["macAddress"].as_str().unwrap().starts_with("52:54:00:"));
    assert_eq!(interface["masquerade"], json!({}));
    assert_eq!(interface["ports"][0]["port"], 22);
    // Each disk has its volume and the other way round.
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&spec["domain"]["devices"]["disks"]), names(&spec["volumes"]));
    assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "web-root");
    let user_data = spec["volumes"][1]["cloudInitNoCloud"]["userData"].as_str().unwrap();
    assert!(user_data.starts_with("#cloud-config\n"));
    let user_data: Value = serde_norway::from_str(user_data).unwrap();
    assert_eq!(user_data["ssh_authorized_keys"][0], key["public_key"]);
    assert_eq!(spec.get("accessCredentials"), None);
}

#[tokio::test]
async fn sealed_user_data_stays_a_reference_to_a_secret() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.call("POST", "/keypairs", Some(json!({"name": "laptop"}))).await.expect(201);
    let vm = json!({"name": "web", "image": "debian", "flavor": "small", "keypair": "laptop", "user_data": "#cloud-config\npassword: hush\n"});
    let manifest = manifest(&site, vm).await;
    assert!(!manifest.to_string().contains("hush"));
    let spec = &manifest["spec"]["template"]["spec"];
    assert_eq!(spec["volumes"][1]["cloudInitNoCloud"], json!({"secretRef": {"name": "web-user-data"}}));
    assert_eq!(
        spec["accessCredentials"],
        json!([{"sshPublicKey": {
            "source": {"secret": {"secretName": "web-ssh-key"}},
            "propagationMethod": {"noCloud": {}},
        }}])
    );
}

#[tokio::test]
async fn run_strategy_and_selector_follow_the_wish() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.call("PATCH", "/nodes/edge-1", Some(json!({"labels": {"disk": "ssd"}}))).await.expect(200);
    for (strategy, expected) in
        [("always", "Always"), ("rerun_on_failure", "RerunOnFailure"), ("manual", "Manual"), ("halted", "Halted")]
    {
        let vm = json!({"name": expected.to_lowercase(), "image": "debian", "flavor": "small", "run_strategy": strategy, "node": "edge-1", "node_selector": {"disk": "ssd"}});
        let manifest = manifest(&site, vm).await;
        assert_eq!(manifest["spec"]["runStrategy"], expected);
        let selector = json!({"disk": "ssd", "kubernetes.io/hostname": "edge-1"});
        assert_eq!(manifest["spec"]["template"]["spec"]["nodeSelector"], selector);
    }
    site.call("POST", "/vms/always/action", Some(json!({"action": "stop"}))).await.expect(202);
    let accept = [("accept", "application/json")];
    let stopped = site.call_with("GET", "/vms/always/manifest", &accept, None).await.json();
    assert_eq!(stopped["spec"]["runStrategy"], "Halted");
}

/// Shapes of flavors, all fields varied.
fn flavors() -> Vec<Value> {
    let mut flavors = Vec::new();
    for dedicated in [false, true] {
        for pages in [Value::Null, json!("2Mi"), json!("1Gi")] {
            for (numa, vcpus, memory_mib) in [(Value::Null, 1, 1024), (json!(1), 3, 2048), (json!(2), 8, 4096)] {
                flavors.push(json!({
                    "name": format!("f{}", flavors.len()), "vcpus": vcpus, "memory_mib": memory_mib, "disk_gib": 4,
                    "dedicated_cpus": dedicated, "huge_pages": pages, "numa_nodes": numa,
                }));
            }
        }
    }
    flavors
}

/// Requests for VMs, without their names, with all fields varied.
fn vms(flavors: usize) -> impl Strategy<Value = Value> {
    let mark = "[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?";
    // What YAML has words for must come out as strings.
    let value = prop_oneof![
        Just(String::new()),
        mark.prop_map(String::from),
        sample::select(vec!["yes", "1e3", "0x10", "007", "null"]).prop_map(String::from)
    ];
    let labels = btree_map("(example[.]org/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", value, 0..4);
    let selector = sample::select(vec![
        json!({}),
        json!({"disk": "ssd"}),
        json!({"disk": "ssd", "zone": "1"}),
        json!({"disk": "none"}),
    ]);
    let fields = (
        "\\PC{0,24}",
        labels,
        sample::select(vec!["debian", "arm"]),
        0..flavors,
        option::of(sample::select(vec!["laptop", "odd"])),
        option::of(Just("#cloud-config\npassword: hush\n")),
        option::of(Just("edge-1")),
        selector,
        sample::select(vec!["always", "rerun_on_failure", "manual", "halted"]),
        option::of(5_u64..9),
    );
    fields.prop_map(|(description, labels, image, flavor, keypair, user_data, node, selector, strategy, disk)| {
        let mut vm = json!({
            "description": description, "labels": labels, "image": image, "flavor": format!("f{flavor}"),
            "node_selector": selector, "run_strategy": strategy,
        });
        let optional = [("keypair", json!(keypair)), ("user_data", json!(user_data)), ("node", json!(node))];
        let disk = disk.map(|size| ("boot_disk", json!({"size_gib": size})));
        for (field, value) in optional.into_iter().filter(|(_, value)| !value.is_null()).chain(disk) {
            vm[field] = value;
        }
        vm
    })
}

/// A site with two images, all flavors, two keypairs, a labelled node and workers that make VMs real.
async fn rich_site() -> Site {
    let site = Site::new().await;
    site.play_workers();
    for (image, architecture) in [("debian", "x86_64"), ("arm", "aarch64")] {
        let source = json!({"type": "path", "path": format!("/images/{image}.qcow2")});
        let image_request = json!({"name": image, "format": "qcow2", "architecture": architecture, "source": source});
        site.call("POST", "/images", Some(image_request)).await.expect(202);
        site.wait_for_state(&format!("/images/{image}"), "active").await;
    }
    for flavor in flavors() {
        site.call("POST", "/flavors", Some(flavor)).await.expect(201);
    }
    let odd = format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} o'dd: \"#x\" \\", "A".repeat(43));
    site.call("POST", "/keypairs", Some(json!({"name": "laptop"}))).await.expect(201);
    site.call("POST", "/keypairs", Some(json!({"name": "odd", "public_key": odd}))).await.expect(201);
    site.call("PATCH", "/nodes/edge-1", Some(json!({"labels": {"disk": "ssd", "zone": "1"}}))).await.expect(200);
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifest_of_every_sort_of_vm_is_valid_by_kubevirts_schema() {
    let site = rich_site().await;
    let mut runner = TestRunner::deterministic();
    let actions = sample::select(vec!["none", "start", "stop", "restart", "pause"]);
    let cases = (vms(flavors().len()), actions);
    let (mut states, mut strategies) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..96 {
        let (mut vm, action) = cases.new_tree(&mut runner).unwrap().current();
        // Some names are what YAML has other words for.
        let name = ["1e", "0x", "vm-", "0"][number % 4].to_owned() + &number.to_string();
        vm["name"] = json!(name);
        let first = manifest(&site, vm.clone()).await;
        strategies.insert(first["spec"]["runStrategy"].to_string());
        let path = format!("/vms/{name}");
        if action != "none" {
            // What this VM's state has no room for is refused, and the manifest stays as it was.
            let reply = site.call("POST", &format!("{path}/action"), Some(json!({"action": action}))).await;
            assert!([202, 409].contains(&reply.status.as_u16()), "{vm} {action}: {}", reply.status);
        }
        let shown = site.get(&path).await.json();
        if !shown["node"].is_null() {
            site.wait_for_state(&path, shown["target"].as_str().unwrap()).await;
        }
        states.insert(site.get(&path).await.json()["state"].as_str().unwrap().to_owned());
        read_manifest(&site, &name).await;
        // One that was never placed is gone at once.
        let removed = site.call("DELETE", &path, None).await.status.as_u16();
        assert!([202, 204].contains(&removed), "{removed}");
    }
    for state in ["pending", "running", "paused", "stopped"] {
        assert!(states.contains(state), "no VM was {state}: {states:?}");
    }
    assert_eq!(strategies.len(), 4, "{strategies:?}");
}

#[tokio::test]
async fn a_manifest_with_a_field_that_kubevirt_does_not_know_is_noticed() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let mut manifest = manifest(&site, json!({"name": "web", "image": "debian", "flavor": "small"})).await;
    manifest["spec"]["template"]["spec"]["domain"]["cpu"]["vcpus"] = json!(1);
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!("60");
    let complaints = edgestack_kubevirt::complaints(&manifest);
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}
