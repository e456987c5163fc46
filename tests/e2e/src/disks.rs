//! Disks that boot without an operating system.

use std::path::Path;

/// `sti; hlt; jmp`: idles for ever, deaf to the power button.
pub const TINY: &[u8] = &[0xfb, 0xf4, 0xeb, 0xfd];

/// Powers itself off by ACPI at once: writes SLP_EN and S5 (0x2000) to q35's PM1a control port (0x604).
pub const POWERS_OFF: &[u8] = &[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];

/// Writes "hello" to the first serial port, then idles.
pub const SPEAKS: &[u8] = &[
    0xba, 0xf8, 0x03, 0xb0, b'h', 0xee, 0xb0, b'e', 0xee, 0xb0, b'l', 0xee, 0xb0, b'l', 0xee, 0xb0, b'o', 0xee, 0xb0,
    b'\n', 0xee, 0xfb, 0xf4, 0xeb, 0xfd,
];

/// Writes a raw disk of 1 MiB that a PC's firmware loads `code` from.
pub fn write_boot_disk(path: &Path, code: &[u8]) {
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(code);
    // The signature of a boot sector.
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(path, disk).expect("a disk");
}
