//! Tests of the virtual network: echo requests, and where a packet would go.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestFrom {
    /// A VM, by name or id: its guest's own ping.
    #[schema(title = "FromVm")]
    Vm(String),
    /// A host on this network, which is there for the test.
    #[schema(title = "FromNetwork")]
    Network(String),
    /// A host behind this router, which is there for the test.
    #[schema(title = "FromRouter")]
    Router(String),
    /// A host on this network outside, which is there for the test; empty: on the only one that there is.
    #[schema(title = "FromOutside")]
    Outside(String),
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestTo {
    /// A VM, by name or id: under the address by which the asker comes to it.
    #[schema(title = "ToVm")]
    Vm(String),
    /// Whoever has this address.
    #[schema(title = "ToAddress", value_type = String, example = "10.0.0.5")]
    Address(IpAddr),
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum IpVersion {
    /// IPv4.
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    V6,
}

/// A ping that is wished for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": {"network": "blue"}, "to": {"vm": "web"}, "count": 4}))]
pub struct AskPing {
    /// Who asks.
    pub from: TestFrom,
    /// Who is asked.
    pub to: TestTo,
    /// By which family, where a VM has addresses of both; if absent, whichever is found first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// How many echo requests. All of them with their answers take ten seconds at most.
    #[serde(default = "count")]
    #[schema(minimum = 1, maximum = 100)]
    pub count: u16,
    /// Milliseconds from one to the next.
    #[serde(default = "interval")]
    #[schema(minimum = 10, maximum = 5000)]
    pub interval_ms: u32,
    /// Milliseconds for which each answer is waited for.
    #[serde(default = "timeout")]
    #[schema(minimum = 10, maximum = 5000)]
    pub timeout_ms: u32,
    /// Bytes that each carries beside its headers.
    #[serde(default = "size")]
    #[schema(maximum = 8952)]
    pub size_bytes: u16,
}

fn count() -> u16 {
    4
}

fn interval() -> u32 {
    200
}

fn timeout() -> u32 {
    1000
}

/// As ping(8) of iputils.
fn size() -> u16 {
    56
}

/// What a packet is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TestProtocol {
    /// An echo request.
    #[default]
    Icmp,
    /// The first packet of a connection.
    Tcp,
    /// A datagram.
    Udp,
}

/// A packet whose way is asked for. None is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": {"vm": "a"}, "to": {"vm": "web"}, "protocol": "tcp", "port": 80}))]
pub struct AskTrace {
    /// Who would send it.
    pub from: TestFrom,
    /// To whom.
    pub to: TestTo,
    /// By which family, where a VM has addresses of both; if absent, whichever is found first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// What it is of.
    #[serde(default)]
    pub protocol: TestProtocol,
    /// To which port, of TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub port: Option<u16>,
}

/// What came of a ping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ping {
    /// Who asked.
    #[schema(example = "network \"blue\"")]
    pub from: String,
    /// From which address.
    #[schema(value_type = String)]
    pub from_ip: IpAddr,
    /// Who was asked.
    #[schema(value_type = String)]
    pub to_ip: IpAddr,
    /// So many requests were sent.
    pub sent: u32,
    /// So many were answered in time.
    pub received: u32,
    /// Of those sent, so many were not, percent.
    pub loss_percent: f64,
    /// How long the answers took; absent where there are none.
    pub rtt: Option<RoundTrips>,
    /// Each answer.
    pub replies: Vec<PingReply>,
    /// Why none was sent, where none was.
    pub not_sent: Option<String>,
    /// Where the packets go, by OVN's trace; made where not all were answered.
    pub trace: Option<Trace>,
    /// Why there is no trace where there should be one.
    pub not_traced: Option<String>,
}

/// How long answers took, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoundTrips {
    /// The shortest.
    pub min_ms: f64,
    /// Their mean.
    pub mean_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PingReply {
    /// To which request, from 1.
    pub sequence: u32,
    /// How long it took, milliseconds.
    pub rtt_ms: f64,
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// Who would send it.
    #[schema(example = "vm \"a\"")]
    pub from: String,
    /// From which address.
    #[schema(value_type = String)]
    pub from_ip: IpAddr,
    /// To whom.
    #[schema(value_type = String)]
    pub to_ip: IpAddr,
    /// What becomes of it.
    pub verdict: TraceVerdict,
    /// That in a sentence: where it stops, and why.
    pub why: String,
    /// What a person can do, where that is plain.
    pub fix: Option<String>,
    /// What happens on its way.
    pub steps: Vec<TraceStep>,
    /// ovn-trace's own words; absent where there was nothing to trace.
    pub ovn_trace: Option<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceVerdict {
    /// It is handed to a VM, or to whoever answers it.
    Delivered,
    /// It leaves for a network outside.
    LeftTheSite,
    /// It is dropped.
    Dropped,
    /// It waits until somebody says under which MAC address he is found.
    AwaitsNeighbour,
    /// There is nobody to hand it to.
    NoWay,
}

impl TraceVerdict {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::LeftTheSite => "left_the_site",
            Self::Dropped => "dropped",
            Self::AwaitsNeighbour => "awaits_neighbour",
            Self::NoWay => "no_way",
        }
    }
}

/// A step of a packet on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceStep {
    /// Where.
    #[schema(example = "network \"blue\"")]
    pub at: String,
    /// What happens.
    pub what: String,
}

/// What went over the NICs on networks, on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// The node that was asked.
    pub node: String,
    /// A NIC each, by VM.
    pub items: Vec<NicCounters>,
}

/// What went over a NIC, since it was plugged or its node's switch was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicCounters {
    /// The VM.
    pub vm: String,
    /// Its NIC.
    pub nic: u32,
    /// The network that this is on.
    pub network: String,
    /// The NIC's device on the node.
    pub device: String,
    /// Packets that the VM sent.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Those of them that the switch did not take.
    pub sent_dropped: u64,
    /// Packets that came for the VM.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Those of them that the VM did not take.
    pub received_dropped: u64,
}

impl AskPing {
    /// The longest that all requests and the last answer may take, milliseconds.
    pub const DURATION_MS_MAX: u32 = 10_000;

    /// # Errors
    /// The field that is out of its bounds, and them.
    pub fn check(&self) -> Result<(), crate::Invalid> {
        let bounds = |field: &'static str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(crate::Invalid::new(field, format!("must be {least} to {most}, is {value}")))
            }
        };
        bounds("count", self.count.into(), 1, 100)?;
        bounds("interval_ms", self.interval_ms, 10, 5000)?;
        bounds("timeout_ms", self.timeout_ms, 10, 5000)?;
        bounds("size_bytes", self.size_bytes.into(), 0, 8952)?;
        let takes = u32::from(self.count - 1) * self.interval_ms + self.timeout_ms;
        if takes > Self::DURATION_MS_MAX {
            let rule = format!(
                "{} requests {} ms apart and the last answer would take up to {takes} ms; at most {} ms are allowed",
                self.count,
                self.interval_ms,
                Self::DURATION_MS_MAX
            );
            return Err(crate::Invalid::new("count", rule));
        }
        Ok(())
    }
}

impl AskTrace {
    /// # Errors
    /// A port without TCP or UDP, or none with one of them.
    pub fn check(&self) -> Result<(), crate::Invalid> {
        match (self.protocol, self.port) {
            (TestProtocol::Icmp, Some(_)) => Err(crate::Invalid::new("port", "ICMP has no ports; name tcp or udp")),
            (TestProtocol::Tcp | TestProtocol::Udp, None | Some(0)) => {
                Err(crate::Invalid::new("port", "must be 1 to 65535"))
            }
            _ => Ok(()),
        }
    }
}
