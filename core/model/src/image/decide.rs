//! Image commands to events.

use super::{Image, ImageCommand, ImageEvent, ImageReport, ImageSource, ImageSpec, ImageState};
use crate::{
    Decision, Event, Generation, Given, Kind, Refusal, World,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    repair,
};

/// The longest path of a source file, in bytes (Linux PATH_MAX).
const PATH_LENGTH_MAX: usize = 4096;

pub(crate) fn decide(world: &World, given: &Given, command: &ImageCommand) -> Result<Decision, Refusal> {
    match command {
        ImageCommand::Create { name, description, labels, spec } => {
            check_description(description)?;
            check_spec(spec)?;
            check_name_free(world, Kind::Image, name)?;
            let id = given.new_ids[0];
            let fact = ImageEvent::ImageCreated {
                description: description.clone(),
                labels: labels.clone(),
                spec: spec.clone(),
            };
            let event =
                Event { resource_id: id, name: name.clone(), generation: Generation::FIRST, fact: Fact::Image(fact) };
            Ok(Decision::of(Kind::Image, id, vec![event]))
        }
        ImageCommand::Update { image, change, visibility, min_disk_gib, min_memory_mib } => {
            let image = world.image(image)?;
            check_precondition(given, Kind::Image, &image.meta)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            min_disk_gib.map_or(Ok(()), check_min_disk)?;
            min_memory_mib.map_or(Ok(()), check_min_memory)?;
            let change = change.clone().against(&image.meta);
            let visibility = visibility.filter(|new| *new != image.spec.visibility);
            let min_disk_gib = min_disk_gib.filter(|new| *new != image.spec.min_disk_gib);
            let min_memory_mib = min_memory_mib.filter(|new| *new != image.spec.min_memory_mib);
            let same = change.is_empty() && visibility.is_none() && min_disk_gib.is_none() && min_memory_mib.is_none();
            let fact = ImageEvent::ImageUpdated { change, visibility, min_disk_gib, min_memory_mib };
            let events = if same { vec![] } else { vec![wish(image, fact)] };
            Ok(Decision::of(Kind::Image, image.id.uuid(), events))
        }
        ImageCommand::FinishUpload { image, size_bytes, sha256 } => {
            let image = world.image(image)?;
            check_precondition(given, Kind::Image, &image.meta)?;
            if image.state != ImageState::Queued {
                return Err(Refusal::WrongState {
                    kind: Kind::Image,
                    name: image.meta.name.clone(),
                    state: image.state.as_str().into(),
                    action: "upload to".into(),
                    fix: "only a queued image takes an upload; create a new image for new content".into(),
                });
            }
            let fact = ImageEvent::ImageUploaded { size_bytes: *size_bytes, sha256: sha256.clone() };
            Ok(Decision::of(Kind::Image, image.id.uuid(), vec![wish(image, fact)]))
        }
        ImageCommand::Delete { image } => {
            let image = world.image(image)?;
            check_precondition(given, Kind::Image, &image.meta)?;
            check_unused(world, image)?;
            let requested =
                (image.state != ImageState::Deleting).then(|| wish(image, ImageEvent::ImageDeleteRequested {}));
            Ok(Decision::of(Kind::Image, image.id.uuid(), requested.into_iter().collect()))
        }
        ImageCommand::ForceRemove { image } => repair::force_remove_image(world, given, image),
        ImageCommand::Reconcile { image } => repair::reconcile_image(world, given, image),
        ImageCommand::Report { image, generation, report } => {
            let image = world.image(&crate::command::Reference::id(*image))?;
            check_generation(Kind::Image, &image.meta, *generation)?;
            let events = decide_report(image, given, report);
            Ok(Decision::of(Kind::Image, image.id.uuid(), events))
        }
    }
}

fn decide_report(image: &Image, given: &Given, report: &ImageReport) -> Vec<Event> {
    let fact = match (report, image.state) {
        (ImageReport::Imported(content), ImageState::Importing) => {
            ImageEvent::ImageImported { content: content.clone() }
        }
        (ImageReport::Rejected(failed), ImageState::Importing) => {
            ImageEvent::ImageRejected { failure: failed.clone().after(image.failure.as_ref(), given.time) }
        }
        (ImageReport::AttemptFailed(failed), ImageState::Importing | ImageState::Deleting) => {
            ImageEvent::ImageAttemptFailed { failure: failed.clone().after(image.failure.as_ref(), given.time) }
        }
        (ImageReport::Removed, ImageState::Deleting) => ImageEvent::ImageDeleted {},
        // Told already, or about a step that is past: nothing new.
        (
            ImageReport::Imported(_) | ImageReport::Rejected(_) | ImageReport::AttemptFailed(_) | ImageReport::Removed,
            ImageState::Queued | ImageState::Importing | ImageState::Active | ImageState::Failed | ImageState::Deleting,
        ) => return vec![],
    };
    vec![Event { generation: image.meta.generation, ..wish(image, fact) }]
}

pub(crate) fn wish(image: &Image, fact: ImageEvent) -> Event {
    Event {
        resource_id: image.id.uuid(),
        name: image.meta.name.clone(),
        generation: image.meta.generation.next(),
        fact: Fact::Image(fact),
    }
}

fn check_spec(spec: &ImageSpec) -> Result<(), Refusal> {
    check_min_disk(spec.min_disk_gib)?;
    check_min_memory(spec.min_memory_mib)?;
    if !matches!(spec.architecture.as_str(), "x86_64" | "aarch64") {
        return Err(Refusal::Invalid {
            field: "architecture".into(),
            reason: format!("must be x86_64 or aarch64, got {:?}", spec.architecture),
        });
    }
    if let ImageSource::Path { path } = &spec.source {
        let bad = |reason: &str| Err(Refusal::Invalid { field: "source.path".into(), reason: reason.to_owned() });
        if path.len() > PATH_LENGTH_MAX || path.contains('\0') {
            return bad("must have at most 4096 bytes and no NUL");
        }
        if !path.starts_with('/') {
            return bad("must be absolute: begin with /");
        }
        if path.split('/').any(|part| part == "..") {
            return bad("must not contain \"..\"; give the plain path");
        }
    }
    Ok(())
}

fn check_min_disk(min_disk_gib: u64) -> Result<(), Refusal> {
    if min_disk_gib <= 64 << 10 {
        return Ok(());
    }
    Err(Refusal::Invalid { field: "min_disk_gib".into(), reason: format!("must be 0 to 65536, got {min_disk_gib}") })
}

fn check_min_memory(min_memory_mib: u64) -> Result<(), Refusal> {
    if min_memory_mib <= 16 << 20 {
        return Ok(());
    }
    Err(Refusal::Invalid {
        field: "min_memory_mib".into(),
        reason: format!("must be 0 to 16777216, got {min_memory_mib}"),
    })
}

pub(crate) fn check_unused(world: &World, image: &Image) -> Result<(), Refusal> {
    let by: Vec<String> = world
        .vms
        .values()
        .filter(|vm| vm.spec.image == image.id)
        .take(5)
        .map(|vm| format!("vm \"{}\"", vm.meta.name))
        .collect();
    if by.is_empty() {
        return Ok(());
    }
    Err(Refusal::InUse { kind: Kind::Image, name: image.meta.name.clone(), by })
}
