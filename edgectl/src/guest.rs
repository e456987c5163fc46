//! What comes out of a VM's guest: console log, manifest, what its agent says.

use clap::Args;
use edgestack_model::Kind;
use edgestack_wire::vm::{GuestInfo, LoginUsers};

use crate::{
    cli::{LookArgs, NameArgs, ShowArgs},
    client::{self, Client},
    failure::Failure,
    json,
    output::{self, Cell, Format, Sheet, View},
};

/// `show-vm-logs`
#[derive(Args, Debug)]
pub struct LogsArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Go on with what the guest prints from now on, until interrupted.
    #[arg(short, long)]
    follow: bool,
}

fn part(client: &Client, name: &str, part: &str) -> reqwest::Url {
    client.url(&[Kind::Vm.plural(), name, part], &[])
}

/// `show-vm-logs`: the bytes as the guest wrote them.
///
/// # Errors
/// The server's, or output's.
pub async fn logs(client: &Client, args: &LogsArgs) -> Result<(), Failure> {
    let tail = args.tail.map(|lines| lines.to_string());
    let mut query = Vec::new();
    if let Some(tail) = &tail {
        query.push(("tail", tail.as_str()));
    }
    if args.follow {
        query.push(("follow", "true"));
    }
    let url = client.url(&[Kind::Vm.plural(), &args.of.name, "logs"], &query);
    let mut response = client.open(url.clone(), "text/plain", None).await?;
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => output::print_bytes(&bytes)?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(client::broken(&url, error).into()),
        }
    }
}

/// `show-vm-manifest`: YAML or JSON, as the server sends it.
///
/// # Errors
/// The server's, or output's.
pub async fn manifest(client: &Client, args: &ShowArgs) -> Result<(), Failure> {
    let query = args.at.query();
    let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let url = client.url(&[Kind::Vm.plural(), &args.of.name, "manifest"], &query);
    let format = args.output.output;
    let accept = if format == Format::Json { "application/json" } else { "application/yaml" };
    let (text, moment) = client.get_at(url, accept).await?;
    output::note_moment(moment.as_deref());
    match format {
        Format::Table | Format::Wide | Format::Yaml => output::print(&text),
        Format::Json => output::print(&json::pretty(&text)),
        Format::Name => output::print(&format!("{}\n", args.of.name)),
    }
}

/// `show-guest-info`
///
/// # Errors
/// The server's, or output's.
pub async fn info(client: &Client, args: &LookArgs) -> Result<(), Failure> {
    let raw = client.get(part(client, &args.of.name, "guest_info")).await?;
    output::print_document(args.output.output, &raw, &args.of.name, |view: View| {
        let info: GuestInfo = serde_json::from_str(&raw)?;
        Ok(info_sheet(&info).render(view.colour))
    })
}

fn info_sheet(info: &GuestInfo) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.pair("hostname", info.hostname.as_str());
    sheet.pair("operating system", info.operating_system.as_str());
    sheet.pair("kernel", info.kernel.as_str());
    sheet.pair("architecture", info.architecture.as_str());
    sheet.pair("agent version", info.agent_version.as_str());
    sheet.section("Interfaces");
    for interface in &info.interfaces {
        let mut text = interface.addresses.join(", ");
        if let Some(mac) = &interface.mac {
            text = format!("{text} (mac {mac})").trim_start().to_owned();
        }
        sheet.pair(&interface.name, text);
    }
    sheet
}

/// `show-login-users`
///
/// # Errors
/// The server's, or output's.
pub async fn login_users(client: &Client, args: &LookArgs) -> Result<(), Failure> {
    let raw = client.get(part(client, &args.of.name, "login_users")).await?;
    let format = args.output.output;
    if matches!(format, Format::Json | Format::Yaml) {
        return output::print_document(format, &raw, "", |_| Ok(String::new()));
    }
    let users: LoginUsers = serde_json::from_str(&raw)?;
    if users.items.is_empty() {
        output::note(&format!(
            "nobody is logged in in \"{}\"; how to log in: edgectl show-vm {}",
            args.of.name, args.of.name
        ));
        return Ok(());
    }
    if format == Format::Name {
        let names: String = users.items.iter().map(|u| u.user.clone() + "\n").collect();
        return output::print(&names);
    }
    let view = View::stdout(format);
    let rows = users.items.into_iter().map(|user| -> Vec<Cell> {
        vec![user.user.into(), user.domain.unwrap_or_default().into(), view.time(user.login_time).into()]
    });
    let table = output::table(&["USER", "DOMAIN", "SINCE"], rows.collect(), view.colour);
    output::print(&table)
}
