//! What is read: lists in order and in pages, names, the history of the living and the gone.

use edgestack_model::{Kind, Sequence, command::Reference};

use crate::story::{BEGINNING, Story, a_flavor, shows};

#[test]
fn every_step_of_the_world_is_shown() {
    let story = Story::long();
    let mut world = edgestack_model::World::default();
    let folder = tempfile::tempdir().unwrap();
    for (number, stored) in story.log.iter().enumerate() {
        let views = story.followed_to(&folder.path().join("views"), 1, number + 1);
        world.evolve(&edgestack_model::Commit::decode(&stored.payload).unwrap()).unwrap();
        shows(&views, &world);
    }
}

#[test]
fn a_list_is_in_order_of_name_and_goes_on_behind_any_name() {
    let mut story = Story::begin();
    for name in ["b", "a", "a-1", "a.1", "a_1", "a0", "ab", "z"] {
        story.tell(a_flavor(name));
    }
    let folder = tempfile::tempdir().unwrap();
    let views = story.followed(&folder.path().join("views"), 100);
    let names = |after: Option<&str>| -> Vec<String> {
        views.list(Kind::Flavor, after).map(|one| one.unwrap().meta().name.to_string()).collect()
    };
    let all = names(None);
    assert_eq!(all, ["a", "a-1", "a.1", "a0", "a_1", "ab", "b", "small", "z"]);
    for (number, name) in all.iter().enumerate() {
        assert_eq!(names(Some(name)), all[number + 1..], "behind {name}");
    }
    assert_eq!(names(Some("aa")), ["ab", "b", "small", "z"], "behind a name that is not there");
    assert_eq!(names(Some("zz")), Vec::<String>::new());
    // Pages of three, whatever comes between.
    let mut paged: Vec<String> = Vec::new();
    loop {
        let page: Vec<String> = names(paged.last().map(String::as_str)).into_iter().take(3).collect();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(views.list(Kind::Keypair, None).count(), 0, "one kind's list holds no other");
}

#[test]
fn the_history_of_a_removed_vm_stays_and_its_name_leads_to_the_last_that_had_it() {
    let mut story = Story::begin();
    let mut ids = Vec::new();
    for _ in 0..2 {
        story.tell(crate::story::a_vm("web"));
        ids.push(story.world.vm(&"web".into()).unwrap().id.uuid());
        story.disk_is_made("web");
        story.runs("web");
        story.is_removed("web");
    }
    let folder = tempfile::tempdir().unwrap();
    let views = story.followed(&folder.path().join("views"), 3);
    let web = Reference::from("web");
    let of =
        |views: &edgestack_views::Views, reference: &Reference| views.id_up_to(Kind::Vm, reference, Sequence(u64::MAX));
    assert_eq!(views.find(Kind::Vm, &web).unwrap(), None);
    assert_eq!(of(&views, &web).unwrap(), Some(ids[1]));
    for id in &ids {
        assert_eq!(of(&views, &Reference(id.to_string())).unwrap(), Some(*id));
        let rows: Vec<_> = views.history(*id, BEGINNING).map(Result::unwrap).collect();
        let types: Vec<&str> = rows.iter().map(|row| row.event.event_type.as_str()).collect();
        assert_eq!(
            types,
            [
                "VmCreated",
                "VmScheduled",
                "VolumeCreated",
                "VolumeBecameAvailable",
                "VmStarted",
                "VmDeleteRequested",
                "VmReleased",
                "VolumeDeleteRequested",
                "VolumeDeleted",
                "VmDeleted"
            ]
        );
        assert!(rows.iter().all(|row| row.actor.name == "admin" && row.reason.as_deref() == Some("a test")));
        // From the middle on.
        let middle = (rows[4].sequence, rows[4].index);
        let rest: Vec<_> = views.history(*id, middle).map(Result::unwrap).collect();
        assert_eq!(rest, rows[5..]);
        assert_eq!(views.history(*id, (Sequence(u64::MAX), 0)).count(), 0);
    }
    // A new one under the old name is meant from now on.
    story.tell(crate::story::a_vm("web"));
    drop(views);
    let views = story.followed(&folder.path().join("views"), 3);
    let living = story.world.vm(&web).unwrap().id.uuid();
    assert_eq!(of(&views, &web).unwrap(), Some(living));
    assert_eq!(of(&views, &"never".into()).unwrap(), None);
    let nobody = Reference(uuid::Uuid::from_u128(1).to_string());
    assert_eq!(of(&views, &nobody).unwrap(), None);
}
