//! `test-ping` and `trace-packet`: whether, and by which way, a packet comes from one place of the virtual network to another.

use std::{net::IpAddr, str::FromStr};

use clap::Args;
use edgestack_model::Kind;
use edgestack_wire::network_test::{
    AskPing, AskTrace, IpVersion, Ping, TestFrom, TestProtocol, TestTo, Trace, TraceVerdict,
};
use serde_json::Value;

use crate::{
    cli::OutputArgs,
    client::Client,
    failure::Failure,
    output::{self, Cell, Format, Sheet},
};

/// `test-ping`
#[derive(Args, Clone, Debug)]
pub struct PingArgs {
    /// Who is asked: a VM, or an address.
    #[arg(value_name = "VM|ADDRESS")]
    vm: String,
    /// Who asks: vm:NAME (its guest's own ping), network:NAME, router:NAME, outside or outside:NETWORK (a host that is there
    /// for the test); the VM's own network if absent.
    #[arg(long, value_name = "PLACE", value_parser = place)]
    from: Option<TestFrom>,
    /// How many echo requests.
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    /// Milliseconds from one to the next.
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u32).range(10..=5000))]
    interval_ms: u32,
    /// Milliseconds for which each answer is waited for.
    #[arg(long, default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u32).range(10..=5000))]
    timeout_ms: u32,
    /// Bytes that each carries beside its headers.
    #[arg(short, long, default_value_t = 56, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(0..=8952))]
    size: u16,
    /// 4 or 6: by which address, where a VM has both.
    #[arg(long, value_name = "4|6", value_parser = ip_version)]
    ip_version: Option<IpVersion>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `trace-packet`
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Who would send it: vm:NAME, network:NAME, router:NAME, outside or outside:NETWORK.
    #[arg(value_name = "FROM", value_parser = place)]
    from: TestFrom,
    /// To whom: a VM, or an address.
    #[arg(value_name = "VM|ADDRESS")]
    vm: String,
    /// What it is of: icmp, tcp/PORT or udp/PORT.
    #[arg(value_name = "PACKET", default_value = "icmp", value_parser = packet)]
    packet: Packet,
    /// 4 or 6: to which address, where a VM has both.
    #[arg(long, value_name = "4|6", value_parser = ip_version)]
    ip_version: Option<IpVersion>,
    /// Show ovn-trace's own words, too.
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    protocol: TestProtocol,
    port: Option<u16>,
}

fn place(text: &str) -> Result<TestFrom, String> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    match (kind, name) {
        ("outside", network) => Ok(TestFrom::Outside(network.to_owned())),
        ("vm", name) if !name.is_empty() => Ok(TestFrom::Vm(name.to_owned())),
        ("network", name) if !name.is_empty() => Ok(TestFrom::Network(name.to_owned())),
        ("router", name) if !name.is_empty() => Ok(TestFrom::Router(name.to_owned())),
        _ => Err("must be vm:NAME, network:NAME, router:NAME, outside or outside:NETWORK".to_owned()),
    }
}

fn target(text: &str) -> TestTo {
    match IpAddr::from_str(text) {
        Ok(address) => TestTo::Address(address),
        Err(_) => TestTo::Vm(text.strip_prefix("vm:").unwrap_or(text).to_owned()),
    }
}

fn packet(text: &str) -> Result<Packet, String> {
    let rule = || "must be icmp, tcp/PORT or udp/PORT, the port 1 to 65535".to_owned();
    let (protocol, port) = match text.split_once('/') {
        None if text == "icmp" => return Ok(Packet { protocol: TestProtocol::Icmp, port: None }),
        Some(("tcp", port)) => (TestProtocol::Tcp, port),
        Some(("udp", port)) => (TestProtocol::Udp, port),
        Some(_) | None => return Err(rule()),
    };
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(rule)?;
    Ok(Packet { protocol, port: Some(port) })
}

fn ip_version(text: &str) -> Result<IpVersion, String> {
    match text {
        "4" => Ok(IpVersion::V4),
        "6" => Ok(IpVersion::V6),
        _ => Err("must be 4 or 6".to_owned()),
    }
}

/// `test-ping`
///
/// # Errors
/// Not one request was answered; or the server's or output's.
pub async fn ping(client: &Client, args: &PingArgs) -> Result<(), Failure> {
    let to = target(&args.vm);
    let from = match (&args.from, &to) {
        (Some(from), _) => from.clone(),
        (None, TestTo::Vm(vm)) => own_network(client, vm).await?,
        (None, TestTo::Address(_)) => {
            return Err(Failure::Usage(
                "an address is asked from somewhere: --from vm:NAME, network:NAME …".to_owned(),
            ));
        }
    };
    let asked = AskPing {
        from,
        to,
        ip_version: args.ip_version,
        count: args.count,
        interval_ms: args.interval_ms,
        timeout_ms: args.timeout_ms,
        size_bytes: args.size,
    };
    let raw = client.ask(client.path("/edgetron/network/ping"), serde_json::to_string(&asked)?).await?;
    let ping: Ping = serde_json::from_str(&raw)?;
    output::print_document(args.output.output, &raw, &ping.to_ip.to_string(), |view| {
        Ok(ping_sheet(&ping).render(view.colour))
    })?;
    if ping.received > 0 {
        return Ok(());
    }
    let why = ping.trace.as_ref().map(|trace| trace.why.as_str());
    let why = ping.not_sent.as_deref().filter(|_| ping.sent == 0).or(why);
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Err(Failure::Failed(format!("{} does not answer {}{why}", ping.to_ip, ping.from)))
}

/// The first network that a VM is on.
async fn own_network(client: &Client, vm: &str) -> Result<TestFrom, Failure> {
    let raw = client.get(client.url(&[Kind::Vm.plural(), vm], &[])).await?;
    let shown: Value = serde_json::from_str(&raw)?;
    let network = shown["networks"][0]["network"].as_str();
    let none = || Failure::Failed(format!("vm \"{vm}\" is on no network: edgectl attach-nic {vm} --network NETWORK"));
    network.map(|network| TestFrom::Network(network.to_owned())).ok_or_else(none)
}

fn ping_sheet(ping: &Ping) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.pair("from", format!("{} ({})", ping.from, ping.from_ip));
    sheet.pair("to", ping.to_ip.to_string());
    sheet.pair_if("not sent", ping.not_sent.clone());
    if ping.sent > 0 {
        let loss = format!("{} sent, {} answered, {:.0} % lost", ping.sent, ping.received, ping.loss_percent);
        sheet.pair("echo requests", loss);
    }
    if let Some(rtt) = ping.rtt {
        sheet.pair("round trip", format!("{:.3} ms (min {:.3}, max {:.3})", rtt.mean_ms, rtt.min_ms, rtt.max_ms));
    }
    sheet.pair_if("not traced", ping.not_traced.clone());
    if let Some(trace) = &ping.trace {
        course(&mut sheet, trace);
    }
    sheet
}

/// `trace-packet`
///
/// # Errors
/// The packet would not come to its target; or the server's or output's.
pub async fn trace(client: &Client, args: &TraceArgs) -> Result<(), Failure> {
    let asked = AskTrace {
        from: args.from.clone(),
        to: target(&args.vm),
        ip_version: args.ip_version,
        protocol: args.packet.protocol,
        port: args.packet.port,
    };
    let raw = client.ask(client.path("/edgetron/network/trace"), serde_json::to_string(&asked)?).await?;
    let trace: Trace = serde_json::from_str(&raw)?;
    output::print_document(args.output.output, &raw, trace.verdict.as_str(), |view| {
        let mut sheet = Sheet::default();
        sheet.pair("from", format!("{} ({})", trace.from, trace.from_ip));
        sheet.pair("to", trace.to_ip.to_string());
        course(&mut sheet, &trace);
        Ok(sheet.render(view.colour))
    })?;
    if args.raw && matches!(args.output.output, Format::Table | Format::Wide) {
        output::print(&format!("\n{}", trace.ovn_trace.as_deref().unwrap_or_default()))?;
    }
    match trace.verdict {
        TraceVerdict::Delivered | TraceVerdict::LeftTheSite => Ok(()),
        TraceVerdict::Dropped | TraceVerdict::AwaitsNeighbour | TraceVerdict::NoWay => {
            Err(Failure::Failed(format!("the packet does not come to {}: {}", trace.to_ip, trace.why)))
        }
    }
}

fn course(sheet: &mut Sheet, trace: &Trace) {
    let word = match trace.verdict {
        TraceVerdict::Delivered => "the network hands it over",
        TraceVerdict::LeftTheSite => "it leaves the site",
        TraceVerdict::Dropped => "it is dropped",
        TraceVerdict::AwaitsNeighbour => "it waits for a neighbour",
        TraceVerdict::NoWay => "there is no way",
    };
    sheet.section("By OVN's trace");
    sheet.pair("verdict", Cell::from(word));
    sheet.pair("why", trace.why.as_str());
    sheet.pair_if("you can", trace.fix.clone());
    sheet.section("Its way");
    for step in &trace.steps {
        sheet.pair(&step.at, step.what.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_packets_are_read_and_other_words_refused() {
        assert_eq!(place("vm:a"), Ok(TestFrom::Vm("a".into())));
        assert_eq!(place("outside"), Ok(TestFrom::Outside(String::new())));
        assert_eq!(place("outside:out"), Ok(TestFrom::Outside("out".into())));
        for bad in ["a", "vm:", "host:a", ""] {
            assert!(place(bad).is_err(), "{bad}");
        }
        assert_eq!(packet("tcp/22"), Ok(Packet { protocol: TestProtocol::Tcp, port: Some(22) }));
        assert_eq!(packet("icmp"), Ok(Packet { protocol: TestProtocol::Icmp, port: None }));
        for bad in ["tcp", "tcp/0", "tcp/65536", "sctp/1", "icmp/8"] {
            assert!(packet(bad).is_err(), "{bad}");
        }
        assert_eq!(target("fd00::1"), TestTo::Address("fd00::1".parse().unwrap()));
        assert_eq!(target("vm:a"), target("a"));
    }
}
