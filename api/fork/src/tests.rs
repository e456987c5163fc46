#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use edgestack_engine::{Origin, Submission};
use edgestack_log::ChainHead;
use edgestack_model::{
    Actor, Command, Labels, World,
    flavor::{FlavorCommand, Shape},
    image::{DiskFormat, ImageCommand, ImageSource, ImageSpec, Visibility},
    node::{Capacity, Hypervisor, NodeCommand, NodeFacts, NodeReport, PortRange},
    vm::{CreateVm, RunStrategy, State, VmCommand},
};
use edgestack_seal::SealingKey;
use edgestack_server::fork::{Fork, ForkSeed, Forks as _};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use uuid::Uuid;

use crate::SimulatedForks;

type Placed = (World, ChainHead);

/// Sends commands on a fork of a world, lets time pass, and gives what it came to.
fn go_on(from: Placed, commands: Vec<Command>, then: Duration) -> Placed {
    let (tell, told) = mpsc::channel();
    let folder = tempfile::tempdir().unwrap();
    let seal = SealingKey::load_or_create(&folder.path().join("seal")).unwrap();
    let (world, head) = from;
    let seed = ForkSeed { world, head, now: chrono::Utc::now(), site: "test".to_owned(), seal };
    let play = move |fork: Fork| {
        let life = async move {
            for command in commands {
                let name = match &command {
                    Command::Node(NodeCommand::Report(_)) => "worker.test",
                    _ => "admin",
                };
                let actor = Actor { name: name.into(), credential: "test".into(), from: "test".into() };
                fork.port
                    .submit(Submission { command, origin: Origin::of(actor, Uuid::now_v7(), None) })
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            tokio::time::sleep(then).await;
            tell.send(fork.replica.snapshot()).unwrap();
        };
        Box::pin(life) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    };
    SimulatedForks.begin(seed, Box::new(play)).unwrap();
    told.recv_timeout(Duration::from_secs(60)).unwrap()
}

fn a_node() -> Command {
    let has = Capacity { vcpus: 8, memory_mib: 8192, disk_gib: 100 };
    let facts = NodeFacts {
        addresses: vec![],
        architecture: "x86_64".into(),
        kernel: "6.1".into(),
        operating_system: "Debian".into(),
        hypervisor: Hypervisor {
            name: "QEMU".into(),
            version: "10".into(),
            accelerator: "kvm".into(),
            accelerator_reason: String::new(),
            simulated: false,
        },
        capacity: has,
        allocatable: has,
        ssh_ports: PortRange { first: 22000, last: 22999 },
        network: None,
    };
    Command::Node(NodeCommand::Report(NodeReport::Inventory {
        name: "edge-1".parse().unwrap(),
        facts: Box::new(facts),
    }))
}

fn with_a_vm() -> Vec<Command> {
    let (description, labels) = (String::new(), Labels::default());
    let shape =
        Shape { vcpus: 1, memory_mib: 512, disk_gib: 5, dedicated_cpus: false, huge_pages: None, numa_nodes: None };
    let flavor = FlavorCommand::Create {
        name: "small".parse().unwrap(),
        description: description.clone(),
        labels: labels.clone(),
        shape,
    };
    let spec = ImageSpec {
        format: DiskFormat::Qcow2,
        source: ImageSource::Path { path: "/image".into() },
        architecture: "x86_64".into(),
        min_disk_gib: 0,
        min_memory_mib: 0,
        visibility: Visibility::Private,
    };
    let image = ImageCommand::Create {
        name: "debian".parse().unwrap(),
        description: description.clone(),
        labels: labels.clone(),
        spec,
    };
    let vm = CreateVm {
        networks: vec![],
        name: "web".parse().unwrap(),
        description,
        labels: labels.clone(),
        image: "debian".into(),
        flavor: "small".into(),
        root_disk_gib: None,
        keypair: None,
        user_data: None,
        node: None,
        node_selector: labels,
        run_strategy: RunStrategy::Always,
    };
    vec![Command::Flavor(flavor), Command::Image(image), Command::Vm(VmCommand::Create(Box::new(vm)))]
}

fn state_of_web(world: &World) -> State {
    world.vm(&"web".into()).unwrap().state_in(world)
}

/// A site with a node and a running VM, made on forks alone: a fork's workers are those of the nodes that it begins with.
fn with_a_running_vm() -> Placed {
    let with_node = go_on((World::default(), ChainHead::GENESIS), vec![a_node()], Duration::ZERO);
    let running = go_on(with_node, with_a_vm(), Duration::from_secs(30));
    assert_eq!(state_of_web(&running.0), State::Running);
    running
}

#[test]
fn what_runs_and_what_is_paused_goes_on_so_in_a_fork() {
    let running = with_a_running_vm();
    let later = go_on(running.clone(), vec![], Duration::from_secs(3600));
    assert_eq!(later, running, "something happened by itself");
    let paused = go_on(running, vec![Command::Vm(VmCommand::Pause { vm: "web".into() })], Duration::from_secs(30));
    assert_eq!(state_of_web(&paused.0), State::Paused);
    let later = go_on(paused.clone(), vec![], Duration::from_secs(3600));
    assert_eq!(later, paused, "something happened by itself");
}

#[test]
fn a_fork_goes_on_in_the_chain_that_it_began_in() {
    let (world, head) = with_a_running_vm();
    let stop = Command::Vm(VmCommand::Stop { vm: "web".into(), grace_seconds: 30 });
    let (stopped, then) = go_on((world.clone(), head), vec![stop], Duration::from_secs(30));
    assert_eq!(state_of_web(&stopped), State::Stopped);
    assert!(then.sequence > head.sequence);
    assert_eq!(stopped.sequence.0, then.sequence);
    assert_eq!(state_of_web(&world), State::Running, "the world that it began with is another one");
}

/// Counts what is counted.
#[derive(Default)]
struct Seen(Arc<AtomicU64>);

struct One(Arc<AtomicU64>);

impl CounterFn for One {
    fn increment(&self, _: u64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn absolute(&self, _: u64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(One(self.0.clone())))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.fetch_add(1, Ordering::SeqCst);
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.fetch_add(1, Ordering::SeqCst);
        Histogram::noop()
    }
}

#[test]
fn nothing_in_a_fork_counts_for_the_process() {
    let counted = Arc::new(AtomicU64::new(0));
    metrics::set_global_recorder(Seen(counted.clone())).unwrap();
    metrics::counter!("seen").increment(1);
    assert_eq!(counted.swap(0, Ordering::SeqCst), 1, "the recorder of this test sees nothing");
    with_a_running_vm();
    assert_eq!(counted.load(Ordering::SeqCst), 0);
}
