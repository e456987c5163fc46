//! Clients: they wish at random on a small name space, and try again with the same key until they have an answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use edgestack_engine::{Origin, Outcome, Submission, SubmitError};
use edgestack_model::{
    Actor, Command, Labels, Sequence,
    flavor::{FlavorCommand, Shape},
    idempotency::IdempotencyClaim,
    image::{DiskFormat, ImageCommand, ImageSource, ImageSpec, Visibility},
    meta::MetaChange,
    node::NodeCommand,
    vm::{CreateVm, RunStrategy, VmCommand},
};
use uuid::Uuid;

use crate::{control_plane::ControlPlane, outside::Outside, random::Random};

/// How many clients there are.
pub const CLIENTS: usize = 4;

/// What clients remember, whatever becomes of the control plane.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// What each client waits for.
    open: BTreeMap<usize, Submission>,
    /// What was acknowledged: commit and sequence.
    acknowledged: Vec<(Uuid, u64)>,
    /// Which commit each key led to, as far as a client was told.
    by_key: BTreeMap<String, u64>,
    answers: BTreeMap<&'static str, usize>,
}

impl Ledger {
    pub fn acknowledged(&self) -> Vec<(Uuid, u64)> {
        self.0.lock().unwrap().acknowledged.clone()
    }

    pub fn by_key(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().by_key.clone()
    }

    /// How often each kind of answer came.
    pub fn answers(&self) -> BTreeMap<&'static str, usize> {
        self.0.lock().unwrap().answers.clone()
    }
}

/// One client, as long as this control plane lives.
pub async fn run_client(number: usize, outside: Arc<Outside>, plane: ControlPlane) {
    let random = &outside.random;
    loop {
        let open = outside.ledger.0.lock().unwrap().open.get(&number).cloned();
        let submission = match open {
            Some(open) => open,
            None => {
                tokio::time::sleep(random.millis(20, 2500)).await;
                let chosen = a_submission(number, &outside);
                outside.ledger.0.lock().unwrap().open.insert(number, chosen.clone());
                chosen
            }
        };
        let key = submission.origin.idempotency.as_ref().map(|claim| claim.key.clone());
        let what = format!("{} under {key:?}", submission.command.name());
        // An impatient client does not wait for its first answer.
        let outcome = if key.is_some() && random.per_mille(150) {
            let twice = (plane.port.submit(submission.clone()), plane.port.submit(submission));
            let (outcome, second) = futures::join!(twice.0, twice.1);
            take_answer(&outside, &plane, &what, key.as_deref(), second);
            outcome
        } else {
            plane.port.submit(submission).await
        };
        if take_answer(&outside, &plane, &what, key.as_deref(), outcome) {
            outside.ledger.0.lock().unwrap().open.remove(&number);
        } else {
            tokio::time::sleep(random.millis(100, 3000)).await;
        }
    }
}

/// Notes an answer; false: it says nothing for good, and the client tries again.
fn take_answer(
    outside: &Outside,
    plane: &ControlPlane,
    what: &str,
    key: Option<&str>,
    outcome: Result<Outcome, SubmitError>,
) -> bool {
    let mut pages = outside.ledger.0.lock().unwrap();
    *pages.answers.entry(kind_of(&outcome)).or_default() += 1;
    let told = match outcome {
        Ok(Outcome::Committed { commit }) => {
            pages.acknowledged.push((commit.id, commit.sequence.0));
            let sequence = commit.sequence;
            let folded = Sequence(plane.replica.head().sequence);
            let shown = plane.views.as_ref().map_or(folded, |views| views.sequence().unwrap());
            if shown.min(folded) < sequence {
                outside.violations.add(format!("{what}: acknowledged at {sequence}, but reads show {shown}"));
            }
            Some(sequence.0)
        }
        Ok(Outcome::Before { sequence, .. }) => Some(sequence.0),
        Ok(Outcome::Unchanged { .. } | Outcome::DryRun { .. }) | Err(SubmitError::Refused(_)) => None,
        Err(SubmitError::Busy { .. } | SubmitError::Unavailable { .. }) => return false,
        // Without a key there is no way to know, and the client lets it be.
        Err(SubmitError::OutcomeUnknown { .. }) if key.is_none() => None,
        Err(SubmitError::OutcomeUnknown { .. }) => return false,
        Err(error @ (SubmitError::Damaged { .. } | SubmitError::TooLarge { .. } | SubmitError::Internal(_))) => {
            outside.violations.add(format!("{what} was answered: {error}"));
            None
        }
    };
    if let (Some(key), Some(sequence)) = (key, told) {
        let before = pages.by_key.insert(key.to_owned(), sequence);
        if before.is_some_and(|before| before != sequence) {
            outside.violations.add(format!("{what} was told commit {before:?} and {sequence}"));
        }
    }
    true
}

fn kind_of(outcome: &Result<Outcome, SubmitError>) -> &'static str {
    match outcome {
        Ok(Outcome::Committed { .. }) => "committed",
        Ok(Outcome::Unchanged { .. }) => "unchanged",
        Ok(Outcome::Before { .. }) => "before",
        Ok(Outcome::DryRun { .. }) => "dry run",
        Err(SubmitError::Refused(_)) => "refused",
        Err(SubmitError::Busy { .. }) => "busy",
        Err(SubmitError::Unavailable { .. }) => "unavailable",
        Err(SubmitError::OutcomeUnknown { .. }) => "unknown",
        Err(SubmitError::Damaged { .. } | SubmitError::TooLarge { .. } | SubmitError::Internal(_)) => "wrong",
    }
}

fn a_submission(number: usize, outside: &Outside) -> Submission {
    let random = &outside.random;
    let name = format!("client-{number}");
    let actor = Actor { name, credential: "simulated".into(), from: "simulated".into() };
    let correlation_id = Uuid::from_u128(u128::from(random.below(u64::MAX)));
    let mut origin = Origin::of(actor, correlation_id, None);
    if random.per_mille(700) {
        origin.idempotency = Some(IdempotencyClaim { key: outside.key(), fingerprint: "f".into() });
    }
    origin.dry_run = random.per_mille(30);
    Submission { command: a_command(random), origin }
}

fn a_command(random: &Random) -> Command {
    let vm = || format!("vm-{}", random.below(6)).as_str().into();
    let node = || random.one_of(&["edge-1", "edge-2", "edge-3"]).to_owned().into();
    let image = || format!("image-{}", random.below(2));
    let flavor = || format!("flavor-{}", random.below(2));
    match random.below(100) {
        0..5 => an_image(&image()),
        5..9 => a_flavor(&flavor(), random),
        9..11 => Command::Image(ImageCommand::Delete { image: image().into() }),
        11..12 => Command::Flavor(FlavorCommand::Delete { flavor: flavor().into() }),
        12..16 => Command::Node(NodeCommand::Cordon { node: node() }),
        16..22 => Command::Node(NodeCommand::Uncordon { node: node() }),
        22..47 => a_vm(random, image(), flavor()),
        47..57 => Command::Vm(VmCommand::Start { vm: vm() }),
        57..67 => Command::Vm(VmCommand::Stop { vm: vm(), grace_seconds: *random.one_of(&[0, 5, 30, 120]) }),
        67..75 => Command::Vm(VmCommand::Restart { vm: vm() }),
        75..80 => Command::Vm(VmCommand::Pause { vm: vm() }),
        80..85 => Command::Vm(VmCommand::Unpause { vm: vm() }),
        85..90 => Command::Vm(VmCommand::Update {
            vm: vm(),
            change: MetaChange { description: Some(random.below(9).to_string()), labels: None },
            run_strategy: Some(a_strategy(random)),
            node_selector: None,
        }),
        _ => Command::Vm(VmCommand::Delete { vm: vm() }),
    }
}

fn a_strategy(random: &Random) -> RunStrategy {
    *random.one_of(&[
        RunStrategy::Always,
        RunStrategy::Always,
        RunStrategy::RerunOnFailure,
        RunStrategy::Manual,
        RunStrategy::Halted,
    ])
}

fn an_image(name: &str) -> Command {
    Command::Image(ImageCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        spec: ImageSpec {
            format: DiskFormat::Qcow2,
            source: ImageSource::Path { path: "/simulated".into() },
            architecture: "x86_64".into(),
            min_disk_gib: 0,
            min_memory_mib: 0,
            visibility: Visibility::Private,
        },
    })
}

fn a_flavor(name: &str, random: &Random) -> Command {
    Command::Flavor(FlavorCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        shape: Shape {
            vcpus: 1 + u32::try_from(random.below(2)).unwrap(),
            memory_mib: 512,
            disk_gib: 5,
            dedicated_cpus: false,
            huge_pages: None,
            numa_nodes: None,
        },
    })
}

fn a_vm(random: &Random, image: String, flavor: String) -> Command {
    Command::Vm(VmCommand::Create(Box::new(CreateVm {
        name: format!("vm-{}", random.below(6)).parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        image: image.into(),
        flavor: flavor.into(),
        root_disk_gib: None,
        keypair: None,
        user_data: None,
        node: random.per_mille(200).then(|| random.one_of(&["edge-1", "edge-2", "edge-3"]).to_owned().into()),
        node_selector: Labels::default(),
        run_strategy: a_strategy(random),
    })))
}

/// Every node takes VMs again: sent until it is taken.
pub async fn uncordon_all(outside: &Outside, plane: &ControlPlane) {
    for node in &outside.nodes {
        let actor = Actor { name: "admin".into(), credential: "simulated".into(), from: "simulated".into() };
        let command = Command::Node(NodeCommand::Uncordon { node: node.name.as_str().into() });
        let submission = Submission { command, origin: Origin::of(actor, Uuid::nil(), None) };
        while plane.port.submit(submission.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
