//! A whole site in memory: log, engine, views and one simulated node, without a socket.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use bytes::Bytes;
use edgestack_backup::SigningKey;
use edgestack_engine::{CommandPort, Engine, EngineConfig, Origin, Outcome, Replica, Submission, SystemClock};
use edgestack_fork::SimulatedForks;
use edgestack_log::{ChainHead, Log, memory::MemoryLog, side::MemorySideLog};
use edgestack_model::{
    Actor, Command, Id, World,
    image::{ImageCommand, ImageContent, ImageReport, ImageState},
    load_balancer::LoadBalancer,
    node::{Capacity, Hypervisor, NodeCommand, NodeFacts, NodeReport, PortRange},
    vm::{Instance, Power, Target, Vm, VmCommand, VmReport},
    volume::{VolumeCommand, VolumeReport, VolumeState},
    webhook::{AllowList, NotAllowed, TargetUrl, Webhook},
};
use edgestack_seal::SealingKey;
use edgestack_server::{
    AppState, GuestAccess, GuestError, NetworkAccess, NetworkError, Refusals, RunningUploads, SiteInfo, Tokens,
    UPLOAD_BYTES_MAX, WebhookAccess, app,
};
use edgestack_timeline::Timeline;
use edgestack_wire::{
    lb_health::LbHealth,
    network_test::{AskPing, AskTrace, Counters, Ping, Trace},
    vm::{GuestInfo, LoginUser},
    webhook::{Delivery, LastAttempt},
};
use futures::{StreamExt, stream, stream::BoxStream};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

pub const TOKEN: &str = "a-token-of-the-tests";
pub const BASE: &str = "/edgetron/resources/kubevirt";
/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Site {
    pub app: Router,
    pub state: AppState,
    pub log: MemoryLog,
    pub engine: Engine,
    pub shutdown: CancellationToken,
    _folder: TempDir,
}

impl Site {
    /// A site with the node `edge-1` and nothing else.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut AppState)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let opened = edgestack_views::open(&folder.path().join("views")).unwrap();
        let replica = Replica::new(World::default(), ChainHead::GENESIS, Some(opened.views.projection()));
        let log = MemoryLog::new();
        let engine = Engine::start(
            EngineConfig { deadline: Duration::from_secs(2), ..EngineConfig::for_site("test") },
            Arc::new(log.clone()),
            replica.clone(),
            Arc::new(SystemClock),
        );
        let shutdown = CancellationToken::new();
        let mut state = AppState {
            port: Arc::new(engine.clone()),
            replica,
            views: opened.views,
            timeline: Timeline::open(&folder.path().join("snapshots"), Arc::new(log.clone()), None).unwrap(),
            refusals: Refusals::keep_in(Arc::new(MemorySideLog::default())),
            signing: SigningKey::from_seed(&[7; 32]),
            seal: SealingKey::load_or_create(&folder.path().join("secrets/seal")).unwrap(),
            tokens: Tokens::new([(TOKEN, "admin"), ("another-token", "robot")]),
            forks: Arc::new(SimulatedForks),
            webhooks: Arc::new(SomeWebhooks),
            guests: Arc::new(SilentGuests),
            network: Arc::new(NoNetwork),
            uploads: folder.path().join("uploads"),
            running_uploads: RunningUploads::default(),
            workers_here: true,
            log_can_leave: true,
            upload_bytes_max: UPLOAD_BYTES_MAX,
            readiness: Arc::new(|| Ok(())),
            metrics: Arc::new(|| "edgestack_up 1\n".to_owned()),
            site: SiteInfo {
                name: "test".to_owned(),
                version: "0.0.0".to_owned(),
                log_backend: log.backend().to_owned(),
                url: "http://127.0.0.1:9080".to_owned(),
                nats_address: Some("127.0.0.1:4222".to_owned()),
            },
            shutdown: shutdown.clone(),
        };
        change(&mut state);
        let site = Self { app: app(state.clone()), state, log, engine, shutdown, _folder: folder };
        site.submit(Command::Node(NodeCommand::Report(NodeReport::Inventory {
            name: "edge-1".parse().unwrap(),
            facts: Box::new(node_facts()),
        })))
        .await;
        site
    }

    /// Submits a command as a worker would.
    pub async fn submit(&self, command: Command) -> Outcome {
        submit(&self.engine, command).await
    }

    /// Plays the workers from now on: images become active, VMs run.
    pub fn play_workers(&self) {
        tokio::spawn(play_workers(self.state.replica.clone(), self.engine.clone(), self.shutdown.clone()));
    }

    /// A request under the prefix, with the token and from loopback; `body` as JSON.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.call_with(method, path, &[], body).await
    }

    pub async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Reply {
        let body = body.map(|body| body.to_string());
        let mut request = request(method, path, headers);
        if let Some(body) = body {
            request.headers_mut().entry(header::CONTENT_TYPE).or_insert("application/json".parse().unwrap());
            *request.body_mut() = body.into();
        }
        self.send(request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("the body ends").unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// A body that may break off, as far as it comes.
    pub async fn what_comes(&self, path: &str) -> Vec<u8> {
        let response = self.app.clone().oneshot(request("GET", path, &[])).await.unwrap();
        let mut pieces = response.into_body().into_data_stream();
        let mut all = Vec::new();
        while let Some(Ok(piece)) = pieces.next().await {
            all.extend_from_slice(&piece);
        }
        all
    }

    /// The server-sent events of a path.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> EventStream {
        let response = self.app.clone().oneshot(request("GET", path, headers)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        EventStream { body: StreamExt::boxed(response.into_body().into_data_stream()), text: String::new() }
    }

    /// Flavor `small`, active image `debian`, from the simulated node.
    pub async fn with_flavor_and_image(&self) {
        let flavor = serde_json::json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4});
        self.call("POST", "/flavors", Some(flavor)).await.expect(201);
        let image = serde_json::json!({"name": "debian", "format": "qcow2", "source": {"type": "path", "path": "/images/debian.qcow2"}});
        self.call("POST", "/images", Some(image)).await.expect(202);
        let shown = self.get("/images/debian").await.json();
        let (id, generation) = (shown["id"].as_str().unwrap(), shown["generation"].as_u64().unwrap());
        self.submit(imported(id.parse().unwrap(), generation)).await;
        assert_eq!(self.get("/images/debian").await.json()["state"], "active");
    }

    pub async fn with_vm(&self, name: &str) {
        let vm = serde_json::json!({"name": name, "image": "debian", "flavor": "small"});
        self.call("POST", "/vms", Some(vm)).await.expect(202);
    }

    /// Polls until a resource's state is the wished one.
    pub async fn wait_for_state(&self, path: &str, state: &str) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let shown = self.get(path).await.json();
            if shown["state"] == state {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} never became {state}: {shown}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A request as a client on loopback sends it; a path that begins with `//` is taken as it is, without prefix.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let uri = match path.strip_prefix('/') {
        Some(whole) if whole.starts_with('/') => whole.to_owned(),
        _ => format!("{BASE}{path}"),
    };
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    let peer: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let bearer = format!("Bearer {TOKEN}");
    request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().unwrap());
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// A problem document of a code, with what each must have.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str, field: Option<&str>) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["field"].as_str(), field, "{problem}");
        assert_eq!(problem["correlation_id"], reply.header("edgestack-correlation-id"));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        reply
    }
}

pub struct EventStream {
    body: BoxStream<'static, Result<Bytes, axum::Error>>,
    text: String,
}

impl EventStream {
    /// The next event: its id and data. `None` at the stream's end.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
                };
                let (id, data) = (field("id:").unwrap_or_default(), field("data:"));
                self.text = rest.to_owned();
                match data {
                    Some(data) => return Some((id, serde_json::from_str(&data).unwrap())),
                    None => continue,
                }
            }
            let piece = tokio::time::timeout(DEADLINE, self.body.next()).await.expect("an event comes in time")?;
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// The next event's type and object's name, as a watch has them.
    pub async fn next_change(&mut self) -> (String, String) {
        let (_, data) = self.next().await.expect("the stream goes on");
        (data["type"].as_str().unwrap().to_owned(), data["object"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

async fn submit(engine: &Engine, command: Command) -> Outcome {
    let actor =
        Actor { name: "worker.test@edge-1".to_owned(), credential: "internal".to_owned(), from: "test".to_owned() };
    let origin = Origin::of(actor, Uuid::now_v7(), None);
    engine.submit(Submission { command, origin }).await.unwrap()
}

fn node_facts() -> NodeFacts {
    let capacity = Capacity { vcpus: 64, memory_mib: 65536, disk_gib: 10_000 };
    NodeFacts {
        addresses: vec!["127.0.0.1".to_owned()],
        architecture: "x86_64".to_owned(),
        kernel: "6.1.0".to_owned(),
        operating_system: "Debian GNU/Linux 12".to_owned(),
        hypervisor: Hypervisor {
            name: "simulated".to_owned(),
            version: "1".to_owned(),
            accelerator: "none".to_owned(),
            accelerator_reason: "nothing real is made".to_owned(),
            simulated: true,
        },
        capacity,
        allocatable: capacity,
        ssh_ports: PortRange { first: 22000, last: 32000 },
        network: None,
    }
}

fn imported(image: Uuid, generation: u64) -> Command {
    Command::Image(ImageCommand::Report {
        image: Id::new(image),
        generation: edgestack_model::Generation(generation),
        report: ImageReport::Imported(ImageContent {
            size_bytes: 1 << 20,
            virtual_size_bytes: 1 << 30,
            sha256: "ab".repeat(32),
        }),
    })
}

async fn play_workers(replica: Arc<Replica>, engine: Engine, shutdown: CancellationToken) {
    let mut feed = replica.subscribe();
    loop {
        let reports = reports(&replica);
        for report in reports {
            let actor = Actor {
                name: "worker.test@edge-1".to_owned(),
                credential: "internal".to_owned(),
                from: "test".to_owned(),
            };
            let origin = Origin::of(actor, Uuid::now_v7(), None);
            // A report on a wish that has just changed is refused, and made anew in the next round.
            let _ = engine.submit(Submission { command: report, origin }).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = feed.recv() => {}
        }
    }
}

/// What workers would report of the world as it is.
fn reports(replica: &Replica) -> Vec<Command> {
    let world = replica.world();
    let mut reports = Vec::new();
    for image in world.images.values() {
        let report = match image.state {
            ImageState::Importing => {
                reports.push(imported(image.id.uuid(), image.meta.generation.0));
                continue;
            }
            ImageState::Deleting => ImageReport::Removed,
            ImageState::Queued | ImageState::Active | ImageState::Failed => continue,
        };
        reports.push(Command::Image(ImageCommand::Report {
            image: image.id,
            generation: image.meta.generation,
            report,
        }));
    }
    for volume in world.volumes.values() {
        let report = match volume.state {
            VolumeState::Creating => VolumeReport::Created,
            VolumeState::Deleting => VolumeReport::Removed,
            VolumeState::Available => continue,
        };
        reports.push(Command::Volume(VolumeCommand::Report {
            volume: volume.id,
            generation: volume.meta.generation,
            report,
        }));
    }
    for vm in world.vms.values() {
        if let Some(report) = vm_report(vm, vm.state_in(&world)) {
            reports.push(Command::Vm(VmCommand::Report { vm: vm.id, generation: vm.meta.generation, report }));
        }
    }
    reports
}

fn vm_report(vm: &Vm, state: edgestack_model::vm::State) -> Option<VmReport> {
    use edgestack_model::vm::{NicState, State, StoppedHow};
    let stopped = VmReport::Stopped { how: StoppedHow::Graceful, detail: "the guest shut down".to_owned() };
    match (state, vm.target, &vm.power) {
        (State::Starting | State::BackOff, ..) => Some(VmReport::Started(Instance {
            pid: 4242,
            host_boot: "test".to_owned(),
            start_time_ticks: vm.boot_epoch + 1,
            boot_epoch: vm.boot_epoch,
            accelerator: "none".to_owned(),
            hypervisor: "simulated".to_owned(),
            started_at: chrono::Utc::now(),
            nics: Some(vm.nics_staying().map(|nic| nic.spec.number).collect()),
        })),
        (State::Pausing, ..) => Some(VmReport::Paused),
        (State::Unpausing, ..) => Some(VmReport::Unpaused),
        (State::Stopping | State::Restarting, ..) => Some(stopped),
        (State::Deleting, Target::Deleted, Power::Off) if !vm.released => Some(VmReport::Released),
        (State::Deleting, _, Power::Running(_) | Power::Paused(_)) => Some(stopped),
        _ => vm.nic_under_way().and_then(|nic| {
            let number = nic.spec.number;
            match vm.nic_state(nic) {
                NicState::Attaching => Some(VmReport::NicPlugged { number }),
                NicState::Detaching => Some(VmReport::NicUnplugged { number }),
                NicState::Attached | NicState::AwaitsStart => None,
            }
        }),
    }
}

/// A virtual network as a site without one has it.
struct NoNetwork;

#[async_trait::async_trait]
impl NetworkAccess for NoNetwork {
    async fn ping(&self, _asked: AskPing) -> Result<Ping, NetworkError> {
        Err(NetworkError::NotHere { why: "this site has no virtual network".to_owned() })
    }

    async fn trace(&self, _asked: AskTrace) -> Result<Trace, NetworkError> {
        Err(NetworkError::NotFound { field: "from", why: "there is no vm \"nobody\"".to_owned() })
    }

    async fn counters(&self) -> Result<Counters, NetworkError> {
        Err(NetworkError::NotNow { why: "the network is not up yet".to_owned() })
    }

    async fn health(&self, _balancer: Id<LoadBalancer>) -> Result<LbHealth, NetworkError> {
        Ok(LbHealth { checked: false, items: vec![] })
    }
}

/// Guests as a site without a vm pool has them.
struct SilentGuests;

#[async_trait::async_trait]
impl GuestAccess for SilentGuests {
    async fn console(
        &self,
        _vm: Id<Vm>,
        tail_bytes: Option<u64>,
        follow: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, GuestError> {
        let text = b"Linux version 6.1\nlogin: ";
        let keep = tail_bytes.map_or(text.len(), |tail| text.len().min(tail as usize));
        let log = stream::iter([Ok(Bytes::from_static(&text[text.len() - keep..]))]);
        Ok(if follow { log.chain(stream::pending()).boxed() } else { log.boxed() })
    }

    async fn guest_info(&self, _vm: Id<Vm>) -> Result<GuestInfo, GuestError> {
        Err(GuestError::NotRunning)
    }

    async fn login_users(&self, _vm: Id<Vm>) -> Result<Vec<LoginUser>, GuestError> {
        Err(GuestError::AgentNotAnswering { why: "no answer in 3 s".to_owned() })
    }
}

/// Webhooks may deliver to example.com, and one named so fails.
struct SomeWebhooks;

impl WebhookAccess for SomeWebhooks {
    fn check(&self, url: &TargetUrl) -> Result<(), NotAllowed> {
        AllowList::new(["*.example.com".parse().unwrap()]).check(url, &[])
    }

    fn delivery(&self, _webhook: Id<Webhook>, head: u64) -> Option<Delivery> {
        let at = chrono::DateTime::from_timestamp(1_790_000_000, 0)?;
        Some(Delivery {
            delivered_through: head - 1,
            behind_commits: 0,
            waiting_events: 1,
            oldest_waiting: Some(format!("{head}.0")),
            attempts: 1,
            next_attempt_at: Some(at),
            last_attempt: Some(LastAttempt {
                at,
                event: format!("{head}.0"),
                delivered: false,
                answer: "503 Service Unavailable".to_owned(),
            }),
            last_delivered_at: None,
            delivered_events: 7,
        })
    }
}

/// For tests that look into the world.
pub fn vm_of(site: &Site, name: &str) -> Option<Arc<Vm>> {
    let world = site.state.replica.world();
    let vm = world.vms.values().find(|vm| vm.meta.name.as_str() == name);
    vm.cloned()
}
