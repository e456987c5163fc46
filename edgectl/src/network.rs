//! Commands on networks.

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    network::{AddressMode, CreateNetwork, External, HostRoute, IpPool, Ipv6, Network, NetworkType, UpdateNetwork},
};
use reqwest::Method;

use crate::{
    cli::{self, ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs, WaitArgs},
    client::{Client, Payload},
    failure::Failure,
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, Tone, View},
    resource::{self, Shown},
    vm_sheet,
    wait::Verdict,
};

/// Commands on networks.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Makes a network: a segment of its own with its addresses, or one outside.
    #[command(after_help = "Example:\n  edgectl create-network blue --cidr 10.0.0.0/24 --dns-server 9.9.9.9\n  \
                      edgectl create-network dual --cidr 10.1.0.0/24 --ipv6-cidr fd00:1::/64 --ip-pool 10.1.0.100-10.1.0.199\n  \
                      edgectl create-network outside --type flat --physical-network external --cidr 192.0.2.0/24 --no-dhcp")]
    CreateNetwork(Box<CreateNetworkArgs>),
    /// Lists the networks.
    #[command(after_help = "Example:\n  edgectl list-networks -o wide")]
    ListNetworks(ListArgs),
    /// Shows a network, and who holds its addresses.
    #[command(after_help = "Example:\n  edgectl show-network blue")]
    ShowNetwork(ShowArgs),
    /// Changes a network's description, labels, name servers, routes, MTU, pool, DHCP or port security.
    #[command(after_help = "Example:\n  edgectl update-network blue --dns-server 9.9.9.9 --dns-server 149.112.112.112")]
    UpdateNetwork(UpdateNetworkArgs),
    /// Removes networks that nothing is on.
    #[command(after_help = "Example:\n  edgectl remove-network blue red\n  edgectl remove-network blue --cascade")]
    RemoveNetwork(RemoveNetworkArgs),
    /// Shows a network's history.
    #[command(after_help = "Example:\n  edgectl show-network-events blue")]
    ShowNetworkEvents(EventsArgs),
}

/// `create-network`
#[derive(Args, Debug)]
pub struct CreateNetworkArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// Its prefix.
    #[arg(long, value_name = "PREFIX")]
    cidr: String,
    /// How it is carried: between nodes, or as a network outside.
    #[arg(long = "type", value_enum, default_value = "geneve", value_name = "TYPE", ignore_case = true)]
    network_type: TypeArg,
    /// The number of its segment, or its VLAN; a free number if absent.
    #[arg(long, value_name = "N")]
    segment_id: Option<u32>,
    /// The network outside that it is, by the name that nodes know its bridge by.
    #[arg(long, value_name = "NAME")]
    physical_network: Option<String>,
    /// Its router's address; the first host's if absent.
    #[arg(long, value_name = "ADDRESS")]
    gateway_ip: Option<String>,
    /// Let it have no router.
    #[arg(long, conflicts_with = "gateway_ip")]
    no_gateway: bool,
    /// A range that addresses are given from; may be given several times.
    #[arg(long, value_name = "FIRST-LAST", value_parser = range)]
    ip_pool: Vec<IpPool>,
    /// A second prefix, of IPv6.
    #[arg(long, value_name = "PREFIX")]
    ipv6_cidr: Option<String>,
    /// A range that addresses of the second prefix are given from.
    #[arg(long, value_name = "FIRST-LAST", value_parser = range, requires = "ipv6_cidr")]
    ipv6_pool: Option<IpPool>,
    /// How guests get their IPv6 addresses.
    #[arg(long, value_enum, value_name = "MODE")]
    address_mode: Option<AddressModeArg>,
    #[command(flatten)]
    options: OptionArgs,
    /// Don't give guests their addresses by DHCP.
    #[arg(long)]
    no_dhcp: bool,
    /// Let NICs use other addresses than their own, where they say nothing else: for guests that route or bridge.
    #[arg(long)]
    no_port_security: bool,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What a network tells its guests.
#[derive(Args, Debug)]
struct OptionArgs {
    /// The largest packet, bytes. A new network has the largest that fits if absent.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// A name server that DHCP tells; may be given several times.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns_server: Vec<String>,
    /// A route that DHCP tells; may be given several times.
    #[arg(long, value_name = "PREFIX=ADDRESS", value_parser = route)]
    host_route: Vec<HostRoute>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TypeArg {
    /// Between nodes.
    Vxlan,
    /// Between nodes.
    Gre,
    /// Between nodes.
    Geneve,
    /// A network outside, as it is.
    Flat,
    /// A network outside, by VLAN.
    Vlan,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AddressModeArg {
    /// They make them of their MAC address.
    Slaac,
    /// By DHCP.
    Dhcpv6Stateful,
}

/// `update-network`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args([
    "description", "label", "clear_labels", "mtu", "dns_server", "clear_dns_servers", "host_route", "clear_host_routes",
    "ip_pool", "dhcp", "port_security",
])))]
pub struct UpdateNetworkArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    /// A range that addresses are given from; all together take the place of the present ones.
    #[arg(long, value_name = "FIRST-LAST", value_parser = range)]
    ip_pool: Vec<IpPool>,
    #[command(flatten)]
    options: OptionArgs,
    /// Tell no name server.
    #[arg(long, conflicts_with = "dns_server")]
    clear_dns_servers: bool,
    /// Tell no route.
    #[arg(long, conflicts_with = "host_route")]
    clear_host_routes: bool,
    /// Whether guests get their addresses by DHCP.
    #[arg(long, value_name = "BOOL")]
    dhcp: Option<bool>,
    /// Whether NICs that come, and say nothing of it, are held to their own addresses.
    #[arg(long, value_name = "on|off", value_parser = cli::on_or_off)]
    port_security: Option<bool>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `remove-network`
#[derive(Args, Debug)]
pub struct RemoveNetworkArgs {
    /// Detach NICs from it, remove its load balancers and floating IPs, and take routers off it first. Refused where there
    /// is any of them otherwise.
    #[arg(long)]
    cascade: bool,
    #[command(flatten)]
    remove: RemoveArgs,
}

fn range(text: &str) -> Result<IpPool, String> {
    match text.split_once('-') {
        Some((start, end)) => Ok(IpPool { start: start.trim().to_owned(), end: end.trim().to_owned() }),
        None => Err("must be FIRST-LAST, as in 10.0.0.100-10.0.0.199".to_owned()),
    }
}

fn route(text: &str) -> Result<HostRoute, String> {
    match text.split_once('=') {
        Some((destination, hop)) => Ok(HostRoute { destination: destination.to_owned(), next_hop: hop.to_owned() }),
        None => Err("must be PREFIX=ADDRESS, as in 192.168.0.0/16=10.0.0.254".to_owned()),
    }
}

/// Runs a command on networks.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: NetworkCommand, client: &Client) -> Result<(), Failure> {
    match command {
        NetworkCommand::CreateNetwork(args) => create(client, *args).await,
        NetworkCommand::ListNetworks(args) => resource::list::<Network>(client, &args).await,
        NetworkCommand::ShowNetwork(args) => resource::show::<Network>(client, &args).await,
        NetworkCommand::UpdateNetwork(args) => update(client, args).await,
        NetworkCommand::RemoveNetwork(args) => {
            let query: &[(&str, &str)] = if args.cascade { &[("cascade", "true")] } else { &[] };
            resource::remove_by::<Network>(client, &args.remove, query).await
        }
        NetworkCommand::ShowNetworkEvents(args) => history::events(client, Kind::Network, &args).await,
    }
}

async fn create(client: &Client, args: CreateNetworkArgs) -> Result<(), Failure> {
    let address_mode = args.address_mode.map(|mode| match mode {
        AddressModeArg::Slaac => AddressMode::Slaac,
        AddressModeArg::Dhcpv6Stateful => AddressMode::Dhcpv6Stateful,
    });
    // The mode is that of the IPv6 prefix, whichever of the two that is.
    let (mode, ipv6) = match args.ipv6_cidr {
        None => (address_mode, None),
        Some(cidr) => {
            let address_mode = address_mode.unwrap_or_default();
            (None, Some(Ipv6 { cidr, gateway_ip: None, ip_pool: args.ipv6_pool, address_mode }))
        }
    };
    let body = Payload::json(&CreateNetwork {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        network_type: match args.network_type {
            TypeArg::Vxlan => NetworkType::Vxlan,
            TypeArg::Gre => NetworkType::Gre,
            TypeArg::Geneve => NetworkType::Geneve,
            TypeArg::Flat => NetworkType::Flat,
            TypeArg::Vlan => NetworkType::Vlan,
        },
        segment_id: args.segment_id,
        external: args.physical_network.map(|physical_network| External { physical_network }),
        mtu: args.options.mtu,
        cidr: args.cidr,
        gateway_ip: if args.no_gateway { Some(None) } else { args.gateway_ip.map(Some) },
        ip_pool: None,
        ip_pools: args.ip_pool,
        ipv6,
        address_mode: mode,
        dns_servers: args.options.dns_server,
        host_routes: args.options.host_route,
        dhcp: !args.no_dhcp,
        port_security: !args.no_port_security,
    })?;
    let reply = client.change(Method::POST, &[Kind::Network.plural()], &body, &args.change).await?;
    resource::finish::<Network>(client, &reply, &args.change, args.wait.patience(), "created", verdict).await
}

async fn update(client: &Client, args: UpdateNetworkArgs) -> Result<(), Failure> {
    let body = Payload::json(&UpdateNetwork {
        description: args.meta.description(),
        labels: args.meta.labels(),
        mtu: args.options.mtu,
        ip_pool: None,
        ip_pools: (!args.ip_pool.is_empty()).then_some(args.ip_pool),
        dns_servers: cli::replaced_list(args.options.dns_server, args.clear_dns_servers),
        host_routes: cli::replaced_list(args.options.host_route, args.clear_host_routes),
        dhcp: args.dhcp,
        port_security: args.port_security,
    })?;
    let segments = [Kind::Network.plural(), args.of.name.as_str()];
    let reply = client.change(Method::PATCH, &segments, &body, &args.change).await?;
    resource::finish::<Network>(client, &reply, &args.change, args.wait.patience(), "updated", verdict).await
}

/// Whether the nodes work by it.
fn verdict(network: &Network) -> Verdict {
    match network.state.as_str() {
        "active" => Verdict::Reached,
        "deleting" => Verdict::Never(format!("network \"{}\" is being removed by now", network.meta.name)),
        state => Verdict::NotYet { state: state.to_owned(), waiting: network.waiting.clone() },
    }
}

pub fn type_word(of: NetworkType) -> &'static str {
    edgestack_model::network::NetworkType::from(of).as_str()
}

impl Shown for Network {
    const KIND: Kind = Kind::Network;
    const WHEN_EMPTY: &'static str = "no networks yet; make one: edgectl create-network blue --cidr 10.0.0.0/24";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "TYPE", "SEGMENT", "CIDR", "GATEWAY"];
        if wide {
            headers.extend(["IPV6", "MTU", "DHCP", "PHYSICAL", "HELD", "LABELS", "ID"]);
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
            type_word(self.network_type).into(),
            self.segment_id.map(|segment| segment.to_string()).unwrap_or_default().into(),
            self.cidr.as_str().into(),
            self.gateway_ip.as_deref().unwrap_or_default().into(),
        ];
        if view.wide {
            row.extend([
                self.ipv6.as_ref().map(|ipv6| ipv6.cidr.as_str()).unwrap_or_default().into(),
                self.mtu.to_string().into(),
                if self.dhcp { "yes" } else { "no" }.into(),
                self.external.as_ref().map(|external| external.physical_network.as_str()).unwrap_or_default().into(),
                self.addresses.len().to_string().into(),
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
        sheet.section("Segment");
        sheet.pair("type", type_word(self.network_type));
        sheet.pair_if("segment id", self.segment_id.map(|segment| segment.to_string()));
        sheet.pair_if("physical network", self.external.as_ref().map(|one| one.physical_network.as_str()));
        if let Some(external) = &self.external {
            let name = &external.physical_network;
            sheet.pair(
                "reached by",
                match self.reached_by.as_slice() {
                    [] => Cell {
                        text: format!("no node that is known to; one needs a bridge for {name}: docs/networks.md, Kinds of networks"),
                        tone: Tone::Bad,
                    },
                    nodes => nodes.join(", ").into(),
                },
            );
        }
        sheet.pair("mtu", format!("{} bytes", self.mtu));
        sheet.section("Addresses");
        sheet.pair("prefix", self.cidr.as_str());
        sheet.pair("gateway", self.gateway_ip.as_deref().unwrap_or("none"));
        let pools: Vec<String> = self.ip_pools.iter().map(|pool| format!("{}-{}", pool.start, pool.end)).collect();
        sheet.pair("given from", pools.join(", "));
        if let Some(ipv6) = &self.ipv6 {
            sheet.pair("IPv6 prefix", ipv6.cidr.as_str());
            let gateway = ipv6.gateway_ip.as_ref().and_then(Option::as_deref);
            sheet.pair("IPv6 gateway", gateway.unwrap_or("none"));
            sheet.pair_if("IPv6 given from", ipv6.ip_pool.as_ref().map(|pool| format!("{}-{}", pool.start, pool.end)));
        }
        sheet.pair("DHCP", if self.dhcp { "yes" } else { "no" });
        sheet.pair("port security", if self.port_security { "on" } else { "off for NICs that say nothing else" });
        if !self.dns_servers.is_empty() {
            sheet.pair("name servers", self.dns_servers.join(", "));
        }
        for route in &self.host_routes {
            sheet.pair("route", format!("{} by {}", route.destination, route.next_hop));
        }
        sheet.section("Held by");
        for held in &self.addresses {
            sheet.pair(held.ip.as_str(), held.holder.as_str());
        }
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}
