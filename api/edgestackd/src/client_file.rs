//! The API token, and the file from which `edgectl` learns how to reach the site.

use std::{
    fs, io,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use edgestack_log::jetstream::{Credentials, Role};
use edgestack_seal::{SealError, random_token, write_secret};

/// The API token, made at first start. It is never printed to logs.
///
/// # Errors
/// When the file can be neither read nor made.
pub fn token(secrets: &Path) -> Result<String, SealError> {
    let path = secrets.join("api-token");
    let failed = |source| SealError::KeyFile { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_secret(&path, random_token()?.as_bytes()).map_err(failed)?;
            fs::read_to_string(&path).map(|token| token.trim().to_owned()).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// How clients on this machine reach the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// `http://…` or `https://…`.
    pub url: String,
    /// The CA that they need for it, an absolute path; none for a public one.
    pub ca_file: Option<PathBuf>,
}

/// The address that reaches a listener from this machine.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port()),
        ip => SocketAddr::new(ip, address.port()),
    }
}

/// Writes `client.json` (0600): `url`, `token`, `nats_url` (a user who may only read), and `ca_file` where one is needed.
///
/// # Errors
/// An I/O error.
pub fn write(root: &Path, reach: &Reach, token: &str, nats: &Credentials) -> io::Result<()> {
    let mut content = serde_json::json!({
        "url": reach.url,
        "token": token,
        "nats_url": nats.url(Role::Auditor),
    });
    if let Some(ca_file) = &reach.ca_file {
        content["ca_file"] = ca_file.display().to_string().into();
    }
    let path = root.join("client.json");
    let draft = root.join("client.json.draft");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(serde_json::to_string_pretty(&content)?.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&draft, &path)
}
