//! What lies on nodes and no log of this site knows, as after the log was restored from an older backup.

use edgestack_model::{
    Id,
    flavor::Shape,
    image::DiskFormat,
    orphan::{Artifact, ArtifactKind, VmRecord},
    vm::RunStrategy,
};
use edgestack_worker_storage::driver::{RootDisk, StorageDriver as _};
use edgestack_worker_vm::driver::{StartSpec, VmDriver as _};
use uuid::Uuid;

use crate::{
    fault::Fault,
    outside::{Node, Outside},
};

impl Outside {
    /// Leaves a VM or a disk with its image on a node.
    pub async fn plant(&self, node: &Node) {
        self.faults.fired(Fault::OrphanLeft);
        let id = |part: u64| {
            Uuid::from_u128(0xfeed << 112 | u128::from(self.random.below(u64::MAX - 2)) << 8 | u128::from(part))
        };
        let (first, second) = (id(1), id(2));
        self.planted.lock().unwrap().extend([first, second]);
        if self.random.per_mille(500) {
            let spec = StartSpec {
                id: Id::new(first),
                name: "unknown".into(),
                vcpus: 1,
                memory_mib: 32,
                root_volume: Id::new(second),
                image: Id::new(second),
                image_format: DiskFormat::Raw,
                mac: String::new(),
                nics: vec![],
                ssh_port: 1,
                public_keys: vec![],
                user_data: None,
                record: VmRecord {
                    name: "unknown".parse().unwrap(),
                    image: Id::new(second),
                    flavor: Id::new(second),
                    shape: Shape {
                        vcpus: 1,
                        memory_mib: 32,
                        disk_gib: 1,
                        dedicated_cpus: false,
                        huge_pages: None,
                        numa_nodes: None,
                    },
                    keypair: None,
                    run_strategy: RunStrategy::Manual,
                    root_volume: Id::new(second),
                    mac: String::new(),
                    ssh_port: 1,
                    nics: vec![],
                },
            };
            node.machines.start(&spec).await.unwrap();
        } else {
            let (volume, image) = (Id::new(first), Id::new(second));
            let disk = RootDisk { volume, image, image_format: DiskFormat::Raw, size_gib: 1 };
            node.disks.create_root_disk(disk).await.unwrap();
        }
    }

    /// Somebody clears away what was left on a node.
    pub async fn clear_away(&self, node: &Node) {
        for artifact in on(node).await {
            if self.planted.lock().unwrap().contains(&artifact.id) {
                match artifact.kind {
                    ArtifactKind::VmFolder | ArtifactKind::VmProcess => {
                        node.machines.release(Id::new(artifact.id)).await.unwrap();
                    }
                    ArtifactKind::Volume => {
                        node.disks.remove_volume(Id::new(artifact.id)).await.unwrap();
                        node.volumes.lock().unwrap().remove(&Id::new(artifact.id));
                    }
                    ArtifactKind::Image => node.disks.remove_image(Id::new(artifact.id)).await.unwrap(),
                    ArtifactKind::Upload | ArtifactKind::UnfinishedUpload => {}
                }
            }
        }
    }
}

/// Everything that lies and runs on a node.
pub async fn on(node: &Node) -> Vec<Artifact> {
    let mut all = node.machines.artifacts().await.unwrap();
    all.extend(node.disks.artifacts().await.unwrap());
    all
}
