//! `show-lb` for people: the load balancer, and which of its members live by now.

use edgestack_model::Kind;
use edgestack_wire::{lb_health::LbHealth, load_balancer::LoadBalancer};

use crate::{
    cli::ShowArgs,
    client::Client,
    failure::{self, Failure},
    output::{self, Cell, Format, Sheet, View},
    resource,
};

/// `show-lb`
///
/// # Errors
/// The server's, or output's.
pub async fn show(client: &Client, args: &ShowArgs) -> Result<(), Failure> {
    resource::show::<LoadBalancer>(client, args).await?;
    let is_for_people = matches!(args.output.output, Format::Table | Format::Wide);
    if !is_for_people || args.at.at.is_some() {
        return Ok(());
    }
    match health(client, &args.of.name).await {
        Ok(health) if health.checked => {
            output::print(&format!("\n{}", sheet(&health).render(View::stdout(args.output.output).colour)))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            output::note(&format!("which members live is not known: {}", failure::line(&error)));
            Ok(())
        }
    }
}

fn sheet(health: &LbHealth) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.section("Health");
    for one in &health.items {
        let vm = one.vm.as_ref().map(|vm| format!(", vm {vm}")).unwrap_or_default();
        sheet.pair(&format!("{}/{} of {}{vm}", one.protocol, one.port, one.address), Cell::state(one.health.as_str()));
    }
    if health.items.is_empty() {
        sheet.pair("members", "none was asked yet");
    }
    sheet
}

/// Which members live.
///
/// # Errors
/// The server's.
pub async fn health(client: &Client, name: &str) -> Result<LbHealth, Failure> {
    let raw = client.get(client.url(&[Kind::LoadBalancer.plural(), name, "health"], &[])).await?;
    Ok(serde_json::from_str(&raw)?)
}
