//! Where nothing is in the way, wishes come true by wakes, not by the beat that looks at everything now and then.

use std::time::Duration;

use edgestack_engine::Outcome;
use edgestack_model::{
    Command, Labels, World,
    image::ImageState,
    network::NetworkCommand,
    realization::RealizationState,
    vm::{CreateVm, RunStrategy, State, VmCommand},
};

use crate::{
    clients::{a_flavor, a_network, a_nic, an_image, wish},
    control_plane::ControlPlane,
    outside::Outside,
    random::Random,
};

/// Less than the pools' beat; drivers take 0.2 s at most, and a follower hears within 25 ms.
const WITHIN: Duration = Duration::from_secs(6);
const NAME: &str = "probe";

/// Makes a network and a VM on it, stops and starts the VM, and removes both.
///
/// # Errors
/// What takes too long.
pub async fn check(outside: &Outside, plane: &ControlPlane) -> Result<(), String> {
    wish(plane, an_image(NAME)).await?;
    wish(plane, a_flavor(NAME, &Random::seeded(1))).await?;
    until(plane, "the image is stored", |world| {
        world.image(&NAME.into()).is_ok_and(|image| image.state == ImageState::Active)
    })
    .await?;
    let network = Box::new(a_network(NAME, "10.0.9.0/29"));
    wish(plane, Command::Network(NetworkCommand::Create(network))).await?;
    until(plane, "the network is there", |world| {
        world.network(&NAME.into()).is_ok_and(|network| network.realization.state == RealizationState::Active)
    })
    .await?;
    let create = CreateVm {
        name: NAME.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        image: NAME.into(),
        flavor: NAME.into(),
        root_disk_gib: None,
        keypair: None,
        user_data: None,
        node: None,
        node_selector: Labels::default(),
        run_strategy: RunStrategy::Always,
        networks: vec![a_nic(NAME, None, None)],
    };
    wish(plane, Command::Vm(VmCommand::Create(Box::new(create)))).await?;
    if plane.replica.world().vm(&NAME.into()).is_ok_and(|vm| vm.placement.is_none()) {
        // There is no room for it.
        wish(plane, Command::Vm(VmCommand::Delete { vm: NAME.into() })).await?;
        return remove_network(plane).await;
    }
    until(plane, "the VM runs", runs).await?;
    until(plane, "its NIC is ready", |world| {
        world.vm(&NAME.into()).is_ok_and(|vm| vm.nics.iter().all(|nic| nic.ready))
    })
    .await?;
    // Each wish finds the one before it half done.
    let commands = [
        VmCommand::Stop { vm: NAME.into(), grace_seconds: 0 },
        VmCommand::Start { vm: NAME.into() },
        VmCommand::Restart { vm: NAME.into() },
        VmCommand::Stop { vm: NAME.into(), grace_seconds: 0 },
        VmCommand::Start { vm: NAME.into() },
    ];
    for command in commands {
        let outcome = wish(plane, Command::Vm(command)).await?;
        if !matches!(outcome, Outcome::Committed { .. }) {
            return Err(format!("a wish was answered {outcome:?}"));
        }
        tokio::time::sleep(outside.random.millis(1, 300)).await;
    }
    until(plane, "the VM runs again", runs).await?;
    wish(plane, Command::Vm(VmCommand::Delete { vm: NAME.into() })).await?;
    until(plane, "the VM is gone", |world| world.vm(&NAME.into()).is_err()).await?;
    remove_network(plane).await
}

async fn remove_network(plane: &ControlPlane) -> Result<(), String> {
    wish(plane, Command::Network(NetworkCommand::Delete { network: NAME.into() })).await?;
    until(plane, "the network is gone", |world| world.network(&NAME.into()).is_err()).await
}

fn runs(world: &World) -> bool {
    world.vm(&NAME.into()).is_ok_and(|vm| vm.state_in(world) == State::Running && vm.failure.is_none())
}

async fn until(plane: &ControlPlane, what: &str, is_so: impl Fn(&World) -> bool) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !is_so(&plane.replica.world()) {
        if tokio::time::Instant::now() > deadline {
            let world = plane.replica.world();
            let vm = world.vm(&NAME.into()).ok().map(|vm| (vm.state_in(&world), vm.waiting(&world)));
            return Err(format!("nothing is in the way, and {WITHIN:?} are not enough until {what}: {vm:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
