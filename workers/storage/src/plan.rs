//! What to do next with an image or a volume: pure.
//!
//! The driver's steps are idempotent and end only when what they made is
//! durable, so what is observed is the step's own outcome.

use chrono::{DateTime, Utc};
use edgestack_model::{
    image::{Image, ImageState},
    volume::{Volume, VolumeState},
    waiting::Failure,
};

/// The next step for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStep {
    /// Nothing is ours to do.
    Rest,
    /// Not before this time.
    WaitUntil(DateTime<Utc>),
    /// Check and store its content.
    Import,
    /// Remove its files.
    Remove,
}

/// The next step for a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeStep {
    /// Nothing is ours to do.
    Rest,
    /// Not before this time.
    WaitUntil(DateTime<Utc>),
    /// Make it.
    Create,
    /// Remove it.
    Remove,
}

/// What an image needs.
pub fn plan_image(image: &Image, now: DateTime<Utc>) -> ImageStep {
    let step = match image.state {
        ImageState::Queued | ImageState::Active | ImageState::Failed => return ImageStep::Rest,
        ImageState::Importing => ImageStep::Import,
        ImageState::Deleting => ImageStep::Remove,
    };
    still_to_come(image.failure.as_ref(), now).map_or(step, ImageStep::WaitUntil)
}

/// What a volume needs.
pub fn plan_volume(volume: &Volume, now: DateTime<Utc>) -> VolumeStep {
    let step = match volume.state {
        VolumeState::Available => return VolumeStep::Rest,
        VolumeState::Creating => VolumeStep::Create,
        VolumeState::Deleting => VolumeStep::Remove,
    };
    still_to_come(volume.failure.as_ref(), now).map_or(step, VolumeStep::WaitUntil)
}

/// A failed step is not repeated before its time.
fn still_to_come(failure: Option<&Failure>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    failure?.still_to_come(now)
}

#[cfg(test)]
mod tests;
