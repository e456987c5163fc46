//! Why the daemon does not run: one line with the fix.

use std::{io, path::PathBuf};

use edgestack_log::{
    LogError,
    jetstream::{BrokenPromise, CredentialsError, PromiseError, ServerError},
};
use edgestack_pool::NodeLockError;
use edgestack_seal::SealError;

/// Why the daemon stops.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A folder or file of the state folder cannot be used.
    #[error("cannot use {path}; edgestackd needs to read and write there")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The secrets cannot be read or made.
    #[error("the site's secrets cannot be used")]
    Secrets(#[from] SealError),
    /// Our own nats-server does not run.
    #[error("the site's nats-server does not run")]
    NatsServer(#[from] ServerError),
    /// Another process's nats-server is to be used, and its credentials are not there.
    #[error("cannot read the NATS credentials; start a process with the role nats on this state folder first")]
    Credentials(#[from] CredentialsError),
    /// Our own OVN does not do as it is told.
    #[error("the site's OVN cannot be ended")]
    Ovn(#[from] edgestack_ovn::bundled::BundledError),
    /// The log cannot be reached.
    #[error("cannot open the log")]
    Log(#[from] LogError),
    /// The log's settings cannot be read.
    #[error("cannot read the settings of the log")]
    Promise(#[from] PromiseError),
    /// Law 3: an acknowledged commit might not be durable.
    #[error("refusing to serve: the log does not keep the promise that acknowledged means durable: {}", broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    BrokenPromise {
        /// Each broken clause.
        broken: Vec<BrokenPromise>,
    },
    /// Another process works on this node.
    #[error("this node has such a process already")]
    Role(#[from] NodeLockError),
    /// The API cannot listen.
    #[error("the API does not listen")]
    Api(#[from] edgestack_server::ServeError),
    /// The second copy of the log cannot be opened.
    #[error("the archive of the log cannot be opened")]
    Archive(#[from] edgestack_archive::ArchiveError),
    /// The archive's store holds another site's log.
    #[error(
        "the place that --archive names is that of a site \"{site}\" with another key ({public_key}): give this site a prefix of its own; or, if it is that site on a new machine, bring its folder secrets back first"
    )]
    ForeignArchive {
        /// What the other one calls itself.
        site: String,
        /// The key that has signed there.
        public_key: String,
    },
    /// The store of the archive cannot be set up.
    #[error(transparent)]
    ArchiveStore(#[from] edgestack_archive::S3Error),
    /// It is not known whether the log lacks something.
    #[error("the log and its archive cannot be compared")]
    Incomparable(#[from] edgestack_archive::CompareError),
    /// Log and archive are both whole, and two different logs.
    #[error(
        "the log and its archive in {} are two different logs from about commit {sequence} on, and both are whole; if the log is the right one move the archive away, if the archive is, move the nats folder's jetstream away; then start again",
        folder.display()
    )]
    ForeignLog {
        /// About where.
        sequence: u64,
        /// The archive's.
        folder: PathBuf,
    },
    /// The certificate of the API, or its CA's, cannot be used.
    #[error("{path} is not a readable PEM file with a certificate; see --tls-cert, --tls-ca and --webhook-ca")]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A signal handler or the like.
    #[error("the operating system refused {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Both copies of the log end before what this site has signed, or hold another commit there.
    #[error(
        "the log and its archive were set back: commit {sequence} was signed at {signed_at}, and is not in the log, which ends at {last}; bring the lost commits back (edgectl restore, of a backup that has them), or move {}/head.json away to go on without them",
        folder.display()
    )]
    SetBack {
        /// What was signed.
        sequence: u64,
        /// When.
        signed_at: String,
        /// Where the log ends.
        last: u64,
        /// The archive's.
        folder: PathBuf,
    },
    /// A file is no whole backup.
    #[error("{path} can't be restored")]
    Backup {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: edgestack_backup::BackupError,
    },
    /// A backup can't be restored here.
    #[error("nothing was restored: {why}")]
    Restore {
        /// Why.
        why: String,
    },
    /// A daemon can't join a site, or not in this way.
    #[error("not joined: {why}")]
    Join {
        /// Why, with the fix.
        why: String,
    },
    /// The site's servers can't be a cluster.
    #[error("--cluster: {why}")]
    Cluster {
        /// Why, with the fix.
        why: String,
    },
    /// The machine has no name that could be the node's.
    #[error("this node needs a name: --node NAME")]
    NoNodeName,
}
