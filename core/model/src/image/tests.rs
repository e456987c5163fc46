//! Images: from a file or an upload to active, failed, gone.

use super::{ImageCommand, ImageReport, ImageSource, ImageSpec, ImageState, Visibility};
use crate::{Generation, Refusal, builders::*, meta::MetaChange};

fn an_upload(image: &str) -> ImageCommand {
    an_image_of(image, a_spec(ImageSource::Upload))
}

fn from_path(path: &str) -> ImageCommand {
    an_image_of("new", a_spec(ImageSource::Path { path: path.to_owned() }))
}

fn finish_upload(image: &str) -> ImageCommand {
    ImageCommand::FinishUpload { image: image.into(), size_bytes: 7, sha256: "b".repeat(64) }
}

fn update(image: &str, change: MetaChange) -> ImageCommand {
    ImageCommand::Update { image: image.into(), change, visibility: None, min_disk_gib: None, min_memory_mib: None }
}

fn remove(image: &str) -> ImageCommand {
    ImageCommand::Delete { image: image.into() }
}

/// A world whose image `pic` is in this state.
fn a_pic_that_is(state: ImageState) -> crate::builders::Site {
    let mut site = a_world();
    match state {
        ImageState::Queued => drop(site.has(an_upload("pic"))),
        ImageState::Importing => drop(site.has(an_image("pic"))),
        ImageState::Active => {
            site.has(an_image("pic"));
            site.has(imported(&site, "pic"));
        }
        ImageState::Failed => {
            site.has(an_image("pic"));
            site.has(site.told_of_image("pic", ImageReport::Rejected(failed("import"))));
        }
        ImageState::Deleting => {
            site.has(an_image("pic"));
            site.has(remove("pic"));
        }
    }
    assert_eq!(site.image("pic").state, state);
    site
}

const STATES: [ImageState; 5] =
    [ImageState::Queued, ImageState::Importing, ImageState::Active, ImageState::Failed, ImageState::Deleting];

#[test]
fn each_field_out_of_its_rule_is_refused_by_its_name() {
    let site = a_world();
    let good = a_spec(ImageSource::Upload);
    for (field, spec) in [
        ("min_disk_gib", ImageSpec { min_disk_gib: 65537, ..good.clone() }),
        ("min_memory_mib", ImageSpec { min_memory_mib: (16 << 20) + 1, ..good.clone() }),
        ("architecture", ImageSpec { architecture: "vax".into(), ..good.clone() }),
    ] {
        check(&site, an_image_of("new", spec), Err(&format!("invalid-value {field}")));
    }
    for path in ["relative", "", "/a/../b", "/..", "/a\0b", &format!("/{}", "x".repeat(4096))] {
        check(&site, from_path(path), Err("invalid-value source.path"));
    }
    for path in ["/a", "/a/..b/c..", "/ä/leer zeichen", &format!("/{}", "x".repeat(4095))] {
        check(&site, from_path(path), Ok(&["ImageCreated"]));
    }
}

#[test]
fn the_first_wrong_thing_is_told() {
    let site = a_world();
    let worst = ImageSpec {
        architecture: "vax".into(),
        min_disk_gib: u64::MAX,
        min_memory_mib: u64::MAX,
        ..a_spec(ImageSource::Path { path: "..".into() })
    };
    let create = |description: String, spec: ImageSpec| ImageCommand::Create {
        name: name("debian"),
        description,
        labels: crate::Labels::default(),
        spec,
    };
    check(&site, create(too_long(), worst.clone()), Err("invalid-value description"));
    check(&site, create(String::new(), worst.clone()), Err("invalid-value min_disk_gib"));
    let better = ImageSpec { min_disk_gib: 0, ..worst };
    check(&site, create(String::new(), better.clone()), Err("invalid-value min_memory_mib"));
    let better = ImageSpec { min_memory_mib: 0, ..better };
    check(&site, create(String::new(), better.clone()), Err("invalid-value architecture"));
    let better = ImageSpec { architecture: "aarch64".into(), ..better };
    check(&site, create(String::new(), better.clone()), Err("invalid-value source.path"));
    check(&site, create(String::new(), ImageSpec { source: ImageSource::Upload, ..better }), Err("name-taken name"));
}

#[test]
fn only_a_queued_image_takes_an_upload() {
    check(&a_world(), finish_upload("none"), Err("not-found"));
    for state in STATES {
        let expect: Expect<'_> = match state {
            ImageState::Queued => Ok(&["ImageUploaded"]),
            ImageState::Importing | ImageState::Active | ImageState::Failed | ImageState::Deleting => {
                Err("wrong-state")
            }
        };
        check(&a_pic_that_is(state), finish_upload("pic"), expect);
    }
    let mut site = a_pic_that_is(ImageState::Queued);
    site.has(finish_upload("pic"));
    assert_eq!(site.image("pic").state, ImageState::Importing);
}

#[test]
fn each_report_counts_where_it_can_be_true_and_is_nothing_elsewhere() {
    for state in STATES {
        let site = a_pic_that_is(state);
        let importing = state == ImageState::Importing;
        let deleting = state == ImageState::Deleting;
        for (report, counts, leads_to) in [
            (ImageReport::Imported(a_content()), importing, "ImageImported"),
            (ImageReport::Rejected(failed("import")), importing, "ImageRejected"),
            (ImageReport::AttemptFailed(failed("import")), importing || deleting, "ImageAttemptFailed"),
            (ImageReport::Removed, deleting, "ImageDeleted"),
        ] {
            let leads_to = [leads_to];
            check(&site, site.told_of_image("pic", report), if counts { Ok(&leads_to) } else { Ok(&[]) });
        }
    }
}

#[test]
fn a_report_on_an_older_wish_or_on_what_is_gone_is_refused() {
    let mut site = a_pic_that_is(ImageState::Importing);
    let late = imported(&site, "pic");
    site.has(remove("pic"));
    check(&site, late.clone(), Err("stale-report"));
    let refused = site.try_do(late.clone());
    let (reported, actual) = (Generation(1), Generation(2));
    assert_eq!(refused, Err(Refusal::StaleReport { kind: crate::Kind::Image, name: name("pic"), reported, actual }));
    site.workers_finish_removals();
    check(&site, late, Err("not-found"));
}

#[test]
fn failed_attempts_are_counted_with_longer_pauses_until_one_succeeds() {
    let mut site = a_pic_that_is(ImageState::Importing);
    for (attempt, pause_s) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        site.has(site.told_of_image("pic", ImageReport::AttemptFailed(failed("import"))));
        let failure = site.image("pic").failure.clone().unwrap();
        assert_eq!((failure.attempt, (failure.next_attempt_at - site.now).num_seconds()), (attempt, pause_s));
    }
    site.has(imported(&site, "pic"));
    assert_eq!(site.image("pic").failure, None);
}

#[test]
fn changes_are_checked_and_the_same_again_is_nothing() {
    let mut site = a_world();
    check(&site, update("none", described("x")), Err("not-found"));
    check(&site.clone().having_seen(9), update("debian", described(&too_long())), Err("precondition-failed If-Match"));
    check(&site, update("debian", described(&too_long())), Err("invalid-value description"));
    let all = |min_disk_gib, min_memory_mib| ImageCommand::Update {
        image: "debian".into(),
        change: described("d"),
        visibility: Some(Visibility::Public),
        min_disk_gib: Some(min_disk_gib),
        min_memory_mib: Some(min_memory_mib),
    };
    check(&site, all(65537, u64::MAX), Err("invalid-value min_disk_gib"));
    check(&site, all(1, u64::MAX), Err("invalid-value min_memory_mib"));
    site.has(all(1, 64));
    let spec = &site.image("debian").spec;
    assert_eq!((spec.min_disk_gib, spec.min_memory_mib, spec.visibility), (1, 64, Visibility::Public));
    check(&site, all(1, 64), Ok(&[]));
}

#[test]
fn an_image_can_be_removed_in_every_state_and_then_goes() {
    for state in STATES {
        let mut site = a_pic_that_is(state);
        let expect: Expect<'_> = if state == ImageState::Deleting { Ok(&[]) } else { Ok(&["ImageDeleteRequested"]) };
        check(&site, remove("pic"), expect);
        site.has(remove("pic"));
        site.has(site.told_of_image("pic", ImageReport::AttemptFailed(failed("remove"))));
        site.workers_finish_removals();
        assert!(site.world.image(&"pic".into()).is_err());
        check(&site, an_image("pic"), Ok(&["ImageCreated"]));
    }
}

#[test]
fn an_image_in_use_stays() {
    let mut site = a_world();
    check(&site, remove("none"), Err("not-found"));
    site.has(a_vm("web"));
    check(&site.clone().having_seen(9), remove("debian"), Err("precondition-failed If-Match"));
    check(&site, remove("debian"), Err("in-use"));
}

#[test]
fn an_image_that_is_not_active_says_whom_it_waits_for() {
    for (state, owner) in [
        (ImageState::Queued, Some("user")),
        (ImageState::Importing, Some("worker.storage")),
        (ImageState::Active, None),
        (ImageState::Failed, Some("user")),
        (ImageState::Deleting, Some("worker.storage")),
    ] {
        let site = a_pic_that_is(state);
        let waiting = site.image("pic").waiting();
        assert_eq!(waiting.as_ref().map(|waiting| waiting.owner.as_str()), owner);
        assert!(waiting.is_none_or(|waiting| !waiting.reason.is_empty()));
    }
}
