//! `edgectl version`.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    cli::OutputArgs,
    client::Client,
    config::{self, Effective, TargetArgs},
    failure::{self, Failure},
    output::{self, Format},
};

/// Asking for a version is no reason to wait long.
const PATIENCE: Duration = Duration::from_secs(2);

/// `edgectl version`
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// Only edgectl's own version; the site is not asked.
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Versions {
    edgectl: &'static str,
    /// The site's; `null` when it was not asked or did not answer.
    site: Option<String>,
}

/// The part of OpenAPI 3.1 that is read.
#[derive(Deserialize)]
struct OpenApi {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

/// Tells the versions. A site that does not answer is noted and is no failure.
///
/// # Errors
/// Output's.
pub async fn run(args: &VersionArgs, target: &TargetArgs) -> Result<(), Failure> {
    let site = if args.client {
        None
    } else {
        match site_version(target).await {
            Ok(version) => Some(version),
            Err(failure) => {
                output::note(&format!("edgectl: the site's version is not known: {}", failure::line(&failure)));
                None
            }
        }
    };
    let versions = Versions { edgectl: env!("CARGO_PKG_VERSION"), site };
    let raw = serde_json::to_string(&versions)?;
    let format = match args.output.output {
        Format::Name => Format::Table,
        format => format,
    };
    output::print_document(format, &raw, "", |_| {
        let site = match &versions.site {
            Some(version) => format!("site {version}\n"),
            None => String::new(),
        };
        Ok(format!("edgectl {}\n{site}", versions.edgectl))
    })
}

async fn site_version(target: &TargetArgs) -> Result<String, Failure> {
    let config = Effective::load(target, &config::process_env)?;
    let client = Client::new(&config)?;
    let asked = tokio::time::timeout(PATIENCE, client.get(client.path("/openapi.json"))).await;
    let raw = asked.map_err(|_| Failure::Failed(format!("no answer within {} s", PATIENCE.as_secs())))??;
    let document: OpenApi = serde_json::from_str(&raw)?;
    Ok(document.info.version)
}
