//! `GET /edgetron/log/diff`: what changed between two moments, field by field, with who and why.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, response::IntoResponse};
use edgestack_model::{Kind, Sequence, World, command::Reference, world::Resource};
use edgestack_timeline::Moment;
use edgestack_wire::log::{Difference, FieldDifference, Moment as MomentInfo, ObjectChange, ObjectDifference};
use serde_json::{Map, Value};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    any_kind, history, list,
    moment::at,
    path::{object, the_kind},
    problem::{Answer, Failure},
    query::Parameters,
    shown::Surroundings,
    state::Site,
};

/// Events told of one object.
const EVENTS_MAX: usize = 200;
/// Events told on a page; the objects after that say that there are more.
const PAGE_EVENTS_MAX: usize = 5000;
/// What changes with every commit and says nothing by itself.
const BOOKKEEPING: [&str; 5] = ["revision", "generation", "created_at", "updated_at", "correlation_id"];

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(diff_log))
}

/// Between which moments, of what.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct DiffParams {
    /// The one moment: a sequence, a time (RFC 3339), or how long ago (`10 minutes ago`); the site's beginning if absent.
    #[param(example = "10 minutes ago")]
    from: Option<String>,
    /// The other; now if absent.
    to: Option<String>,
    /// Only this object, by kind and name or id.
    #[param(example = "vm/hello")]
    object: Option<String>,
    /// Only objects of this kind.
    #[param(example = "vm")]
    kind: Option<String>,
    /// At most so many objects, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<u32>,
    /// The `continue` of the page before.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[utoipa::path(
    get, path = "/edgetron/log/diff", tag = "log", operation_id = "diff_log",
    summary = "Show what changed between two moments",
    params(DiffParams),
    responses((status = 200, description = "A page, by kind and name", body = Difference))
)]
async fn diff_log(State(site): State<Arc<Site>>, mut parameters: Parameters) -> Answer {
    let from = parameters.text("from")?.unwrap_or_else(|| "0".to_owned());
    let to = parameters.text("to")?;
    let object = parameters.text("object")?.map(|text| object("object", &text)).transpose()?;
    let kind = parameters.text("kind")?.map(|word| the_kind("kind", &word)).transpose()?;
    let limit = list::limit(&mut parameters)?;
    let after = parameters.text("continue")?.map(|token| list::decode_token("continue", &token)).transpose()?;
    parameters.finish()?;
    let from = at(&site, "from", &from).await?;
    let to = match to {
        Some(to) => at(&site, "to", &to).await?,
        None => at(&site, "to", &site.app.replica.head().sequence.to_string()).await?,
    };
    // Two whole worlds are gone through, which is long for who waits on the same thread.
    let compared = tokio::task::spawn_blocking(move || {
        let asked = Asked { object, kind, limit, after };
        differences(&site, &from, &to, &asked)
    });
    let difference = compared.await.map_err(|error| Failure::internal(format!("comparing broke off: {error}")))?;
    Ok(Json(difference?).into_response())
}

/// What of the difference is to be told.
struct Asked {
    object: Option<(Kind, Reference)>,
    kind: Option<Kind>,
    limit: usize,
    after: Option<String>,
}

fn differences(site: &Site, from: &Moment, to: &Moment, asked: &Asked) -> Result<Difference, Failure> {
    let mut pairs = pairs(from.world(), to.world());
    if let Some((kind, reference)) = &asked.object {
        let ids = [from, to].map(|moment| moment.world().resolve(*kind, reference));
        if ids == [None, None] {
            return Err(list::not_found(*kind, reference));
        }
        // A name may have had one bearer then and another one now.
        pairs.retain(|_, pair| pair.kind == *kind && ids.contains(&Some(pair.id)));
    }
    if let Some(kind) = asked.kind {
        pairs.retain(|_, pair| pair.kind == kind);
    }
    let mut items = Vec::new();
    let mut continue_token = None;
    let mut last = None;
    let mut events_left = PAGE_EVENTS_MAX;
    for (place, pair) in pairs.into_iter().filter(|(place, _)| asked.after.as_ref().is_none_or(|after| place > after)) {
        let Some(item) = compare(site, from, to, &pair, events_left.min(EVENTS_MAX))? else { continue };
        if items.len() == asked.limit {
            continue_token = last.as_deref().map(list::encode_token);
            break;
        }
        last = Some(place);
        events_left -= item.events.len();
        items.push(item);
    }
    Ok(Difference { from: info(from), to: info(to), items, continue_token })
}

fn info(moment: &Moment) -> MomentInfo {
    MomentInfo { sequence: moment.head().sequence, time: moment.time() }
}

/// One object at both moments.
struct Pair {
    kind: Kind,
    id: Uuid,
    before: Option<Resource>,
    after: Option<Resource>,
}

/// What isn't equal, in the order in which it is shown. Whatever else an object shows (its node's state, say) is of the
/// object that it is shown from.
fn pairs(from: &World, to: &World) -> BTreeMap<String, Pair> {
    let mut pairs: BTreeMap<(Kind, Uuid), Pair> = BTreeMap::new();
    for before in from.resources() {
        let (kind, id) = (before.kind(), before.id());
        pairs.insert((kind, id), Pair { kind, id, before: Some(before), after: None });
    }
    for after in to.resources() {
        let (kind, id) = (after.kind(), after.id());
        let pair = pairs.entry((kind, id)).or_insert(Pair { kind, id, before: None, after: None });
        pair.after = Some(after);
    }
    let changed = pairs.into_values().filter(|pair| pair.before != pair.after);
    changed.map(|pair| (format!("{}/{}/{}", pair.kind, pair.name(), pair.id), pair)).collect()
}

impl Pair {
    fn name(&self) -> &str {
        self.after.as_ref().or(self.before.as_ref()).map_or("", |resource| resource.meta().name.as_str())
    }

    /// Field by field, without events; `None` if it is shown at neither moment.
    fn difference(&self, from: &World, to: &World) -> Result<Option<ObjectDifference>, Failure> {
        let show = |world: &World, resource: &Option<Resource>| match resource {
            None => Ok(None),
            Some(resource) => any_kind::show(resource, &mut Surroundings::of_world(world)),
        };
        let (before, after) = (show(from, &self.before)?, show(to, &self.after)?);
        let change = match (&before, &after) {
            (None, None) => return Ok(None),
            (None, Some(_)) => ObjectChange::Added,
            (Some(_), None) => ObjectChange::Removed,
            (Some(_), Some(_)) => ObjectChange::Changed,
        };
        let mut fields = Vec::new();
        fields_of("", before.as_ref().unwrap_or(&Value::Null), after.as_ref().unwrap_or(&Value::Null), &mut fields);
        let (kind, name) = (self.kind.to_string(), self.name().to_owned());
        let (events, more_events) = (Vec::new(), false);
        Ok(Some(ObjectDifference { kind, id: self.id, name, change, fields, events, more_events }))
    }
}

fn compare(
    site: &Site,
    from: &Moment,
    to: &Moment,
    pair: &Pair,
    events_max: usize,
) -> Result<Option<ObjectDifference>, Failure> {
    let Some(mut difference) = pair.difference(from.world(), to.world())? else { return Ok(None) };
    let end = to.head().sequence;
    let rows = site.app.views.history(pair.id, (Sequence(from.head().sequence), u32::MAX));
    let mut rows = rows.take_while(|row| row.as_ref().map_or(true, |row| row.sequence.0 <= end));
    let events = rows.by_ref().take(events_max).map(|row| row.map(|row| history::shown(row).1));
    difference.events = events.collect::<Result<Vec<_>, _>>()?;
    difference.more_events = rows.next().transpose()?.is_some();
    let nothing = difference.fields.is_empty() && difference.events.is_empty() && !difference.more_events;
    Ok(Some(difference).filter(|_| !nothing))
}

/// What isn't equal in two worlds, by kind and name, at most so many objects and whether there are more; what happened
/// in between is not told.
pub(crate) fn between(from: &World, to: &World, max: usize) -> Result<(Vec<ObjectDifference>, bool), Failure> {
    let mut items = Vec::new();
    for pair in pairs(from, to).into_values() {
        let Some(item) = pair.difference(from, to)?.filter(|item| !item.fields.is_empty()) else { continue };
        if items.len() == max {
            return Ok((items, true));
        }
        items.push(item);
    }
    Ok((items, false))
}

/// Objects are compared field by field, lists of things that have a type or a name thing by thing, anything else as a
/// whole.
fn fields_of(path: &str, before: &Value, after: &Value, found: &mut Vec<FieldDifference>) {
    let empty = Map::new();
    let keyed = (by_key(before), by_key(after));
    let (before, after) = match &keyed {
        (Some(one), Some(other)) => (one, other),
        (Some(one), None) if after.is_null() => (one, after),
        (None, Some(other)) if before.is_null() => (before, other),
        _ => (before, after),
    };
    let (one, other) = match (before, after) {
        (Value::Object(one), Value::Object(other)) => (one, other),
        (Value::Object(one), Value::Null) if !one.is_empty() => (one, &empty),
        (Value::Null, Value::Object(other)) if !other.is_empty() => (&empty, other),
        _ if before == after => return,
        _ => {
            let field = path.to_owned();
            return found.push(FieldDifference { field, before: before.clone(), after: after.clone() });
        }
    };
    // A group shows its rules, each with its own bookkeeping; labels may have such keys, too.
    let is_resource = path.is_empty() || [one, other].iter().any(|fields| fields.contains_key("correlation_id"));
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for name in names {
        if is_resource && BOOKKEEPING.contains(&name.as_str()) {
            continue;
        }
        let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fields_of(&inner, one.get(name).unwrap_or(&Value::Null), other.get(name).unwrap_or(&Value::Null), found);
    }
}

/// A list of objects that each have a `type` or `name` of their own, as an object of them.
fn by_key(value: &Value) -> Option<Value> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    ["type", "name"].iter().find_map(|key| {
        let mut named = Map::new();
        for item in list {
            let mut item = item.as_object()?.clone();
            let name = item.remove(*key)?.as_str()?.to_owned();
            named.insert(name, Value::Object(item));
        }
        (named.len() == list.len()).then_some(Value::Object(named))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_named_by_their_way_and_bookkeeping_is_none() {
        let mut found = Vec::new();
        let before =
            json!({"revision": 1, "labels": {"a": "1", "b": "2"}, "list": [1], "same": {"x": 1}, "gone": {"y": 2}});
        let after = json!({"revision": 2, "labels": {"a": "1", "b": "3", "c": "4"}, "list": [1, 2], "same": {"x": 1}, "new": 5});
        fields_of("", &before, &after, &mut found);
        let told: Vec<_> = found.iter().map(|f| (f.field.as_str(), f.before.clone(), f.after.clone())).collect();
        assert_eq!(
            told,
            [
                ("gone.y", json!(2), Value::Null),
                ("labels.b", json!("2"), json!("3")),
                ("labels.c", Value::Null, json!("4")),
                ("list", json!([1]), json!([1, 2])),
                ("new", Value::Null, json!(5)),
            ]
        );
    }

    #[test]
    fn bookkeeping_of_a_resource_within_another_is_none_either() {
        let mut found = Vec::new();
        let with = |revision: u32, state: &str| {
            let rule = json!({"name": "ssh", "revision": revision, "correlation_id": revision, "state": state});
            json!({"rules": [rule], "labels": {"revision": revision.to_string()}})
        };
        fields_of("", &with(1, "creating"), &with(2, "active"), &mut found);
        let told: Vec<_> = found.iter().map(|found| found.field.as_str()).collect();
        assert_eq!(told, ["labels.revision", "rules.ssh.state"]);
    }

    #[test]
    fn what_has_a_type_or_a_name_is_found_by_it_in_a_list() {
        let mut found = Vec::new();
        let before =
            json!({"conditions": [{"type": "A", "status": true}, {"type": "B", "status": false}], "disks": []});
        let after = json!({"conditions": [{"type": "B", "status": true}, {"type": "A", "status": true}], "disks": [{"name": "x", "gib": 1}]});
        fields_of("", &before, &after, &mut found);
        let told: Vec<_> = found.iter().map(|f| (f.field.as_str(), f.before.clone(), f.after.clone())).collect();
        assert_eq!(
            told,
            [
                ("conditions.B.status", json!(false), json!(true)),
                ("disks", json!([]), json!([{"name": "x", "gib": 1}])),
            ]
        );
    }
}
