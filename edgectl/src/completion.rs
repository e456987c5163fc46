//! Shell completion, of names too: the shell's script asks this binary, and
//! this binary asks the server, briefly.

use std::{ffi::OsStr, time::Duration};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{
    ArgValueCompleter, CompletionCandidate,
    env::{Bash, EnvCompleter, Fish, Zsh},
};
use edgestack_model::Kind;
use edgestack_wire::command_word;
use serde::Deserialize;

use crate::{
    cli::Cli,
    client::Client,
    config::{self, Effective, TargetArgs},
    failure::Failure,
    output, resource,
};

/// A slow server must not make typing slow.
const PATIENCE: Duration = Duration::from_millis(800);
/// The shell's script sets this variable when it asks. Source: clap_complete's `env` module.
const VARIABLE: &str = "COMPLETE";

/// `edgectl completion`
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// bash 4.4 or newer.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// Prints the script.
///
/// # Errors
/// Output's.
pub fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    shell.write_registration(VARIABLE, "edgectl", "edgectl", "edgectl", &mut script).map_err(Failure::Output)?;
    output::print_bytes(&script)
}

/// Answers the shell's question and ends, if this run is one.
pub fn answer_if_asked() {
    clap_complete::CompleteEnv::with_factory(command).var(VARIABLE).bin("edgectl").complete();
}

/// The command line with completers on every argument that names a resource.
fn command() -> clap::Command {
    let mut command = Cli::command();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |sub| {
            let own = kind_of(&name);
            sub.mut_args(|arg| match kind_named_by(arg.get_id().as_str(), own) {
                Some(kind) => arg.add(ArgValueCompleter::new(move |current: &OsStr| candidates(kind, current))),
                None => arg,
            })
        });
    }
    command
}

/// Which kind a command is about, by its name.
fn kind_of(command: &str) -> Option<Kind> {
    let object = command.split('-').nth(1)?;
    match object {
        "guest" | "login" | "nic" => Some(Kind::Vm),
        object => command_word::kind(object).or_else(|| object.strip_suffix('s').and_then(command_word::kind)),
    }
}

/// Which kind's names an argument takes. A name to be made is `new_name`, which has none.
fn kind_named_by(argument: &str, own: Option<Kind>) -> Option<Kind> {
    match argument {
        "name" | "names" => own,
        "image" => Some(Kind::Image),
        "flavor" => Some(Kind::Flavor),
        "keypair" => Some(Kind::Keypair),
        "node" => Some(Kind::Node),
        "network" | "external_network" | "attach" | "detach" => Some(Kind::Network),
        "router" => Some(Kind::Router),
        "vm" | "member" => Some(Kind::Vm),
        "lb" => Some(Kind::LoadBalancer),
        "group" | "security_group" | "remote_group" | "add_group" | "remove_group" | "set_groups" => {
            Some(Kind::SecurityGroup)
        }
        _ => None,
    }
}

/// Names that begin so; none when the server cannot be asked in time: a
/// completion has no place to say why.
fn candidates(kind: Kind, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    names(kind).into_iter().filter(|name| name.starts_with(current.as_ref())).map(CompletionCandidate::new).collect()
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn names(kind: Kind) -> Vec<String> {
    let Ok(config) = Effective::load(&TargetArgs::default(), &config::process_env) else {
        return vec![];
    };
    let Ok(client) = Client::new(&config) else {
        return vec![];
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![];
    };
    let asked = runtime.block_on(async {
        let segments = [kind.plural()];
        tokio::time::timeout(PATIENCE, resource::pages(&client, &segments, &[], None)).await
    });
    match asked {
        Ok(Ok(list)) => list
            .items
            .iter()
            .filter_map(|raw| serde_json::from_str::<Named>(raw.get()).ok())
            .map(|named| named.name)
            .collect(),
        Ok(Err(_)) | Err(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_names_a_resource_is_completed() {
        let command = command();
        let completed = |sub: &str, arg: &str| {
            command
                .find_subcommand(sub)
                .and_then(|sub| sub.get_arguments().find(|a| a.get_id() == arg))
                .and_then(|arg| arg.get::<ArgValueCompleter>())
                .is_some()
        };
        for (sub, arg) in [
            ("show-vm", "name"),
            ("remove-vm", "names"),
            ("show-guest-info", "name"),
            ("create-vm", "image"),
            ("create-vm", "keypair"),
            ("cordon-node", "name"),
            ("show-vol", "name"),
            ("show-vol-events", "name"),
            ("rotate-webhook-secret", "name"),
            ("remove-webhook", "names"),
            ("list-images", "name"),
            ("create-vm", "network"),
            ("create-vm", "security_group"),
            ("show-sg", "name"),
            ("remove-sg", "names"),
            ("show-sg-events", "name"),
            ("list-sgs", "name"),
            ("create-sgr", "group"),
            ("create-sgr", "remote_group"),
            ("show-sgr", "name"),
            ("remove-sgr", "names"),
            ("create-router", "network"),
            ("create-router", "external_network"),
            ("update-router", "attach"),
            ("show-router", "name"),
            ("remove-router", "names"),
            ("create-peer-router", "router"),
            ("create-fip", "router"),
            ("associate-fip", "name"),
            ("associate-fip", "vm"),
            ("list-fips", "name"),
            ("remove-fip", "names"),
            ("associate-fip", "lb"),
            ("create-lb", "network"),
            ("create-lb", "member"),
            ("show-lb", "name"),
            ("remove-lb", "names"),
            ("create-lbr", "lb"),
            ("edit-vm-sg", "name"),
            ("edit-vm-sg", "add_group"),
            ("edit-vm-sg", "remove_group"),
            ("edit-vm-sg", "set_groups"),
            ("edit-vm-nic", "name"),
            ("attach-nic", "name"),
            ("attach-nic", "network"),
            ("detach-nic", "name"),
            ("detach-nic", "network"),
        ] {
            assert!(completed(sub, arg), "{sub} {arg}");
        }
        assert!(!completed("create-vm", "new_name"));
    }
}
