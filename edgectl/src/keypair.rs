//! Commands on keypairs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::Kind;
use edgestack_wire::{
    keypair::{CreateKeypair, KeyType, Keypair},
    meta::Meta,
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NewMetaArgs, RemoveArgs, ShowArgs},
    client::{Client, Payload},
    failure::Failure,
    flavor::{self, UpdateArgs},
    history::{self, EventsArgs},
    output::{self, Cell, Format, Sheet, View},
    resource::{self, Shown},
    secret_file::{SecretFile, file_failure},
};

/// Commands on keypairs.
#[derive(Debug, Subcommand)]
pub enum KeypairCommand {
    /// Registers a public key, or generates a keypair and hands the private key out once.
    #[command(after_help = "Example:\n  edgectl create-keypair laptop --public-key-file ~/.ssh/id_ed25519.pub\n  \
                      edgectl create-keypair demo --private-key-file demo.pem")]
    CreateKeypair(CreateKeypairArgs),
    /// Lists the keypairs.
    #[command(after_help = "Example:\n  edgectl list-keypairs")]
    ListKeypairs(ListArgs),
    /// Shows a keypair.
    #[command(after_help = "Example:\n  edgectl show-keypair laptop")]
    ShowKeypair(ShowArgs),
    /// Changes a keypair's description or labels; its key never changes.
    #[command(after_help = "Example:\n  edgectl update-keypair laptop --description 'work laptop'")]
    UpdateKeypair(UpdateArgs),
    /// Removes keypairs; VMs made with them keep the key.
    #[command(after_help = "Example:\n  edgectl remove-keypair laptop demo")]
    RemoveKeypair(RemoveArgs),
    /// Shows a keypair's history.
    #[command(after_help = "Example:\n  edgectl show-keypair-events laptop")]
    ShowKeypairEvents(EventsArgs),
}

/// `create-keypair`
#[derive(Args, Debug)]
pub struct CreateKeypairArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// The algorithm to generate a key of, or that the given key must be of.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    key_type: Option<KeyTypeArg>,
    /// A file with the OpenSSH public key line to register.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    public_key_file: Option<PathBuf>,
    /// The OpenSSH public key line itself.
    #[arg(long, value_name = "TEXT", conflicts_with = "public_key_file")]
    public_key: Option<String>,
    /// Where to write the generated private key (mode 0600; an existing file is never touched). Without it
    /// the key goes to standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["public_key_file", "public_key"], value_hint = clap::ValueHint::FilePath)]
    private_key_file: Option<PathBuf>,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyTypeArg {
    /// Ed25519.
    Ed25519,
    /// RSA, 3072 bits when generated.
    Rsa,
}

/// Runs a command on keypairs.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: KeypairCommand, client: &Client) -> Result<(), Failure> {
    match command {
        KeypairCommand::CreateKeypair(args) => create(client, args).await,
        KeypairCommand::ListKeypairs(args) => resource::list::<Keypair>(client, &args).await,
        KeypairCommand::ShowKeypair(args) => resource::show::<Keypair>(client, &args).await,
        KeypairCommand::UpdateKeypair(args) => flavor::update::<Keypair>(client, &args).await,
        KeypairCommand::RemoveKeypair(args) => resource::remove::<Keypair>(client, &args).await,
        KeypairCommand::ShowKeypairEvents(args) => history::events(client, Kind::Keypair, &args).await,
    }
}

async fn create(client: &Client, args: CreateKeypairArgs) -> Result<(), Failure> {
    let public_key = match (&args.public_key_file, args.public_key) {
        (Some(path), _) => {
            Some(std::fs::read_to_string(path).map_err(|source| file_failure("read", path, source))?.trim().to_owned())
        }
        (None, key) => key,
    };
    let generates = public_key.is_none() && !args.change.dry_run;
    // The place is made before the key is: a key that cannot be kept is lost.
    let place = match &args.private_key_file {
        Some(path) if generates => Some(SecretFile::prepare(path)?),
        Some(_) | None => None,
    };
    let name = args.new_name.clone();
    let body = Payload::json(&CreateKeypair {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        key_type: args.key_type.map(|key_type| match key_type {
            KeyTypeArg::Ed25519 => KeyType::Ed25519,
            KeyTypeArg::Rsa => KeyType::Rsa,
        }),
        public_key,
    })?;
    let reply = client.change(Method::POST, &[Kind::Keypair.plural()], &body, &args.change).await?;
    if !generates {
        return resource::print_changed::<Keypair>(&reply.body, &args.change, "created");
    }
    let keypair: Keypair = serde_json::from_str(&reply.body)?;
    let Some(private_key) = &keypair.private_key else {
        return Err(Failure::Failed(format!(
            "keypair \"{name}\" is created but its private key was lost on the way, and it is handed out once; \
             make it anew: edgectl remove-keypair {name}, then create it again"
        )));
    };
    let format = args.change.output.output;
    match place {
        Some(place) => {
            let path = place.keep(private_key)?;
            // The secret is where it was asked to be, and need not be on the screen or in a pipe too.
            let without = Keypair { private_key: None, ..keypair.clone() };
            let raw = serde_json::to_string(&without)?;
            output::print_document(format, &raw, &name, |_| {
                Ok(format!("keypair \"{name}\" is created; its private key is in {}\n", path.display()))
            })
        }
        None => {
            output::print_document(format, &reply.body, &name, |_| Ok(private_key.clone()))?;
            if matches!(format, Format::Table | Format::Wide) {
                output::note(&format!(
                    "keypair \"{name}\" is created; keep the private key above, it is not shown again"
                ));
            }
            Ok(())
        }
    }
}

impl Shown for Keypair {
    const KIND: Kind = Kind::Keypair;
    const WHEN_EMPTY: &'static str =
        "no keypairs yet; register yours: edgectl create-keypair NAME --public-key-file ~/.ssh/id_ed25519.pub";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "TYPE", "FINGERPRINT"];
        if wide {
            headers.extend(["LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let mut row: Vec<Cell> =
            vec![self.meta.name.as_str().into(), self.key_type.as_str().into(), self.fingerprint.as_str().into()];
        if view.wide {
            row.extend([output::labels(&self.meta.labels).into(), self.meta.id.to_string().into()]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, None, view);
        sheet.section("Key");
        sheet.pair("type", self.key_type.as_str());
        sheet.pair("fingerprint", self.fingerprint.as_str());
        sheet.pair("public key", self.public_key.as_str());
        sheet
    }

    fn state(&self) -> Option<&str> {
        None
    }
}
