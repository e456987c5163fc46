//! Whether somebody else changed the archive's files: a look at what the file system tells of them, once a second. What
//! doesn't show there (a disk that gives other bytes than it was given) is found by the check of the whole.

use std::{collections::BTreeMap, fs, io};

use edgestack_log::Trace;

use crate::{Archive, SEGMENTS};

/// The closed segments in a folder of this machine.
pub(crate) type Traces = BTreeMap<String, Trace>;

impl Archive {
    /// What is there of the closed segments, to compare with later; none where they are elsewhere.
    pub(crate) fn traces(&self) -> io::Result<Option<Traces>> {
        if self.options.elsewhere {
            return Ok(None);
        }
        let mut found = Traces::new();
        let entries = match fs::read_dir(self.folder.join(SEGMENTS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(found)),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".zst")
                && let Some(trace) = Trace::at(&entry.path())?
            {
                found.insert(name, trace);
            }
        }
        Ok(Some(found))
    }

    /// The first file that is not as we left it, if any is: the open segment, or a closed one that was there before.
    pub(crate) async fn touched(&self, before: Option<&Traces>) -> io::Result<Option<String>> {
        if let (Some(before), Some(now)) = (before, self.traces()?)
            && let Some((name, _)) = before.iter().find(|(name, trace)| now.get(*name) != Some(*trace))
        {
            return Ok(Some(format!("{SEGMENTS}/{name}")));
        }
        let inner = self.inner.lock().await;
        Ok((!inner.open.is_as_left()?).then(|| inner.open.path().display().to_string()))
    }
}
