//! The figures of the README: the real daemon and nats-server as processes of
//! their own, measured against a baseline in the same run, on the same disk.
//!
//! `cargo build --release -p edgestackd -p edgestack-bench && target/release/edgestack-bench`
//! prints a Markdown table: what, median, p99, the baseline's median, the ratio.

mod bare;
mod commands;
mod fold;
mod http;
mod long;
mod networks;
mod qemu;
mod site;
mod start;
mod stats;
mod subscribers;
mod two_daemons;
mod vms;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why a measurement ended early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures EdgeStack.
#[derive(Parser)]
#[command(after_help = "Example: edgestack-bench --nats-server /usr/local/bin/nats-server --only commands")]
pub struct Options {
    /// The daemon to measure; the one beside this program if absent.
    #[arg(long)]
    pub edgestackd: Option<PathBuf>,
    /// nats-server 2.15 or newer.
    #[arg(long, env = "EDGESTACK_NATS_SERVER", default_value = "nats-server")]
    pub nats_server: PathBuf,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',', default_values_t = ["commands".to_owned(), "fold".to_owned(), "vms".to_owned(), "qemu".to_owned()])]
    pub only: Vec<String>,
    /// VMs in the log for the measurements of reads, memory and start.
    #[arg(long, default_value_t = 1000)]
    pub vms: usize,
    /// Commits in the log for the measurement of folding.
    #[arg(long, default_value_t = 20_000)]
    pub commits: usize,
    /// Commits in the log for the measurement of a long past (`--only long`, some minutes).
    #[arg(long, default_value_t = 1_000_000)]
    pub long_commits: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    println!("| what | median | p99 | baseline | ratio | to reach |");
    println!("|---|---|---|---|---|---|");
    for name in &options.only {
        let measured = match name.as_str() {
            "commands" => commands::measure(&options).await,
            "fold" => fold::measure(&options),
            "long" => long::measure(&options).await,
            "vms" => vms::measure(&options).await,
            "subscribers" => subscribers::measure(&options).await,
            "two-daemons" => two_daemons::measure(&options).await,
            "networks" => networks::measure(&options, networks::Rows::All),
            "throughput" => networks::measure(&options, networks::Rows::Throughput),
            "qemu" => qemu::measure(&options).await,
            other => Err(format!(
                "there is no measurement {other:?}; there are commands, fold, vms, subscribers, two-daemons, networks, throughput, qemu, long"
            )
            .into()),
        };
        if let Err(error) = measured {
            eprintln!("edgestack-bench: {name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
