//! Where nothing is in the way, wishes come true by wakes, not by the beat that looks at everything now and then.

use std::time::Duration;

use edgestack_engine::Outcome;
use edgestack_model::{
    Command, Labels, World,
    image::ImageState,
    network::NetworkCommand,
    realization::RealizationState,
    security_group::{DEFAULT, SecurityGroupCommand, membership::GroupsChange},
    security_group_rule::{CreateRule, EtherType, RemoteRequest, SecurityGroupRuleCommand},
    vm::{CreateVm, NicRequest, RunStrategy, State, VmCommand},
};

use crate::{
    clients::wish,
    control_plane::ControlPlane,
    objects::objects,
    outside::Outside,
    random::Random,
    wishes::{
        a_flavor, a_nic, an_image,
        network::a_network,
        security_group::{a_group_of, a_rule},
    },
};

/// Less than the pools' beat; drivers take 0.2 s at most, and a follower hears within 25 ms.
const WITHIN: Duration = Duration::from_secs(6);
const NAME: &str = "probe";

/// Makes a network and a group, a VM on the one and in the other, stops and starts the VM, and removes all of it.
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
    let group = Box::new(a_group_of(NAME, None));
    wish(plane, Command::SecurityGroup(SecurityGroupCommand::Create(group))).await?;
    until(plane, "the network, the group and its rules are there", are_ready).await?;
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
        networks: vec![NicRequest { security_groups: Some(vec![NAME.into()]), ..a_nic(NAME, None, None) }],
    };
    wish(plane, Command::Vm(VmCommand::Create(Box::new(create)))).await?;
    if plane.replica.world().vm(&NAME.into()).is_ok_and(|vm| vm.placement.is_none()) {
        // There is no room for it.
        wish(plane, Command::Vm(VmCommand::Delete { vm: NAME.into() })).await?;
        return remove_network_and_group(plane).await;
    }
    until(plane, "the VM runs", runs).await?;
    until(plane, "its NIC is ready", nic_is_ready).await?;
    let rule = a_rule(EtherType::Ipv4, RemoteRequest::Group(NAME.into()));
    let create = Box::new(CreateRule { group: NAME.into(), rule });
    wish(plane, Command::SecurityGroupRule(SecurityGroupRuleCommand::Create(create))).await?;
    let change = GroupsChange { add: vec![DEFAULT.into()], ..GroupsChange::default() };
    wish(plane, Command::Vm(VmCommand::EditSecurityGroups { vm: NAME.into(), nic: None, change })).await?;
    until(plane, "the rule is there", are_ready).await?;
    until(plane, "its NIC is ready in another group", nic_is_ready).await?;
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
    remove_network_and_group(plane).await
}

async fn remove_network_and_group(plane: &ControlPlane) -> Result<(), String> {
    wish(plane, Command::Network(NetworkCommand::Delete { network: NAME.into(), cascade: false })).await?;
    let (group, cascade) = (NAME.into(), false);
    wish(plane, Command::SecurityGroup(SecurityGroupCommand::Delete { group, cascade })).await?;
    until(plane, "the network and the group are gone", |world| {
        world.network(&NAME.into()).is_err() && world.security_group(&NAME.into()).is_err()
    })
    .await
}

fn are_ready(world: &World) -> bool {
    objects(world).all(|object| object.realization.state == RealizationState::Active || object.waits_for_nics(world))
}

fn nic_is_ready(world: &World) -> bool {
    world.vm(&NAME.into()).is_ok_and(|vm| vm.nics.iter().all(|nic| nic.ready))
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
