//! Commands on routers, and on the next hop outside that one may have.

use clap::{Args, Subcommand};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    router::{CreateRouter, PeerRouter, Route, Router, UpdateRouter},
};
use reqwest::Method;

use crate::{
    cli::{
        self, ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs, WaitArgs, name_or_id,
    },
    client::{Client, Payload},
    failure::Failure,
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
    vm_sheet,
    wait::Verdict,
};

/// The end of the path of a router's next hop outside.
const PEER: &str = "peer_router";

/// Commands on routers.
#[derive(Debug, Subcommand)]
pub enum RouterCommand {
    /// Makes a router: it joins networks, and leads to one outside.
    #[command(
        after_help = "Example:\n  edgectl create-router edge --network blue --network red --external-network outside\n  \
                      edgectl create-router edge --network blue --external-network outside --external-ip 192.0.2.5 --no-snat\n  \
                      edgectl create-router inside --network blue --route 10.9.0.0/16=10.0.0.254"
    )]
    CreateRouter(Box<CreateRouterArgs>),
    /// Lists the routers.
    #[command(after_help = "Example:\n  edgectl list-routers -o wide")]
    ListRouters(ListArgs),
    /// Shows a router: its networks, its way outside, and its floating IPs.
    #[command(after_help = "Example:\n  edgectl show-router edge")]
    ShowRouter(ShowArgs),
    /// Changes which networks a router joins, its way outside, SNAT, routes, description or labels.
    #[command(after_help = "Example:\n  edgectl update-router edge --attach red --detach blue\n  \
                      edgectl update-router edge --external-network outside --enable-snat true\n  \
                      edgectl update-router edge --no-external")]
    UpdateRouter(Box<UpdateRouterArgs>),
    /// Removes routers: their networks are apart again.
    #[command(after_help = "Example:\n  edgectl remove-router edge\n  edgectl remove-router edge --cascade")]
    RemoveRouter(RemoveRouterArgs),
    /// Shows a router's history.
    #[command(after_help = "Example:\n  edgectl show-router-events edge")]
    ShowRouterEvents(EventsArgs),
    /// Gives a router a next hop outside, in place of the external network's gateway.
    #[command(after_help = "Example:\n  edgectl create-peer-router edge --ip 192.0.2.254 --mac 02:00:00:00:00:01")]
    CreatePeerRouter(CreatePeerRouterArgs),
    /// Takes a router's next hop outside: it is the external network's gateway again.
    #[command(after_help = "Example:\n  edgectl remove-peer-router edge")]
    RemovePeerRouter(RemovePeerRouterArgs),
}

/// `create-router`
#[derive(Args, Debug)]
pub struct CreateRouterArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// A network that it joins; may be given several times.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    network: Vec<String>,
    /// The network outside that it leads to, of type flat or vlan.
    #[arg(long, value_name = "NETWORK")]
    external_network: Option<String>,
    /// Its address there; a free one if absent.
    #[arg(long, value_name = "ADDRESS", requires = "external_network")]
    external_ip: Option<String>,
    /// Let what leaves by it keep its addresses.
    #[arg(long)]
    no_snat: bool,
    /// A further route; may be given several times.
    #[arg(long, value_name = "PREFIX=ADDRESS", value_parser = route)]
    route: Vec<Route>,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `update-router`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args([
    "description", "label", "clear_labels", "network", "attach", "detach", "enable_snat", "external_network", "no_external",
    "route", "clear_routes",
])))]
pub struct UpdateRouterArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    /// A network that it joins; all of them together take the place of the present ones.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', conflicts_with_all = ["attach", "detach"])]
    network: Vec<String>,
    /// A network that it joins, too; may be given several times.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    attach: Vec<String>,
    /// A network that it leaves; may be given several times.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    detach: Vec<String>,
    /// Whether what leaves by it has its own address outside.
    #[arg(long, value_name = "BOOL")]
    enable_snat: Option<bool>,
    /// The network outside that it leads to.
    #[arg(long, value_name = "NETWORK")]
    external_network: Option<String>,
    /// Its address there; if absent the present one where it stays there, else a free one.
    #[arg(long, value_name = "ADDRESS", requires = "external_network")]
    external_ip: Option<String>,
    /// Let it lead nowhere outside.
    #[arg(long, conflicts_with = "external_network")]
    no_external: bool,
    /// A further route; all of them together take the place of the present ones.
    #[arg(long, value_name = "PREFIX=ADDRESS", value_parser = route)]
    route: Vec<Route>,
    /// Take all further routes.
    #[arg(long, conflicts_with = "route")]
    clear_routes: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `remove-router`
#[derive(Args, Debug)]
pub struct RemoveRouterArgs {
    /// Remove its floating IPs first. Refused where there are any otherwise.
    #[arg(long)]
    cascade: bool,
    #[command(flatten)]
    remove: RemoveArgs,
}

/// `create-peer-router`
#[derive(Args, Debug)]
pub struct CreatePeerRouterArgs {
    /// The router, by name or id.
    #[arg(value_name = "ROUTER", value_parser = name_or_id)]
    router: String,
    /// The next hop's IP address, on the router's external network.
    #[arg(long, value_name = "ADDRESS")]
    ip: String,
    /// The next hop's MAC address.
    #[arg(long, value_name = "MAC")]
    mac: String,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `remove-peer-router`
#[derive(Args, Debug)]
pub struct RemovePeerRouterArgs {
    /// The router, by name or id.
    #[arg(value_name = "ROUTER", value_parser = name_or_id)]
    router: String,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

fn route(text: &str) -> Result<Route, String> {
    match text.split_once('=') {
        Some((destination, hop)) => Ok(Route { destination: destination.to_owned(), next_hop: hop.to_owned() }),
        None => Err("must be PREFIX=ADDRESS, as in 192.168.0.0/16=10.0.0.254".to_owned()),
    }
}

/// Runs a command on routers.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: RouterCommand, client: &Client) -> Result<(), Failure> {
    match command {
        RouterCommand::CreateRouter(args) => create(client, *args).await,
        RouterCommand::ListRouters(args) => resource::list::<Router>(client, &args).await,
        RouterCommand::ShowRouter(args) => resource::show::<Router>(client, &args).await,
        RouterCommand::UpdateRouter(args) => update(client, *args).await,
        RouterCommand::RemoveRouter(args) => {
            let query: &[(&str, &str)] = if args.cascade { &[("cascade", "true")] } else { &[] };
            resource::remove_by::<Router>(client, &args.remove, query).await
        }
        RouterCommand::ShowRouterEvents(args) => history::events(client, Kind::Router, &args).await,
        RouterCommand::CreatePeerRouter(args) => {
            let body = Payload::json(&PeerRouter { ip_address: args.ip, mac_address: args.mac })?;
            peer(client, (Method::PUT, &args.router), &body, &args.change, &args.wait).await
        }
        RouterCommand::RemovePeerRouter(args) => {
            peer(client, (Method::DELETE, &args.router), &Payload::Empty, &args.change, &args.wait).await
        }
    }
}

async fn create(client: &Client, args: CreateRouterArgs) -> Result<(), Failure> {
    let body = Payload::json(&CreateRouter {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        enable_snat: !args.no_snat,
        internal_networks: args.network,
        external: None,
        external_network: args.external_network,
        external_ip: args.external_ip,
        peer_router: None,
        routes: args.route,
    })?;
    let reply = client.change(Method::POST, &[Kind::Router.plural()], &body, &args.change).await?;
    resource::finish::<Router>(client, &reply, &args.change, args.wait.patience(), "created", verdict).await
}

async fn update(client: &Client, args: UpdateRouterArgs) -> Result<(), Failure> {
    let body = Payload::json(&UpdateRouter {
        description: args.meta.description(),
        labels: args.meta.labels(),
        enable_snat: args.enable_snat,
        internal_networks: cli::replaced_list(args.network, false),
        attach: args.attach,
        detach: args.detach,
        external: None,
        external_network: if args.no_external { Some(None) } else { args.external_network.map(Some) },
        external_ip: args.external_ip,
        peer_router: None,
        routes: cli::replaced_list(args.route, args.clear_routes),
    })?;
    let segments = [Kind::Router.plural(), args.of.name.as_str()];
    let reply = client.change(Method::PATCH, &segments, &body, &args.change).await?;
    resource::finish::<Router>(client, &reply, &args.change, args.wait.patience(), "updated", verdict).await
}

async fn peer(
    client: &Client,
    (method, router): (Method, &str),
    body: &Payload,
    change: &ChangeArgs,
    wait: &WaitArgs,
) -> Result<(), Failure> {
    let reply = client.change(method, &[Kind::Router.plural(), router, PEER], body, change).await?;
    resource::finish::<Router>(client, &reply, change, wait.patience(), "updated", verdict).await
}

/// Whether the nodes work by it.
fn verdict(router: &Router) -> Verdict {
    match router.state.as_str() {
        "active" => Verdict::Reached,
        "deleting" => Verdict::Never(format!("router \"{}\" is being removed by now", router.meta.name)),
        state => Verdict::NotYet { state: state.to_owned(), waiting: router.waiting.clone() },
    }
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

impl Shown for Router {
    const KIND: Kind = Kind::Router;
    const WHEN_EMPTY: &'static str =
        "no routers yet; make one: edgectl create-router edge --network blue --external-network outside";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "NETWORKS", "EXTERNAL", "ADDRESS", "SNAT"];
        if wide {
            headers.extend(["PEER", "ROUTES", "FLOATING IPS", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            Cell::state(&self.state),
            self.internal_networks.join(",").into(),
            self.external_network.as_deref().unwrap_or_default().into(),
            self.external_ips.join(",").into(),
            yes_or_no(self.enable_snat).into(),
        ];
        if view.wide {
            row.extend([
                self.peer_router.as_ref().map(|peer| peer.ip_address.as_str()).unwrap_or_default().into(),
                self.routes.len().to_string().into(),
                self.floating_ips.len().to_string().into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(Cell::state(&self.state)), view);
        if let Some(waiting) = &self.waiting {
            vm_sheet::waiting_section(&mut sheet, waiting, view);
        }
        sheet.section("Joins");
        for network in &self.internal_networks {
            sheet.pair("network", network.as_str());
        }
        if self.internal_networks.is_empty() {
            sheet.pair("network", "none");
        }
        for Route { destination, next_hop } in &self.routes {
            sheet.pair("route", format!("{destination} by {next_hop}"));
        }
        sheet.section("Outside");
        sheet.pair("network", self.external_network.as_deref().unwrap_or("none: nothing leaves the site by it"));
        for address in &self.external_ips {
            sheet.pair("address", address.as_str());
        }
        if self.external_network.is_some() {
            let words =
                if self.enable_snat { "yes: what leaves has this address" } else { "no: what leaves keeps its own" };
            sheet.pair("SNAT", words);
            let peer = self.peer_router.as_ref();
            let next = peer.map(|peer| format!("{} at {}", peer.ip_address, peer.mac_address));
            sheet.pair("next hop", next.unwrap_or_else(|| "the network's gateway".to_owned()));
        }
        for address in &self.floating_ips {
            sheet.pair("floating IP", address.as_str());
        }
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn a_router() -> Router {
        let router = serde_json::json!({
            "id": "0197a5a0-0000-7000-8000-000000000001", "name": "edge", "description": "", "labels": {}, "generation": 1,
            "revision": 17, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:14:20Z",
            "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": "active", "waiting": null,
            "enable_snat": true, "internal_networks": ["blue"],
            "internal_network_ids": ["0197a5a0-0000-7000-8000-000000000002"],
            "external": {"192.0.2.2": "outside"}, "external_network": "outside",
            "external_network_id": "0197a5a0-0000-7000-8000-000000000003", "external_ips": ["192.0.2.2"],
            "peer_router": {"ip_address": "192.0.2.254", "mac_address": "02:00:00:00:00:01"},
            "routes": [{"destination": "10.9.0.0/16", "next_hop": "10.0.0.254"}], "floating_ips": ["192.0.2.10"],
        });
        serde_json::from_value(router).unwrap()
    }

    #[test]
    fn the_sheet_tells_both_of_its_sides() {
        let view = View { wide: false, colour: false, now: DateTime::from_timestamp(1_790_000_600, 0).unwrap() };
        let text = a_router().sheet(&view).render(false);
        for part in [
            "network      blue\n",
            "10.9.0.0/16 by 10.0.0.254",
            "network      outside\n",
            "192.0.2.254 at 02:00:00:00:00:01",
            "floating IP  192.0.2.10\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let inside = Router {
            external_network: None,
            external_ips: vec![],
            peer_router: None,
            internal_networks: vec![],
            ..a_router()
        };
        let text = inside.sheet(&view).render(false);
        assert!(text.contains("none: nothing leaves") && !text.contains("SNAT"), "{text}");
        for wide in [false, true] {
            assert_eq!(a_router().row(&View { wide, ..view }).len(), Router::headers(wide).len());
        }
    }

    #[test]
    fn it_is_waited_for_until_it_is_active() {
        assert_eq!(verdict(&a_router()), Verdict::Reached);
        let in_state = |state: &str| Router { state: state.to_owned(), ..a_router() };
        assert!(matches!(verdict(&in_state("updating")), Verdict::NotYet { .. }));
        assert!(matches!(verdict(&in_state("deleting")), Verdict::Never(_)));
    }
}
