//! Flavors: sizes that never change.

use super::{FlavorCommand, HugePages, Shape};
use crate::{builders::*, meta::MetaChange};

fn update(flavor: &str, change: MetaChange) -> FlavorCommand {
    FlavorCommand::Update { flavor: flavor.into(), change }
}

fn remove(flavor: &str) -> FlavorCommand {
    FlavorCommand::Delete { flavor: flavor.into() }
}

#[test]
fn a_flavor_is_made_once_a_name() {
    let site = a_world();
    check(&site, a_flavor("large", a_shape()), Ok(&["FlavorCreated"]));
    check(&site, a_flavor("small", a_shape()), Err("name-taken name"));
}

#[test]
fn each_field_out_of_range_is_refused_by_its_name() {
    let site = a_world();
    let good = a_shape();
    for (field, shape) in [
        ("vcpus", Shape { vcpus: 0, ..good }),
        ("vcpus", Shape { vcpus: 257, ..good }),
        ("memory_mib", Shape { memory_mib: 15, ..good }),
        ("memory_mib", Shape { memory_mib: (16 << 20) + 1, ..good }),
        ("disk_gib", Shape { disk_gib: 0, ..good }),
        ("disk_gib", Shape { disk_gib: (64 << 10) + 1, ..good }),
        ("numa_nodes", Shape { numa_nodes: Some(0), ..good }),
        ("numa_nodes", Shape { numa_nodes: Some(9), ..good }),
    ] {
        check(&site, a_flavor("bad", shape), Err(&format!("invalid-value {field}")));
    }
    for edge in [
        Shape { vcpus: 256, memory_mib: 16 << 20, disk_gib: 64 << 10, numa_nodes: Some(8), ..good },
        Shape { vcpus: 1, memory_mib: 16, disk_gib: 1, numa_nodes: Some(1), ..good },
        Shape { dedicated_cpus: true, huge_pages: Some(HugePages::Gi1), ..good },
    ] {
        check(&site, a_flavor("edge", edge), Ok(&["FlavorCreated"]));
    }
}

#[test]
fn the_first_wrong_thing_is_told() {
    let site = a_world();
    let bad = Shape { vcpus: 0, memory_mib: 0, disk_gib: 0, numa_nodes: Some(0), ..a_shape() };
    let create = |flavor: &str, description: String, shape| FlavorCommand::Create {
        name: name(flavor),
        description,
        labels: crate::Labels::default(),
        shape,
    };
    check(&site, create("small", too_long(), bad), Err("invalid-value description"));
    check(&site, create("small", String::new(), bad), Err("invalid-value vcpus"));
    check(&site, create("small", String::new(), Shape { vcpus: 1, ..bad }), Err("invalid-value memory_mib"));
    check(
        &site,
        create("small", String::new(), Shape { numa_nodes: Some(0), ..a_shape() }),
        Err("invalid-value numa_nodes"),
    );
    check(&site, create("small", String::new(), a_shape()), Err("name-taken name"));
}

#[test]
fn description_and_labels_change_and_the_same_again_is_nothing() {
    let mut site = a_world();
    check(&site, update("none", described("x")), Err("not-found"));
    check(&site.clone().having_seen(9), update("small", described(&too_long())), Err("precondition-failed If-Match"));
    check(&site.clone().having_seen(1), update("small", described(&too_long())), Err("invalid-value description"));
    site.has(update("small", MetaChange { description: Some("s".into()), labels: Some(labels(&[("a", "1")])) }));
    let flavor = site.world.flavor(&"small".into()).unwrap();
    assert_eq!((flavor.meta.description.as_str(), flavor.meta.labels.get("a")), ("s", Some("1")));
    assert_eq!(flavor.meta.generation.0, 2);
    check(&site, update("small", described("s")), Ok(&[]));
    check(&site, update("small", MetaChange::default()), Ok(&[]));
}

#[test]
fn a_flavor_in_use_stays_and_goes_with_its_last_vm() {
    let mut site = a_world();
    check(&site, remove("none"), Err("not-found"));
    site.has(a_vm("web"));
    check(&site.clone().having_seen(9), remove("small"), Err("precondition-failed If-Match"));
    check(&site, remove("small"), Err("in-use"));
    site.has(delete("web"));
    check(&site, remove("small"), Err("in-use"));
    site.workers_finish_removals();
    site.has(remove("small"));
    assert!(site.world.flavors.is_empty());
    check(&site, a_flavor("small", a_shape()), Ok(&["FlavorCreated"]));
}
