//! Starting a machine's QEMU, once.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

use super::bounds::{Bounds, Containment, prepare};
use super::find::{FindError, Record, find, running_arguments_hash};
use super::identity::{Identity, boot_id};
use super::owner::{Owner, give_file, give_folder, is_root, look_up};
use super::{Instance, Layout, QMP_DEADLINE, last_words};
use crate::command_line::{arguments, supports_direct_io};
use crate::durable::write_atomically;
use crate::machine::{InvalidMachine, Machine};
use crate::qmp::{QmpClient, QmpError, RunState};

/// Between two looks at what the kernel tells no event for: a lock's release, a socket's being listened on.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Why a machine wasn't launched. After each of these no new QEMU runs.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The machine can't be described to QEMU. Trying again is of no use.
    #[error("the machine can't be described to QEMU")]
    Invalid(#[from] InvalidMachine),
    /// There is no such local user. Trying again is of no use until there is.
    #[error("there is no user {0:?} to run QEMU as; create it: useradd --system {0}")]
    NoUser(String),
    /// A file or folder that the launch needs.
    #[error("can't {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It isn't known whether one already runs.
    #[error("it is not known whether this machine already runs")]
    Find(#[from] FindError),
    /// Another caller launches or ends this machine.
    #[error("another launch of {id} is under way")]
    Busy {
        /// The machine's id.
        id: String,
    },
    /// An earlier QEMU is still there, though its guest's run is over: [`super::end`] it first.
    #[error("the QEMU of an earlier run (pid {pid}) is still there in state {state:?}; end it first")]
    NotEnded {
        /// Its process id.
        pid: i32,
        /// Its state.
        state: RunState,
    },
    /// QEMU didn't start or ended by itself; the words are its own.
    #[error("QEMU did not start: {words}")]
    Exited {
        /// QEMU's last line.
        words: String,
    },
    /// QEMU didn't come to its monitor in time and was killed.
    #[error("QEMU was not ready within {} ms{}", after.as_millis(), said.as_deref().map(|said| format!("; it said: {said}")).unwrap_or_default())]
    TimedOut {
        /// The deadline.
        after: Duration,
        /// Its last line, if it wrote any.
        said: Option<String>,
    },
    /// QEMU refused to run the guest and was killed.
    #[error("QEMU does not run the guest")]
    Monitor(#[source] QmpError),
}

/// Launches the machine's QEMU and lets the guest run, within `deadline`; gives the one that already runs, if one does.
///
/// Expected flow: take the lock of the machine's folder; look for a QEMU that runs; make folders, rights and bounds;
/// start QEMU paused; connect to its monitor, where it then has its virtual CPUs; write the record; let the guest run.
/// Killed at any line, the next call goes on from what it finds: a QEMU that waits paused is let run.
///
/// When it fails after QEMU was started, QEMU is killed first. A machine that was paused on purpose stays paused.
pub async fn launch(machine: &Machine, deadline: Duration) -> Result<Instance, LaunchError> {
    machine.check()?;
    let until = Instant::now() + deadline;
    let layout = Layout::new(&machine.directory);
    let user = machine.run_as.as_deref().filter(|_| is_root());
    let owner = user.map(user_ids).transpose()?;

    make_folder(&machine.directory, 0o711)?;
    let lock = lock(&layout, &machine.id, until).await?;
    if let Some(found) = find(&machine.id, &machine.directory)? {
        return adopt(machine, found, until, deadline).await;
    }
    make_folder(&layout.run(), 0o700)?;
    if let Some(owner) = &owner {
        give_folder(&layout.run(), owner).map_err(file("give QEMU's user", &layout.run()))?;
        give_disks(machine, owner)?;
    }

    let bounds = Bounds::of(machine);
    let containment = prepare(&machine.id, bounds);
    let mut line = containment.wrapper(bounds, &machine.name, owner.as_ref());
    line.push(machine.qemu.clone().into_os_string());
    line.extend(arguments(machine, &supports_direct_io));
    let started = match start(&line, &containment, &layout) {
        Ok(child) => run(machine, child, &containment, until, deadline).await,
        Err(error) => Err(error),
    };
    if started.is_err() {
        containment.remove().await;
    }
    drop(lock);
    started
}

/// What the lock's holder finds running is this machine's QEMU, perhaps of a launcher that was killed half-way: then it
/// is given what it lacks.
async fn adopt(
    machine: &Machine,
    mut found: Instance,
    until: Instant,
    deadline: Duration,
) -> Result<Instance, LaunchError> {
    let client = connect(&found.layout, &found.identity, until).await.map_err(|failed| match failed {
        NotReady::Ended => exited(&found.layout),
        NotReady::TimedOut => LaunchError::TimedOut { after: deadline, said: found.last_words() },
        NotReady::Qmp(error) => LaunchError::Monitor(error),
    })?;
    let state = client.query_status().await.map_err(LaunchError::Monitor)?;
    if state.is_over() {
        return Err(LaunchError::NotEnded { pid: found.pid(), state });
    }
    if state == RunState::Prelaunch || found.record.is_none() {
        let containment = prepare(&machine.id, Bounds::of(machine));
        enter(&containment, found.pid()).await?;
        found.record = Some(begin(machine, &client, found.identity, &containment, state).await?);
    }
    Ok(found)
}

/// From the started process to the running guest; on failure the process is killed.
async fn run(
    machine: &Machine,
    mut child: Child,
    containment: &Containment,
    until: Instant,
    deadline: Duration,
) -> Result<Instance, LaunchError> {
    let layout = Layout::new(&machine.directory);
    let identity = child.id().and_then(|pid| Identity::of(i32::try_from(pid).ok()?));
    let Some(identity) = identity else {
        reap(child);
        return Err(exited(&layout));
    };
    let (entered, connected) = tokio::join!(enter(containment, identity.pid), connect(&layout, &identity, until));
    let outcome = match (connected, entered) {
        (Ok(client), Ok(())) => begin(machine, &client, identity, containment, RunState::Prelaunch).await,
        (Ok(_), Err(error)) => Err(error),
        // A process that has ended can't enter anything; why it ended says more.
        (Err(NotReady::Ended), _) => Err(exited(&layout)),
        (Err(NotReady::TimedOut), _) => {
            Err(LaunchError::TimedOut { after: deadline, said: last_words(&layout.stderr_log()) })
        }
        (Err(NotReady::Qmp(error)), _) => Err(LaunchError::Monitor(error)),
    };
    match outcome {
        Ok(record) => {
            reap(child);
            Ok(Instance { id: machine.id.clone(), layout, record: Some(record), identity })
        }
        Err(error) => {
            // Its end is waited for: who tries again must not meet it.
            if let Err(kill_error) = child.kill().await {
                tracing::warn!(pid = identity.pid, error = %kill_error, "a QEMU that failed to start can't be killed");
            }
            if let Err(remove_error) = crate::durable::remove_if_there(&layout.record()) {
                tracing::warn!(error = %remove_error, "a record stays behind");
            }
            Err(error)
        }
    }
}

async fn enter(containment: &Containment, pid: i32) -> Result<(), LaunchError> {
    let containment = containment.clone();
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    off_thread(move || containment.enter(pid)).await.map_err(file("put into its control groups", &path))
}

/// Writes the record and lets the guest run, both at once: the record is for those who come later, and until it is
/// there the process is found by its arguments. A guest that was stopped on purpose stays so.
async fn begin(
    machine: &Machine,
    client: &QmpClient,
    identity: Identity,
    containment: &Containment,
    state: RunState,
) -> Result<Record, LaunchError> {
    let path = Layout::new(&machine.directory).record();
    let record = Record {
        id: machine.id.clone(),
        identity,
        boot_id: boot_id().map_err(file("read", Path::new("/proc/sys/kernel/random/boot_id")))?,
        qemu_version: client.qemu_version().to_owned(),
        accelerator: machine.accelerator.clone(),
        arguments_sha256: running_arguments_hash(identity.pid).map_err(file("read the arguments for", &path))?,
        containment: containment.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&record).map_err(|error| file("write", &path)(error.into()))?;
    let target = path.clone();
    let written = off_thread(move || write_atomically(&target, &bytes, 0o600));
    let cont = async { if state == RunState::Prelaunch { client.cont().await } else { Ok(()) } };
    let (running, written) = tokio::join!(cont, written);
    written.map_err(file("write", &path))?;
    running.map_err(LaunchError::Monitor)?;
    Ok(record)
}

/// Runs what makes the kernel wait on a thread of its own.
async fn off_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

enum NotReady {
    Ended,
    TimedOut,
    Qmp(QmpError),
}

/// Connects to the monitor as soon as QEMU listens; gives up when the process ends.
async fn connect(layout: &Layout, process: &Identity, until: Instant) -> Result<QmpClient, NotReady> {
    let socket = layout.control_socket();
    let listening = async {
        loop {
            match QmpClient::connect(&socket, Some(process.pid), QMP_DEADLINE).await {
                // Not there yet, or an earlier QEMU's.
                Err(QmpError::Gone(_)) => sleep(LOOK_AGAIN).await,
                Err(error) => return Err(NotReady::Qmp(error)),
                Ok(client) => return Ok(client),
            }
        }
    };
    let ready = async {
        tokio::select! {
            ready = listening => ready,
            ended = process.ended() => {
                Err(ended.map_or_else(|error| NotReady::Qmp(QmpError::Gone(error)), |()| NotReady::Ended))
            }
        }
    };
    timeout_at(until, ready).await.unwrap_or(Err(NotReady::TimedOut))
}

fn start(line: &[OsString], containment: &Containment, layout: &Layout) -> Result<Child, LaunchError> {
    let path = layout.stderr_log();
    let (program, arguments) = line.split_first().ok_or_else(|| LaunchError::Exited { words: "no program".into() })?;
    // Only this launch's words: the last line is what a failure is explained by.
    crate::durable::remove_if_there(&path).map_err(file("remove", &path))?;
    let log =
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).map_err(file("create", &path))?;
    Command::new(program)
        .args(arguments)
        .current_dir(layout.run())
        // Our environment may hold secrets, and none of it is QEMU's business.
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .envs(containment.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(false)
        .spawn()
        .map_err(file("start", Path::new(program)))
}

/// Waits for a child in the background, so that it doesn't stay a zombie. When we are gone, init does that.
fn reap(mut child: Child) {
    tokio::spawn(async move {
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "an ended QEMU can't be reaped");
        }
    });
}

/// Takes the lock of the machine's folder. It is released when dropped, also by a kill; QEMU doesn't inherit it.
pub(super) async fn lock(layout: &Layout, id: &str, until: Instant) -> Result<File, LaunchError> {
    let path = layout.launch_lock();
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(file("open", &path))?;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOOK_AGAIN).await,
            Err(TryLockError::WouldBlock) => return Err(LaunchError::Busy { id: id.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(file("lock", &path)(error)),
        }
    }
}

fn user_ids(name: &str) -> Result<Owner, LaunchError> {
    look_up(name).map_err(file("read", Path::new("/etc/passwd")))?.ok_or_else(|| LaunchError::NoUser(name.to_owned()))
}

/// 0711 for the machine's folder: QEMU's user must pass through it to `run/`, and lists nothing.
fn make_folder(path: &Path, mode: u32) -> Result<(), LaunchError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        outcome => outcome.map_err(file("make the folder", path)),
    }
}

/// The machine's own disks become QEMU's user's. Disks that are only read may be shared and are left as they are; so are
/// the images below overlays, see [`super::grant_read`].
fn give_disks(machine: &Machine, owner: &Owner) -> Result<(), LaunchError> {
    let own = machine.disks.iter().filter(|disk| !disk.read_only).map(|disk| &disk.path);
    for path in own.chain(&machine.seed) {
        match give_file(path, owner) {
            // QEMU says in its own words what is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            outcome => outcome.map_err(file("give QEMU's user", path))?,
        }
    }
    Ok(())
}

fn exited(layout: &Layout) -> LaunchError {
    let words = last_words(&layout.stderr_log()).unwrap_or_else(|| "it ended without a word".to_owned());
    LaunchError::Exited { words }
}

fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LaunchError + use<'a> {
    move |source| LaunchError::File { doing, path: path.to_owned(), source }
}
