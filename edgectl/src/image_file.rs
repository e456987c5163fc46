//! What a local file is, by its first bytes, before gigabytes of it are sent.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use edgestack_wire::image::DiskFormat;

use crate::{failure::Failure, image::FormatArg};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its format, or the one that the user insists on.
    pub format: DiskFormat,
    /// Its length, bytes.
    pub length: u64,
}

/// As much as has a mark that is known here: an ISO 9660 volume's is at 32,769.
const HEAD_LENGTH: u64 = 32_774;

/// Looks into a file; a format that the user names is believed.
///
/// # Errors
/// The file cannot be read, is empty, or is nothing that a VM could start from.
pub fn inspect(path: &Path, insisted: Option<FormatArg>) -> Result<Found, Failure> {
    let length = length(path)?;
    let format = match insisted {
        Some(format) => format.into(),
        None => {
            let mut head = Vec::new();
            File::open(path)
                .and_then(|file| file.take(HEAD_LENGTH).read_to_end(&mut head))
                .map_err(|source| unreadable(path, source))?;
            format_of(&head).map_err(|why| Failure::Failed(format!("{} {why}", path.display())))?
        }
    };
    Ok(Found { format, length })
}

/// A regular file's length, bytes.
///
/// # Errors
/// There is no such file, or it is empty.
pub fn length(path: &Path) -> Result<u64, Failure> {
    let meta = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !meta.is_file() {
        return Err(unreadable(path, io::Error::other("it is not a regular file")));
    }
    if meta.len() == 0 {
        return Err(Failure::Failed(format!("{} is empty", path.display())));
    }
    Ok(meta.len())
}

fn unreadable(path: &Path, source: io::Error) -> Failure {
    Failure::File { doing: "read", path: path.to_owned(), source }
}

/// The format of a file that begins so. Sources of the marks: QEMU
/// docs/interop/qcow2.txt; the file formats' own specifications, as `file(1)` knows them.
fn format_of(head: &[u8]) -> Result<DiskFormat, String> {
    let at = |offset: usize, mark: &[u8]| head.get(offset..offset + mark.len()) == Some(mark);
    if at(0, b"QFI\xfb") {
        return Ok(DiskFormat::Qcow2);
    }
    let others: [(usize, &[u8], &str); 5] = [
        (0, b"KDMV", "VMDK"),
        (0, b"vhdxfile", "VHDX"),
        (0, b"conectix", "VHD"),
        (0x40, b"\x7f\x10\xda\xbe", "VDI"),
        (0, b"QED\0", "QED"),
    ];
    if let Some((_, _, name)) = others.iter().find(|(offset, mark, _)| at(*offset, mark)) {
        return Err(format!("is a {name} disk; convert it first: qemu-img convert -O qcow2 FILE image.qcow2"));
    }
    let packed: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gunzip"), (b"\xfd7zXZ\0", "unxz"), (b"\x28\xb5\x2f\xfd", "unzstd"), (b"BZh", "bunzip2")];
    if let Some((_, tool)) = packed.iter().find(|(mark, _)| at(0, mark)) {
        return Err(format!("is compressed; unpack it first: {tool} FILE"));
    }
    // A boot sector (MBR, also before a GPT), or a bootable CD's volume.
    if at(510, b"\x55\xaa") || at(32_769, b"CD001") {
        return Ok(DiskFormat::Raw);
    }
    Err("looks like no disk: neither qcow2 nor a boot sector; if it is a raw disk all the same, say --format raw"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format_or_what_to_do() {
        let mut boot_sector = vec![0; 512];
        boot_sector[510..].copy_from_slice(b"\x55\xaa");
        assert_eq!(format_of(b"QFI\xfb\0\0\0\x03"), Ok(DiskFormat::Qcow2));
        assert_eq!(format_of(&boot_sector), Ok(DiskFormat::Raw));
        for (head, fix) in [
            (&b"KDMV...."[..], "qemu-img convert"),
            (b"\x1f\x8b\x08", "gunzip"),
            (b"\xfd7zXZ\0", "unxz"),
            (b"<!doctype html>", "--format raw"),
            (b"", "--format raw"),
        ] {
            let error = format_of(head).unwrap_err();
            assert!(error.contains(fix), "{error}");
        }
    }

    #[test]
    fn the_users_word_on_the_format_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        assert!(inspect(&path, Some(FormatArg::Raw)).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(inspect(&path, Some(FormatArg::Raw)).is_err());
        std::fs::write(&path, "abc").unwrap();
        let found = inspect(&path, Some(FormatArg::Raw)).unwrap();
        assert_eq!((found.format, found.length), (DiskFormat::Raw, 3));
        assert!(inspect(&path, None).is_err());
    }
}
