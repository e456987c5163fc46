//! A cloud-init seed: the NoCloud data source as a small FAT disk with the label `CIDATA`.
//! cloud-init docs/reference/datasources/nocloud, network-config-format-v2.
//!
//! Equal input makes equal bytes, so a seed can be made again after a crash and compared.

use std::io::{self, Cursor, Write as _};
use std::path::Path;

use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use serde_json::{Map, Value, json};

use crate::durable::write_atomically;

/// The most user data a seed holds, bytes. cloud-init has no bound for NoCloud; EC2's is 16 KiB.
pub const USER_DATA_BYTES_MAX: usize = 1 << 20;

const SECTOR: usize = 512;
/// Room for the file system itself and the small files.
const OVERHEAD_BYTES: usize = 256 << 10;

/// What a guest is told at its first boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The guest runs its first boot's steps again when this differs from the last time.
    pub instance_id: String,
    /// The guest's host name.
    pub hostname: String,
    /// SSH public keys for the image's default user, one line each.
    pub public_keys: Vec<String>,
    /// User data as the user gave it, of any type that cloud-init knows; `None` for a plain default.
    pub user_data: Option<Vec<u8>>,
    /// The network interfaces to bring up.
    pub nics: Vec<SeedNic>,
}

/// A network interface, known by its MAC address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedNic {
    /// The MAC address.
    pub mac: String,
    /// Whether to ask for an IPv4 address.
    pub dhcp4: bool,
    /// Whether to ask for an IPv6 address by DHCP (router advertisements are used anyway).
    pub dhcp6: bool,
    /// Addresses to take without asking, each with its prefix length, `10.0.0.2/24`.
    pub addresses: Vec<String>,
    /// Routers by which all else is reached, where nobody tells them.
    pub gateways: Vec<String>,
    /// Name servers to ask, where nobody tells them.
    pub name_servers: Vec<String>,
    /// The domain in which short names are looked up.
    pub search: Option<String>,
    /// The largest packet, bytes.
    pub mtu: Option<u16>,
}

impl SeedNic {
    /// One that asks for its IPv4 address.
    pub fn by_dhcp(mac: impl Into<String>) -> Self {
        Self {
            mac: mac.into(),
            dhcp4: true,
            dhcp6: false,
            addresses: vec![],
            gateways: vec![],
            name_servers: vec![],
            search: None,
            mtu: None,
        }
    }
}

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// More user data than a seed holds. Trying again is of no use.
    #[error("user data has {bytes} bytes; {USER_DATA_BYTES_MAX} are the most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The file system could not be made or written.
    #[error("the cloud-init seed can't be written")]
    Write(#[source] io::Error),
}

/// The disk, in memory.
pub fn seed_image(seed: &Seed) -> Result<Vec<u8>, SeedError> {
    let user_data = seed.user_data.as_deref().unwrap_or(DEFAULT_USER_DATA);
    if user_data.len() > USER_DATA_BYTES_MAX {
        return Err(SeedError::TooLong { bytes: user_data.len() });
    }
    let files = [
        ("meta-data", meta_data(seed).into_bytes()),
        ("user-data", user_data.to_vec()),
        ("network-config", network_config(seed).into_bytes()),
    ];
    let content: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let size = (content + OVERHEAD_BYTES).next_multiple_of(SECTOR);
    build(vec![0; size], &files).map_err(SeedError::Write)
}

/// Writes the disk to `path`, whole or not at all, for its owner's eyes only: user data may hold secrets.
pub fn write_seed(path: &Path, seed: &Seed) -> Result<(), SeedError> {
    write_atomically(path, &seed_image(seed)?, 0o600).map_err(SeedError::Write)
}

fn build(image: Vec<u8>, files: &[(&str, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut disk = Cursor::new(image);
    let options = FormatVolumeOptions::new().volume_label(*b"CIDATA     ").volume_id(0xed6e_57ac);
    fatfs::format_volume(&mut disk, options)?;
    let options = FsOptions::new().time_provider(&FIXED_TIME).update_accessed_date(false);
    let file_system = FileSystem::new(&mut disk, options)?;
    for (name, bytes) in files {
        let mut file = file_system.root_dir().create_file(name)?;
        file.write_all(bytes)?;
        file.flush()?;
    }
    file_system.unmount()?;
    Ok(disk.into_inner())
}

/// What a user who gives nothing gets: the key's user, no passwords, a name that resolves.
const DEFAULT_USER_DATA: &[u8] =
    b"#cloud-config\n{\"disable_root\": true, \"manage_etc_hosts\": \"localhost\", \"ssh_pwauth\": false}\n";

/// JSON is YAML, with a quoting that has no surprises.
fn meta_data(seed: &Seed) -> String {
    let mut data = json!({"instance-id": seed.instance_id, "local-hostname": seed.hostname});
    if !seed.public_keys.is_empty() {
        data["public-keys"] = seed.public_keys.iter().map(|key| key.trim()).collect();
    }
    format!("{data}\n")
}

fn network_config(seed: &Seed) -> String {
    let interface = |nic: &SeedNic| {
        let mut config = json!({
            "match": {"macaddress": nic.mac.to_lowercase()},
            "dhcp4": nic.dhcp4,
            "dhcp6": nic.dhcp6,
        });
        if !nic.addresses.is_empty() {
            config["addresses"] = json!(nic.addresses);
        }
        if !nic.gateways.is_empty() {
            config["routes"] = nic.gateways.iter().map(|via| json!({"to": "default", "via": via})).collect();
        }
        if !nic.name_servers.is_empty() {
            config["nameservers"]["addresses"] = json!(nic.name_servers);
        }
        if let Some(domain) = &nic.search {
            config["nameservers"]["search"] = json!([domain]);
        }
        if let Some(mtu) = nic.mtu {
            config["mtu"] = mtu.into();
        }
        config
    };
    let ethernets: Map<String, Value> =
        seed.nics.iter().enumerate().map(|(at, nic)| (format!("nic{at}"), interface(nic))).collect();
    format!("{}\n", json!({"version": 2, "ethernets": ethernets}))
}

#[derive(Debug)]
struct FixedTime;

static FIXED_TIME: FixedTime = FixedTime;

impl TimeProvider for FixedTime {
    fn get_current_date(&self) -> Date {
        Date { year: 2020, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time { hour: 0, min: 0, sec: 0, millis: 0 };
        DateTime { date: self.get_current_date(), time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn a_seed() -> Seed {
        Seed {
            instance_id: "0190d2b4".into(),
            hostname: "no: \"yes\" # €".into(),
            public_keys: vec!["ssh-ed25519 AAAA me@here\n".into()],
            user_data: None,
            nics: vec![SeedNic::by_dhcp("52:54:00:AB:34:56")],
        }
    }

    fn read(image: &[u8], name: &str) -> Vec<u8> {
        let disk = Cursor::new(image.to_vec());
        let file_system = FileSystem::new(disk, FsOptions::new()).expect("a file system");
        let mut bytes = Vec::new();
        let mut file = file_system.root_dir().open_file(name).expect("a file");
        file.read_to_end(&mut bytes).expect("readable");
        bytes
    }

    #[test]
    fn equal_input_makes_equal_bytes_whenever_it_is_made() {
        let image = seed_image(&a_seed()).expect("made");
        assert!(image == seed_image(&a_seed()).expect("made"));
        let disk = FileSystem::new(Cursor::new(image), FsOptions::new()).expect("a file system");
        for entry in disk.root_dir().iter() {
            let entry = entry.expect("readable");
            assert_eq!(entry.created(), FIXED_TIME.get_current_date_time());
            assert_eq!(entry.modified(), FIXED_TIME.get_current_date_time());
            assert_eq!(entry.accessed(), FIXED_TIME.get_current_date());
        }
    }

    #[test]
    fn names_are_whole_and_values_survive_quoting() {
        let image = seed_image(&a_seed()).expect("made");
        let meta: Value = serde_json::from_slice(&read(&image, "meta-data")).expect("JSON");
        assert_eq!(meta["local-hostname"], "no: \"yes\" # €");
        assert_eq!(meta["public-keys"], json!(["ssh-ed25519 AAAA me@here"]));
        let network: Value = serde_json::from_slice(&read(&image, "network-config")).expect("JSON");
        assert_eq!(network["ethernets"]["nic0"]["match"]["macaddress"], "52:54:00:ab:34:56");
        assert!(read(&image, "user-data").starts_with(b"#cloud-config\n"));
    }

    #[test]
    fn user_data_reaches_the_guest_unchanged_up_to_its_bound() {
        for bytes in [b"#!/bin/sh\r\necho \xff\0\n".to_vec(), Vec::new(), vec![b'x'; USER_DATA_BYTES_MAX]] {
            let image = seed_image(&Seed { user_data: Some(bytes.clone()), ..a_seed() }).expect("made");
            assert!(read(&image, "user-data") == bytes);
        }
        let more = Seed { user_data: Some(vec![b'x'; USER_DATA_BYTES_MAX + 1]), ..a_seed() };
        assert!(matches!(seed_image(&more), Err(SeedError::TooLong { .. })));
    }

    #[test]
    fn the_label_is_found_by_blkid() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seed.img");
        write_seed(&path, &a_seed()).expect("written");
        // -p looks at the bytes, as udev does for cloud-init.
        let Ok(output) = std::process::Command::new("/usr/sbin/blkid").arg("-p").arg(&path).output() else {
            println!("skipped: the_label_is_found_by_blkid: no blkid");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("LABEL=\"CIDATA\"") && said.contains("TYPE=\"vfat\""), "{said}");
        assert_eq!(std::fs::metadata(&path).map(|file| file.permissions().mode() & 0o777).ok(), Some(0o600));
    }
}
