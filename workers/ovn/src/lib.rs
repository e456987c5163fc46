//! OVN and Open vSwitch as a library, for those who own a virtual network.
//!
//! * [`ovsdb`]: a client of OVSDB databases (RFC 7047);
//! * [`bundled`]: the processes of an OVN of our own on one node, started, watched and adopted;
//! * [`chassis`]: what this node plugs into its integration bridge;
//! * [`monitors`]: what OVN's own health checks have found;
//! * [`ping`]: echo requests from a port of that bridge;
//! * [`trace`]: where a packet would go, by ovn-trace(8).

pub mod bundled;
pub mod chassis;
pub mod monitors;
pub mod ovsdb;
pub mod ping;
pub mod trace;
