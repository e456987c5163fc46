//! What the log says of an artifact, and what is done with it.

use super::{Artifact, ArtifactKind};
use crate::{
    Id, World,
    image::{Image, ImageState},
    node::Node,
};

/// What the log says of the resource whose id an artifact carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lives on this node, and the artifact is a part of it or may become one.
    Needed,
    /// It lives, and will never come for the artifact again; in words, why.
    Spent(&'static str),
    /// It is gone: the log holds its removal. Only who can read the history knows.
    Removed,
    /// It doesn't live on this node: removed, or never known to this log.
    Unknown,
}

/// What a world says of an artifact on a node. It never says [`Standing::Removed`]: a world holds the living only.
///
/// A resource's artifacts are made after its commit and are gone before the commit that says so. So on a world that is
/// at least as new as the artifact, `Unknown` means that it is being removed just now, or an orphan.
pub fn standing(world: &World, node: Id<Node>, artifact: &Artifact) -> Standing {
    let needed = match artifact.kind {
        ArtifactKind::VmFolder | ArtifactKind::VmProcess => world
            .vms
            .get(&Id::new(artifact.id))
            .and_then(|vm| vm.placement.as_ref())
            .is_some_and(|placement| placement.node == node),
        ArtifactKind::Volume => world.volumes.get(&Id::new(artifact.id)).is_some_and(|volume| volume.spec.node == node),
        ArtifactKind::Image | ArtifactKind::UnfinishedUpload => world.images.contains_key(&Id::new(artifact.id)),
        ArtifactKind::Upload => return standing_of_upload(world, Id::new(artifact.id)),
    };
    if needed { Standing::Needed } else { Standing::Unknown }
}

/// [`standing`] of a whole upload, which no node's name has a part in.
pub fn standing_of_upload(world: &World, image: Id<Image>) -> Standing {
    match world.images.get(&image).map(|image| image.state) {
        None => Standing::Unknown,
        Some(ImageState::Active) => Standing::Spent("its image has its content already"),
        Some(ImageState::Failed) => Standing::Spent("its image was rejected, and takes no other content"),
        Some(ImageState::Queued | ImageState::Importing | ImageState::Deleting) => Standing::Needed,
    }
}

/// What is done with an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is where it should be.
    Leave,
    /// It is told to people and not touched.
    Flag,
    /// It is removed by whoever keeps the folder; in words, why.
    Remove(&'static str),
}

/// The policy. `being_written`: whether an upload that runs now writes it.
///
/// Removed is only what holds nobody's only copy: content on its way in, that nothing will ever come for. What belongs to
/// a VM, a volume or an image is for people, also when the log says that it was removed: a removal that left something
/// behind is a fault to be looked at. And what the log has never heard of may be of a newer log that comes back.
pub fn treatment(kind: ArtifactKind, standing: Standing, being_written: bool) -> Treatment {
    match (kind, standing) {
        (ArtifactKind::UnfinishedUpload, _) if being_written => Treatment::Leave,
        (ArtifactKind::UnfinishedUpload, _) => Treatment::Remove("no upload writes it any more: it broke off"),
        (ArtifactKind::Upload, Standing::Spent(why)) => Treatment::Remove(why),
        (ArtifactKind::Upload, Standing::Removed) => Treatment::Remove("its image is gone"),
        (_, Standing::Needed | Standing::Spent(_)) => Treatment::Leave,
        (_, Standing::Removed | Standing::Unknown) => Treatment::Flag,
    }
}
