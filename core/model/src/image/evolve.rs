//! Image events to the world.

use std::sync::Arc;

use super::{Image, ImageEvent, ImageSource, ImageState};
use crate::{
    Id, Kind, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &ImageEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        ImageEvent::ImageCreated { description, labels, spec } => {
            world.claim_name(Kind::Image, at)?;
            let state = match spec.source {
                ImageSource::Path { .. } => ImageState::Importing,
                ImageSource::Upload => ImageState::Queued,
            };
            let meta = at.new_meta(description, labels);
            let image = Image { id, meta, spec: spec.clone(), state, content: None, failure: None };
            world.images.insert(id, Arc::new(image));
            return Ok(());
        }
        ImageEvent::ImageDeleted {} | ImageEvent::ImageForceRemoved {} => {
            let image = world.images.remove(&id).ok_or_else(|| at.impossible("no such image"))?;
            world.release_name(Kind::Image, &image.meta.name);
            return Ok(());
        }
        ImageEvent::ImageUpdated { .. }
        | ImageEvent::ImageUploaded { .. }
        | ImageEvent::ImageImported { .. }
        | ImageEvent::ImageAttemptFailed { .. }
        | ImageEvent::ImageRejected { .. }
        | ImageEvent::ImageDeleteRequested {}
        | ImageEvent::ImageReconcileRequested {} => {}
    }
    let image = Arc::make_mut(world.images.get_mut(&id).ok_or_else(|| at.impossible("no such image"))?);
    at.touch(&mut image.meta);
    match event {
        ImageEvent::ImageCreated { .. } | ImageEvent::ImageDeleted {} | ImageEvent::ImageForceRemoved {} => {}
        ImageEvent::ImageUpdated { change, visibility, min_disk_gib, min_memory_mib } => {
            change.apply(&mut image.meta);
            image.spec.visibility = visibility.unwrap_or(image.spec.visibility);
            image.spec.min_disk_gib = min_disk_gib.unwrap_or(image.spec.min_disk_gib);
            image.spec.min_memory_mib = min_memory_mib.unwrap_or(image.spec.min_memory_mib);
        }
        ImageEvent::ImageUploaded { .. } => image.state = ImageState::Importing,
        ImageEvent::ImageImported { content } => {
            image.state = ImageState::Active;
            image.content = Some(content.clone());
            image.failure = None;
        }
        ImageEvent::ImageAttemptFailed { failure } => image.failure = Some(failure.clone()),
        // A failed one keeps saying why: its content is what is wrong.
        ImageEvent::ImageReconcileRequested {} => {
            image.failure = image.failure.take().filter(|_| image.state == ImageState::Failed);
        }
        ImageEvent::ImageRejected { failure } => {
            image.state = ImageState::Failed;
            image.failure = Some(failure.clone());
        }
        ImageEvent::ImageDeleteRequested {} => {
            image.state = ImageState::Deleting;
            image.failure = None;
        }
    }
    Ok(())
}
