//! Who may do what on our NATS server: one user for each role, and where their passwords are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, Member};

const FILE: &str = "credentials.json";

/// Whom a user of the NATS server stands for; each has the least rights that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Appends commits, reads them, creates the stream, answers commands, and hands some to other engines. The only one that
    /// may append.
    Engine,
    /// The API and the workers in processes of their own: reads commits, sends commands and heartbeats.
    Reader,
    /// People's own NATS clients: reads commits, also through (pull) consumers.
    Auditor,
    /// Asks the server for its settings, in the system account.
    Monitor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Engine, Self::Reader, Self::Auditor, Self::Monitor];

    /// The user's name at the NATS server.
    pub fn user(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
            Self::Monitor => "monitor",
        }
    }

    /// The prefix of the subjects on which this role hears answers. Each role has its own, so that none hears
    /// another's; an auditor has the one that every NATS client uses unless told otherwise.
    pub fn inbox(self) -> &'static str {
        match self {
            Self::Engine => "_INBOX_engine",
            Self::Reader => "_INBOX_reader",
            Self::Auditor => "_INBOX",
            Self::Monitor => "_INBOX_monitor",
        }
    }
}

/// The accounts of the roles that only read; the stream is in another one.
pub(super) const READERS: &str = "READERS";
pub(super) const AUDITORS: &str = "AUDITORS";

/// Who sent a message that came from another account, by the server's word (its header `Nats-Request-Info`, which it
/// writes over whatever the sender put there); `None` for everything else.
///
/// A handler of commands must ask: an auditor may make a consumer, and may tell JetStream to deliver commits to any
/// subject in the stream's account, `mm3.command.x` included. nats-server 2.15.1 doesn't deliver there, for reasons it
/// doesn't promise; what would arrive so has no such header.
pub fn sender(message: &async_nats::Message) -> Option<Role> {
    #[derive(Deserialize)]
    struct RequestInfo {
        acc: String,
    }
    let header = message.headers.as_ref()?.get("Nats-Request-Info")?;
    let info: RequestInfo = serde_json::from_str(header.as_str()).ok()?;
    match info.acc.as_str() {
        READERS => Some(Role::Reader),
        AUDITORS => Some(Role::Auditor),
        _ => None,
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user())
    }
}

/// Why the credentials can't be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file can't be read or written.
    #[error("can't use {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file isn't what we wrote.
    #[error("{} is damaged: remove it together with nats.conf to have new passwords made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: serde_json::Error,
    },
}

/// Where the NATS server listens, and each role's password (256 random bits, made at the first start). `Debug` doesn't
/// show passwords; [`Credentials::url`] does.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    address: SocketAddr,
    server_name: String,
    passwords: BTreeMap<Role, String>,
    /// None on a server alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<Cluster>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads `<dir>/credentials.json`, as another process of the same site does.
    ///
    /// # Errors
    /// When it isn't there or isn't ours.
    pub fn load(dir: &Path) -> Result<Self, CredentialsError> {
        let path = dir.join(FILE);
        let bytes = fs::read(&path).map_err(|source| CredentialsError::File { path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|source| CredentialsError::Damaged { path, source })
    }

    /// New random passwords for a server at `address`.
    pub(super) fn generate(address: SocketAddr) -> Self {
        let passwords = Role::ALL.into_iter().map(|role| (role, random(32))).collect();
        Self { address, server_name: format!("edgestack-{}", random(8)), passwords, cluster: None }
    }

    /// The same; `None` before the first start.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_if_there(dir: &Path) -> Result<Option<Self>, CredentialsError> {
        match Self::load(dir) {
            Err(CredentialsError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(credentials) => Ok(Some(credentials)),
        }
    }

    /// Writes `<dir>/credentials.json`, for its owner's eyes alone.
    ///
    /// # Errors
    /// An I/O error.
    pub fn save(&self, dir: &Path) -> Result<(), CredentialsError> {
        let path = dir.join(FILE);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| CredentialsError::Damaged { path: path.clone(), source })?;
        write_private(&path, &bytes).map_err(|source| CredentialsError::File { path, source })
    }

    pub(super) fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The same, of the servers of a cluster.
    pub(super) fn among(mut self, members: &[Member]) -> Self {
        let route_password = self.cluster.map_or_else(|| random(32), |cluster| cluster.route_password);
        self.cluster = Some(Cluster { route_password, members: members.to_vec() });
        self
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The servers of the cluster; none where there is one server alone.
    pub fn members(&self) -> &[Member] {
        self.cluster.as_ref().map_or(&[], |cluster| &cluster.members)
    }

    /// How many replicas the streams have: one on each server.
    pub fn replicas(&self) -> usize {
        self.members().len().max(1)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name by which the server is told from any other one that may listen there.
    pub fn server_name(&self) -> String {
        match self.members().iter().find(|member| member.client == self.address) {
            Some(member) => self.name_of(member),
            None => self.server_name.clone(),
        }
    }

    /// The name of one of a cluster's servers.
    pub fn name_of(&self, member: &Member) -> String {
        format!("{}-{}", self.server_name, member.node)
    }

    pub(super) fn password(&self, role: Role) -> &str {
        self.passwords.get(&role).map_or("", String::as_str)
    }

    /// `nats://user:password@address:port` for `role`. It holds the password: never log it. Of a cluster it names all
    /// servers, the one of this node first.
    pub fn url(&self, role: Role) -> String {
        let members = self.members();
        let own = members.iter().filter(|member| member.client == self.address);
        let others = members.iter().filter(|member| member.client != self.address);
        let all: Vec<_> = own.chain(others).map(|member| member.client.to_string()).collect();
        let addresses = if all.is_empty() { self.address.to_string() } else { all.join(",") };
        format!("nats://{}:{}@{addresses}", role.user(), self.password(role))
    }

    /// The same, for one of a cluster's servers alone.
    pub fn url_of(&self, role: Role, member: &Member) -> String {
        format!("nats://{}:{}@{}", role.user(), self.password(role), member.client)
    }
}

fn random(bytes: usize) -> String {
    let mut buffer = vec![0_u8; bytes];
    rand::rng().fill(buffer.as_mut_slice());
    hex::encode(buffer)
}

/// Writes a file that only its owner may read, whole or not at all, also at a power cut.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = parent.join(name);
    // A leftover of a killed writer may have other rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn saved_credentials_are_private_come_back_and_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let made = Credentials::generate("127.0.0.1:4333".parse().unwrap());
        made.save(dir.path()).unwrap();
        assert_eq!(Credentials::load(dir.path()).unwrap(), made);
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for role in Role::ALL {
            assert_eq!(made.password(role).len(), 64);
            assert!(!format!("{made:?}").contains(made.password(role)));
        }
        assert!(made.url(Role::Engine).starts_with("nats://engine:"));
        assert!(made.url(Role::Engine).ends_with("@127.0.0.1:4333"));
    }

    #[test]
    fn of_a_cluster_ones_own_server_comes_first() {
        let members: Vec<Member> = [1, 2, 3].map(|n| format!("n{n}=10.0.0.{n}:4222/6222").parse().unwrap()).to_vec();
        let made = Credentials::generate("10.0.0.2:4222".parse().unwrap()).among(&members);
        assert!(made.url(Role::Reader).ends_with("@10.0.0.2:4222,10.0.0.1:4222,10.0.0.3:4222"));
        assert!(made.server_name().ends_with("-n2"));
        assert_eq!(made.replicas(), 3);
        let again = made.clone().among(&members);
        assert_eq!(again, made, "the servers' password stays");
        let dir = tempfile::tempdir().unwrap();
        made.save(dir.path()).unwrap();
        assert_eq!(Credentials::load(dir.path()).unwrap(), made);
    }
}
