//! The upload folder belongs to the process with the role api: it alone writes
//! there, so it knows which uploads run, and removes what broke off (law 9).
//!
//! What is removed is for the model to say ([`orphan::treatment`]): a `.part` that
//! no upload of this process writes, and a whole upload that nothing will come for.
//! A crash between a removal and its report loses the report, never more.
//! A file is locked while an upload has it, for those who look from elsewhere.

use std::{
    collections::BTreeSet,
    fs::TryLockError,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgestack_engine::{Clock as _, Origin, Submission, SubmitError, SystemClock, error_chain};
use edgestack_model::{
    Actor, Command, Id, Kind, Name, Sequence,
    node::{NodeCommand, NodeReport, RemovedLeftover},
    orphan::{self, Artifact, ArtifactKind, CHANGES_MAX, Standing, Treatment},
};
use edgestack_views::{ViewError, Views};
use tokio::fs;
use uuid::Uuid;

use crate::AppState;

/// The pause before a removal that could not be told is told again.
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// Removals that wait to be told; older ones are told in the daemon's log alone.
const UNTOLD_MAX: usize = 256;

/// How often a file that was just made is tried to be locked, with 1 ms between.
const LOCK_ATTEMPTS: u32 = 100;

/// The images to which an upload runs in this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RunningUploads(Arc<Mutex<BTreeSet<Uuid>>>);

/// The right to write the upload of one image, while it lives.
pub(crate) struct Turn {
    running: RunningUploads,
    image: Uuid,
}

impl RunningUploads {
    /// Begins the upload to an image; `None` while another one runs.
    pub(crate) fn begin(&self, image: Uuid) -> Option<Turn> {
        self.lock().insert(image).then(|| Turn { running: self.clone(), image })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        // A set stays whole whatever panics beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.lock().remove(&self.image);
    }
}

/// Makes a file that is locked as long as it is open: by that the node's search for orphans, which may be another
/// process, sees that it is being written. The lock is gone with the process, at `kill -9` too; flock(2).
pub(crate) async fn create_locked(path: &Path) -> io::Result<fs::File> {
    let path = path.to_owned();
    let create = move || {
        let file = std::fs::File::create(path)?;
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                // Somebody looks just now.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
                // Where files cannot be locked the upload is worth more than the lock.
                Ok(()) | Err(TryLockError::Error(_)) => break,
            }
        }
        Ok(file)
    };
    tokio::task::spawn_blocking(create).await.map_err(io::Error::other)?.map(fs::File::from_std)
}

/// Removes what uploads left behind, and tells the log.
pub struct UploadSweep {
    app: AppState,
    node: Name,
    untold: Vec<RemovedLeftover>,
}

impl UploadSweep {
    /// The sweep of the upload folder of `app`, on the node of this name.
    pub fn new(app: AppState, node: Name) -> Self {
        Self { app, node, untold: vec![] }
    }

    /// Looks through the folder once. Before the API listens it meets no upload, and turns none away.
    pub async fn once(&mut self) {
        if let Err(error) = self.pass().await {
            tracing::warn!(path = %self.app.uploads.display(), %error, "the upload folder cannot be swept; it is repeated");
        }
    }

    /// Tells, and sweeps on a beat, until the process ends.
    pub async fn run(mut self, every: Duration) {
        loop {
            let pause = match self.tell().await {
                Ok(()) => every,
                // The node is not registered yet, or under another name: no haste brings it nearer.
                Err(SubmitError::Refused(_)) => every,
                Err(_) => every.min(TELL_AGAIN),
            };
            tokio::select! {
                () = self.app.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            self.once().await;
        }
    }

    async fn pass(&mut self) -> io::Result<()> {
        let mut entries = match fs::read_dir(&self.app.uploads).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let Some(artifact) = name.to_str().and_then(orphan::upload_named) else { continue };
            // We make plain files only.
            if !entry.file_type().await.is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            // Taken while it is looked at and removed, so that no upload begins to write what is being removed.
            let turn = self.app.running_uploads.begin(artifact.id);
            let standing = self.standing(&artifact).unwrap_or_else(|error| {
                tracing::warn!(id = %artifact.id, error = error_chain(&error), "the history of an upload is not readable");
                Standing::Unknown
            });
            let Treatment::Remove(reason) = orphan::treatment(artifact.kind, standing, turn.is_none()) else {
                continue;
            };
            match fs::remove_file(entry.path()).await {
                Ok(()) => self.removed(artifact, reason),
                // The storage pool was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "a leftover of an upload stays; it is tried again");
                }
            }
        }
        Ok(())
    }

    /// The folder was listed before, so this world is as new as what lies there: an image is in it before its upload is.
    fn standing(&self, artifact: &Artifact) -> Result<Standing, ViewError> {
        match artifact.kind {
            ArtifactKind::Upload => {}
            ArtifactKind::VmFolder
            | ArtifactKind::VmProcess
            | ArtifactKind::Volume
            | ArtifactKind::Image
            | ArtifactKind::UnfinishedUpload => return Ok(Standing::Unknown),
        }
        let standing = orphan::standing_of_upload(&self.app.replica.world(), Id::new(artifact.id));
        if standing == Standing::Unknown && was_removed(&self.app.views, artifact.id)? {
            return Ok(Standing::Removed);
        }
        Ok(standing)
    }

    fn removed(&mut self, artifact: Artifact, reason: &'static str) {
        tracing::info!(kind = %artifact.kind, id = %artifact.id, place = artifact.place, reason, "removed what an upload left behind");
        if self.untold.len() == UNTOLD_MAX {
            self.untold.remove(0);
        }
        self.untold.push(RemovedLeftover { artifact, reason: reason.to_owned() });
    }

    async fn tell(&mut self) -> Result<(), SubmitError> {
        while !self.untold.is_empty() {
            let leftovers: Vec<_> = self.untold.iter().take(CHANGES_MAX).cloned().collect();
            let told = leftovers.len();
            let report = NodeReport::LeftoversRemoved { node: self.node.as_str().into(), leftovers };
            let actor = Actor {
                name: format!("api@{}", self.node),
                credential: "internal".to_owned(),
                from: format!("{} pid {}", self.node, std::process::id()),
            };
            let origin = Origin::of(actor, SystemClock.new_id(), None);
            let command = Command::Node(NodeCommand::Report(report));
            self.app.port.submit(Submission { command, origin }).await.inspect_err(|error| {
                tracing::debug!(error = error_chain(error), "a removal cannot be told now; it is repeated");
            })?;
            self.untold.drain(..told);
        }
        Ok(())
    }
}

/// Whether the log holds the removal of an image. What it has never heard of was not removed by it.
fn was_removed(views: &Views, image: Uuid) -> Result<bool, ViewError> {
    for row in views.history(image, (Sequence(0), 0)) {
        let event = row?.event;
        let removals = ["ImageDeleted", "ImageForceRemoved"];
        if event.kind == Kind::Image.as_str() && removals.contains(&event.event_type.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}
