//! VMs of a site, and what there is of them on the disk.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{PATIENCE, Site, eventually, processes, site::control_groups};

impl Site {
    /// Asks for a VM of the tiny image and flavor.
    pub async fn create_tiny(&self, name: &str) -> Value {
        self.create(name, &json!({})).await
    }

    /// Asks for a VM of the tiny flavor, with some fields of its own.
    pub async fn create(&self, name: &str, fields: &Value) -> Value {
        let mut vm = json!({"name": name, "image": "tiny", "flavor": "tiny"});
        for (field, value) in fields.as_object().expect("an object") {
            vm[field] = value.clone();
        }
        self.api().post("vms", &vm).await.accepted()
    }

    /// Waits for a state of a VM.
    pub async fn await_vm(&self, name: &str, state: &str) -> Value {
        self.await_vm_within(name, state, PATIENCE).await
    }

    /// Waits for a state of a VM, so long.
    pub async fn await_vm_within(&self, name: &str, state: &str, within: Duration) -> Value {
        self.await_vm_that(&format!("VM {name} is {state}"), name, within, |vm| vm["state"] == state).await
    }

    /// Waits until something is true of a VM.
    pub async fn await_vm_that(
        &self,
        what: &str,
        name: &str,
        within: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(what, within, async || {
            let reply = self.api().look(&format!("vms/{name}")).await.map_err(|error| error.to_string())?;
            let vm = reply.json();
            if holds(&vm) { Ok(vm) } else { Err(reply.text) }
        })
        .await
    }

    /// Waits until a VM is gone.
    pub async fn await_no_vm(&self, name: &str) {
        eventually(&format!("VM {name} is gone"), PATIENCE, async || {
            let reply = self.api().look(&format!("vms/{name}")).await.map_err(|error| error.to_string())?;
            if reply.status == 404 { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }

    /// Waits for an event of a VM.
    pub async fn await_event(&self, vm: &str, event_type: &str, within: Duration) -> Value {
        eventually(&format!("{event_type} of {vm}"), within, async || {
            let reply =
                self.api().look(&format!("vms/{vm}/events?limit=1000")).await.map_err(|error| error.to_string())?;
            let events = reply.json()["items"].as_array().cloned().unwrap_or_default();
            events.into_iter().rev().find(|event| event["type"] == event_type).ok_or(reply.text)
        })
        .await
    }

    /// The process that runs a VM, by what it shows.
    pub fn pid_of(vm: &Value) -> u32 {
        vm["instance"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a running VM")
    }

    /// Ids of the VMs that have a folder.
    pub fn vm_folders(&self) -> Vec<String> {
        names_in(self.state().join("vms"))
    }

    /// Files of volumes.
    pub fn volume_files(&self) -> Vec<String> {
        names_in(self.state().join("volumes"))
    }

    /// Files of images: their content, and empty overlays of some sizes ready to be copied.
    pub fn image_files(&self) -> Vec<String> {
        names_in(self.state().join("images"))
    }

    /// Ids of the images that have content.
    pub fn stored_images(&self) -> Vec<String> {
        self.image_files().into_iter().filter(|name| !name.contains('.')).collect()
    }

    /// Waits until there is nothing of any VM: no process, overlay, socket, seed, folder or control group.
    pub async fn await_nothing_left(&self, vm_ids: &[&str]) {
        eventually("nothing is left of the VM", PATIENCE, async || {
            let mut left: Vec<String> = processes::qemus(&self.state())
                .iter()
                .map(|process| format!("QEMU with process id {}", process.pid))
                .collect();
            left.extend(self.vm_folders().into_iter().map(|name| format!("vms/{name}")));
            left.extend(self.volume_files().into_iter().map(|name| format!("volumes/{name}")));
            let groups = vm_ids.iter().flat_map(|id| control_groups(id));
            left.extend(groups.map(|group| group.display().to_string()));
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
    }

    /// Makes sure that the disks there are are those of the VMs there are, that no two QEMUs have one disk, and that
    /// nothing was ever taken for an orphan.
    ///
    /// # Panics
    /// When something is left over or shared.
    pub async fn assert_no_orphan(&self) {
        self.assert_one_qemu_a_disk();
        let known = |list: Value| -> Vec<String> {
            let items = list["items"].as_array().expect("a list").clone();
            items.iter().filter_map(|item| item["id"].as_str()).map(str::to_owned).collect()
        };
        let vms = known(self.api().get("vms?limit=1000").await);
        let volumes = known(self.api().get("volumes?limit=1000").await);
        let images = known(self.api().get("images?limit=1000").await);
        for folder in self.vm_folders() {
            assert!(vms.contains(&folder), "an orphan: vms/{folder}");
        }
        for file in self.volume_files() {
            let id = file.strip_suffix(".qcow2").unwrap_or_else(|| panic!("a leftover: volumes/{file}"));
            assert!(volumes.iter().any(|volume| volume == id), "an orphan: volumes/{file}");
        }
        let history = self.api().get("nodes/n1/events?limit=1000").await;
        let events = history["items"].as_array().expect("a list");
        let false_orphan = events.iter().find(|event| event["type"] == "NodeOrphanFound");
        assert_eq!(false_orphan, None, "no orphan");
        for file in self.image_files() {
            // An image has its content, its record, and empty overlays of some sizes ready to be copied.
            let (id, _) = file.split_once(".blank-").unwrap_or((&file, ""));
            let id = id.strip_suffix(".json").unwrap_or(id);
            assert!(images.iter().any(|image| image == id), "an orphan: images/{file}");
        }
    }

    /// Makes sure that no two QEMUs have one disk.
    ///
    /// # Panics
    /// When two have.
    pub fn assert_one_qemu_a_disk(&self) {
        let mut users: BTreeMap<PathBuf, Vec<u32>> = BTreeMap::new();
        for qemu in processes::qemus(&self.state()) {
            for volume in processes::volumes_of(&qemu) {
                users.entry(volume).or_default().push(qemu.pid);
            }
        }
        for (volume, pids) in users {
            assert_eq!(pids.len(), 1, "{} is used by QEMUs {pids:?}", volume.display());
        }
    }
}

fn names_in(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
