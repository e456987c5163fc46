//! What others do to the site's northbound database.

use edgestack_ovn::ovsdb::Value;
use edgestack_worker_gateway::rows::{Key, Seen, Table};

use crate::{fault::Fault, northbound::Deed, outside::Outside, random::Random};

impl Outside {
    /// Somebody removes, changes or copies a row, or empties the database; `None`: there is nothing in it.
    pub fn others_write(&self) -> Option<Deed> {
        let (before, rows) = (self.northbound.seen(), &self.northbound.rows);
        let keys: Vec<&Key> = before.rows.keys().collect();
        if keys.is_empty() {
            return None;
        }
        let key = *self.random.one_of(&keys);
        match self.random.below(20) {
            0..8 => {
                self.faults.fired(Fault::RowRemoved);
                self.remove(key, &before);
            }
            8..16 => {
                self.faults.fired(Fault::RowChanged);
                match a_change(key.table, &self.random) {
                    (column, Some(value)) => rows.others_set(key, column, value),
                    (column, None) => rows.others_clear(key, column),
                }
            }
            16..18 => {
                self.faults.fired(Fault::RowCopied);
                rows.others_copy(key);
            }
            _ => {
                self.faults.fired(Fault::NorthboundEmptied);
                rows.others_empty();
            }
        }
        let after = self.northbound.seen();
        tracing::debug!(%key, was = ?before.rows.get(key), is = ?after.rows.get(key), "others wrote");
        Some(edgestack_planted::without(|| self.northbound.take_down(&before, &after)))
    }

    /// A port lives only while a switch refers to it. Source: ovn-nb(5), Logical_Switch_Port.
    fn remove(&self, key: &Key, before: &Seen) {
        let rows = &self.northbound.rows;
        let ports = before.rows.get(key).and_then(|row| row.references.get("ports"));
        for port in ports.into_iter().flat_map(|ports| ports.keys()) {
            rows.others_remove_row(port);
        }
        rows.others_remove_row(key);
    }
}

/// A column and what it is set to; without it, what it refers to is taken away.
fn a_change(table: Table, random: &Random) -> (&'static str, Option<Value>) {
    let changes = match table {
        Table::LogicalSwitch => [
            ("name", Some(Value::text("taken"))),
            ("other_config", Some(Value::map([("requested-tnl-key", "16000000")]))),
            ("dns_records", None),
        ],
        Table::LogicalSwitchPort => [
            ("addresses", Some(Value::text("unknown"))),
            ("enabled", Some(Value::boolean(false))),
            ("dhcpv4_options", None),
        ],
        Table::DhcpOptions => [
            ("options", Some(Value::map([("lease_time", "1")]))),
            ("options", Some(Value::empty_map())),
            ("cidr", Some(Value::text("192.0.2.0/24"))),
        ],
        Table::Dns => [
            ("records", Some(Value::map([("stranger", "192.0.2.66")]))),
            ("records", Some(Value::empty_map())),
            ("records", Some(Value::map([("vm-0", "192.0.2.66")]))),
        ],
    };
    random.one_of(&changes).clone()
}
