//! Which resource a file is of, by its name alone.

use std::collections::BTreeMap;

use edgestack_model::orphan::{Artifact, ArtifactKind, id_in};
use uuid::Uuid;

/// Of a name in the folder of volumes: `<id>.qcow2`, or its draft.
pub(super) fn volume(name: &str) -> Option<Artifact> {
    let id = name.strip_suffix(".qcow2").or_else(|| name.strip_suffix(".draft"))?;
    Some(Artifact { kind: ArtifactKind::Volume, id: id_in(id)?, place: format!("volumes/{name}") })
}

/// Of a name in the folder of images: `<id>`, its draft, its record `<id>.json`, or an empty overlay
/// `<id>.blank-<GiB>`; the last two are `.<name>.part` until they are whole.
pub(super) fn image(name: &str) -> Option<Artifact> {
    let whole = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".part")).unwrap_or(name);
    let id = match whole.split_once('.') {
        None if whole != name => return None,
        None => name,
        Some((_, "draft")) if whole != name => return None,
        Some((id, "draft" | "json")) => id,
        Some((id, rest)) => {
            rest.strip_prefix("blank-")?.parse::<u64>().ok()?;
            id
        }
    };
    Some(Artifact { kind: ArtifactKind::Image, id: id_in(id)?, place: format!("images/{name}") })
}

/// One artifact a kind and id; the shortest name that is no draft stands for the others.
#[derive(Default)]
pub(super) struct Found(BTreeMap<(ArtifactKind, Uuid), Artifact>);

impl Found {
    pub(super) fn add(&mut self, artifact: Option<Artifact>) {
        let Some(artifact) = artifact else { return };
        let rank =
            |artifact: &Artifact| (artifact.place.ends_with(".draft"), artifact.place.len(), artifact.place.clone());
        let known = self.0.entry((artifact.kind, artifact.id)).or_insert_with(|| artifact.clone());
        // In whatever order a folder is read, the same name stands for it.
        if rank(&artifact) < rank(known) {
            *known = artifact;
        }
    }

    pub(super) fn artifacts(self) -> Vec<Artifact> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_otherwise_is_not_of_ours() {
        let id = Uuid::from_u128(1);
        for name in [format!("{id}.qcow2"), format!("{id}.draft")] {
            assert_eq!(volume(&name).map(|artifact| artifact.id), Some(id), "{name}");
        }
        let names = [".draft", ".json", ".blank-10"].map(|ending| format!("{id}{ending}"));
        let unfinished = [".json", ".blank-10"].map(|ending| format!(".{id}{ending}.part"));
        for name in names.into_iter().chain(unfinished).chain([format!("{id}")]) {
            assert_eq!(image(&name).map(|artifact| artifact.id), Some(id), "{name}");
        }
        for name in ["", "lost+found", ".qcow2", "db.qcow2", &format!("{id}.bak"), &format!("{id}.qcow2.bak")] {
            assert_eq!(volume(name), None, "{name}");
            assert_eq!(image(name), None, "{name}");
        }
        let not_ours = [".blank-", ".blank-x", ".draft.bak"].map(|ending| format!("{id}{ending}"));
        for name in not_ours.into_iter().chain([format!(".{id}.part"), format!(".{id}.blank-10")]) {
            assert_eq!(image(&name), None, "{name}");
        }
    }

    #[test]
    fn the_shortest_name_stands_for_the_others_in_whatever_order() {
        let id = Uuid::from_u128(1);
        let mut names = [format!("{id}.blank-1"), format!("{id}"), format!("{id}.blank-2")];
        for _ in 0..names.len() {
            names.rotate_left(1);
            let mut found = Found::default();
            names.iter().for_each(|name| found.add(image(name)));
            let places: Vec<String> = found.artifacts().into_iter().map(|artifact| artifact.place).collect();
            assert_eq!(places, [format!("images/{id}")]);
        }
        let mut found = Found::default();
        [".draft", ".qcow2"].iter().for_each(|ending| found.add(volume(&format!("{id}{ending}"))));
        assert_eq!(found.artifacts(), volume(&format!("{id}.qcow2")).into_iter().collect::<Vec<_>>());
    }
}
