//! MM3 over HTTP: a handler parses, sends the command, answers. Rules live in
//! the model alone; what is read comes from the views, what is changed goes
//! through a [`CommandPort`](edgestack_engine::CommandPort).
//!
//! * [`router::app`]: the whole surface as a router that needs no socket.
//! * [`serve::Listener`]: sockets, TLS, limits, an orderly end.
//! * [`UploadSweep`]: what uploads left behind.
//! * [`AppState`]: what both are given; [`GuestAccess`] is how guests are reached, [`NetworkAccess`] how the virtual
//!   network is tested, [`fork::Forks`] makes copies of the site.
//!
//! Every resource is served under two spellings of one prefix, see [`router::PREFIXES`].

mod answer;
mod any_kind;
mod archive;
pub mod auth;
mod backup;
mod body;
mod change;
pub mod codes;
mod diff;
mod docs;
mod events;
mod explain;
mod flavors;
mod floating_ips;
pub mod fork;
mod guest;
mod guests;
mod health;
mod history;
mod history_search;
mod images;
mod keypairs;
mod leases;
mod list;
mod load_balancers;
mod manifest;
mod moment;
mod network_access;
mod network_tests;
mod networks;
mod nodes;
mod observe;
pub mod openapi;
mod path;
mod precondition;
mod problem;
mod query;
mod refusals;
mod replay;
pub mod router;
mod routers;
mod schemas;
mod security_group_rules;
mod security_groups;
pub mod serve;
mod shown;
mod ssh_keys;
mod state;
mod undo;
mod upload;
mod upload_folder;
mod vms;
mod volumes;
mod watch;
pub mod webhook_access;
mod webhooks;
mod what_if;

pub use auth::Tokens;
pub use guest::{GuestAccess, GuestError};
pub use network_access::{NetworkAccess, NetworkError};
pub use refusals::Refusals;
pub use router::app;
pub use serve::{Listener, ServeError, TlsFiles};
pub use state::{AppState, Readiness, SiteInfo, UPLOAD_BYTES_MAX};
pub use upload_folder::{RunningUploads, UploadSweep};
pub use webhook_access::WebhookAccess;
