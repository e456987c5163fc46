//! A NATS cluster of a site's own servers, each on a node of its own: the stream has a replica on each (ADR 0033).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::stream::STREAM;
use super::{JetStreamLog, api};
use crate::LogError;

/// Of how many servers a cluster is: two that live are a majority, and more than three copies gain a small site nothing.
pub const CLUSTER_SERVERS: usize = 3;

/// One of the servers of a cluster, and the node that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The node's name.
    pub node: String,
    /// Where its clients connect.
    pub client: SocketAddr,
    /// Where the other servers connect.
    pub route: SocketAddr,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}/{}", self.node, self.client, self.route.port())
    }
}

impl FromStr for Member {
    type Err = String;

    /// `NODE=ADDRESS:PORT/ROUTE-PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not NODE=ADDRESS:PORT/ROUTE-PORT, as in edge-1=10.0.0.1:4222/6222");
        let (node, place) = text.split_once('=').ok_or_else(bad)?;
        let (client, route) = place.split_once('/').ok_or_else(bad)?;
        let client: SocketAddr = client.parse().map_err(|_| bad())?;
        let route: u16 = route.parse().map_err(|_| bad())?;
        if node.is_empty() || client.port() == 0 || route == 0 || route == client.port() {
            return Err(bad());
        }
        Ok(Self { node: node.to_owned(), client, route: SocketAddr::new(client.ip(), route) })
    }
}

/// The servers of a cluster, and the password by which they know each other.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) route_password: String,
    pub(super) members: Vec<Member>,
}

/// Whether these can be the servers of a cluster.
///
/// # Errors
/// What is wrong, for people.
pub fn check_members(members: &[Member]) -> Result<(), String> {
    if members.len() != CLUSTER_SERVERS {
        return Err(format!(
            "a cluster has {CLUSTER_SERVERS} servers, each on a node of its own; {} given",
            members.len()
        ));
    }
    for (at, one) in members.iter().enumerate() {
        for other in &members[..at] {
            if one.node == other.node {
                return Err(format!("node {} is given twice", one.node));
            }
            let places = [one.client, one.route];
            if let Some(place) = places.iter().find(|place| [other.client, other.route].contains(place)) {
                return Err(format!("{place} is given twice"));
            }
        }
    }
    Ok(())
}

/// Which servers hold the log, as its leader tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The server that leads; none while they elect one.
    pub leader: Option<String>,
    /// Those that follow, and have all that it has.
    pub current: Vec<String>,
    /// Those that lag behind, or can't be reached.
    pub behind: Vec<String>,
}

impl Copies {
    /// Whether a server has all that the log has.
    pub fn is_current(&self, server: &str) -> bool {
        self.leader.as_deref() == Some(server) || self.current.iter().any(|name| name == server)
    }
}

impl JetStreamLog {
    /// Asks which servers hold the log. Nothing but a leader answers.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn copies(&self) -> Result<Copies, LogError> {
        let info = api::stream_info(&self.live()?, STREAM).await?;
        let (leader, followers) = info.cluster.map_or((None, Vec::new()), |cluster| (cluster.leader, cluster.replicas));
        let (current, behind): (Vec<_>, Vec<_>) =
            followers.into_iter().partition(|follower| follower.current && !follower.offline && follower.lag == 0);
        let names = |followers: Vec<api::StreamReplica>| followers.into_iter().map(|follower| follower.name).collect();
        Ok(Copies { leader, current: names(current), behind: names(behind) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_written_as_it_is_read() {
        let text = "edge-1=10.0.0.1:4222/6222";
        assert_eq!(text.parse::<Member>().unwrap().to_string(), text);
        for bad in
            ["", "a", "a=1", "a=10.0.0.1/6222", "a=10.0.0.1:0/1", "a=10.0.0.1:1/0", "a=10.0.0.1:1/1", "=10.0.0.1:1/2"]
        {
            assert!(bad.parse::<Member>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_cluster_is_told() {
        let members = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Member>>();
        assert_eq!(check_members(&members(&["a=10.0.0.1:1/2", "b=10.0.0.2:1/2", "c=10.0.0.3:1/2"])), Ok(()));
        for bad in [
            &["a=10.0.0.1:1/2", "b=10.0.0.2:1/2"][..],
            &["a=10.0.0.1:1/2", "a=10.0.0.2:1/2", "c=10.0.0.3:1/2"],
            &["a=10.0.0.1:1/2", "b=10.0.0.1:3/1", "c=10.0.0.3:1/2"],
        ] {
            assert!(check_members(&members(bad)).is_err(), "{bad:?}");
        }
    }
}
