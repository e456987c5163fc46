//! `edgectl`, the command line of EdgeStack: a client of the MM3 API.
//!
//! A file for each object, verbs as the product names them. Data goes to
//! standard output; progress, hints and errors go to standard error.

mod api;
mod archive;
mod backup;
mod cli;
mod client;
mod clock;
mod completion;
mod config;
mod diff;
mod events;
mod explain;
mod failure;
mod flavor;
mod floating_ip;
mod guest;
mod history;
mod image;
mod image_file;
mod json;
mod keypair;
mod lb_health;
mod lease;
mod live;
mod load_balancer;
mod network;
mod network_cli;
mod network_test;
mod node;
mod output;
mod plan_file;
mod progress;
mod recording;
mod repair;
mod replay;
mod resource;
mod router;
mod rule_spec;
mod search;
mod secret_file;
mod security_group;
mod security_group_rule;
mod trust;
mod undo;
mod version;
mod vm;
mod vm_nic;
mod vm_sheet;
mod volume;
mod wait;
mod watch;
mod webhook;
mod what_if;

use std::process::ExitCode;

use clap::{
    Parser,
    error::{ContextKind, ContextValue},
};

use crate::{
    cli::{Cli, Command},
    client::Client,
    config::{Effective, TargetArgs},
    failure::Failure,
};

fn main() -> ExitCode {
    completion::answer_if_asked();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            suggest_few(&mut error);
            // Help into a closed pipe is read enough.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // One thread: a client waits for one server at a time, and starts faster so.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("edgectl: cannot start: {error}"));
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 {
                output::note(&format!("edgectl: {}", failure::line(&failure)));
            }
            ExitCode::from(code)
        }
    }
}

/// Of a command that doesn't exist clap suggests every other that shares a word, the nearest last.
fn suggest_few(error: &mut clap::Error) {
    if let Some(ContextValue::Strings(all)) = error.get(ContextKind::SuggestedSubcommand) {
        let nearest = all.iter().rev().take(3).cloned().collect();
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(nearest));
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let target = cli.target;
    match cli.command {
        Command::VerifyBackup(args) => backup::verify(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Config(command) => config::run(&command, &target),
        Command::Completion(args) => completion::run(&args),
        Command::Version(args) => version::run(&args, &target).await,
        Command::WhatIf(args) => {
            let tried = async |cli: Cli, client: &Client| on_site(cli.command, client).await;
            what_if::run(*args, &site(&target)?, tried).await
        }
        command => on_site(command, &site(&target)?).await,
    }
}

/// Commands that are about a site's objects and its log.
async fn on_site(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::Vm(command) => vm::run(command, client).await,
        Command::Image(command) => image::run(command, client).await,
        Command::Flavor(command) => flavor::run(command, client).await,
        Command::Keypair(command) => keypair::run(command, client).await,
        Command::Node(command) => node::run(command, client).await,
        Command::Volume(command) => volume::run(command, client).await,
        Command::Network(command) => network::run(command, client).await,
        Command::SecurityGroup(command) => security_group::run(command, client).await,
        Command::SecurityGroupRule(command) => security_group_rule::run(command, client).await,
        Command::Router(command) => router::run(command, client).await,
        Command::FloatingIp(command) => floating_ip::run(command, client).await,
        Command::LoadBalancer(command) => load_balancer::run(command, client).await,
        Command::Webhook(command) => webhook::run(command, client).await,
        Command::Lease(command) => lease::run(command, client).await,
        Command::Api(args) => api::run(args, client).await,
        Command::Watch(args) => events::run(&args, client).await,
        Command::History(args) => search::run(&args, client).await,
        Command::Explain(args) => explain::run(&args, client).await,
        Command::NetworkCli(args) => network_cli::run(client, args).await,
        Command::TestPing(args) => network_test::ping(client, &args).await,
        Command::TracePacket(args) => network_test::trace(client, &args).await,
        Command::Reconcile(args) => repair::reconcile(&args, client).await,
        Command::ForceRemove(args) => repair::force_remove(&args, client).await,
        Command::Adopt(args) => repair::adopt(&args, client).await,
        Command::VerifyLog(args) => replay::verify(&args, client).await,
        Command::Replay(args) => replay::replay(&args, client).await,
        Command::Backup(args) => backup::backup(&args, client).await,
        Command::Diff(args) => diff::run(&args, client).await,
        Command::Archive(args) => archive::run(&args, client).await,
        Command::Undo(args) => undo::run(&args, client).await,
        Command::WhatIf(_)
        | Command::VerifyBackup(_)
        | Command::Restore(_)
        | Command::Config(_)
        | Command::Completion(_)
        | Command::Version(_) => Err(Failure::Usage("that command is about no object of the site".to_owned())),
    }
}

fn site(target: &TargetArgs) -> Result<Client, Failure> {
    Client::new(&Effective::load(target, &config::process_env)?)
}
