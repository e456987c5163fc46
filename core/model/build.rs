//! Tells the program which model it has: rows and snapshots hold the model's own types, so those that another one wrote are
//! not believed, whatever version it calls itself.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let sources = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("src");
    println!("cargo::rerun-if-changed={}", sources.display());
    let mut fingerprint = 0xcbf2_9ce4_8422_2325;
    add(&mut fingerprint, &sources)?;
    println!("cargo::rustc-env=EDGESTACK_MODEL_SOURCES={fingerprint:016x}");
    Ok(())
}

/// FNV-1a over names and contents, in order of name.
fn add(fingerprint: &mut u64, path: &Path) -> io::Result<()> {
    let mut add_bytes = |bytes: &[u8]| {
        for byte in bytes {
            *fingerprint = (*fingerprint ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add_bytes(path.file_name().unwrap_or_default().as_encoded_bytes());
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries.iter().try_for_each(|entry| add(fingerprint, &entry.path()));
    }
    add_bytes(&fs::read(path)?);
    Ok(())
}
