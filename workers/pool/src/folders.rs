//! Where a node keeps what its pools make. Every name carries the resource's id.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use edgestack_model::{Id, image::Image, vm::Vm, volume::Volume};

/// The folders of a node, below its state folder.
#[derive(Clone, Debug)]
pub struct NodeFolders {
    root: PathBuf,
}

impl NodeFolders {
    /// The folders below a state folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names in one of the folders, none where it was not made yet. What is not UTF-8 is not of ours.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names_in(folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    /// Stored images.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// An image's stored file; its format is in the log.
    pub fn image(&self, id: Id<Image>) -> PathBuf {
        self.images().join(id.to_string())
    }

    /// What is written down of a stored image: [`edgestack_model::orphan::ImageRecord`] as JSON.
    pub fn image_record(&self, id: Id<Image>) -> PathBuf {
        self.images().join(format!("{id}.json"))
    }

    /// Uploads that the API has received whole, by image id.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// An image's upload.
    pub fn upload(&self, id: Id<Image>) -> PathBuf {
        self.uploads().join(id.to_string())
    }

    /// Volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// A volume's qcow2 file.
    pub fn volume(&self, id: Id<Volume>) -> PathBuf {
        self.volumes().join(format!("{id}.qcow2"))
    }

    /// Folders of VMs.
    pub fn vms(&self) -> PathBuf {
        self.root.join("vms")
    }

    /// A VM's folder: sockets, seed, console log, the record of its process.
    pub fn vm(&self, id: Id<Vm>) -> PathBuf {
        self.vms().join(id.to_string())
    }

    /// What is written down of a VM: [`edgestack_model::orphan::VmRecord`] as JSON.
    pub fn vm_record(&self, id: Id<Vm>) -> PathBuf {
        self.vm(id).join("record.json")
    }
}
