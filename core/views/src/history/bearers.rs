//! Who had a name, and since when: a row for each object that there ever was.

use edgestack_engine::Applied;
use edgestack_model::{Kind, Sequence};
use sled::Tree;
use uuid::Uuid;

use super::write::Rows;
use crate::ViewError;

/// Notes the objects that a commit made.
pub(super) fn add(rows: &mut Rows<'_>, applied: &Applied) {
    for made in applied.changes.iter().filter(|change| change.before.is_none()) {
        if let Some(resource) = &made.after {
            let key = key(made.kind, resource.meta().name.as_str(), applied.commit.sequence);
            rows.insert(key, made.id.as_bytes().to_vec());
        }
    }
}

/// The last object that was given a name up to a commit, whether it lives or not.
pub(super) fn last(tree: &Tree, kind: Kind, name: &str, upto: Sequence) -> Result<Option<Uuid>, ViewError> {
    let range = key(kind, name, Sequence(0))..=key(kind, name, upto);
    let last = tree.range(range).next_back().transpose()?;
    Ok(last.and_then(|(_, id)| Uuid::from_slice(&id).ok()))
}

/// Names hold no NUL, so that none begins another's rows.
fn key(kind: Kind, name: &str, made: Sequence) -> Vec<u8> {
    let mut key = vec![b'b', kind as u8];
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(&made.0.to_be_bytes());
    key
}
