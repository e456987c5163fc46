//! Commands on webhooks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    webhook::{CreateWebhook, Delivery, UpdateWebhook, Webhook, WebhookAction, WebhookFilter},
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs, key_value},
    client::{Client, Payload},
    failure::Failure,
    history::{self, EventsArgs},
    output::{self, Cell, Format, Sheet, View},
    resource::{self, Shown},
    secret_file::SecretFile,
    vm_sheet::waiting_section,
};

/// Commands on webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Has events delivered to an address outside, signed, and hands the secret out once.
    #[command(
        after_help = "Example:\n  edgectl create-webhook ops --target https://hooks.example.com/edge --event-kind vm\n  edgectl create-webhook ops --target https://hooks.example.com/edge --event-type VmStopped --secret-file ops.secret"
    )]
    CreateWebhook(CreateWebhookArgs),
    /// Lists the webhooks.
    #[command(after_help = "Example:\n  edgectl list-webhooks --state failing,disabled")]
    ListWebhooks(ListArgs),
    /// Shows a webhook, and how its deliveries go.
    #[command(after_help = "Example:\n  edgectl show-webhook ops")]
    ShowWebhook(ShowArgs),
    /// Changes, pauses or resumes a webhook.
    #[command(
        after_help = "Example:\n  edgectl update-webhook ops --pause\n  edgectl update-webhook ops --resume --skip\n  edgectl update-webhook ops --target https://other.example.com/edge --event-kind vm,volume"
    )]
    UpdateWebhook(UpdateWebhookArgs),
    /// Gives a webhook another secret; the old one stays valid for a while.
    #[command(
        after_help = "Example:\n  edgectl rotate-webhook-secret ops\n  edgectl rotate-webhook-secret ops --previous-valid-seconds 0 --secret-file ops.secret"
    )]
    RotateWebhookSecret(RotateArgs),
    /// Removes webhooks; what was not delivered yet is not delivered.
    #[command(after_help = "Example:\n  edgectl remove-webhook ops")]
    RemoveWebhook(RemoveArgs),
    /// Shows a webhook's history.
    #[command(after_help = "Example:\n  edgectl show-webhook-events ops")]
    ShowWebhookEvents(EventsArgs),
}

/// `create-webhook`
#[derive(Args, Debug)]
pub struct CreateWebhookArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// Where to deliver to: a target that the operator allows (edgestackd's --webhook-allow).
    #[arg(long, value_name = "URL")]
    target: String,
    #[command(flatten)]
    filter: EventFilterArgs,
    /// Begin after this commit, 0 for all; with what happens from now on if absent.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Deliver nothing until it is resumed.
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Which events.
#[derive(Args, Debug)]
struct EventFilterArgs {
    /// Only events of these kinds; those of webhooks come only when named.
    #[arg(long, value_name = "KIND", value_delimiter = ',', help_heading = "Events")]
    event_kind: Vec<String>,
    /// Only events of objects of these names or ids.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Events")]
    event_name: Vec<String>,
    /// Only events of objects that have this label then; may be given several times, all must match.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value, help_heading = "Events")]
    event_label: Vec<(String, String)>,
    /// Only events of these types, as VmStarted.
    #[arg(long, value_name = "TYPE", value_delimiter = ',', help_heading = "Events")]
    event_type: Vec<String>,
    /// Only what these did, as admin.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Events")]
    event_actor: Vec<String>,
}

/// Where secrets come from and go to.
#[derive(Args, Debug)]
struct SecretArgs {
    /// A file with the secret to use, whsec_ and base64; one is made if absent.
    #[arg(long, value_name = "FILE", help_heading = "Secret", value_hint = clap::ValueHint::FilePath)]
    use_secret: Option<PathBuf>,
    /// Where to write the secret that is made (mode 0600; an existing file is never touched). Without it the
    /// secret goes to standard output.
    #[arg(long, value_name = "FILE", help_heading = "Secret", conflicts_with = "use_secret", value_hint = clap::ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
}

/// `update-webhook`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args([
    "target", "event_kind", "event_name", "event_label", "event_type", "event_actor", "all_events", "pause", "resume", "skip",
    "description", "label", "clear_labels",
])))]
pub struct UpdateWebhookArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Where to deliver to from now on.
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    #[command(flatten)]
    filter: EventFilterArgs,
    /// Deliver all events but those of webhooks.
    #[arg(long, help_heading = "Events", conflicts_with_all = ["event_kind", "event_name", "event_label", "event_type", "event_actor"])]
    all_events: bool,
    /// Deliver nothing; what happens waits in the log.
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Go on, also after it was disabled, with what has happened meanwhile; what fails is tried at once.
    #[arg(long)]
    resume: bool,
    /// Never deliver what happened so far and was not delivered.
    #[arg(long)]
    skip: bool,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// `rotate-webhook-secret`
#[derive(Args, Debug)]
pub struct RotateArgs {
    #[command(flatten)]
    of: NameArgs,
    /// How long deliveries are signed with the old secret as well; 0 for no longer.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(0..=604_800))]
    previous_valid_seconds: u32,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs a command on webhooks.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: WebhookCommand, client: &Client) -> Result<(), Failure> {
    match command {
        WebhookCommand::CreateWebhook(args) => create(client, args).await,
        WebhookCommand::ListWebhooks(args) => resource::list::<Webhook>(client, &args).await,
        WebhookCommand::ShowWebhook(args) => resource::show::<Webhook>(client, &args).await,
        WebhookCommand::UpdateWebhook(args) => update(client, args).await,
        WebhookCommand::RotateWebhookSecret(args) => rotate(client, args).await,
        WebhookCommand::RemoveWebhook(args) => resource::remove::<Webhook>(client, &args).await,
        WebhookCommand::ShowWebhookEvents(args) => history::events(client, Kind::Webhook, &args).await,
    }
}

impl EventFilterArgs {
    fn filter(self) -> WebhookFilter {
        WebhookFilter {
            kinds: self.event_kind.into_iter().collect(),
            names: self.event_name.into_iter().collect(),
            labels: self.event_label.into_iter().collect::<BTreeMap<_, _>>(),
            types: self.event_type.into_iter().collect(),
            actors: self.event_actor.into_iter().collect(),
        }
    }
}

async fn create(client: &Client, args: CreateWebhookArgs) -> Result<(), Failure> {
    let secret = given(&args.secret)?;
    let place = place(&args.secret, &args.change)?;
    let body = Payload::json(&CreateWebhook {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        url: args.target,
        filter: args.filter.filter(),
        secret: secret.clone(),
        paused: args.paused,
        after: args.after,
    })?;
    let reply = client.change(Method::POST, &[Kind::Webhook.plural()], &body, &args.change).await?;
    print(&reply.body, secret.is_some(), place, &args.change, "created")
}

async fn update(client: &Client, args: UpdateWebhookArgs) -> Result<(), Failure> {
    let filter = Some(args.filter.filter()).filter(|filter| *filter != WebhookFilter::default());
    let body = Payload::json(&UpdateWebhook {
        description: args.meta.description(),
        labels: args.meta.labels(),
        url: args.target,
        filter: if args.all_events { Some(None) } else { filter.map(Some) },
        paused: (args.pause || args.resume).then_some(args.pause),
        skip: args.skip,
    })?;
    let segments = [Kind::Webhook.plural(), args.of.name.as_str()];
    resource::change::<Webhook>(client, Method::PATCH, &segments, &body, &args.change, "updated").await
}

async fn rotate(client: &Client, args: RotateArgs) -> Result<(), Failure> {
    let secret = given(&args.secret)?;
    let place = place(&args.secret, &args.change)?;
    let previous_valid_seconds = args.previous_valid_seconds;
    let body = Payload::json(&WebhookAction::RotateSecret { secret: secret.clone(), previous_valid_seconds })?;
    let segments = [Kind::Webhook.plural(), args.of.name.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &body, &args.change).await?;
    print(&reply.body, secret.is_some(), place, &args.change, "signed with a new secret")
}

fn given(args: &SecretArgs) -> Result<Option<String>, Failure> {
    let Some(path) = &args.use_secret else { return Ok(None) };
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| Failure::File { doing: "read", path: path.clone(), source })?;
    Ok(Some(text.trim().to_owned()))
}

/// The place is made before the secret is: one that cannot be kept is lost.
fn place(args: &SecretArgs, change: &ChangeArgs) -> Result<Option<SecretFile>, Failure> {
    let path: Option<&Path> = args.secret_file.as_deref().filter(|_| !change.dry_run);
    path.map(SecretFile::prepare).transpose()
}

fn print(
    body: &str,
    is_given: bool,
    place: Option<SecretFile>,
    change: &ChangeArgs,
    done: &str,
) -> Result<(), Failure> {
    if is_given || change.dry_run {
        return resource::print_changed::<Webhook>(body, change, done);
    }
    let webhook: Webhook = serde_json::from_str(body)?;
    let name = webhook.meta.name.clone();
    let Some(secret) = &webhook.secret else {
        return Err(Failure::Failed(format!(
            "webhook \"{name}\" is {done} but its secret was lost on the way, and it is handed out once; \
             take another: edgectl rotate-webhook-secret {name}"
        )));
    };
    let format = change.output.output;
    match place {
        Some(place) => {
            let path = place.keep(&format!("{secret}\n"))?;
            // The secret is where it was asked to be, and need not be on the screen or in a pipe too.
            let raw = serde_json::to_string(&Webhook { secret: None, ..webhook.clone() })?;
            output::print_document(format, &raw, &name, |_| {
                Ok(format!("webhook \"{name}\" is {done}; its secret is in {}\n", path.display()))
            })
        }
        None => {
            output::print_document(format, body, &name, |_| Ok(format!("{secret}\n")))?;
            if matches!(format, Format::Table | Format::Wide) {
                output::note(&format!("webhook \"{name}\" is {done}; keep the secret above, it is not shown again"));
            }
            Ok(())
        }
    }
}

impl Shown for Webhook {
    const KIND: Kind = Kind::Webhook;
    const WHEN_EMPTY: &'static str =
        "no webhooks yet; make one: edgectl create-webhook NAME --target https://HOST/PATH --event-kind vm";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "URL", "EVENTS", "WAITING"];
        if wide {
            headers.extend(["LAST ATTEMPT", "DELIVERED", "BECAUSE", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let delivery = self.delivery.as_ref();
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            Cell::state(&self.state),
            self.url.as_str().into(),
            filter(&self.filter).into(),
            delivery.map(|delivery| delivery.waiting_events.to_string()).unwrap_or_default().into(),
        ];
        if view.wide {
            let last = delivery.and_then(|delivery| delivery.last_attempt.as_ref());
            let waiting = self.waiting.as_ref();
            row.extend([
                last.map(|last| last.answer.clone()).unwrap_or_default().into(),
                delivery.map(|delivery| delivery.delivered_events.to_string()).unwrap_or_default().into(),
                waiting.map(|waiting| format!("{}: {}", waiting.owner, waiting.reason)).unwrap_or_default().into(),
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
            waiting_section(&mut sheet, waiting, view);
        }
        sheet.section("Target");
        sheet.pair("url", self.url.as_str());
        sheet.pair("events", filter(&self.filter));
        sheet.pair("after commit", self.begin_after.to_string());
        sheet.pair_if("old secret until", self.previous_secret_until.map(|until| view.time(until)));
        if let Some(delivery) = &self.delivery {
            deliveries(&mut sheet, delivery, view);
        }
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

fn deliveries(sheet: &mut Sheet, delivery: &Delivery, view: &View) {
    sheet.section("Deliveries");
    sheet.pair("through commit", delivery.delivered_through.to_string());
    sheet.pair("delivered events", delivery.delivered_events.to_string());
    sheet.pair("waiting events", delivery.waiting_events.to_string());
    sheet.pair_if("oldest waiting", delivery.oldest_waiting.as_deref());
    if delivery.behind_commits > 0 {
        sheet.pair("behind the log", format!("{} commits", delivery.behind_commits));
    }
    sheet.pair_if("last delivered", delivery.last_delivered_at.map(|at| view.time(at)));
    if let Some(last) = &delivery.last_attempt {
        sheet.pair("last attempt", format!("event {}: {}", last.event, last.answer));
        sheet.pair("at", view.time(last.at));
    }
}

/// A filter in a few words.
fn filter(filter: &WebhookFilter) -> String {
    let mut parts = Vec::new();
    let mut add = |what: &str, words: Vec<String>| {
        if !words.is_empty() {
            parts.push(format!("{what} {}", words.join("|")));
        }
    };
    add("kind", filter.kinds.iter().cloned().collect());
    add("name", filter.names.iter().cloned().collect());
    add("label", filter.labels.iter().map(|(key, value)| format!("{key}={value}")).collect());
    add("type", filter.types.iter().cloned().collect());
    add("actor", filter.actors.iter().cloned().collect());
    if parts.is_empty() { "all but webhooks'".to_owned() } else { parts.join(", ") }
}
