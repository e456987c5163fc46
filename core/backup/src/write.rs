//! Making a backup, piece by piece.

use std::io::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::{End, Manifest, SigningKey, signed};

/// zstd's level: the default, as for the archive's segments.
const LEVEL: i32 = 3;

/// Makes a backup; what is ready is taken out on the way, so that none of it need be in memory as a whole.
pub struct Writer {
    packer: zstd::Encoder<'static, Vec<u8>>,
    hasher: Sha256,
    commits: u64,
    key: SigningKey,
}

impl Writer {
    /// Begins one.
    ///
    /// # Errors
    /// zstd's.
    pub fn begin(manifest: &Manifest, key: SigningKey) -> io::Result<Self> {
        let mut packer = zstd::Encoder::new(Vec::new(), LEVEL)?;
        packer.include_checksum(true)?;
        let mut writer = Self { packer, hasher: Sha256::new(), commits: 0, key };
        writer.line(&serde_json::to_vec(manifest)?)?;
        Ok(writer)
    }

    /// Adds the next commit, as the log has it.
    ///
    /// # Errors
    /// zstd's.
    pub fn commit(&mut self, payload: &[u8]) -> io::Result<()> {
        self.commits += 1;
        self.line(payload)
    }

    /// The bytes that are ready.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.packer.get_mut())
    }

    /// Ends it, and gives the rest of its bytes.
    ///
    /// # Errors
    /// zstd's.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        let Self { mut packer, hasher, commits, key } = self;
        let sha256: [u8; 32] = hasher.finalize().into();
        let end = End { end: commits, sha256: hex::encode(sha256), signature: key.sign(&signed(&sha256)) };
        packer.write_all(&serde_json::to_vec(&end)?)?;
        packer.write_all(b"\n")?;
        packer.finish()
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        for bytes in [line, b"\n"] {
            self.hasher.update(bytes);
            self.packer.write_all(bytes)?;
        }
        Ok(())
    }
}
