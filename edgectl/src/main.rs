//! `edgectl`, the command line of EdgeStack: a client of the MM3 API.
//!
//! A file for each object, verbs as the product names them. Data goes to
//! standard output; progress, hints and errors go to standard error.

mod api;
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
mod guest;
mod history;
mod image;
mod image_file;
mod json;
mod keypair;
mod live;
mod node;
mod output;
mod progress;
mod repair;
mod replay;
mod resource;
mod search;
mod secret_file;
mod trust;
mod version;
mod vm;
mod vm_sheet;
mod volume;
mod wait;
mod watch;
mod webhook;

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
        Command::Vm(command) => vm::run(command, &site(&target)?).await,
        Command::Image(command) => image::run(command, &site(&target)?).await,
        Command::Flavor(command) => flavor::run(command, &site(&target)?).await,
        Command::Keypair(command) => keypair::run(command, &site(&target)?).await,
        Command::Node(command) => node::run(command, &site(&target)?).await,
        Command::Volume(command) => volume::run(command, &site(&target)?).await,
        Command::Webhook(command) => webhook::run(command, &site(&target)?).await,
        Command::Api(args) => api::run(args, &site(&target)?).await,
        Command::Watch(args) => events::run(&args, &site(&target)?).await,
        Command::History(args) => search::run(&args, &site(&target)?).await,
        Command::Explain(args) => explain::run(&args, &site(&target)?).await,
        Command::Reconcile(args) => repair::reconcile(&args, &site(&target)?).await,
        Command::ForceRemove(args) => repair::force_remove(&args, &site(&target)?).await,
        Command::Adopt(args) => repair::adopt(&args, &site(&target)?).await,
        Command::VerifyLog(args) => replay::verify(&args, &site(&target)?).await,
        Command::Replay(args) => replay::replay(&args, &site(&target)?).await,
        Command::Backup(args) => backup::backup(&args, &site(&target)?).await,
        Command::VerifyBackup(args) => backup::verify(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Diff(args) => diff::run(&args, &site(&target)?).await,
        Command::Config(command) => config::run(&command, &target),
        Command::Completion(args) => completion::run(&args),
        Command::Version(args) => version::run(&args, &target).await,
    }
}

fn site(target: &TargetArgs) -> Result<Client, Failure> {
    Client::new(&Effective::load(target, &config::process_env)?)
}
