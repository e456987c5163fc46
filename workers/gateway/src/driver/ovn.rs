//! The northbound database of an OVN, over OVSDB.
//!
//! Each row of ours carries in `external_ids` the site, our id, the form that it was written in, and its object's name.
//! Who looks writes its lease's epoch beside OVN's own global settings first; each transaction is guarded by what was
//! seen there, so a process whose turn is over can't write any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use edgestack_engine::error_chain;
use edgestack_ovn::ovsdb::{
    Changes, Client, Endpoints, LocalCopy, Mutation, Operation, OvsdbError, Row, Value, Watched,
};
use edgestack_pool::DriverError;
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use super::{
    NorthboundDriver,
    confirmation::{Question, Southbound},
};
use crate::{
    desired::FORM,
    plan::Change,
    rows::{Key, Seen, SeenRow, Table, Wanted},
};

const DATABASE: &str = "OVN_Northbound";
/// OVN's own global settings: one row. Source: ovn-nb(5), NB_Global.
const GLOBAL: &str = "NB_Global";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take over a transaction of more than [`CHANGES_MANY`] rows.
const PATIENCE_LONG: Duration = Duration::from_secs(60);
const CHANGES_MANY: usize = 100;
/// How long the nodes' confirmation is awaited before they are asked anew: ovn-controller forgets a question where the switch
/// died over it, and answers the next one.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// The keys in `external_ids`.
mod mark {
    pub const SITE: &str = "edgestack:site";
    pub const ID: &str = "edgestack:id";
    pub const FORM: &str = "edgestack:form";
    pub const NAME: &str = "edgestack:name";
    pub const EPOCH: &str = "edgestack:epoch:";
}

/// Where the database is, and who writes.
#[derive(Clone, Debug)]
pub struct OvnConfig {
    /// The servers of the northbound database.
    pub northbound: Endpoints,
    /// Those of the southbound one, where they are known: each node's confirmation is read there.
    pub southbound: Option<Endpoints>,
    /// The site, by which its rows are known.
    pub site: String,
    /// The epoch of the lease under which this process writes; `None`: there is no other.
    pub epoch: Option<u64>,
}

/// The database over one connection, which is made anew when it ends.
pub struct OvnDriver {
    config: OvnConfig,
    connection: Mutex<Option<Client>>,
    southbound: Southbound,
    wake: Arc<OnceLock<Wake>>,
}

type Wake = Arc<dyn Fn() + Send + Sync>;

/// Who may write, by the epoch that stands in the database.
enum Turn {
    Ours,
    /// Nobody has taken it, or a process whose turn is over by now.
    ToBeTaken,
}

impl OvnDriver {
    /// Nothing is connected to before the first look.
    pub fn new(config: OvnConfig) -> Self {
        let southbound = Southbound::new(config.southbound.clone());
        Self { config, connection: Mutex::new(None), southbound, wake: Arc::default() }
    }

    async fn client(&self) -> Result<Client, DriverError> {
        let mut connection = self.connection.lock().await;
        if let Some(client) = connection.as_ref().filter(|client| client.is_connected()) {
            return Ok(client.clone());
        }
        *connection = None;
        let client = Client::connect(&self.config.northbound, DATABASE, &watched(), PATIENCE)
            .await
            .map_err(|error| unreachable(&error))?;
        *connection = Some(client.clone());
        // From here on: what is read of this connection is read after.
        tokio::spawn(tell(client.changes(), client.copy(), self.wake.clone()));
        Ok(client)
    }

    fn mine(&self, row: &Row) -> Option<String> {
        let of_site = row.text_at("external_ids", mark::SITE) == Some(self.config.site.as_str());
        of_site.then(|| row.text_at("external_ids", mark::ID).map(str::to_owned)).flatten()
    }

    fn seen(&self, copy: &LocalCopy) -> Seen {
        let (mut seen, mut taken) = (Seen::default(), BTreeMap::<Key, Uuid>::new());
        for table in Table::ALL {
            for (uuid, row) in copy.rows(table.as_str()) {
                let Some(id) = self.mine(row).filter(|_| table.has_marks()) else { continue };
                // Names of ports are unique, so a copy has another one.
                let is_original = row.text("name") == Some(&id);
                let key = Key::new(table, id);
                let double = match taken.get(&key) {
                    Some(_) if !is_original => Some(uuid),
                    Some(_) | None => taken.insert(key, uuid),
                };
                seen.doubles.extend(double.map(|uuid| (table, uuid)));
            }
        }
        // Where there is no room for marks, it is ours by the port that it is about.
        for table in Table::ALL.into_iter().filter(|table| !table.has_marks()) {
            for (uuid, row) in copy.rows(table.as_str()) {
                let Some(port) = row.text("logical_port") else { continue };
                if taken.contains_key(&Key::new(Table::LogicalRouterPort, port)) {
                    let double = taken.insert(Key::new(table, port), uuid);
                    seen.doubles.extend(double.map(|uuid| (table, uuid)));
                }
            }
        }
        let names: BTreeMap<Uuid, Key> = taken.into_iter().map(|(key, uuid)| (uuid, key)).collect();
        for (uuid, key) in &names {
            let Some(row) = copy.row(key.table.as_str(), *uuid) else { continue };
            let mut references: BTreeMap<&'static str, BTreeMap<Key, Uuid>> = BTreeMap::new();
            for (column, _) in key.table.references() {
                let of_ours = row.uuids(column).filter_map(|uuid| Some((names.get(&uuid)?.clone(), uuid)));
                let of_ours: BTreeMap<Key, Uuid> = of_ours.collect();
                if !of_ours.is_empty() {
                    references.insert(column, of_ours);
                }
            }
            let refers = |column: &str| key.table.references().iter().any(|(other, _)| *other == column);
            let own = key.table.all_columns().iter().filter(|column| **column != "external_ids" && !refers(column));
            let columns = own.filter_map(|column| Some(((*column).to_owned(), row.get(column)?.clone()))).collect();
            let mark = |key| row.text_at("external_ids", key).unwrap_or_default().to_owned();
            let form = if key.table.has_marks() { mark(mark::FORM) } else { FORM.to_owned() };
            let seen_row = SeenRow { uuid: *uuid, form, label: mark(mark::NAME), columns, references };
            seen.rows.insert(key.clone(), seen_row);
        }
        seen
    }

    fn marks(&self, id: &str, label: &str) -> Vec<(String, String)> {
        [(mark::SITE, self.config.site.as_str()), (mark::ID, id), (mark::FORM, FORM), (mark::NAME, label)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn operations(&self, seen: &Seen, changes: &[Change], copy: &LocalCopy) -> Vec<Operation> {
        let inserted = changes.iter().enumerate().filter_map(|(at, change)| match change {
            Change::Insert { key, .. } => Some((key.clone(), format!("row{at}"))),
            Change::Update { .. } | Change::Delete { .. } => None,
        });
        let new: BTreeMap<Key, String> = inserted.collect();
        let reference = |key: &Key| match (new.get(key), seen.rows.get(key)) {
            (Some(name), _) => Some(Value::named(name.clone())),
            (None, Some(row)) => Some(Value::uuid(row.uuid)),
            (None, None) => None,
        };
        let references = |keys: &BTreeSet<Key>| {
            Value::set(keys.iter().filter_map(reference).flat_map(|value| value.atoms().to_vec()))
        };
        let of_changes = changes.iter().flat_map(|change| match change {
            Change::Insert { key, wanted } => {
                let Wanted { columns, references: refers, label, .. } = wanted;
                let mut row = columns.clone();
                if key.table.has_marks() {
                    row.set("external_ids", Value::map(self.marks(&key.id, label)));
                }
                for (column, keys) in refers {
                    row.set(*column, references(keys));
                }
                let name = new.get(key).cloned().unwrap_or_default();
                vec![Operation::insert_named(name, key.table.as_str(), row)]
            }
            Change::Update { key, uuid, columns, label, refer, leave } => {
                let table = key.table.as_str();
                let (mut columns, mut mutations) = (columns.clone(), Vec::new());
                if let Some(label) = label {
                    let marks = self.marks(&key.id, label);
                    let keys = Value::set(marks.iter().map(|(key, _)| key.clone()));
                    mutations.push(Mutation::delete("external_ids", keys));
                    mutations.push(Mutation::insert("external_ids", Value::map(marks)));
                }
                for (column, uuids) in leave {
                    mutations.push(Mutation::delete(*column, Value::uuids(uuids.iter().copied())));
                }
                for (column, keys) in refer {
                    if key.table.has_room_for_one(column) {
                        // Whatever stands there; beside it ours would be refused.
                        columns.set(*column, references(keys));
                    } else {
                        mutations.push(Mutation::insert(*column, references(keys)));
                    }
                }
                // Away first, then what is set.
                let mutate = (!mutations.is_empty()).then(|| Operation::mutate(table, *uuid, mutations));
                let update = (!columns.is_empty()).then(|| Operation::update(table, *uuid, columns));
                mutate.into_iter().chain(update).collect()
            }
            Change::Delete { table, uuid } => vec![Operation::delete(table.as_str(), *uuid)],
        });
        let mut operations: Vec<Operation> = of_changes.collect();
        // Such a row stays as long as others refer to it, which may be others than ours; the database would refuse.
        for (kept_by, column) in Table::ALL.iter().flat_map(|table| table.kept_by()) {
            let deleted: BTreeSet<Uuid> =
                changes.iter().filter_map(|one| deleted_from(one, *kept_by, column)).collect();
            for (keeper, row) in copy.rows(kept_by.as_str()) {
                let kept: Vec<Uuid> = row.uuids(column).filter(|uuid| deleted.contains(uuid)).collect();
                if !kept.is_empty() {
                    let leave = Mutation::delete(*column, Value::uuids(kept));
                    operations.push(Operation::mutate(kept_by.as_str(), keeper, [leave]));
                }
            }
        }
        operations
    }

    fn epoch_key(&self) -> String {
        format!("{}{}", mark::EPOCH, self.config.site)
    }

    /// Whether this process may write.
    fn turn(&self, global: &Row) -> Result<Turn, DriverError> {
        let Some(epoch) = self.config.epoch else { return Ok(Turn::Ours) };
        match global.text_at("external_ids", &self.epoch_key()).and_then(|text| text.parse::<u64>().ok()) {
            Some(known) if known > epoch => Err(DriverError::retry(format!(
                "another process writes the virtual network by now (epoch {known}, ours is {epoch})"
            ))),
            Some(known) if known == epoch => Ok(Turn::Ours),
            Some(_) | None => Ok(Turn::ToBeTaken),
        }
    }

    /// What goes before each write: it is refused unless the turn is as it was seen, and takes it where it isn't ours.
    fn guard(&self, uuid: Uuid, global: &Row) -> Result<Vec<Operation>, DriverError> {
        let turn = self.turn(global)?;
        let Some(epoch) = self.config.epoch else { return Ok(vec![]) };
        let marks = global.get("external_ids").cloned().unwrap_or_else(Value::empty_map);
        let seen = Operation::wait(GLOBAL, uuid, ["external_ids"], [Row::new().with("external_ids", marks)]);
        match turn {
            Turn::Ours => Ok(vec![seen]),
            Turn::ToBeTaken => {
                let key = self.epoch_key();
                let mutations = [
                    Mutation::delete("external_ids", Value::set([key.clone()])),
                    Mutation::insert("external_ids", Value::map([(key, epoch.to_string())])),
                ];
                Ok(vec![seen, Operation::mutate(GLOBAL, uuid, mutations)])
            }
        }
    }

    /// The nodes are asked whether they work by what stands there then; guarded as each write.
    fn asking(&self, uuid: Uuid, global: &Row) -> Result<Vec<Operation>, DriverError> {
        let mut operations = self.guard(uuid, global)?;
        operations.push(Operation::mutate(GLOBAL, uuid, [Mutation::add("nb_cfg", 1)]));
        Ok(operations)
    }

    /// Takes the turn where it isn't ours yet, so that what is looked at next can't be changed by a process before us.
    async fn take_turn(&self, client: &Client) -> Result<(), DriverError> {
        self.make_settings(client).await?;
        let copy = client.copy();
        let (uuid, global) = settings(&copy)?;
        match self.turn(global)? {
            Turn::Ours => Ok(()),
            Turn::ToBeTaken => self.transact(client, &self.guard(uuid, global)?, PATIENCE).await,
        }
    }

    /// An empty database has no global settings before somebody makes them: OVN's own tools do, and ovn-northd.
    async fn make_settings(&self, client: &Client) -> Result<(), DriverError> {
        if settings(&client.copy()).is_ok() {
            return Ok(());
        }
        let outcome = self.transact(client, &[Operation::insert(GLOBAL, Row::new())], PATIENCE).await;
        if !client.is_connected() {
            return outcome;
        }
        // Refused or not: there is room for one row, which somebody made at the same moment; the copy has it or is about to.
        let made = client.until("the global settings", PATIENCE, |copy| settings(copy).ok().map(drop)).await;
        made.map_err(|error| unreachable(&error))
    }

    async fn transact(&self, client: &Client, operations: &[Operation], patience: Duration) -> Result<(), DriverError> {
        let outcome = client.transact(operations, patience).await.map(drop);
        if let Err(OvsdbError::UnknownOutcome(_)) = outcome {
            // It may still be carried out; only the copy of a new connection shows whether it was.
            *self.connection.lock().await = None;
        }
        outcome.map_err(|error| refused(&error))
    }
}

/// The row that a change deletes, if this column of that table would keep it.
fn deleted_from(change: &Change, keeper: Table, column: &str) -> Option<Uuid> {
    match change {
        Change::Delete { table, uuid } if table.kept_by().contains(&(keeper, column)) => Some(*uuid),
        Change::Delete { .. } | Change::Insert { .. } | Change::Update { .. } => None,
    }
}

#[async_trait]
impl NorthboundDriver for OvnDriver {
    fn is_simulated(&self) -> bool {
        false
    }

    async fn rows(&self) -> Result<Seen, DriverError> {
        let client = self.client().await?;
        self.take_turn(&client).await?;
        Ok(self.seen(&client.copy()))
    }

    async fn write(&self, seen: &Seen, changes: &[Change]) -> Result<(), DriverError> {
        let client = self.client().await?;
        let copy = client.copy();
        let (uuid, global) = settings(&copy)?;
        let mut operations = self.asking(uuid, global)?;
        operations.extend(self.operations(seen, changes, &copy));
        let patience = if changes.len() > CHANGES_MANY { PATIENCE_LONG } else { PATIENCE };
        self.transact(&client, &operations, patience).await
    }

    async fn realized(&self, nodes: &BTreeSet<String>, within: Duration) -> Result<(), DriverError> {
        let client = self.client().await?;
        let asked = || global(&client.copy(), "nb_cfg");
        let question = Question { nodes, wished: asked() };
        let mut southbound = if nodes.is_empty() { None } else { self.southbound.client().await };
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let confirmed = match &southbound {
                Some(southbound) => question.confirmed(southbound, left.min(ASK_AGAIN), asked).await,
                None => {
                    let all = |copy: &LocalCopy| (global(copy, "hv_cfg") >= question.wished).then_some(());
                    client.until("the nodes' confirmation", left.min(ASK_AGAIN), all).await
                }
            };
            match confirmed {
                Ok(()) => return Ok(()),
                Err(OvsdbError::TimedOut { .. }) if left > ASK_AGAIN => {
                    let copy = client.copy();
                    let (uuid, global) = settings(&copy)?;
                    self.transact(&client, &self.asking(uuid, global)?, PATIENCE).await?;
                }
                Err(OvsdbError::TimedOut { .. }) => {
                    let behind = southbound.as_ref().map(|client| client.copy());
                    let behind = behind.as_ref().map(|copy| question.behind(copy, asked()).join(", "));
                    if behind.as_ref().is_some_and(String::is_empty) {
                        return Ok(());
                    }
                    return Err(DriverError::retry_with_fix(
                        format!(
                            "{} not confirmed it within {} s",
                            behind.map_or("the nodes have".to_owned(), |behind| format!("chassis {behind} has")),
                            within.as_secs()
                        ),
                        "see whether ovn-northd and each node's ovn-controller run (ovn-sbctl show)",
                    ));
                }
                // Its word is worth something while it answers.
                Err(_) if southbound.is_some() => southbound = None,
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }

    fn watch(&self, wake: Wake) {
        // What changed before is seen by one look more.
        wake();
        // Asked once.
        let _ = self.wake.set(wake);
    }
}

/// Wakes at each change of rows, when the nodes have confirmed something, and at the connection's end. Not at what each
/// write adds to the counters: a write that fails by the nodes would wake the next one, whatever pause it is to have.
async fn tell(mut changes: Changes, mut before: Arc<LocalCopy>, wake: Arc<OnceLock<Wake>>) {
    loop {
        let now = changes.changed().await;
        let concerns = now.as_ref().map_or(true, |now| {
            let differs = |table: Table| now.table(table.as_str()) != before.table(table.as_str());
            Table::ALL.into_iter().any(differs) || global(now, "hv_cfg") != global(&before, "hv_cfg")
        });
        if let Some(wake) = wake.get().filter(|_| concerns) {
            wake();
        }
        let Ok(now) = now else { return };
        before = now;
    }
}

fn settings(copy: &LocalCopy) -> Result<(Uuid, &Row), DriverError> {
    copy.rows(GLOBAL).next().ok_or_else(|| DriverError::retry("the database has no global settings; looking again"))
}

fn global(copy: &LocalCopy, column: &str) -> i64 {
    copy.rows(GLOBAL).next().and_then(|(_, row)| row.integer(column)).unwrap_or_default()
}

fn watched() -> Vec<Watched> {
    let tables = Table::ALL.into_iter().map(|table| Watched { table: table.as_str(), columns: table.all_columns() });
    // Where others, too, may keep rows of ours.
    let keepers = Table::ALL.iter().flat_map(|table| table.kept_by());
    let keepers = keepers.map(|(keeper, column)| Watched { table: keeper.as_str(), columns: slice::from_ref(column) });
    let global = Watched { table: GLOBAL, columns: &["nb_cfg", "hv_cfg", "external_ids"] };
    tables.chain(keepers).chain([global]).collect()
}

fn unreachable(error: &OvsdbError) -> DriverError {
    DriverError::retry_with_fix(
        error_chain(error),
        "see whether the northbound database's ovsdb-server runs, and that edgestackd's --ovn-northbound names it",
    )
}

fn refused(error: &OvsdbError) -> DriverError {
    match error {
        OvsdbError::Refused(refused) if refused.guard_failed() => {
            DriverError::retry("somebody else wrote the database's global settings at the same time")
        }
        // Such as a port of the name of one of ours that doesn't carry our id.
        OvsdbError::Refused(_) => DriverError::retry_with_fix(
            error_chain(error),
            "if it names a row, that one stands in the way and is not ours: see it with ovn-nbctl, and remove or rename it",
        ),
        error => unreachable(error),
    }
}
