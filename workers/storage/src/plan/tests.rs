//! The next step for every state, with and without a failure.

use chrono::{DateTime, Utc};
use edgestack_model::{
    Generation, Id, Labels, Meta, Sequence,
    image::{DiskFormat, Image, ImageSource, ImageSpec, ImageState, Visibility},
    volume::{Volume, VolumeSpec, VolumeState},
    waiting::Failure,
};
use uuid::Uuid;

use super::{ImageStep, VolumeStep, plan_image, plan_volume};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
}

fn a_meta() -> Meta {
    Meta {
        name: "it".parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        generation: Generation(1),
        revision: Sequence(1),
        created_at: at(0),
        updated_at: at(0),
        cause: Uuid::from_u128(8),
        correlation_id: Uuid::from_u128(9),
    }
}

fn failing_until(next_attempt_at: DateTime<Utc>) -> Option<Failure> {
    Some(Failure { step: "x".into(), attempt: 1, reason: "x".into(), fix: None, at: at(0), next_attempt_at })
}

fn an_image(state: ImageState, failure: Option<Failure>) -> Image {
    let spec = ImageSpec {
        format: DiskFormat::Raw,
        source: ImageSource::Upload,
        architecture: "x86_64".into(),
        min_disk_gib: 0,
        min_memory_mib: 0,
        visibility: Visibility::Private,
    };
    Image { id: Id::new(Uuid::from_u128(1)), meta: a_meta(), spec, state, content: None, failure }
}

fn a_volume(state: VolumeState, failure: Option<Failure>) -> Volume {
    let id = |number| Uuid::from_u128(number);
    let spec = VolumeSpec { vm: Id::new(id(2)), image: Id::new(id(3)), node: Id::new(id(4)), size_gib: 5 };
    Volume { id: Id::new(id(1)), meta: a_meta(), spec, state, failure }
}

#[test]
fn an_image_is_imported_and_removed_when_its_time_has_come() {
    for (state, step) in [
        (ImageState::Queued, ImageStep::Rest),
        (ImageState::Importing, ImageStep::Import),
        (ImageState::Active, ImageStep::Rest),
        (ImageState::Failed, ImageStep::Rest),
        (ImageState::Deleting, ImageStep::Remove),
    ] {
        let waits = if step == ImageStep::Rest { step } else { ImageStep::WaitUntil(at(101)) };
        assert_eq!(plan_image(&an_image(state, None), at(100)), step, "{state:?}");
        assert_eq!(plan_image(&an_image(state, failing_until(at(100))), at(100)), step, "{state:?}, due");
        assert_eq!(plan_image(&an_image(state, failing_until(at(101))), at(100)), waits, "{state:?}, backing off");
    }
}

#[test]
fn a_volume_is_made_and_removed_when_its_time_has_come() {
    for (state, step) in [
        (VolumeState::Creating, VolumeStep::Create),
        (VolumeState::Available, VolumeStep::Rest),
        (VolumeState::Deleting, VolumeStep::Remove),
    ] {
        let waits = if step == VolumeStep::Rest { step } else { VolumeStep::WaitUntil(at(101)) };
        assert_eq!(plan_volume(&a_volume(state, None), at(100)), step, "{state:?}");
        assert_eq!(plan_volume(&a_volume(state, failing_until(at(100))), at(100)), step, "{state:?}, due");
        assert_eq!(plan_volume(&a_volume(state, failing_until(at(101))), at(100)), waits, "{state:?}, backing off");
    }
}
