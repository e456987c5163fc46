//! NICs of VMs: as they are asked for, come and go, and the security groups that they are in.

use clap::Args;
use edgestack_model::{Kind, vm::NicState};
use edgestack_wire::vm::{Vm, VmAction, VmNetwork};
use reqwest::Method;

use crate::{
    cli::{self, ChangeArgs, NameArgs, WaitArgs, name_or_id},
    client::{Client, Payload},
    failure::Failure,
    output, resource,
    wait::Verdict,
};

/// `edit-vm-sg`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(
    ["add_group", "remove_group", "set_groups", "clear"]
)))]
pub struct EditSgArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Which of the VM's NICs, from 0; all if absent.
    #[arg(long, value_name = "N")]
    nic: Option<u32>,
    /// A group to put them in, too; may be given several times.
    #[arg(long = "add", value_name = "GROUP", value_delimiter = ',', value_parser = name_or_id)]
    add_group: Vec<String>,
    /// A group to take them out of; may be given several times.
    #[arg(long = "remove", value_name = "GROUP", value_delimiter = ',', value_parser = name_or_id)]
    remove_group: Vec<String>,
    /// All their groups, in place of the present ones.
    #[arg(long = "set", value_name = "GROUP", value_delimiter = ',', value_parser = name_or_id)]
    set_groups: Vec<String>,
    /// Take them out of all groups: nothing passes.
    #[arg(long, conflicts_with = "set_groups")]
    clear: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `edit-vm-nic`
#[derive(Args, Debug)]
pub struct EditNicArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Which of the VM's NICs, from 0; all if absent.
    #[arg(long, value_name = "N")]
    nic: Option<u32>,
    /// Whether it is held to its own addresses.
    #[arg(long, value_name = "on|off", value_parser = cli::on_or_off, action = clap::ArgAction::Set)]
    port_security: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `attach-nic`
#[derive(Args, Debug)]
pub struct AttachNicArgs {
    #[command(flatten)]
    of: NameArgs,
    /// The network to be on, by name or id, the addresses wished for there, and security groups; the group default if none
    /// is named.
    #[arg(long, value_name = "NAME[,ip=ADDRESS][,mac=ADDRESS][,sg=GROUP]...[,port-security=on|off]", value_parser = parse)]
    network: VmNetwork,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `detach-nic`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["nic", "network"])))]
pub struct DetachNicArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Which of the VM's NICs, by its number.
    #[arg(long, value_name = "N")]
    nic: Option<u32>,
    /// The only one on this network, by name or id.
    #[arg(long, value_name = "NETWORK", value_parser = name_or_id)]
    network: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `blue`, `blue,ip=10.0.0.20,mac=fa:16:3e:00:00:20,sg=web,sg=db`.
///
/// # Errors
/// What it can be, as a sentence.
pub fn parse(text: &str) -> Result<VmNetwork, String> {
    let mut parts = text.split(',');
    let network = parts.next().unwrap_or_default().to_owned();
    let mut nic = VmNetwork { network, fixed_ip: None, mac: None, security_groups: None, port_security: None };
    for part in parts {
        match part.split_once('=') {
            Some(("ip", address)) => nic.fixed_ip = Some(address.to_owned()),
            Some(("mac", address)) => nic.mac = Some(address.to_owned()),
            Some(("sg", group)) if !group.is_empty() => {
                nic.security_groups.get_or_insert_default().push(group.to_owned());
            }
            Some(("port-security", word)) => nic.port_security = Some(cli::on_or_off(word)?),
            Some(_) | None => {
                let words = "ip=ADDRESS, mac=ADDRESS, sg=GROUP and port-security=on|off";
                return Err(format!("{part:?} is none of {words}"));
            }
        }
    }
    Ok(nic)
}

/// NICs that name no group are in these; without any, in the default one.
pub fn in_groups(nics: Vec<VmNetwork>, groups: &[String]) -> Vec<VmNetwork> {
    let of_all = (!groups.is_empty()).then(|| groups.to_vec());
    nics.into_iter()
        .map(|nic| VmNetwork { security_groups: nic.security_groups.clone().or_else(|| of_all.clone()), ..nic })
        .collect()
}

/// Changes the groups of a VM's NICs.
///
/// # Errors
/// The server's, those of waiting, or output's.
pub async fn edit(client: &Client, args: EditSgArgs) -> Result<(), Failure> {
    let set = (args.clear || !args.set_groups.is_empty()).then_some(args.set_groups);
    let body = Payload::json(&VmAction::EditSecurityGroups {
        nic: args.nic,
        security_groups: set,
        add: args.add_group,
        remove: args.remove_group,
    })?;
    let segments = [Kind::Vm.plural(), args.of.name.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &body, &args.change).await?;
    resource::finish::<Vm>(client, &reply, &args.change, args.wait.patience(), "edited", verdict).await
}

/// Changes a VM's NICs.
///
/// # Errors
/// The server's, those of waiting, or output's.
pub async fn edit_nic(client: &Client, args: EditNicArgs) -> Result<(), Failure> {
    let body = Payload::json(&VmAction::EditNic { nic: args.nic, port_security: args.port_security })?;
    let segments = [Kind::Vm.plural(), args.of.name.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &body, &args.change).await?;
    resource::finish::<Vm>(client, &reply, &args.change, args.wait.patience(), "edited", verdict).await
}

/// Attaches a NIC.
///
/// # Errors
/// The server's, those of waiting, or output's.
pub async fn attach(client: &Client, args: AttachNicArgs) -> Result<(), Failure> {
    let VmNetwork { network, fixed_ip, mac, security_groups, port_security } = args.network;
    let body = Payload::json(&VmAction::AttachNic { network, fixed_ip, mac, security_groups, port_security })?;
    let segments = [Kind::Vm.plural(), args.of.name.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &body, &args.change).await?;
    let answered: Vm = serde_json::from_str(&reply.body)?;
    // Numbers rise.
    let Some(new) = answered.networks.last() else {
        return Err(Failure::Failed("the server's answer shows no NIC".to_owned()));
    };
    if new.state == NicState::AwaitsStart.as_str() {
        let (name, number) = (&answered.meta.name, new.number);
        output::note(&format!(
            "NIC {number} comes with the VM's next start, as it was started before NICs could come and go while it runs: edgectl restart-vm {name}"
        ));
    }
    let number = new.number;
    let judge = move |vm: &Vm| attach_verdict(vm, number);
    resource::finish::<Vm>(client, &reply, &args.change, args.wait.patience(), "attached", judge).await
}

/// Detaches a NIC.
///
/// # Errors
/// The server's, those of waiting, or output's.
pub async fn detach(client: &Client, args: DetachNicArgs) -> Result<(), Failure> {
    let body = Payload::json(&VmAction::DetachNic { nic: args.nic, network: args.network })?;
    let segments = [Kind::Vm.plural(), args.of.name.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &body, &args.change).await?;
    resource::finish::<Vm>(client, &reply, &args.change, args.wait.patience(), "detached", detach_verdict).await
}

/// Whether a NIC is in the VM, as far as it can be now, and the nodes work by it.
fn attach_verdict(vm: &Vm, number: u32) -> Verdict {
    let Some(nic) = vm.networks.iter().find(|nic| nic.number == number) else {
        return Verdict::Never(format!("NIC {number} was detached meanwhile"));
    };
    match nic.state.as_str() {
        "detaching" => Verdict::Never(format!("NIC {number} is being detached by now")),
        "attaching" => {
            let state = format!("{}, NIC {number} is not in it yet", vm.state);
            Verdict::NotYet { state, waiting: vm.waiting.clone() }
        }
        _ => verdict(vm),
    }
}

/// Whether none of the VM's NICs is on its way out any more.
fn detach_verdict(vm: &Vm) -> Verdict {
    let open = vm.networks.iter().find(|nic| nic.state == NicState::Detaching.as_str());
    match open {
        None => Verdict::Reached,
        Some(nic) => {
            let state = format!("{}, NIC {} is on its way out", vm.state, nic.number);
            Verdict::NotYet { state, waiting: vm.waiting.clone() }
        }
    }
}

/// Whether the nodes work by all of its NICs as they are wished.
fn verdict(vm: &Vm) -> Verdict {
    if vm.target == "deleted" {
        return Verdict::Never(format!("vm \"{}\" is being removed by now", vm.meta.name));
    }
    let open: Vec<String> = vm.networks.iter().filter(|nic| !nic.ready).map(|nic| nic.number.to_string()).collect();
    if open.is_empty() {
        return Verdict::Reached;
    }
    let state = format!("{}, NIC {} is not as it shall be yet", vm.state, open.join(", "));
    Verdict::NotYet { state, waiting: vm.waiting.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm_sheet::tests::a_vm;
    use edgestack_wire::vm::VmNic;

    #[test]
    fn a_nic_names_network_addresses_and_groups() {
        let nic = parse("blue,ip=10.0.0.20,mac=fa:16:3e:00:00:20,sg=web,sg=db").unwrap();
        assert_eq!((nic.network.as_str(), nic.fixed_ip.as_deref()), ("blue", Some("10.0.0.20")));
        assert_eq!(nic.security_groups, Some(vec!["web".to_owned(), "db".to_owned()]));
        let plain = parse("blue").unwrap();
        assert_eq!((plain.security_groups, plain.port_security), (None, None));
        assert_eq!(parse("blue,port-security=off").unwrap().port_security, Some(false));
        assert_eq!(parse("blue,port-security=no").unwrap_err(), "must be on or off");
        for wrong in ["blue,10.0.0.20", "blue,sg=", "blue,group=web", "blue,"] {
            assert!(parse(wrong).unwrap_err().contains("sg=GROUP"), "{wrong}");
        }
    }

    #[test]
    fn groups_of_all_are_of_nics_that_name_none() {
        let nics = || vec![parse("blue,sg=web").unwrap(), parse("red").unwrap()];
        let groups =
            |all: &[String]| -> Vec<_> { in_groups(nics(), all).into_iter().map(|nic| nic.security_groups).collect() };
        let of = |name: &str| Some(vec![name.to_owned()]);
        assert_eq!(groups(&["db".to_owned()]), [of("web"), of("db")]);
        assert_eq!(groups(&[]), [of("web"), None]);
    }

    #[test]
    fn an_edit_is_done_when_all_nics_are_ready_again() {
        let nic = |number, ready| VmNic {
            number,
            network: "blue".to_owned(),
            network_id: a_vm().meta.id,
            fixed_ip: String::new(),
            addresses: vec![],
            mac: String::new(),
            security_groups: Some(vec![]),
            port_security: true,
            ready,
            state: "attached".to_owned(),
        };
        let vm = |second| Vm { networks: vec![nic(0, true), nic(1, second)], ..a_vm() };
        assert_eq!(verdict(&vm(true)), Verdict::Reached);
        let Verdict::NotYet { state, .. } = verdict(&vm(false)) else { panic!("a NIC is not ready") };
        assert_eq!(state, "running, NIC 1 is not as it shall be yet");
        assert!(matches!(verdict(&Vm { target: "deleted".to_owned(), ..vm(true) }), Verdict::Never(_)));
    }

    #[test]
    fn a_nic_is_attached_when_it_is_in_the_vm_and_detached_when_it_is_gone() {
        let nic = |number: u32, state: &str| {
            let nic = serde_json::json!({
                "number": number, "network": "blue", "network_id": a_vm().meta.id, "fixed_ip": "", "addresses": [],
                "mac": "", "security_groups": [], "ready": true, "state": state,
            });
            serde_json::from_value::<VmNic>(nic).unwrap()
        };
        let vm = |state| Vm { networks: vec![nic(0, "attached"), nic(2, state)], ..a_vm() };
        for (state, there, gone) in [
            ("attached", "reached", "reached"),
            ("awaits_start", "reached", "reached"),
            ("attaching", "not yet", "reached"),
            ("detaching", "never", "not yet"),
        ] {
            let word = |verdict| match verdict {
                Verdict::Reached => "reached",
                Verdict::NotYet { .. } => "not yet",
                Verdict::Never(_) => "never",
            };
            assert_eq!(word(attach_verdict(&vm(state), 2)), there, "{state}");
            assert_eq!(word(detach_verdict(&vm(state))), gone, "{state}");
        }
        assert!(matches!(attach_verdict(&vm("attached"), 1), Verdict::Never(_)));
    }
}
