//! The MM3 surface as it travels: requests as they come, responses as they go,
//! their schemas, and the step from a request to a model command that cannot be
//! wrong (`TryFrom`, field by field, so that an error names its field).
//!
//! Field names are MM3's words in snake_case; sizes carry their unit. In an
//! update an absent field leaves what is there, `null` clears it.

pub mod archive;
pub mod cloud_event;
pub mod command_word;
pub mod event;
pub mod flavor;
pub mod floating_ip;
pub mod health;
pub mod history;
pub mod image;
pub mod invalid;
pub mod keypair;
pub mod lb_health;
pub mod lease;
pub mod list;
pub mod load_balancer;
pub mod log;
pub mod meta;
pub mod network;
pub mod network_test;
pub mod node;
pub mod problem;
pub mod router;
pub mod rule_request;
pub mod schema;
pub mod security_group;
pub mod security_group_rule;
pub mod undo;
pub mod vm;
pub mod vm_action;
pub mod vm_nic;
pub mod vm_show;
pub mod volume;
pub mod webhook;
pub mod what_if;
pub mod yaml;

pub use invalid::Invalid;
pub use problem::Problem;
