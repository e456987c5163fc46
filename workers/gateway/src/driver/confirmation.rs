//! Whether the nodes work by what is written, by their own word in the southbound database: OVN's sum of it (`hv_cfg`) is that of
//! the slowest chassis, so that one which died, or is somebody else's, would keep everything from being ready.

use std::{collections::BTreeSet, time::Duration};

use edgestack_engine::error_chain;
use edgestack_ovn::ovsdb::{Client, Endpoints, LocalCopy, OvsdbError, Watched};
use tokio::sync::Mutex;

const DATABASE: &str = "OVN_Southbound";
/// What each chassis has done. Source: ovn-sb(5), Chassis_Private.
const CHASSIS: &str = "Chassis_Private";
/// What they are asked for. Source: ovn-sb(5), SB_Global.
const GLOBAL: &str = "SB_Global";
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The southbound database, where it is known, over one connection, which is made anew when it ends.
pub(super) struct Southbound {
    endpoints: Option<Endpoints>,
    connection: Mutex<Option<Client>>,
}

impl Southbound {
    pub fn new(endpoints: Option<Endpoints>) -> Self {
        Self { endpoints, connection: Mutex::new(None) }
    }

    /// A connection; none where nobody said where it is, or it doesn't answer: OVN's sum is all that can be asked then.
    pub async fn client(&self) -> Option<Client> {
        let endpoints = self.endpoints.as_ref()?;
        let mut connection = self.connection.lock().await;
        if let Some(client) = connection.as_ref().filter(|client| client.is_connected()) {
            return Some(client.clone());
        }
        *connection = None;
        let watched =
            [Watched { table: CHASSIS, columns: &["name", "nb_cfg"] }, Watched { table: GLOBAL, columns: &["nb_cfg"] }];
        match Client::connect(endpoints, DATABASE, &watched, PATIENCE).await {
            Ok(client) => {
                *connection = Some(client.clone());
                Some(client)
            }
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "the southbound database can't be asked");
                None
            }
        }
    }
}

/// The nodes whose word is awaited, and which write it is about.
pub(super) struct Question<'a> {
    /// By the names of their chassis.
    pub nodes: &'a BTreeSet<String>,
    /// `nb_cfg` of the write.
    pub wished: i64,
}

impl Question<'_> {
    /// Waits until all have confirmed it. `asked` tells what the northbound database asks for at the moment.
    pub async fn confirmed(
        &self,
        southbound: &Client,
        within: Duration,
        asked: impl Fn() -> i64 + Send,
    ) -> Result<(), OvsdbError> {
        let confirmed = |copy: &LocalCopy| self.behind(copy, asked()).is_empty().then_some(());
        southbound.until("the nodes' confirmation", within, confirmed).await
    }

    /// Those that have not. Where the northbound database was made anew it counts from the beginning, and what they confirmed
    /// before is about another one.
    pub fn behind(&self, copy: &LocalCopy, asked: i64) -> Vec<&str> {
        let passed_on = copy.rows(GLOBAL).next().and_then(|(_, row)| row.integer("nb_cfg"));
        let has = |node: &str| {
            let mut rows = copy.rows(CHASSIS).map(|(_, row)| row);
            rows.find(|row| row.text("name") == Some(node)).and_then(|row| row.integer("nb_cfg"))
        };
        let is_behind = |node: &&str| {
            passed_on != Some(asked) || !has(node).is_some_and(|has| (self.wished..=asked).contains(&has))
        };
        self.nodes.iter().map(String::as_str).filter(is_behind).collect()
    }
}
