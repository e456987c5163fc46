//! `backup`, `verify-backup`, `restore`: the log as one file, taken, checked, and brought back.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use edgestack_backup::{BackupError, PublicKey, Reader, Verified};
use futures::StreamExt as _;

use crate::{
    client::Client,
    failure::{self, Failure},
    output,
    progress::Progress,
};

/// How often progress is told, in bytes.
const TELL_EACH_BYTES: u64 = 1 << 20;

/// `backup`
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// Where to; `-` for standard output, where nothing checks what came: see verify-backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// `verify-backup`
#[derive(Args, Clone, Debug)]
pub struct VerifyBackupArgs {
    /// Which.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Take it only if this key signed it: 64 hex digits, as `backup` and `edgectl api GET /edgetron/log/head` tell it.
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<PublicKey>,
}

/// `restore`
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// Which.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The state folder of the site that is to be, without a log; disks, images and secrets may be there.
    #[arg(long, value_name = "FOLDER", env = "EDGESTACK_STATE_DIR", default_value_os_t = default_state_dir())]
    pub state_dir: PathBuf,
    /// Take it only if this key signed it.
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<PublicKey>,
}

/// Where `deploy/quickstart` puts a site: root's own, or the user's.
fn default_state_dir() -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let data = std::env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty()).map(PathBuf::from);
    match (rustix::process::geteuid().is_root(), home) {
        (false, Some(home)) => data.unwrap_or_else(|| Path::new(&home).join(".local/share")).join("edgestack"),
        _ => "/var/lib/edgestack".into(),
    }
}

/// Takes a backup, checks what came, and only then gives the file its name.
///
/// # Errors
/// The server's, the file's, or what is wrong with what came.
pub async fn backup(args: &BackupArgs, client: &Client) -> Result<(), Failure> {
    let to_stdout = args.file == Path::new("-");
    if !to_stdout && !args.force && args.file.exists() {
        let path = args.file.display();
        return Err(Failure::Failed(format!(
            "{path} is there already; choose another name, or replace it with --force"
        )));
    }
    let response = client.open(client.path("/edgetron/log/backup"), "application/zstd", None).await?;
    let mut pieces = response.bytes_stream();
    if to_stdout {
        while let Some(piece) = pieces.next().await {
            output::print_bytes(&piece.map_err(broken_off)?)?;
        }
        return Ok(());
    }
    let failed = |doing| move |source| Failure::File { doing, path: args.file.clone(), source };
    let folder = args.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft =
        tempfile::Builder::new().prefix(".edgestack-backup-").tempfile_in(folder).map_err(failed("write"))?;
    let (begun, mut progress, mut bytes, mut told) = (Instant::now(), Progress::new(), 0_u64, 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(broken_off)?;
        draft.write_all(&piece).map_err(failed("write"))?;
        bytes += piece.len() as u64;
        if bytes >= told + TELL_EACH_BYTES {
            told = bytes;
            let rate = bytes as f64 / begun.elapsed().as_secs_f64();
            progress.say(&bytes.to_string(), &format!("{} MiB, {:.1} MiB/s", bytes >> 20, rate / 1_048_576.0), false);
        }
    }
    draft.as_file().sync_all().map_err(failed("write"))?;
    let reopened = File::open(draft.path()).map_err(failed("read"))?;
    let verified = verified(reopened, None).map_err(|error| {
        Failure::Failed(format!("what came is no whole backup, and is not kept: {}", failure::line(&error)))
    })?;
    draft.persist(&args.file).map_err(|error| Failure::File {
        doing: "write",
        path: args.file.clone(),
        source: error.error,
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write"))?;
    drop(progress);
    let Verified { manifest, commits } = verified;
    output::print(&format!(
        "{commits} commits of site \"{}\" in {bytes} bytes, checked\nsigned by {}\nnot in it: disks, images, and the folder secrets, without which sealed user data stays sealed\n",
        manifest.site, manifest.public_key
    ))
}

/// Checks a backup.
///
/// # Errors
/// The file's, or what is wrong with it.
pub fn verify(args: &VerifyBackupArgs) -> Result<(), Failure> {
    let file =
        File::open(&args.file).map_err(|source| Failure::File { doing: "read", path: args.file.clone(), source })?;
    let verified = verified(file, args.public_key)
        .map_err(|error| Failure::Failed(format!("{}: {}", args.file.display(), failure::line(&error))))?;
    let Verified { manifest, commits } = verified;
    let until = manifest.time.map(|time| format!(", the last of {}", crate::clock::exact(time))).unwrap_or_default();
    output::print(&format!(
        "the backup is whole: {commits} commits of site \"{}\"{until}\nits last hash is {}\nsigned by {}\n",
        manifest.site, manifest.head_hash, manifest.public_key
    ))?;
    if args.public_key.is_none() {
        output::note("whether that key is the site's own is yours to know: --public-key compares it");
    }
    Ok(())
}

fn verified(file: File, key: Option<PublicKey>) -> Result<Verified, BackupError> {
    Reader::open(file, key)?.verify()
}

fn broken_off(error: reqwest::Error) -> Failure {
    Failure::Failed(format!(
        "the backup broke off, and is not kept; edgestackd's log tells why: {}",
        failure::line(&error)
    ))
}

/// Restores a backup by the daemon's own program, since a bare machine has no daemon to ask.
///
/// # Errors
/// When there is no such program, or it failed.
pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let program = daemon_program();
    let mut command = std::process::Command::new(&program);
    command.arg("--state-dir").arg(&args.state_dir).arg("--restore").arg(&args.file);
    if let Some(key) = args.public_key {
        command.arg("--restore-signed-by").arg(key.to_string());
    }
    let status = command.status().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            Failure::Failed("there is no edgestackd beside edgectl or in PATH; install it first: deploy/quickstart --no-demo installs both".to_owned())
        }
        _ => Failure::File { doing: "run", path: program, source },
    })?;
    if status.success() { Ok(()) } else { Err(Failure::Failed("nothing was restored; see above".to_owned())) }
}

/// The one beside this program, else from PATH.
fn daemon_program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("edgestackd"));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| "edgestackd".into())
}
