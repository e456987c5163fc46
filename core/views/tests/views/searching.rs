//! What a search finds is what a look at every event finds, in either order, from any place on.

use std::sync::OnceLock;

use edgestack_log::chain;
use edgestack_model::{
    Command, Commit, Kind, Labels, Sequence,
    flavor::{FlavorCommand, Shape},
    meta::MetaChange,
};
use edgestack_views::{Groups, Order, Term, Views, words_of};

use crate::story::{Story, a_vm};

const ACTORS: [&str; 3] = ["admin", "orchestrator", "night-shift"];

fn labels(tier: usize) -> Labels {
    let labels = std::collections::BTreeMap::from([("tier".to_owned(), format!("t{tier}"))]);
    Labels::try_from(labels).unwrap()
}

/// Many flavors that come, change, and go, by several people, with VMs between: more commits than a block of the second
/// level has, and then some.
fn busy() -> &'static (Story, tempfile::TempDir, Views) {
    static BUSY: OnceLock<(Story, tempfile::TempDir, Views)> = OnceLock::new();
    BUSY.get_or_init(|| {
        let mut story = Story::begin();
        for number in 0..2900_usize {
            story.actor = ACTORS[number * 7 % 3];
            story.reason = format!("ticket OPS-{} of batch {}", number % 40, number / 100);
            let name = format!("f-{}", number % 100);
            let shape = Shape {
                vcpus: 1,
                memory_mib: 512,
                disk_gib: 1,
                dedicated_cpus: false,
                huge_pages: None,
                numa_nodes: None,
            };
            if story.world.flavor(&name.as_str().into()).is_err() {
                let create = FlavorCommand::Create {
                    name: name.parse().unwrap(),
                    description: String::new(),
                    labels: labels(number % 5),
                    shape,
                };
                story.tell(Command::Flavor(create));
            }
            let change = MetaChange { description: Some(format!("number {number}")), labels: Some(labels(number % 4)) };
            story.tell(Command::Flavor(FlavorCommand::Update { flavor: name.as_str().into(), change }));
            if number % 3 == 0 {
                story.tell(Command::Flavor(FlavorCommand::Delete { flavor: name.as_str().into() }));
            }
            if number % 400 == 0 {
                let vm = format!("vm-{number}");
                story.tell(a_vm(&vm));
                story.disk_is_made(&vm);
                story.runs(&vm);
                if number % 800 == 0 {
                    story.is_removed(&vm);
                }
            }
        }
        assert!(story.log.len() > 4096 + 64 + 10, "{}", story.log.len());
        let folder = tempfile::tempdir().unwrap();
        let views = story.followed(&folder.path().join("views"), 300);
        (story, folder, views)
    })
}

/// An event as it stands in the log, with the labels that its object had.
struct Told {
    place: (u64, u32),
    commit: Commit,
    labels: Labels,
    vm: Option<uuid::Uuid>,
}

fn all_told(story: &Story) -> Vec<Told> {
    let mut world = edgestack_model::World::default();
    let mut all = Vec::new();
    for stored in &story.log {
        let commit = Commit::decode(&stored.payload).unwrap();
        let before = world.clone();
        world.evolve(&commit).unwrap();
        for (index, event) in (0_u32..).zip(&commit.events) {
            let (kind, id) = (event.fact.kind(), event.resource_id);
            let meta = world.meta(kind, id).or_else(|| before.meta(kind, id)).unwrap();
            let vm = (kind == Kind::Volume)
                .then(|| world.volumes.values().chain(before.volumes.values()).find(|volume| volume.id.uuid() == id))
                .flatten()
                .map(|volume| volume.spec.vm.uuid());
            all.push(Told {
                place: (commit.sequence.0, index),
                commit: commit.clone(),
                labels: meta.labels.clone(),
                vm,
            });
        }
    }
    all
}

fn holds(told: &Told, term: &Term) -> bool {
    let event = &told.commit.events[told.place.1 as usize];
    match term {
        Term::Story(id) => event.resource_id == *id || told.vm == Some(*id),
        Term::Kind(kind) => event.fact.kind() == *kind,
        Term::Name(name) => event.name.as_str() == name,
        Term::EventType(name) => event.fact.event_type() == name,
        Term::Actor(name) => told.commit.actor.name == *name,
        Term::Command(name) => told.commit.command == *name,
        Term::Correlation(id) => told.commit.correlation_id == *id,
        Term::Label(key, value) => told.labels.get(key) == Some(value),
        Term::Word(word) => {
            let reason = told.commit.reason.clone().unwrap_or_default();
            words_of(&reason).contains(word) || words_of(&event.describe()).contains(word)
        }
    }
}

fn queries(story: &Story) -> Vec<Groups> {
    let text = |text: &str| text.to_owned();
    let middle = Commit::decode(&story.log[story.log.len() / 2].payload).unwrap();
    let vm = story.world.vm(&"vm-400".into()).unwrap().id.uuid();
    let flavor = story.world.flavors.values().next().unwrap().id.uuid();
    vec![
        vec![],
        vec![vec![Term::Kind(Kind::Vm)]],
        vec![vec![Term::Kind(Kind::Vm), Term::Kind(Kind::Volume)], vec![Term::Actor(text("admin"))]],
        vec![vec![Term::Story(vm)]],
        vec![vec![Term::Story(flavor)]],
        vec![vec![Term::Name(text("f-7"))], vec![Term::EventType(text("FlavorDeleted"))]],
        vec![vec![Term::Actor(text("night-shift"))], vec![Term::Word(text("ops-7"))]],
        vec![vec![Term::Word(text("ops"))], vec![Term::Word(text("17"))]],
        vec![vec![Term::Label(text("tier"), text("t2"))], vec![Term::Command(text("remove-flavor"))]],
        vec![vec![Term::Label(text("tier"), text("t4"))]],
        vec![vec![Term::Correlation(middle.correlation_id)]],
        vec![vec![Term::Word(text("never"))]],
        vec![vec![]],
    ]
}

#[test]
fn a_search_finds_what_a_look_at_every_event_finds() {
    let (story, _folder, views) = busy();
    let all = all_told(story);
    let end = story.log.len() as u64;
    for query in queries(story) {
        let fits = |told: &&Told| query.iter().all(|group| group.iter().any(|term| holds(told, term)));
        let expect: Vec<(u64, u32)> = all.iter().filter(fits).map(|told| told.place).collect();
        let unknown = query == [vec![]] || query == [[Term::Word("never".to_owned())]];
        assert_eq!(expect.is_empty(), unknown, "{query:?} is worth asking");
        for cursor in [
            (0, 0),
            (0, u32::MAX),
            (1, 0),
            (63, 5),
            (64, u32::MAX),
            (65, 0),
            (4096, 0),
            (4097, 0),
            (end, 9),
            (end + 7, 0),
        ] {
            let found = |order| -> Vec<(u64, u32)> {
                let rows = views.search(query.clone(), order, (Sequence(cursor.0), cursor.1));
                rows.map(|row| row.map(|row| (row.sequence.0, row.index)).unwrap()).collect()
            };
            let behind: Vec<_> = expect.iter().copied().filter(|place| *place > cursor).collect();
            assert!(found(Order::OldestFirst) == behind, "{query:?} behind {cursor:?}");
            let before: Vec<_> = expect.iter().rev().copied().filter(|place| *place < cursor).collect();
            assert!(found(Order::NewestFirst) == before, "{query:?} before {cursor:?}");
        }
    }
}

#[test]
fn a_time_leads_to_the_last_commit_before_it() {
    let (story, _folder, views) = busy();
    for stored in story.log.iter().step_by(97) {
        let commit = Commit::decode(&stored.payload).unwrap();
        assert_eq!(views.time_of(commit.sequence).unwrap(), Some(commit.time));
        // Each is a second after the one before.
        let half = chrono::TimeDelta::milliseconds(500);
        assert_eq!(views.sequence_at(commit.time + half).unwrap(), commit.sequence);
        assert_eq!(views.sequence_at(commit.time - half).unwrap().0, commit.sequence.0 - 1);
    }
    assert_eq!(views.time_of(Sequence(0)).unwrap(), None);
    assert_eq!(views.time_of(Sequence(story.log.len() as u64 + 1)).unwrap(), None);
}

#[test]
fn who_searches_while_blocks_are_joined_misses_and_doubles_nothing() {
    let (story, ..) = busy();
    let folder = tempfile::tempdir().unwrap();
    let views = story.followed_to(&folder.path().join("views"), 300, 4000);
    let admin = || vec![vec![Term::Actor("admin".to_owned())]];
    let mut forward = views.search(admin(), Order::OldestFirst, (Sequence(0), u32::MAX));
    let mut back = views.search(admin(), Order::NewestFirst, (Sequence(4001), 0));
    let (mut ahead, mut behind): (Vec<_>, Vec<_>) = (
        forward.by_ref().take(700).map(|row| row.unwrap().sequence).collect(),
        back.by_ref().take(700).map(|row| row.unwrap().sequence).collect(),
    );
    // Behind their backs 64 blocks become one.
    let head =
        story.log[..4000].iter().fold(edgestack_log::ChainHead::GENESIS, |head, stored| head.after(&stored.payload));
    let world = story.log[..4000].iter().fold(edgestack_model::World::default(), |mut world, stored| {
        world.evolve(&Commit::decode(&stored.payload).unwrap()).unwrap();
        world
    });
    assert_eq!(chain::hash(&story.log[3999].payload), head.hash);
    let replica = edgestack_engine::Replica::new(world, head, Some(views.projection()));
    replica.apply(story.log[4000..].iter().map(|stored| (stored.clone(), None)).collect()).unwrap();
    views.settle();
    ahead.extend(forward.map(|row| row.unwrap().sequence));
    behind.extend(back.map(|row| row.unwrap().sequence));
    let all = all_told(story);
    let mut expect = all
        .iter()
        .filter(|told| told.commit.actor.name == "admin")
        .map(|told| told.commit.sequence)
        .collect::<Vec<_>>();
    assert!(ahead == expect);
    expect.retain(|sequence| sequence.0 <= 4000);
    expect.reverse();
    assert!(behind == expect);
}
