//! What others do to the site's northbound database.

use std::collections::BTreeSet;

use edgestack_ovn::ovsdb::Value;
use edgestack_worker_gateway::rows::{Key, Table};

use crate::{fault::Fault, northbound::Deed, outside::Outside, random::Random};

impl Outside {
    /// Somebody removes, changes or copies a row, or empties the database; `None`: there is nothing in it.
    pub fn others_write(&self) -> Option<Deed> {
        let (before, rows) = (self.northbound.seen(), &self.northbound.rows);
        let tables: Vec<Table> = before.rows.keys().map(|key| key.table).collect::<BTreeSet<_>>().into_iter().collect();
        if tables.is_empty() {
            return None;
        }
        // Of some there are many rows, and others are to be touched as often.
        let table = *self.random.one_of(&tables);
        let keys: Vec<&Key> = before.rows.keys().filter(|key| key.table == table).collect();
        let key = *self.random.one_of(&keys);
        match self.random.below(20) {
            0..8 => {
                self.faults.fired(Fault::RowRemoved);
                rows.others_remove_row(key);
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
        self.forget_what_nothing_keeps();
        let after = self.northbound.seen();
        tracing::debug!(%key, was = ?before.rows.get(key), is = ?after.rows.get(key), "others wrote");
        Some(edgestack_planted::without(|| self.northbound.take_down(&before, &after)))
    }

    /// Some rows live only while another refers to them; see [`Table::kept_by`].
    fn forget_what_nothing_keeps(&self) {
        let seen = self.northbound.seen();
        for key in seen.rows.keys().filter(|key| !key.table.kept_by().is_empty()) {
            let keeps = |(by, column): &(Table, &str)| {
                let rows = seen.rows.iter().filter(|(other, _)| other.table == *by);
                rows.filter_map(|(_, row)| row.references.get(column)).any(|refers| refers.contains_key(key))
            };
            if !key.table.kept_by().iter().any(keeps) {
                self.northbound.rows.others_remove_row(key);
            }
        }
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
        Table::LogicalRouter => [("name", Some(Value::text("taken"))), ("nat", None), ("ports", None)],
        Table::LogicalRouterPort => [
            ("mac", Some(Value::text("02:00:00:00:00:66"))),
            ("networks", Some(Value::text("192.0.2.66/24"))),
            ("enabled", Some(Value::boolean(false))),
        ],
        Table::Nat => [
            ("logical_ip", Some(Value::text("192.0.2.66"))),
            ("external_ip", Some(Value::text("192.0.2.67"))),
            ("type", Some(Value::text("dnat"))),
        ],
        Table::StaticRoute => [
            ("nexthop", Some(Value::text("192.0.2.66"))),
            ("ip_prefix", Some(Value::text("192.0.2.0/30"))),
            ("output_port", Some(Value::text("nowhere"))),
        ],
        Table::StaticMacBinding => [
            ("mac", Some(Value::text("02:00:00:00:00:66"))),
            ("ip", Some(Value::text("192.0.2.66"))),
            ("override_dynamic_mac", Some(Value::boolean(false))),
        ],
        Table::GatewayChassis => [
            ("chassis_name", Some(Value::text("nowhere"))),
            ("priority", Some(Value::integer(0))),
            ("name", Some(Value::text("taken"))),
        ],
        Table::LoadBalancer => [
            ("vips", Some(Value::map([("192.0.2.66:80", "192.0.2.67:80")]))),
            ("protocol", Some(Value::text("sctp"))),
            ("health_check", None),
        ],
        Table::LoadBalancerHealthCheck => [
            ("vip", Some(Value::text("192.0.2.66:80"))),
            ("options", Some(Value::empty_map())),
            ("options", Some(Value::map([("interval", "1")]))),
        ],
        Table::PortGroup => [("name", Some(Value::text("taken"))), ("ports", None), ("acls", None)],
        Table::Acl => [
            ("action", Some(Value::text("drop"))),
            ("match", Some(Value::text("ip"))),
            ("priority", Some(Value::integer(1))),
        ],
    };
    random.one_of(&changes).clone()
}
