//! Law 6: the views are the fold of the log, byte for byte, however they came to be.

use edgestack_engine::Replica;
use edgestack_log::ChainHead;
use edgestack_model::World;

use super::Evidence;
use crate::outside::Outside;

/// The views as the last life left them against views built anew.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, evidence: &Evidence) -> Result<(), String> {
    let lived = edgestack_views::open(&outside.folder.join("views")).map_err(|error| error.to_string())?;
    let anew = edgestack_views::open(&outside.folder.join("views-anew")).map_err(|error| error.to_string())?;
    let replica = Replica::new(World::default(), ChainHead::GENESIS, Some(anew.views.projection()));
    for commits in evidence.stored.chunks(100) {
        let batch = commits.iter().map(|stored| (stored.clone(), None)).collect();
        replica.apply(batch).map_err(|error| error.to_string())?;
    }
    let restored = lived.restored.ok_or("the views were not restored")?;
    if restored.world != *replica.world() {
        return Err("the world that the views hold is not the fold of the log".to_owned());
    }
    let (lived, anew) = (lived.views.rows(), anew.views.rows());
    match (lived, anew) {
        (Ok(lived), Ok(anew)) if lived == anew => Ok(()),
        (Ok(lived), Ok(anew)) => Err(format!("{} rows of the views, {} when built anew", lived.len(), anew.len())),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}
