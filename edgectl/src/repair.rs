//! `force-remove`, `reconcile`, `adopt`: what a person does when the usual way doesn't end. Each needs a reason.

use clap::Args;
use edgestack_model::Kind;
use edgestack_wire::{
    command_word,
    meta::Meta,
    node::{Node, NodeAction},
};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    cli::{ChangeArgs, OutputArgs, name_or_id},
    client::{Client, Payload, Reply},
    diff,
    failure::{self, Failure},
    output::{self, Format},
    resource,
};

/// What can be stuck, in the order in which it is looked at.
const ALL: [Kind; 10] = [
    Kind::Node,
    Kind::Image,
    Kind::Network,
    Kind::Router,
    Kind::LoadBalancer,
    Kind::FloatingIp,
    Kind::SecurityGroup,
    Kind::SecurityGroupRule,
    Kind::Volume,
    Kind::Vm,
];

/// How a repair is made.
#[derive(Args, Clone, Debug)]
pub struct RepairArgs {
    /// Why: it stays in the history.
    #[arg(long, value_name = "TEXT", help_heading = "Change")]
    reason: String,
    /// Let the server check the change, and change nothing.
    #[arg(long, help_heading = "Change")]
    dry_run: bool,
    /// How to print the result.
    #[command(flatten)]
    output: OutputArgs,
}

impl RepairArgs {
    fn change(&self) -> ChangeArgs {
        ChangeArgs { dry_run: self.dry_run, reason: Some(self.reason.clone()), output: self.output }
    }
}

/// `force-remove`
#[derive(Args, Clone, Debug)]
pub struct ForceRemoveArgs {
    /// Its kind and its name or id, as vm/hello.
    #[arg(value_name = "KIND/NAME", value_parser = diff::object)]
    object: String,
    #[command(flatten)]
    how: RepairArgs,
}

/// `reconcile`
#[derive(Args, Clone, Debug)]
pub struct ReconcileArgs {
    /// Its kind and its name or id, as vm/hello.
    #[arg(value_name = "KIND/NAME", value_parser = diff::object, required_unless_present = "all", conflicts_with = "all")]
    object: Option<String>,
    /// All VMs, volumes, images, networks, routers, load balancers, floating IPs, security groups with their rules, and nodes.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    how: RepairArgs,
}

/// `adopt`
#[derive(Args, Clone, Debug)]
pub struct AdoptArgs {
    /// The id that the orphan carries: edgectl show-node tells it.
    #[arg(value_name = "ID")]
    id: Uuid,
    /// The node on which it is; looked for on all if absent.
    #[arg(long, value_name = "NAME", value_parser = name_or_id)]
    node: Option<String>,
    /// Its name from now on; the one that it had if absent.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A VM's flavor, where the log doesn't have the one that it was made with; its size stays.
    #[arg(long, value_name = "NAME")]
    flavor: Option<String>,
    #[command(flatten)]
    how: RepairArgs,
}

/// Any resource, as far as it matters here.
#[derive(Deserialize)]
struct Any {
    #[serde(flatten)]
    meta: Meta,
}

/// Forgets an object.
///
/// # Errors
/// The server's, or output's.
pub async fn force_remove(args: &ForceRemoveArgs, client: &Client) -> Result<(), Failure> {
    let (kind, name) = kind_and_name(&args.object)?;
    let reply = act(client, kind, name, "force_remove", &args.how).await?;
    let format = args.how.output.output;
    if reply.status == StatusCode::NO_CONTENT {
        return match format {
            Format::Table | Format::Wide => output::print(&format!(
                "{kind} \"{name}\" is forgotten; what is left of it on a node is listed there as an orphan\n"
            )),
            Format::Name => output::print(&format!("{name}\n")),
            Format::Json | Format::Yaml => Ok(()),
        };
    }
    told(&reply, kind, "be forgotten", &args.how)
}

/// Has one object, or all, looked at again now.
///
/// # Errors
/// The server's, or output's; how many failed after each was told.
pub async fn reconcile(args: &ReconcileArgs, client: &Client) -> Result<(), Failure> {
    if let Some(object) = &args.object {
        let (kind, name) = kind_and_name(object)?;
        let reply = act(client, kind, name, "reconcile", &args.how).await?;
        return told(&reply, kind, "be looked at again", &args.how);
    }
    let (mut all, mut failed) = (0, 0);
    for kind in ALL {
        let page = resource::pages(client, &[kind.plural()], &[], None).await?;
        for raw in &page.items {
            let one: Any = serde_json::from_str(raw.get())?;
            all += 1;
            match act(client, kind, &one.meta.id.to_string(), "reconcile", &args.how).await {
                Ok(reply) => told(&reply, kind, "be looked at again", &args.how)?,
                Err(error) => {
                    failed += 1;
                    output::note(&format!("edgectl: {kind} \"{}\": {}", one.meta.name, failure::line(&error)));
                }
            }
        }
    }
    match (all, failed) {
        (0, _) => {
            output::note("there is nothing to look at");
            Ok(())
        }
        (_, 0) => Ok(()),
        (all, failed) => Err(Failure::Some { failed, all }),
    }
}

/// Takes over an orphan.
///
/// # Errors
/// No node lists it, the server's, or output's.
pub async fn adopt(args: &AdoptArgs, client: &Client) -> Result<(), Failure> {
    let node = match &args.node {
        Some(node) => node.clone(),
        None => node_of(args.id, client).await?,
    };
    let action = NodeAction::Adopt { id: args.id, name: args.name.clone(), flavor: args.flavor.clone() };
    let segments = [Kind::Node.plural(), node.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &Payload::json(&action)?, &args.how.change()).await?;
    let one: Any = serde_json::from_str(&reply.body)?;
    let done = if args.how.dry_run { "would be" } else { "is" };
    output::print_document(args.how.output.output, &reply.body, &one.meta.name, |_| {
        Ok(format!("\"{}\" {done} adopted from node {node}, with its id {}\n", one.meta.name, args.id))
    })
}

/// The node that lists an orphan with this id.
async fn node_of(id: Uuid, client: &Client) -> Result<String, Failure> {
    let page = resource::pages(client, &[Kind::Node.plural()], &[], None).await?;
    for raw in &page.items {
        let node: Node = serde_json::from_str(raw.get())?;
        if node.orphans.iter().any(|orphan| orphan.id == id) {
            return Ok(node.meta.name);
        }
    }
    Err(Failure::Failed(format!("no node lists an orphan with the id {id}; see edgectl show-node")))
}

async fn act(client: &Client, kind: Kind, name: &str, action: &str, how: &RepairArgs) -> Result<Reply, Failure> {
    let body = Payload::json(&json!({ "action": action }))?;
    Ok(client.change(Method::POST, &[kind.plural(), name, "action"], &body, &how.change()).await?)
}

fn told(reply: &Reply, kind: Kind, what: &str, how: &RepairArgs) -> Result<(), Failure> {
    let one: Any = serde_json::from_str(&reply.body)?;
    let name = &one.meta.name;
    output::print_document(how.output.output, &reply.body, name, |_| {
        Ok(if how.dry_run {
            format!("{kind} \"{name}\" would {what} (dry run: nothing changed)\n")
        } else {
            format!("{kind} \"{name}\" is to {what} now; edgectl explain {kind}/{name} tells what follows\n")
        })
    })
}

fn kind_and_name(object: &str) -> Result<(Kind, &str), Failure> {
    let (kind, name) = object.split_once('/').unwrap_or((object, ""));
    match kind.parse::<Kind>() {
        Ok(
            kind @ (Kind::Vm
            | Kind::Image
            | Kind::Volume
            | Kind::Network
            | Kind::SecurityGroup
            | Kind::SecurityGroupRule
            | Kind::Router
            | Kind::FloatingIp
            | Kind::LoadBalancer
            | Kind::Node),
        ) => Ok((kind, name)),
        Ok(kind @ (Kind::Flavor | Kind::Keypair | Kind::Webhook)) => Err(Failure::Usage(format!(
            "a {kind} is never stuck: edgectl remove-{} {name} removes it at once",
            command_word::of(kind)
        ))),
        Ok(Kind::Lease) => Err(Failure::Usage(format!(
            "a lease is never stuck: another process takes it over when its holder is silent (edgectl show-lease {name})"
        ))),
        Err(_) => Err(Failure::Usage(format!(
            "there is no kind {kind:?}; name a vm, volume, image, network, security_group (sg), security_group_rule (sgr), router, floating_ip (fip), load_balancer (lb) or node"
        ))),
    }
}
