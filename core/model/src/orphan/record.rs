//! What a node writes down of a resource beside what it made for it, so that it can be adopted by a log that doesn't
//! know it: one restored from an older backup, or one that has forgotten it by force.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Id, Name,
    flavor::{Flavor, Shape},
    image::{Image, ImageContent, ImageSpec},
    vm::{NicSpec, RunStrategy, Vm, VmKey},
    volume::Volume,
};

/// The longest record in a report, in bytes of its JSON; a longer one is left out, and its resource can't be adopted.
/// So the commit of a report stays below the largest that the log takes.
pub const RECORD_BYTES_MAX: usize = 3 << 10;

/// What is written down of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "of", content = "is", rename_all = "snake_case")]
pub enum Record {
    /// Of a VM, beside its folder.
    Vm(Box<VmRecord>),
    /// Of an image, beside its file.
    Image(Box<ImageRecord>),
}

/// A VM as it was when its process was last started. Its user data is not among it: it may hold secrets, and the guest
/// has had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmRecord {
    /// Its name.
    pub name: Name,
    /// The image below its root disk.
    pub image: Id<Image>,
    /// The flavor that it was made with.
    pub flavor: Id<Flavor>,
    /// Its size.
    pub shape: Shape,
    /// The key that was let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keypair: Option<VmKey>,
    /// What follows when it stops by itself.
    pub run_strategy: RunStrategy,
    /// Its root disk.
    pub root_volume: Id<Volume>,
    /// Its NIC's address.
    pub mac: String,
    /// The loopback port that leads to the guest's port 22.
    pub ssh_port: u16,
    /// Its NICs on networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<NicSpec>,
}

/// An image as it was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageRecord {
    /// Its name.
    pub name: Name,
    /// What was asked for.
    pub spec: ImageSpec,
    /// What was found in it.
    pub content: ImageContent,
}

impl VmRecord {
    /// The record of a VM; `None` while it has no place.
    pub fn of(vm: &Vm) -> Option<Self> {
        let placement = vm.placement.as_ref()?;
        Some(Self {
            name: vm.meta.name.clone(),
            image: vm.spec.image,
            flavor: vm.spec.flavor,
            shape: vm.spec.shape,
            keypair: vm.spec.keypair.clone(),
            run_strategy: vm.spec.run_strategy,
            root_volume: placement.root_volume,
            mac: placement.mac.clone(),
            ssh_port: placement.ssh_port,
            nics: vm.nics_staying().map(|nic| nic.spec.clone()).collect(),
        })
    }
}

impl Record {
    /// Whether it is short enough for a report.
    pub fn fits(&self) -> bool {
        serde_json::to_vec(self).is_ok_and(|json| json.len() <= RECORD_BYTES_MAX)
    }

    /// What it is of, in words: `vm "web-1", 2 vCPUs …`.
    pub fn describe(&self) -> String {
        match self {
            Self::Vm(vm) => format!("vm \"{}\", {}", vm.name, vm.shape),
            Self::Image(image) => {
                format!(
                    "image \"{}\", {} of {} bytes",
                    image.name,
                    image.spec.format.as_str(),
                    image.content.size_bytes
                )
            }
        }
    }
}
