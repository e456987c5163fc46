//! The configuration of the NATS server: where it listens, that it syncs always, and each role's rights.
//!
//! Each role has an account of its own, not only a user. Within one account a user who may ask JetStream for a message
//! can name any subject for the answer, `mm3.commit.vm.x` included, and the server publishes the answer there without
//! asking whether *the user* may (seen with nats-server 2.15.1): "read only" would append. Between accounts an answer
//! goes back only to the account that asked, where nothing listens on such subjects.

use std::fmt::Write;
use std::path::Path;

use super::credentials::{AUDITORS, Credentials, READERS, Role};
use super::refused::{REFUSED_STREAM, REFUSED_SUBJECT};
use super::stream::{ACCEPTED_SUBJECTS, STORED_SUBJECTS, STREAM};

/// The account of the stream, and of those who write it.
pub(super) const ACCOUNT: &str = "EDGESTACK";
/// Commands of other processes, answered by the engine.
const COMMANDS: &str = "mm3.command.>";
/// Commands from one engine of the site to another.
const ENGINES: &str = "mm3.engine.>";
/// Signs of life of other processes.
const HEARTBEATS: &str = "mm3.heartbeat.>";
/// As what the account of those who tell them hears those of all: a subject can't be told and heard there under one name.
const HEARD: &str = "heard";

/// How a service answers; JetStream's batches are many answers to one request.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    One,
    Many,
}

/// The text of `nats.conf`. All paths are under `dir`, which [`is_plain`] must have accepted.
pub(super) fn render(dir: &Path, credentials: &Credentials) -> String {
    let read = [
        // Needed even by those who never ask it: an account without JetStream that imports this is left alone; any other
        // gets an import of the whole API for itself, which then answers instead of ours (nats-server 2.15,
        // `enableJetStreamInfoServiceImportOnly`).
        ("$JS.API.INFO".to_owned(), Answers::One),
        (format!("$JS.API.STREAM.INFO.{STREAM}"), Answers::One),
        (format!("$JS.API.STREAM.MSG.GET.{STREAM}"), Answers::One),
        (format!("$JS.API.DIRECT.GET.{STREAM}"), Answers::Many),
        (format!("$JS.API.DIRECT.GET.{STREAM}.>"), Answers::Many),
    ];
    let tell = [(COMMANDS.to_owned(), Answers::One), (HEARTBEATS.to_owned(), Answers::One)];
    // The commands that were refused: whoever answers clients tells them, and reads them at its start.
    let refused = [
        (REFUSED_SUBJECT.to_owned(), Answers::One),
        (format!("$JS.API.STREAM.INFO.{REFUSED_STREAM}"), Answers::One),
        (format!("$JS.API.DIRECT.GET.{REFUSED_STREAM}"), Answers::Many),
    ];
    // What NATS clients use to find a stream and to read it by a pull consumer. A consumer can't be made to deliver into
    // the stream (the server refuses the cycle), nor to an auditor by push (that stays in the stream's account). Should
    // it ever deliver to other subjects there, `sender` tells it from a command.
    let consume = [
        ("$JS.API.STREAM.NAMES".to_owned(), Answers::One),
        (format!("$JS.API.CONSUMER.CREATE.{STREAM}"), Answers::One),
        (format!("$JS.API.CONSUMER.CREATE.{STREAM}.>"), Answers::One),
        (format!("$JS.API.CONSUMER.INFO.{STREAM}.*"), Answers::One),
        (format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.*"), Answers::Many),
        (format!("$JS.ACK.{STREAM}.>"), Answers::One),
    ];
    let engine_publishes = [
        ACCEPTED_SUBJECTS.to_owned(),
        // Other engines of the site hear that this one lives.
        HEARTBEATS.to_owned(),
        ENGINES.to_owned(),
        format!("$JS.API.STREAM.CREATE.{STREAM}"),
        read[0].0.clone(),
        read[1].0.clone(),
        read[2].0.clone(),
        read[3].0.clone(),
        format!("$JS.API.STREAM.CREATE.{REFUSED_STREAM}"),
        refused[0].0.clone(),
        refused[1].0.clone(),
        refused[2].0.clone(),
    ];
    let subjects =
        |services: &[(String, Answers)]| services.iter().map(|service| service.0.clone()).collect::<Vec<_>>();
    let reader: Vec<_> = read.iter().chain(&tell).chain(&refused).cloned().collect();
    let auditor: Vec<_> = read.iter().chain(&consume).cloned().collect();

    let mut text = String::new();
    let dir = dir.display();
    // Writing to a String can't fail.
    let _ = write!(
        text,
        r#"# Written by edgestackd at each start; changes here are lost.
server_name: "{name}"
listen: "{address}"
log_file: "{dir}/nats-server.log"
logfile_size_limit: 16MB
logfile_max_num: 4
pid_file: "{dir}/nats-server.pid"
max_payload: 1MB

jetstream {{
  store_dir: "{dir}/jetstream"
  # An acknowledged write is on the disk.
  sync_interval: always
  # The disk is the limit; a share of what was free at the start would refuse writes that have room.
  max_file_store: 1024TB
  max_memory_store: 64MB
}}

"#,
        name = credentials.server_name(),
        address = credentials.address(),
    );
    routes(&mut text, credentials);
    text.push_str("system_account: SYS\naccounts {\n");
    let _ = writeln!(text, "  EDGESTACK {{\n    jetstream: enabled");
    user(
        &mut text,
        credentials,
        Role::Engine,
        &engine_publishes,
        &[COMMANDS, ENGINES, HEARTBEATS, STORED_SUBJECTS],
        true,
    );
    text.push_str("    exports [\n");
    let _ = writeln!(text, "      {{ stream: \"{STORED_SUBJECTS}\", accounts: [READERS, AUDITORS] }}");
    let _ = writeln!(text, "      {{ stream: \"{HEARTBEATS}\", accounts: [READERS] }}");
    for (services, accounts) in [
        (&read[..], "READERS, AUDITORS"),
        (&tell[..], "READERS"),
        (&refused[..], "READERS"),
        (&consume[..], "AUDITORS"),
    ] {
        for (subject, answers) in services {
            let kind = if *answers == Answers::Many { ", response_type: stream" } else { "" };
            let _ = writeln!(text, "      {{ service: \"{subject}\"{kind}, accounts: [{accounts}] }}");
        }
    }
    text.push_str("    ]\n  }\n");
    for (account, role, services) in [(READERS, Role::Reader, &reader), (AUDITORS, Role::Auditor, &auditor)] {
        let _ = writeln!(text, "  {account} {{");
        let heard = format!("{HEARD}.{HEARTBEATS}");
        let hears = [STORED_SUBJECTS, heard.as_str()];
        let hears = if role == Role::Reader { &hears[..] } else { &hears[..1] };
        user(&mut text, credentials, role, &subjects(services), hears, false);
        text.push_str("    imports [\n");
        let _ = writeln!(text, "      {{ stream: {{ account: EDGESTACK, subject: \"{STORED_SUBJECTS}\" }} }}");
        if role == Role::Reader {
            let from = format!("{{ account: EDGESTACK, subject: \"{HEARTBEATS}\" }}");
            let _ = writeln!(text, "      {{ stream: {from}, prefix: \"{HEARD}\" }}");
        }
        for (subject, _) in services {
            let _ = writeln!(text, "      {{ service: {{ account: EDGESTACK, subject: \"{subject}\" }} }}");
        }
        text.push_str("    ]\n  }\n");
    }
    text.push_str("  SYS {\n");
    user(&mut text, credentials, Role::Monitor, &["$SYS.REQ.SERVER.PING.VARZ".to_owned()], &[], false);
    text.push_str("  }\n}\n");
    text
}

/// The other servers of a cluster.
fn routes(text: &mut String, credentials: &Credentials) {
    let Some(cluster) = credentials.cluster() else { return };
    let Some(own) = cluster.members.iter().find(|member| member.client == credentials.address()) else { return };
    let password = &cluster.route_password;
    let others = cluster.members.iter().filter(|member| *member != own);
    let others: Vec<_> = others.map(|member| format!("\"nats://route:{password}@{}\"", member.route)).collect();
    let local = format!("{{ deny: [\"$JS.API.DIRECT.GET.{STREAM}\", \"$JS.API.DIRECT.GET.{STREAM}.>\"] }}");
    let _ = writeln!(
        text,
        r#"cluster {{
  name: edgestack
  listen: "{listen}"
  # Clients know all servers by what they were given.
  no_advertise: true
  authorization {{ user: route, password: "{password}", timeout: 5 }}
  routes: [{others}]
  # A server that is cut off is known as such before its followers have waited for it; a route that was silent is made anew.
  ping_interval: "1s"
  ping_max: 2
  # Who reads here reads this server's replica. Otherwise any server would answer, and damage of one come and go.
  permissions {{ import: {local}, export: {local} }}
}}
"#,
        listen = own.route,
        others = others.join(", ")
    );
}

fn user(
    text: &mut String,
    credentials: &Credentials,
    role: Role,
    publish: &[String],
    subscribe: &[&str],
    responds: bool,
) {
    let quoted = |subject: &str| format!("\"{subject}\"");
    let publish: Vec<_> = publish.iter().map(|subject| quoted(subject)).collect();
    let inbox = format!("{}.>", role.inbox());
    let subscribe: Vec<_> = subscribe.iter().copied().chain([inbox.as_str()]).map(quoted).collect();
    let _ = writeln!(
        text,
        "    users [{{\n      user: {role}\n      password: \"{password}\"\n      permissions {{\n        publish {{ allow: \
         [{publish}] }}\n        subscribe {{ allow: [{subscribe}] }}{responses}\n      }}\n    }}]",
        password = credentials.password(role),
        publish = publish.join(", "),
        subscribe = subscribe.join(", "),
        responses = if responds { "\n        allow_responses: true" } else { "" },
    );
}

/// Whether a path can stand in quotes in the configuration as it is.
pub(super) fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\' | '$')))
}
