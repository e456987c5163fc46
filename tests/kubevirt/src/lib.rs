//! Whether a manifest is a KubeVirt `VirtualMachine`, by KubeVirt's own schema and with unknown fields forbidden.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this crate is for tests: a panic is how it fails")]

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

/// Where the schema comes from stands in the README beside it.
static VIRTUAL_MACHINE: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../virtual_machine.schema.json")).expect("JSON");
    jsonschema::draft4::new(&schema).expect("a schema")
});

/// What is wrong with a manifest, each with its place; nothing for a good one.
///
/// The schema doesn't require `apiVersion` and `kind`, which say what else it would be; this does.
pub fn complaints(manifest: &Value) -> Vec<String> {
    let mut complaints: Vec<String> =
        VIRTUAL_MACHINE.iter_errors(manifest).map(|error| format!("{}: {error}", error.instance_path())).collect();
    for (field, wanted) in [("apiVersion", "kubevirt.io/v1"), ("kind", "VirtualMachine")] {
        if manifest[field] != wanted {
            complaints.push(format!("/{field}: is {}, not {wanted:?}", manifest[field]));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": "web", "labels": {"app": "db"}},
            "spec": {"runStrategy": "Always", "template": {"spec": {
                "domain": {
                    "cpu": {"cores": 2},
                    "memory": {"guest": "256Mi"},
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                },
                "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "web-root"}}],
            }}},
        })
    }

    #[test]
    fn a_good_manifest_has_no_complaints() {
        assert_eq!(complaints(&good()), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_wrong_is_told_with_its_place() {
        let domain = "/spec/template/spec/domain";
        for (place, wrong) in [
            ("/apiVersion", json!("kubevirt.io/v1alpha3")),
            ("/kind", json!("VirtualMachineInstance")),
            ("/metadata/labels/app", json!(1)),
            ("/spec/runStrategy", json!(true)),
            ("/spec/template", json!("web")),
            ("/spec/template/spec/volumes", json!({"name": "root"})),
            (&format!("{domain}/cpu/cores"), json!("2")),
            (&format!("{domain}/memory/guest"), json!(["256Mi"])),
        ] {
            let mut manifest = good();
            *manifest.pointer_mut(place).unwrap() = wrong;
            let complaints = complaints(&manifest);
            assert!(complaints.iter().any(|complaint| complaint.starts_with(place)), "{place}: {complaints:?}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_at_every_depth() {
        for place in [
            "",
            "/metadata",
            "/spec",
            "/spec/template/spec",
            "/spec/template/spec/domain/cpu",
            "/spec/template/spec/domain/devices/disks/0",
            "/spec/template/spec/domain/devices/disks/0/disk",
            "/spec/template/spec/volumes/0/persistentVolumeClaim",
        ] {
            let mut manifest = good();
            manifest.pointer_mut(place).unwrap()["vcpus"] = json!(2);
            let complaints = complaints(&manifest);
            assert!(complaints.iter().any(|complaint| complaint.contains("vcpus")), "{place}: {complaints:?}");
        }
    }

    #[test]
    fn a_missing_field_is_told() {
        let mut manifest = good();
        manifest["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"] = json!({});
        assert!(complaints(&manifest).concat().contains("claimName"));
        manifest.as_object_mut().unwrap().remove("spec");
        assert!(complaints(&manifest).concat().contains("spec"));
    }
}
