//! What is written for every difference, and that it is enough.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_model::Id;
use edgestack_ovn::ovsdb::{Row, Value};
use proptest::prelude::*;
use uuid::Uuid;

use super::{Change, Plan, plan};
use crate::{
    desired::FORM,
    driver::{NorthboundDriver as _, SimDriver},
    rows::{Derived, Desired, Key, Owner, Seen, SeenRow, Table, Wanted},
};

fn key(table: Table, id: &str) -> Key {
    Key::new(table, id)
}

fn switch() -> Key {
    key(Table::LogicalSwitch, "blue")
}

fn port(id: &str) -> Key {
    key(Table::LogicalSwitchPort, id)
}

fn options(id: &str) -> Key {
    key(Table::DhcpOptions, id)
}

/// The row of this number.
fn at(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn a_row(columns: &[(&str, &str)]) -> Wanted {
    let columns = columns.iter().map(|(column, value)| ((*column).to_owned(), Value::text(*value))).collect();
    Wanted::new(Owner::Network(Id::new(at(1))), columns, "blue")
}

fn refers(mut row: Wanted, column: &'static str, keys: &[Key]) -> Wanted {
    row.references.insert(column, keys.iter().cloned().collect());
    row
}

/// A switch with ports `a` and `b`, which have options `o`.
fn a_network() -> Desired {
    let port_row = || refers(a_row(&[("name", "p")]), "dhcpv4_options", &[options("o")]);
    Desired::from([
        (switch(), refers(a_row(&[("name", "edgestack-blue")]), "ports", &[port("a"), port("b")])),
        (port("a"), port_row()),
        (port("b"), port_row()),
        (options("o"), a_row(&[("cidr", "10.0.0.0/24"), ("options", "mtu")])),
    ])
}

/// The rows that were written for a wish, numbered from 10 in its order.
fn written(desired: &Desired) -> Seen {
    let numbers: BTreeMap<&Key, Uuid> = desired.keys().zip((10..).map(at)).collect();
    let row = |(key, wanted): (&Key, &Wanted)| {
        let refer = |(column, keys): (&&'static str, &BTreeSet<Key>)| {
            let found = keys.iter().filter_map(|key| Some((key.clone(), *numbers.get(key)?)));
            (*column, found.collect())
        };
        let row = SeenRow {
            uuid: numbers[key],
            form: FORM.to_owned(),
            label: wanted.label.clone(),
            columns: wanted.columns.clone(),
            references: wanted.references.iter().map(refer).collect(),
        };
        (key.clone(), row)
    };
    Seen { rows: desired.iter().map(row).collect(), doubles: BTreeSet::new() }
}

/// What is written where the network was changed in this way, and what is said of it.
fn after(change: impl FnOnce(&mut Seen)) -> Plan {
    let mut seen = written(&a_network());
    change(&mut seen);
    plan(&a_network(), &seen)
}

fn row<'s>(seen: &'s mut Seen, key: &Key) -> &'s mut SeenRow {
    seen.rows.get_mut(key).unwrap()
}

/// One update that changes nothing yet.
fn an_update(key: Key, uuid: Uuid) -> Change {
    Change::Update { key, uuid, columns: Row::new(), label: None, refer: BTreeMap::new(), leave: BTreeMap::new() }
}

#[track_caller]
fn check(plan: &Plan, changes: &[Change], differences: &[(Key, &str)]) {
    assert_eq!(plan.changes, changes);
    let differences: BTreeMap<Key, String> =
        differences.iter().map(|(key, what)| (key.clone(), (*what).to_owned())).collect();
    assert_eq!(plan.differences, differences);
}

#[test]
fn where_all_is_as_wished_nothing_is_written() {
    check(&after(|_| {}), &[], &[]);
    check(&plan(&Desired::new(), &Seen::default()), &[], &[]);
}

#[test]
fn an_empty_database_gets_every_row() {
    let plan = plan(&a_network(), &Seen::default());
    let insert = |(key, wanted): (Key, Wanted)| Change::Insert { key, wanted };
    assert_eq!(plan.changes, a_network().into_iter().map(insert).collect::<Vec<_>>());
    assert_eq!(plan.differences.len(), 4);
}

#[test]
fn a_row_that_is_gone_is_made_anew_and_found_by_those_who_shall_refer_to_it() {
    let plan = after(|seen| {
        seen.rows.remove(&port("b"));
        row(seen, &switch()).references.get_mut("ports").unwrap().remove(&port("b"));
    });
    let mut update = an_update(switch(), at(10));
    if let Change::Update { refer, .. } = &mut update {
        refer.insert("ports", [port("b")].into());
    }
    let insert = Change::Insert { key: port("b"), wanted: a_network()[&port("b")].clone() };
    // The switch differs with its port: one is told.
    check(&plan, &[update, insert], &[(port("b"), "the port is gone")]);
}

#[test]
fn only_what_differs_is_written() {
    let plan = after(|seen| {
        let row = row(seen, &options("o"));
        row.columns.set("options", Value::text("other"));
        row.columns.set("nobody's", Value::text("x"));
    });
    let mut update = an_update(options("o"), at(13));
    if let Change::Update { columns, .. } = &mut update {
        columns.set("options", Value::text("mtu"));
    }
    check(&plan, &[update], &[(options("o"), "the DHCP entry's options changed")]);
}

#[test]
fn a_column_that_is_not_there_is_written() {
    let plan = after(|seen| row(seen, &port("a")).columns = Row::new());
    assert_eq!(plan.differences[&port("a")], "the port's name changed");
}

#[test]
fn a_reference_that_was_taken_away_is_told_and_made_again() {
    let plan = after(|seen| row(seen, &port("a")).references.clear());
    let mut update = an_update(port("a"), at(11));
    if let Change::Update { refer, .. } = &mut update {
        refer.insert("dhcpv4_options", [options("o")].into());
    }
    check(&plan, &[update], &[(port("a"), "the port's dhcpv4_options changed")]);
}

#[test]
fn a_reference_that_nobody_wished_is_left() {
    let mut desired = a_network();
    desired.get_mut(&switch()).unwrap().references.insert("ports", [port("a")].into());
    let plan = plan(&desired, &written(&a_network()));
    let mut update = an_update(switch(), at(10));
    if let Change::Update { leave, .. } = &mut update {
        leave.insert("ports", [at(12)].into());
    }
    check(&plan, &[update], &[(switch(), "the logical switch's ports changed")]);
}

#[test]
fn what_nobody_can_tell_from_others_doing_is_taken_as_it_is_found() {
    let seen = written(&a_network());
    let told = |change: &dyn Fn(&mut Desired)| {
        let mut desired = a_network();
        change(&mut desired);
        super::plan(&super::as_found(&desired, &seen), &seen).differences
    };
    let none = BTreeMap::new();
    assert_eq!(told(&|_| {}), none);
    let rename = |row: &mut Wanted| row.columns.set("name", Value::text("other"));
    assert_eq!(told(&|desired| rename(desired.get_mut(&port("a")).unwrap())).len(), 1, "it follows from its owner");
    let derived = |derived| {
        told(&|desired| {
            let row = desired.get_mut(&port("a")).unwrap();
            rename(row);
            row.derived = derived;
        })
    };
    assert_eq!(derived(Derived::Columns(&["name"])), none);
    assert_eq!(derived(Derived::Whole), none);
    let one_more = |derived| {
        told(&|desired| {
            let new = Wanted { derived, ..a_row(&[("name", "new")]) };
            desired.insert(port("new"), new);
        })
    };
    assert_eq!(one_more(Derived::Whole), none, "that it is there follows from others");
    assert_eq!(one_more(Derived::Columns(&["name"])).len(), 1, "it is gone, whatever it should say");
    // Which rows a row refers to may be wished otherwise in both ways.
    let refer = |desired: &mut Desired, to: &[Key]| {
        desired.get_mut(&port("a")).unwrap().references.insert("dhcpv4_options", to.iter().cloned().collect());
    };
    assert_eq!(told(&|desired| refer(desired, &[])), none);
    let mut bare = a_network();
    refer(&mut bare, &[]);
    let seen = written(&bare);
    let told = |unsettled: &[Key]| {
        let mut desired = a_network();
        desired.get_mut(&port("a")).unwrap().unsettled = unsettled.iter().cloned().collect();
        super::plan(&super::as_found(&desired, &seen), &seen).differences
    };
    assert_eq!((told(&[options("o")]), told(&[]).len()), (none, 1));
}

#[test]
fn another_reference_in_the_same_column_is_both() {
    let mut desired = a_network();
    desired.insert(options("p"), a_row(&[]));
    desired.get_mut(&port("a")).unwrap().references.insert("dhcpv4_options", [options("p")].into());
    let plan = plan(&desired, &written(&a_network()));
    let mut update = an_update(port("a"), at(11));
    if let Change::Update { refer, leave, .. } = &mut update {
        refer.insert("dhcpv4_options", [options("p")].into());
        leave.insert("dhcpv4_options", [at(13)].into());
    }
    let insert = Change::Insert { key: options("p"), wanted: a_row(&[]) };
    let differs = [(options("p"), "the DHCP entry is gone"), (port("a"), "the port's dhcpv4_options changed")];
    check(&plan, &[update, insert], &differs);
}

#[test]
fn what_an_older_version_wrote_is_written_anew_and_nobodys_doing() {
    let plan = after(|seen| {
        for row in seen.rows.values_mut() {
            row.form = "0".to_owned();
        }
        let row = row(seen, &port("a"));
        row.columns.set("name", Value::text("as it was called then"));
        row.references.clear();
    });
    let labelled = |key: Key, number| {
        let mut update = an_update(key, at(number));
        if let Change::Update { label, .. } = &mut update {
            *label = Some("blue".to_owned());
        }
        update
    };
    let mut port_a = labelled(port("a"), 11);
    if let Change::Update { columns, refer, .. } = &mut port_a {
        columns.set("name", Value::text("p"));
        refer.insert("dhcpv4_options", [options("o")].into());
    }
    let rest = [labelled(switch(), 10), port_a, labelled(port("b"), 12), labelled(options("o"), 13)];
    check(&plan, &rest, &[]);
}

#[test]
fn a_changed_name_for_people_is_written_and_not_told() {
    let plan = after(|seen| row(seen, &switch()).label = "green".to_owned());
    let mut update = an_update(switch(), at(10));
    if let Change::Update { label, .. } = &mut update {
        *label = Some("blue".to_owned());
    }
    check(&plan, &[update], &[]);
}

#[test]
fn orphans_and_doubles_are_deleted_and_nobodys_difference() {
    let plan = after(|seen| {
        let orphan = SeenRow { uuid: at(99), ..seen.rows[&port("b")].clone() };
        seen.rows.insert(port("z"), orphan);
        seen.doubles.insert((Table::LogicalSwitch, at(98)));
    });
    let delete = |table, number| Change::Delete { table, uuid: at(number) };
    check(&plan, &[delete(Table::LogicalSwitchPort, 99), delete(Table::LogicalSwitch, 98)], &[]);
}

/// What others do to a database.
#[derive(Clone, Debug)]
enum Doing {
    Remove(usize),
    Set(usize, u8),
    Clear(usize),
    Copy(usize),
    OlderForm(usize),
    Empty,
}

fn a_doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => any::<usize>().prop_map(Doing::Remove),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(nth, value)| Doing::Set(nth, value)),
        4 => any::<usize>().prop_map(Doing::Clear),
        2 => any::<usize>().prop_map(Doing::Copy),
        2 => any::<usize>().prop_map(Doing::OlderForm),
        1 => Just(Doing::Empty),
    ]
}

fn some_keys(table: Table) -> impl Strategy<Value = BTreeSet<Key>> {
    prop::collection::btree_set((0..5_u8).prop_map(move |id| Key::new(table, id.to_string())), 0..4)
}

/// Rows of few ids, each with few values, which refer to rows that there are.
fn a_wish() -> impl Strategy<Value = Desired> {
    let keys = Table::ALL.map(some_keys);
    let rows = keys.prop_map(|keys| keys.into_iter().flatten().collect::<Vec<Key>>());
    let seeds = prop::collection::vec(any::<(u8, u8, u64)>(), 40);
    (rows, seeds).prop_map(|(keys, seeds)| {
        let row = |(key, (name, label, refers)): (&Key, (u8, u8, u64))| {
            let references = key.table.references().iter().filter_map(|(column, table)| {
                let of_table = keys.iter().filter(|key| key.table == *table).enumerate();
                let chosen = of_table.filter(|(at, _)| refers >> at & 1 == 1).map(|(_, key)| key.clone());
                let room = if key.table.has_room_for_one(column) { 1 } else { usize::MAX };
                let chosen: BTreeSet<Key> = chosen.take(room).collect();
                (!chosen.is_empty()).then_some((*column, chosen))
            });
            let columns = Row::new().with("name", Value::integer(i64::from(name % 3)));
            let wanted = Wanted::new(Owner::Network(Id::new(at(1))), columns, (label % 3).to_string());
            let wanted = Wanted { references: references.collect(), ..wanted };
            (key.clone(), wanted)
        };
        keys.iter().zip(seeds).map(row).collect()
    })
}

fn play(driver: &SimDriver, before: &Desired, doing: &Doing) {
    let nth = |number: usize| before.keys().nth(number.checked_rem(before.len())?).cloned();
    match doing {
        Doing::Remove(number) => drop(driver.others_remove(*number)),
        Doing::Empty => driver.others_empty(),
        Doing::Set(number, value) => {
            let value = Value::integer(i64::from(*value));
            nth(*number).into_iter().for_each(|key| driver.others_set(&key, "name", value.clone()));
        }
        Doing::Clear(number) => nth(*number).into_iter().for_each(|key| {
            key.table.references().iter().for_each(|(column, _)| driver.others_clear(&key, column));
        }),
        Doing::Copy(number) => nth(*number).into_iter().for_each(|key| driver.others_copy(&key)),
        Doing::OlderForm(number) => nth(*number).into_iter().for_each(|key| driver.written_in_form(&key, "0")),
    }
}

async fn write(driver: &SimDriver, desired: &Desired) -> Plan {
    let seen = driver.rows().await.unwrap();
    let plan = plan(desired, &seen);
    driver.write(&seen, &plan.changes).await.unwrap();
    plan
}

proptest! {
    #[test]
    fn what_was_planned_is_enough(before in a_wish(), wish in a_wish(), others in prop::collection::vec(a_doing(), 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let driver = SimDriver::new();
            write(&driver, &before).await;
            others.iter().for_each(|doing| play(&driver, &before, doing));
            write(&driver, &wish).await;
            let seen = driver.rows().await.unwrap();
            prop_assert_eq!(plan(&wish, &seen), Plan::default());
            let keys: Vec<&Key> = seen.rows.keys().collect();
            prop_assert_eq!(keys, wish.keys().collect::<Vec<_>>(), "as many as wished");
            Ok(())
        })?;
    }

    #[test]
    fn nobody_is_told_of_where_nobody_did_anything(before in a_wish(), wish in a_wish()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let driver = SimDriver::new();
            write(&driver, &before).await;
            let plan = write(&driver, &wish).await;
            for (key, what) in &plan.differences {
                prop_assert_ne!(before.get(key), wish.get(key), "{}: {}", key, what);
            }
            Ok(())
        })?;
    }
}
