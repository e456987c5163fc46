//! Files for secrets that are handed out once.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// A secret's file to be: written beside its place, then linked into it, so
/// that it is there whole or not at all, and never in the place of another.
pub struct SecretFile {
    beside: NamedTempFile,
    path: PathBuf,
}

impl SecretFile {
    /// Makes the place, before there is a secret.
    ///
    /// # Errors
    /// There is such a file already, or none can be made.
    pub fn prepare(path: &Path) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Failed(format!(
                "{} exists already and is not overwritten; name another file",
                path.display()
            )));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        // tempfile makes files with mode 0600.
        let beside = NamedTempFile::with_prefix_in(".edgectl-key-", folder)
            .map_err(|source| file_failure("write", path, source))?;
        Ok(Self { beside, path: path.to_owned() })
    }

    /// Puts the secret there.
    ///
    /// # Errors
    /// It can't be written, or the place was taken meanwhile; the error says where the secret is then.
    pub fn keep(mut self, secret: &str) -> Result<PathBuf, Failure> {
        let written = self.beside.write_all(secret.as_bytes()).and_then(|()| self.beside.as_file().sync_all());
        if let Err(source) = written {
            return Err(file_failure("write", &self.path, source));
        }
        match self.beside.persist_noclobber(&self.path) {
            Ok(_) => Ok(self.path),
            Err(refused) => {
                // Someone took the place meanwhile; the secret must not go away with our file.
                let source = refused.error;
                match refused.file.keep() {
                    Ok((_, kept)) => Err(Failure::File {
                        doing: "write",
                        path: self.path,
                        source: std::io::Error::new(
                            source.kind(),
                            format!("{source}; the secret is in {}", kept.display()),
                        ),
                    }),
                    Err(lost) => Err(file_failure("write", &self.path, lost.error)),
                }
            }
        }
    }
}

/// What went wrong with a file.
pub fn file_failure(doing: &'static str, path: &Path, source: std::io::Error) -> Failure {
    Failure::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_written_0600_and_never_over_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let kept = SecretFile::prepare(&path).unwrap().keep("secret\n").unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "secret\n");
        let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = SecretFile::prepare(&path).err().unwrap().to_string();
        assert!(error.contains("not overwritten"), "{error}");
    }

    #[test]
    fn a_secret_whose_place_was_taken_meanwhile_is_kept_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let place = SecretFile::prepare(&path).unwrap();
        std::fs::write(&path, "another").unwrap();
        let error = crate::failure::line(&place.keep("secret").unwrap_err());
        assert!(error.contains(".edgectl-key-"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_unused_place_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        drop(SecretFile::prepare(&folder.path().join("key.pem")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
