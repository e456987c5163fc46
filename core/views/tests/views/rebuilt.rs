//! However the views came to where they are, their rows are the same.

use std::path::Path;

use edgestack_engine::Replica;
use edgestack_log::ChainHead;
use edgestack_model::World;

use crate::story::{Story, shows};

#[test]
fn rows_do_not_depend_on_how_many_commits_came_at_once() {
    let story = Story::long();
    let folder = tempfile::tempdir().unwrap();
    let one_by_one = story.followed(&folder.path().join("one"), 1).rows().unwrap();
    for batch in [2, 3, 7, 1000] {
        let rows = story.followed(&folder.path().join(batch.to_string()), batch).rows().unwrap();
        assert!(rows == one_by_one, "batches of {batch} lead to other rows");
    }
}

#[test]
fn a_deleted_folder_comes_back_byte_for_byte() {
    let story = Story::long();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views");
    let before = story.followed(&path, 5).rows().unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let views = story.followed(&path, 4);
    assert!(views.rows().unwrap() == before);
    shows(&views, &story.world);
}

/// As a start from the log does it: the state is written at the end, from the world.
#[test]
fn views_made_anew_are_those_that_followed_and_a_kill_before_their_end_leaves_none() {
    let story = Story::long();
    let folder = tempfile::tempdir().unwrap();
    let expect = story.followed(&folder.path().join("followed"), 1).rows().unwrap();
    let path = folder.path().join("anew");
    let fold_up_to = |opened: &edgestack_views::Opened, last: usize| {
        opened.views.begin_anew().unwrap();
        let replica = Replica::new(World::default(), ChainHead::GENESIS, Some(opened.views.projection()));
        replica.apply(story.log[..last].iter().map(|stored| (stored.clone(), None)).collect()).unwrap();
        replica
    };
    let opened = edgestack_views::open(&path).unwrap();
    fold_up_to(&opened, 17);
    opened.views.flush().unwrap();
    drop(opened);
    let opened = edgestack_views::open(&path).unwrap();
    assert!(opened.restored.is_none(), "what was not completed is not believed");
    let replica = fold_up_to(&opened, 20);
    let (world, head) = replica.snapshot();
    opened.views.complete(&world, &head).unwrap();
    // From here on it goes on commit by commit.
    for stored in &story.log[20..] {
        replica.apply(vec![(stored.clone(), None)]).unwrap();
    }
    assert!(opened.views.rows().unwrap() == expect);
    shows(&opened.views, &story.world);
    opened.views.flush().unwrap();
    drop((opened, replica));
    assert_eq!(edgestack_views::open(&path).unwrap().restored.unwrap().world, story.world);
}

#[test]
fn an_orderly_end_and_a_start_go_on_where_they_were() {
    let story = Story::long();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views");
    for last in [1, 9, 10, 23, story.log.len()] {
        let views = story.followed_to(&path, 3, last);
        views.flush().unwrap();
        drop(views);
        let opened = edgestack_views::open(&path).unwrap();
        let restored = opened.restored.unwrap_or_else(|| panic!("nothing was restored at {last}"));
        assert_eq!(restored.head.sequence, last as u64);
        assert_eq!(restored.world, fold(&story, last), "at {last}");
    }
    assert!(rows(&path) == story.followed(&folder.path().join("new"), 1).rows().unwrap());
}

#[test]
fn what_was_on_the_disk_at_any_moment_leads_to_the_same_rows() {
    let story = Story::long();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views");
    let expect = story.followed(&folder.path().join("whole"), 1).rows().unwrap();
    for (number, last) in [2, 8, 17, story.log.len()].into_iter().enumerate() {
        let views = story.followed_to(&path, 1, last);
        if number % 2 == 0 {
            views.flush().unwrap();
        }
        // As after `kill -9`: what the files hold while the store is open.
        let copy = folder.path().join(format!("killed-{last}"));
        copy_folder(&path, &copy);
        drop(views);
        let healed = story.followed(&copy, 2);
        assert!(healed.rows().unwrap() == expect, "killed at {last}");
    }
}

#[test]
fn a_history_that_is_ahead_of_the_state_is_no_harm() {
    let story = Story::long();
    let folder = tempfile::tempdir().unwrap();
    let (path, ahead) = (folder.path().join("views"), folder.path().join("ahead"));
    drop(story.followed_to(&path, 1, 12));
    drop(story.followed_to(&ahead, 1, 15));
    // Killed between the two writes of a batch: the history has it, the state has not.
    let db = store(&path);
    for row in store(&ahead).open_tree("history-3").unwrap().iter() {
        let (key, value) = row.unwrap();
        db.open_tree("history-3").unwrap().insert(key, value).unwrap();
    }
    db.flush().unwrap();
    drop(db);
    assert_eq!(edgestack_views::open(&path).unwrap().restored.unwrap().head.sequence, 12);
    let expect = story.followed(&folder.path().join("whole"), 1).rows().unwrap();
    assert!(story.followed(&path, 1).rows().unwrap() == expect);
}

fn rows(path: &Path) -> edgestack_views::Rows {
    edgestack_views::open(path).unwrap().views.rows().unwrap()
}

fn fold(story: &Story, last: usize) -> edgestack_model::World {
    let mut world = edgestack_model::World::default();
    for stored in &story.log[..last] {
        world.evolve(&edgestack_model::Commit::decode(&stored.payload).unwrap()).unwrap();
    }
    world
}

/// The store itself; its threads let it go a moment after the views are dropped.
pub fn store(path: &Path) -> sled::Db {
    let begun = std::time::Instant::now();
    loop {
        match sled::open(path) {
            Ok(db) => return db,
            Err(error) if begun.elapsed() > std::time::Duration::from_secs(5) => panic!("{error}"),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
