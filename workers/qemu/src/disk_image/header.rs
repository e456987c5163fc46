//! What an image's first bytes say, read by ourselves: before any tool opens an image that a user gave, it is known to
//! be one that names no other file. QEMU docs/interop/qcow2.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::ImageError;
use crate::machine::DiskFormat;

/// The header's length that version 3 guarantees.
const HEADER_BYTES: usize = 104;
/// Longest name of a backing file that the format allows.
const BACKING_NAME_MAX: u32 = 1023;
/// Incompatible features: 0 dirty, 1 corrupt, 2 external data file, 3 compression type, 4 extended L2 entries.
const FEATURE_CORRUPT: u64 = 1 << 1;
const FEATURE_DATA_FILE: u64 = 1 << 2;
const FEATURES_KNOWN: u64 = 0b1_1111;

/// The first bytes of formats that QEMU reads and we don't take: as a raw disk they'd boot nothing.
const OTHER_FORMATS: [(&str, &[u8]); 9] = [
    ("vmdk", b"KDMV"),
    ("vmdk", b"# Disk DescriptorFile"),
    ("vhdx", b"vhdxfile"),
    ("vhd", b"conectix"),
    ("qed", b"QED\0"),
    ("luks", b"LUKS\xba\xbe"),
    ("gzip", b"\x1f\x8b\x08"),
    ("xz", b"\xfd7zXZ\0"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
];

/// The parts of a qcow2 header that matter to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Qcow2Header {
    pub(super) virtual_size_bytes: u64,
    pub(super) cluster_bytes: u64,
    /// The name of the image below, as the header has it.
    pub(super) backing: Option<String>,
    pub(super) encrypted: bool,
    pub(super) incompatible_features: u64,
}

pub(super) enum Header {
    Raw,
    Qcow2(Qcow2Header),
}

/// An image's format by its magic: qcow2, else raw, unless it is a format that we don't take.
pub fn detect_format(path: &Path) -> Result<DiskFormat, ImageError> {
    match read_header(path)? {
        Header::Raw => Ok(DiskFormat::Raw),
        Header::Qcow2(_) => Ok(DiskFormat::Qcow2),
    }
}

pub(super) fn read_header(path: &Path) -> Result<Header, ImageError> {
    let io_error = |source| ImageError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mut start = Vec::new();
    (&file).take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(io_error)?;
    if let Some((format, _)) = OTHER_FORMATS.iter().find(|(_, magic)| start.starts_with(magic)) {
        return Err(ImageError::Format { path: path.to_owned(), format: (*format).to_owned() });
    }
    if !start.starts_with(b"QFI\xfb") {
        return Ok(Header::Raw);
    }
    start.resize(HEADER_BYTES, 0);
    let word = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    let damaged = |what: &str| ImageError::Damaged { path: path.to_owned(), what: what.to_owned() };

    let version = word(4);
    if !(2..=3).contains(&version) {
        let format = format!("qcow2 version {version}");
        return Err(ImageError::Format { path: path.to_owned(), format });
    }
    let cluster_bits = word(20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(damaged("its cluster size is out of range"));
    }
    let (backing_offset, backing_length) = (long(8), word(16));
    let backing = match backing_offset {
        0 => None,
        _ if backing_length > BACKING_NAME_MAX => {
            return Err(damaged("the name of its backing file is too long"));
        }
        offset => {
            let mut name = vec![0; backing_length as usize];
            file.read_exact_at(&mut name, offset).map_err(io_error)?;
            Some(String::from_utf8_lossy(&name).into_owned())
        }
    };
    Ok(Header::Qcow2(Qcow2Header {
        virtual_size_bytes: long(24),
        cluster_bytes: 1 << cluster_bits,
        backing,
        encrypted: word(32) != 0,
        incompatible_features: if version == 2 { 0 } else { long(72) },
    }))
}

impl Qcow2Header {
    /// Refuses what could make a tool open another file or what can't be read without a key.
    pub(super) fn refuse_foreign(&self, path: &Path) -> Result<(), ImageError> {
        let path = path.to_owned();
        if self.incompatible_features & FEATURE_DATA_FILE != 0 {
            return Err(ImageError::DataFile { path });
        }
        if self.encrypted {
            return Err(ImageError::Encrypted { path });
        }
        if self.incompatible_features & !FEATURES_KNOWN != 0 {
            let format = format!("qcow2 with unknown features {:#x}", self.incompatible_features);
            return Err(ImageError::Format { path, format });
        }
        if self.incompatible_features & FEATURE_CORRUPT != 0 {
            return Err(ImageError::Damaged { path, what: "it is marked as corrupt".to_owned() });
        }
        Ok(())
    }

    /// As [`Self::refuse_foreign`], and refuses an image below.
    pub(super) fn refuse_unsafe(&self, path: &Path) -> Result<(), ImageError> {
        match &self.backing {
            Some(backing) => Err(ImageError::BackingFile { path: path.to_owned(), backing: backing.clone() }),
            None => self.refuse_foreign(path),
        }
    }
}

/// Free bytes of the file system that holds `path`'s folder, for those without privileges.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
