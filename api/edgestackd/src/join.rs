//! `--print-join` and `--join FILE`: a second daemon, with a state folder of its own, on the NATS server of the first.
//!
//! What such a daemon must have in common with the others is a file: where the NATS server is and the passwords of its
//! roles, and the site's secrets. Whoever has it can do everything; it is for root's eyes, like the folder it comes from.
//!
//! A daemon that has joined serves reads and writes, and stands by for the work that only one does. The site's images and
//! VMs are on the node of the first (ADR 0032).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use edgestack_archive::archived_through;
use edgestack_log::jetstream::Credentials;
use edgestack_model::Name;
use edgestack_seal::{key_file, write_secret};
use serde::{Deserialize, Serialize};

use crate::{
    client_file,
    failure::Failure,
    options::{Options, Role},
    state_folder,
};

/// The files of the folder `secrets` that are the same everywhere.
const SECRETS: [&str; 3] = ["api-token", "sealing.key", "signing.key"];
/// Tells a folder that has joined: written last.
const MARK: &str = "joined.json";

/// What a daemon needs to join a site.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    site: Name,
    nats: Credentials,
    secrets: [String; SECRETS.len()],
    /// How far the archive of this site goes: a log that ends before that is still being filled.
    #[serde(default)]
    archived: u64,
}

/// What stays in a folder that has joined.
#[derive(Serialize, Deserialize)]
pub struct Mark {
    /// The site.
    pub site: Name,
    /// The log is not to be written before it has come to this commit.
    #[serde(default)]
    pub archived: u64,
}

/// Prints what another daemon needs to join this folder's site.
///
/// # Errors
/// [`Failure::Credentials`] before the site's first start.
pub fn print(options: &Options, root: &Path) -> Result<(), Failure> {
    let nats = Credentials::load(&state_folder::nats(root))?;
    let folder = state_folder::secrets(root);
    client_file::token(&folder)?;
    key_file(&folder.join("sealing.key"))?;
    key_file(&folder.join("signing.key"))?;
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(failed(&path))
    };
    let secrets = [read(SECRETS[0])?, read(SECRETS[1])?, read(SECRETS[2])?];
    let site = site_of(root)?.map_or_else(|| options.site.clone(), |mark| mark.site);
    let archived = archived_through(&state_folder::archive(root))?;
    let text = serde_json::to_string_pretty(&Ticket { site, nats, secrets, archived })
        .map_err(|error| Failure::Join { why: error.to_string() })?;
    println!("{text}");
    Ok(())
}

/// Makes this folder one of the file's site. Again with the same site it takes over the address of its NATS server.
///
/// # Errors
/// [`Failure::Join`] when the file is no such, or the folder has a log or another site of its own.
pub fn join(root: &Path, file: &Path) -> Result<(), Failure> {
    let refused = |why: String| Failure::Join { why };
    let text = fs::read_to_string(file).map_err(failed(file))?;
    let ticket: Ticket = serde_json::from_str(&text)
        .map_err(|error| refused(format!("{} is not what edgestackd --print-join prints: {error}", file.display())))?;
    let nats = state_folder::nats(root);
    if nats.join("jetstream").exists() && site_of(root)?.is_none() {
        return Err(refused(format!("{} has a log of its own; give another --state-dir", root.display())));
    }
    if let Some(mark) = site_of(root)?.filter(|mark| mark.site != ticket.site) {
        let site = mark.site;
        return Err(refused(format!("{} belongs to site \"{site}\"; give another --state-dir", root.display())));
    }
    let folder = state_folder::secrets(root);
    for (name, secret) in SECRETS.into_iter().zip(&ticket.secrets) {
        let path = folder.join(name);
        write_secret(&path, secret.as_bytes()).map_err(failed(&path))?;
        let kept = fs::read_to_string(&path).map_err(failed(&path))?;
        if kept.trim() != secret {
            let path = path.display();
            return Err(refused(format!("{path} is another site's; give another --state-dir")));
        }
    }
    ticket.nats.save(&nats)?;
    let mark = Mark { site: ticket.site, archived: ticket.archived };
    let mark = serde_json::to_vec(&mark).map_err(|error| refused(error.to_string()))?;
    let path = mark_of(root);
    write_secret(&path, &mark).map_err(failed(&path))
}

/// The site that this folder has joined, if it has.
///
/// # Errors
/// [`Failure::Folder`].
pub fn site_of(root: &Path) -> Result<Option<Mark>, Failure> {
    let path = mark_of(root);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path)(error)),
    };
    let mark: Mark = serde_json::from_slice(&text)
        .map_err(|error| Failure::Join { why: format!("{} is damaged ({error}); join again", path.display()) })?;
    Ok(Some(mark))
}

/// The roles that a daemon has which were not given: all on a site's own node, and those that do nothing on the node
/// elsewhere, but for the node's nats-server where it is one of the cluster's.
///
/// # Errors
/// [`Failure::Join`] when a daemon that has joined is to do what only the first can.
pub fn settle_roles(options: &mut Options, joined: bool, member: bool) -> Result<(), Failure> {
    let possible = match (joined, member) {
        (false, _) => &Role::ALL[..],
        (true, false) => &Role::OF_JOINED[..],
        (true, true) => &Role::OF_JOINED_MEMBER[..],
    };
    if options.roles.is_empty() {
        options.roles = possible.to_vec();
    }
    match options.roles.iter().find(|role| !possible.contains(role)) {
        None => Ok(()),
        Some(role) => Err(Failure::Join {
            why: format!(
                "a daemon that has joined a site cannot have the role {role}: images and VMs are on the node of the first daemon; leave --roles out"
            ),
        }),
    }
}

fn mark_of(root: &Path) -> PathBuf {
    state_folder::secrets(root).join(MARK)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::Folder { path: path.clone(), source }
}
