use serde_json::{Value, json};

use crate::site::Site;

async fn manifest(site: &Site, vm: Value) -> Value {
    let name = vm["name"].as_str().unwrap().to_owned();
    site.call("POST", "/vms", Some(vm)).await.expect(202);
    let path = format!("/vms/{name}/manifest");
    let accept = [("accept", "application/json")];
    let as_json = site.call_with("GET", &path, &accept, None).await.expect(200).json();
    let yaml = site.get(&path).await.expect(200);
    assert_eq!(yaml.header("content-type"), "application/yaml");
    let parsed: Value = serde_norway::from_slice(&yaml.body).unwrap();
    assert_eq!(parsed, as_json);
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
