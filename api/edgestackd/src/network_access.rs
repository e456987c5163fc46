//! The server's tests of the virtual network: the gateway pool's probes, OVN's trace and guests' own ping, in wire types.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgestack_engine::{Clock, Replica, error_chain};
use edgestack_model::{
    Id, Name, Refusal, World,
    command::Reference,
    load_balancer::{LoadBalancer, member_nic},
    vm::{Vm, port_name},
};
use edgestack_ovn::{chassis::Chassis, monitors::service_monitors, ovsdb::Endpoints, ping, trace::Tracer};
use edgestack_pool::DriverError;
use edgestack_server::{NetworkAccess, NetworkError};
use edgestack_wire::lb_health::{Health, LbHealth, MemberHealth};
use edgestack_wire::network_test::{
    AskPing, AskTrace, Counters, IpVersion, NicCounters, Ping, PingReply, RoundTrips, TestFrom, TestProtocol, TestTo,
    Trace, TraceStep, TraceVerdict,
};
use edgestack_worker_gateway::probe::{
    ProbeError, Probes, Standing,
    explain::{self, Course, Verdict},
    path::{self, Asked, FirstHop, PathError, Source, Start},
    run,
};
use edgestack_worker_vm::driver::{GuestPing, NodeNetwork, VmDriver};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::networks;

/// What tests are made with.
pub struct Tests {
    /// The folded world.
    pub replica: Arc<Replica>,
    /// Ids.
    pub clock: Arc<dyn Clock>,
    /// The hosts of our own.
    pub probes: Probes,
    /// This node.
    pub node_name: Name,
    /// Its way into the virtual network.
    pub node: Option<NodeNetwork>,
    /// OVN's southbound database, where it is known.
    pub southbound: Option<Endpoints>,
    /// OVN's trace, or why there is none.
    pub tracer: Result<Tracer, String>,
    /// The way into guests.
    pub driver: Arc<dyn VmDriver>,
    /// Who may test at once: each may read the whole southbound database.
    pub turns: Semaphore,
}

/// So many tests at once.
pub const TESTS_MAX: usize = 8;

/// Who asks whom, found.
struct Question {
    start: Start,
    target: IpAddr,
    /// What the test put into the network for it.
    standing: Option<Standing>,
    source: Source,
}

#[async_trait]
impl NetworkAccess for Tests {
    async fn ping(&self, asked: AskPing) -> Result<Ping, NetworkError> {
        let _turn = self.turn()?;
        let question = self.question(&asked.from, &asked.to, asked.ip_version)?;
        let (mut sent, mut replies, mut not_sent) = (0, vec![], None);
        match self.send(&question, &asked).await? {
            Ok(pinged) => (sent, replies) = (pinged.sent, pinged.replies),
            Err(why) => not_sent = Some(why),
        }
        let received = u32::try_from(replies.len()).unwrap_or(u32::MAX);
        let (mut trace, mut not_traced) = (None, None);
        if received < sent || sent == 0 {
            match self.way(&question, Asked::Icmp).await {
                Ok(way) => trace = Some(way),
                Err(why) => not_traced = Some(why),
            }
        }
        let lost = f64::from(sent - received.min(sent));
        Ok(Ping {
            from: question.source.who.clone(),
            from_ip: question.source.ip,
            to_ip: question.target,
            sent,
            received,
            loss_percent: if sent == 0 { 100.0 } else { lost * 100.0 / f64::from(sent) },
            rtt: round_trips(&replies),
            replies: replies
                .iter()
                .map(|reply| PingReply { sequence: reply.sequence, rtt_ms: ms(reply.rtt) })
                .collect(),
            not_sent,
            trace,
            not_traced,
        })
    }

    async fn trace(&self, asked: AskTrace) -> Result<Trace, NetworkError> {
        let _turn = self.turn()?;
        let question = self.question(&asked.from, &asked.to, asked.ip_version)?;
        if let Some(standing) = &question.standing {
            // A node that is dead holds the confirmation back; the trace needs none of it.
            if let Err(error) = standing.until_realized().await {
                tracing::info!(%error, "tracing all the same");
            }
        }
        let port = asked.port.unwrap_or_default();
        let packet = match asked.protocol {
            TestProtocol::Icmp => Asked::Icmp,
            TestProtocol::Tcp => Asked::Tcp(port),
            TestProtocol::Udp => Asked::Udp(port),
        };
        self.way(&question, packet).await.map_err(|why| NetworkError::NotNow { why })
    }

    async fn counters(&self) -> Result<Counters, NetworkError> {
        let chassis = self.chassis()?;
        let counted = chassis.counters().await.map_err(|error| NetworkError::NotNow { why: error_chain(&error) })?;
        let world = self.replica.world();
        let nics = world.vms.values().flat_map(|vm| vm.nics.iter().map(move |nic| (vm, nic)));
        let of_port: BTreeMap<String, _> =
            nics.map(|(vm, nic)| (port_name(vm.id, nic.spec.number), (vm, nic))).collect();
        let counters = counted.into_iter().filter_map(|counted| {
            let (vm, nic) = of_port.get(&counted.port)?;
            let network = world.networks.get(&nic.spec.network);
            Some(NicCounters {
                vm: vm.meta.name.to_string(),
                nic: nic.spec.number,
                network: network.map(|network| network.meta.name.to_string()).unwrap_or_default(),
                device: counted.device,
                sent_packets: counted.received_packets,
                sent_bytes: counted.received_bytes,
                sent_dropped: counted.received_dropped,
                received_packets: counted.sent_packets,
                received_bytes: counted.sent_bytes,
                received_dropped: counted.sent_dropped,
            })
        });
        let mut items: Vec<NicCounters> = counters.collect();
        items.sort_by(|a, b| (&a.vm, a.nic).cmp(&(&b.vm, b.nic)));
        Ok(Counters { node: self.node_name.to_string(), items })
    }

    async fn health(&self, balancer: Id<LoadBalancer>) -> Result<LbHealth, NetworkError> {
        let gone = || NetworkError::NotNow { why: "the load balancer is gone".to_owned() };
        let balancer = self.replica.world().load_balancers.get(&balancer).cloned().ok_or_else(gone)?;
        let Some(check) = balancer.spec.health_check else { return Ok(LbHealth { checked: false, items: vec![] }) };
        let unsaid = || NetworkError::NotHere { why: networks::UNSAID.to_owned() };
        let monitors = service_monitors(self.southbound.as_ref().ok_or_else(unsaid)?).await;
        let monitors = monitors.map_err(|error| NetworkError::NotNow { why: error_chain(&error) })?;
        let source = check.source.to_string();
        let world = self.replica.world();
        let mut items = Vec::new();
        for address in &balancer.spec.members {
            let Some((vm, nic)) = member_nic(&world, balancer.spec.network, *address) else { continue };
            let port = port_name(vm.id, nic.spec.number);
            let of_member = monitors
                .iter()
                .filter(|one| one.logical_port == port && one.source_ip == source && one.ip == address.to_string());
            items.extend(of_member.map(|one| MemberHealth {
                address: address.to_string(),
                vm: Some(vm.meta.name.to_string()),
                protocol: one.protocol.clone(),
                port: one.port,
                health: match one.status.as_deref() {
                    Some("online") => Health::Online,
                    Some("offline") => Health::Offline,
                    Some("error") => Health::Error,
                    Some(_) | None => Health::Unknown,
                },
            }));
        }
        Ok(LbHealth { checked: true, items })
    }
}

impl Tests {
    fn turn(&self) -> Result<SemaphorePermit<'_>, NetworkError> {
        let busy = |_| NetworkError::NotNow { why: format!("{TESTS_MAX} tests run already; try again") };
        self.turns.try_acquire().map_err(busy)
    }

    /// This node's way into the virtual network.
    fn chassis(&self) -> Result<&Chassis, NetworkError> {
        let Some(node) = &self.node else {
            let why = "this site has no virtual network; start edgestackd with --networks bundled".to_owned();
            return Err(NetworkError::NotHere { why });
        };
        let not_up = || NetworkError::NotNow { why: "this node's virtual network is not up yet".to_owned() };
        node.get().ok_or_else(not_up)
    }

    fn question(&self, from: &TestFrom, to: &TestTo, version: Option<IpVersion>) -> Result<Question, NetworkError> {
        self.chassis()?;
        let from = match from {
            TestFrom::Vm(vm) => path::From::Vm(Reference(vm.clone())),
            TestFrom::Network(network) => path::From::Network(Reference(network.clone())),
            TestFrom::Router(router) => path::From::Router(Reference(router.clone())),
            TestFrom::Outside(network) if network.is_empty() => path::From::Outside(None),
            TestFrom::Outside(network) => path::From::Outside(Some(Reference(network.clone()))),
        };
        let to = match to {
            TestTo::Vm(vm) => path::To::Vm(Reference(vm.clone())),
            TestTo::Address(address) => path::To::Address(*address),
        };
        let world = self.replica.world();
        let start = path::start(&world, &from).map_err(|error| not_found("from", &error))?;
        let ipv4 = version.map(|version| version == IpVersion::V4);
        let target = path::target(&world, start, &to, ipv4).map_err(|error| not_found("to", &error))?;
        let (source, standing) = match start {
            Start::Vm(vm) => (self.vm_source(&world, vm, target)?, None),
            Start::Probe(place) => {
                let standing = self.probes.put(&world, self.clock.new_id(), place).map_err(not_put)?;
                let source = path::of_probe(&world, &standing.probe, target);
                (source.map_err(|error| not_found("from", &error))?, Some(standing))
            }
        };
        Ok(Question { start, target, standing, source })
    }

    fn vm_source(&self, world: &World, vm: Id<Vm>, target: IpAddr) -> Result<Source, NetworkError> {
        let gone = || NetworkError::NotNow { why: "the VM is gone".to_owned() };
        let vm = world.vms.get(&vm).ok_or_else(gone)?;
        path::of_vm(world, vm, target).map_err(|error| not_found("from", &error))
    }

    /// Sends the requests; the inner error: why none could be sent.
    async fn send(&self, question: &Question, asked: &AskPing) -> Result<Result<ping::Pinged, String>, NetworkError> {
        let wish = ping::Ping {
            address: question.target,
            count: asked.count,
            interval: Duration::from_millis(asked.interval_ms.into()),
            patience: Duration::from_millis(asked.timeout_ms.into()),
            size: asked.size_bytes,
        };
        match (&question.standing, question.start) {
            (Some(standing), _) => {
                let headers = if question.target.is_ipv4() { 28 } else { 48 };
                let most = standing.probe.mtu.saturating_sub(headers);
                if u32::from(asked.size_bytes) > most {
                    let rule = format!("at most {most} fit into a packet here, is {}", asked.size_bytes);
                    return Err(edgestack_wire::Invalid::new("size_bytes", rule).into());
                }
                // The trace may still tell something.
                Ok(run::ask(self.chassis()?, standing, wish).await.map_err(|error| error_chain(&error)))
            }
            (None, Start::Vm(vm)) => Ok(self.guest_ping(vm, question.source.ip, wish).await),
            (None, Start::Probe(_)) => Ok(Err("there is nobody to ask from".to_owned())),
        }
    }

    async fn guest_ping(&self, vm: Id<Vm>, source: IpAddr, wish: ping::Ping) -> Result<ping::Pinged, String> {
        let ping::Ping { address, count, interval, patience, size } = wish;
        let wish = GuestPing { address, source: Some(source), count, interval, patience, size };
        let pinged = self.driver.guest_ping(vm, &wish).await.map_err(|error| unsent(&error))?;
        let reply =
            |reply: &edgestack_worker_vm::driver::GuestReply| ping::Reply { sequence: reply.sequence, rtt: reply.rtt };
        Ok(ping::Pinged { sent: pinged.sent, replies: pinged.replies.iter().map(reply).collect() })
    }

    /// Where such a packet goes.
    async fn way(&self, question: &Question, asked: Asked) -> Result<Trace, String> {
        let Question { target, source, .. } = question;
        let first = path::first_hop(&self.replica.world(), source, *target);
        let (course, text) = match first {
            FirstHop::Nobody { why, fix } => (explain::no_way(source, why, fix), None),
            FirstHop::Mac(mac) => {
                let tracer = self.tracer.as_ref().map_err(Clone::clone)?;
                let microflow = path::microflow(source, &mac, *target, asked);
                let trace = tracer.trace(&microflow).await.map_err(|error| error_chain(&error))?;
                let course = explain::explain(&self.replica.world(), source, *target, asked, &trace);
                (course, Some(trace.text))
            }
        };
        Ok(told(question, course, text))
    }
}

fn told(question: &Question, course: Course, ovn_trace: Option<String>) -> Trace {
    let Course { verdict, why, fix, steps } = course;
    Trace {
        from: question.source.who.clone(),
        from_ip: question.source.ip,
        to_ip: question.target,
        verdict: match verdict {
            Verdict::Delivered => TraceVerdict::Delivered,
            Verdict::LeftTheSite => TraceVerdict::LeftTheSite,
            Verdict::Dropped => TraceVerdict::Dropped,
            Verdict::AwaitsNeighbour => TraceVerdict::AwaitsNeighbour,
            Verdict::NoWay => TraceVerdict::NoWay,
        },
        why,
        fix,
        steps: steps.into_iter().map(|step| TraceStep { at: step.at, what: step.what }).collect(),
        ovn_trace,
    }
}

/// The longest that is told of a guest's own words, characters.
const WORDS_MAX: usize = 400;

/// Why a guest sent nothing, and what can be done. Some of it are the guest's words, which go to a person's terminal.
fn unsent(error: &DriverError) -> String {
    let words = match error {
        DriverError::Gone => "the VM does not run on this daemon's node".to_owned(),
        DriverError::Retry { reason, fix } | DriverError::Never { reason, fix } => match fix {
            Some(fix) => format!("{reason}; {fix}"),
            None => reason.clone(),
        },
        DriverError::PortTaken(_) => error.to_string(),
    };
    words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

fn round_trips(replies: &[ping::Reply]) -> Option<RoundTrips> {
    let times = || replies.iter().map(|reply| ms(reply.rtt));
    let count = u32::try_from(replies.len()).ok().filter(|count| *count > 0)?;
    Some(RoundTrips {
        min_ms: times().fold(f64::INFINITY, f64::min),
        mean_ms: times().sum::<f64>() / f64::from(count),
        max_ms: times().fold(0.0, f64::max),
    })
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn not_found(field: &'static str, error: &PathError) -> NetworkError {
    match error {
        PathError::Refused(Refusal::NotFound { .. }) => NetworkError::NotFound { field, why: error.to_string() },
        _ => NetworkError::Invalid(edgestack_wire::Invalid::new(field, error)),
    }
}

fn not_put(error: ProbeError) -> NetworkError {
    match error {
        ProbeError::NotHere => NetworkError::NotHere {
            why: "another daemon works the virtual network, or none yet; ask the API of the one that does: edgectl list-leases".to_owned(),
        },
        ProbeError::NoAddress { .. } => NetworkError::Invalid(edgestack_wire::Invalid::new("from", error)),
        ProbeError::TooMany | ProbeError::Gone | ProbeError::Unrealized => {
            NetworkError::NotNow { why: error.to_string() }
        }
    }
}
