//! A node's folders in a folder of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use edgestack_model::image::ImageSource;
use edgestack_pool::NodeFolders;
use edgestack_worker_storage::driver::LocalDriver;

pub const QEMU_IMG: &str = "/usr/bin/qemu-img";

pub struct Node {
    pub folders: NodeFolders,
    folder: tempfile::TempDir,
}

impl Node {
    /// `None`, after saying so, where there is no qemu-img.
    pub fn new(test: &str) -> Option<Self> {
        if !Path::new(QEMU_IMG).exists() {
            println!("skipped: {test}: no {QEMU_IMG}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let folders = NodeFolders::new(folder.path().join("state"));
        for one in [folders.images(), folders.uploads(), folders.volumes()] {
            fs::create_dir_all(one).unwrap();
        }
        Some(Self { folders, folder })
    }

    pub fn driver(&self) -> LocalDriver {
        LocalDriver::new(self.folders.clone(), Path::new(QEMU_IMG))
    }

    /// Puts things that carry no id of ours into each folder; their names below the state folder.
    pub fn litter(&self) -> Vec<String> {
        let id = "0190d2b4-0000-7000-8000-000000000001";
        let names = ["notes.txt".to_owned(), format!("{id}.bak"), format!("{id}.part.old"), format!("{{{id}}}")];
        let mut litter: Vec<String> = ["images", "uploads", "volumes"]
            .iter()
            .flat_map(|folder| names.iter().map(move |name| format!("{folder}/{name}")))
            .collect();
        litter.sort();
        for name in &litter {
            fs::write(self.folders.root().join(name), "not of ours").unwrap();
        }
        litter
    }

    /// A path beside the node's own folders.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of a user's.
    pub fn file(&self, name: &str, content: &[u8]) -> ImageSource {
        fs::write(self.path(name), content).unwrap();
        self.source(name)
    }

    pub fn source(&self, name: &str) -> ImageSource {
        ImageSource::Path { path: self.path(name).to_str().unwrap().to_owned() }
    }

    /// What lies in the node's folders.
    pub fn kept(&self) -> Vec<String> {
        let mut kept = Vec::new();
        for folder in ["images", "uploads", "volumes"] {
            for entry in fs::read_dir(self.folders.root().join(folder)).unwrap() {
                kept.push(format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()));
            }
        }
        kept.sort();
        kept
    }
}

/// Runs a tool; whether it succeeded.
pub fn tool(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output().unwrap();
    if !output.status.success() {
        println!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}
