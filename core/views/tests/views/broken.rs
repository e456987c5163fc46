//! Whatever is wrong with the store, it is not believed.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use edgestack_views::Rows;

use crate::{
    rebuilt::{copy_folder, store},
    story::{Story, shows},
};

/// What a store of the whole story on disk is, and the rows that it must lead to again.
fn a_store() -> (tempfile::TempDir, PathBuf, Story, Rows) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views");
    let story = Story::long();
    let views = story.followed(&path, 1);
    views.flush().unwrap();
    let rows = views.rows().unwrap();
    drop(views);
    (folder, path, story, rows)
}

fn heals(path: &Path, story: &Story, rows: &Rows, what: &str) {
    let views = story.followed(path, 3);
    shows(&views, &story.world);
    assert!(views.rows().unwrap() == *rows, "{what}");
}

#[test]
fn a_store_that_cannot_be_opened_is_set_aside_and_built_anew() {
    let (_folder, path, story, rows) = a_store();
    for _ in 0..2 {
        fs::write(path.join("conf"), b"this is no store").unwrap();
        heals(&path, &story, &rows, "a broken configuration");
        assert!(path.with_file_name("views.broken").exists(), "it was set aside");
    }
}

#[test]
fn a_file_in_the_place_of_the_folder_is_set_aside_too() {
    let (_folder, path, story, rows) = a_store();
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, b"no folder").unwrap();
    heals(&path, &story, &rows, "a file in its place");
    // And again, when what was set aside last time was a file.
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, b"no folder").unwrap();
    heals(&path, &story, &rows, "a file in its place, again");
}

#[test]
fn a_store_cut_short_anywhere_leads_to_the_same_rows() {
    let (folder, path, story, rows) = a_store();
    let length = fs::metadata(path.join("db")).unwrap().len();
    for part in [0, 1, 2, 5, 8, 9] {
        let cut = folder.path().join(format!("cut-{part}"));
        copy_folder(&path, &cut);
        let db = OpenOptions::new().write(true).open(cut.join("db")).unwrap();
        db.set_len(length * part / 10).unwrap();
        heals(&cut, &story, &rows, &format!("cut to {part} tenths"));
    }
}

#[test]
fn flipped_bytes_anywhere_lead_to_the_same_rows() {
    let (folder, path, story, rows) = a_store();
    let length = fs::metadata(path.join("db")).unwrap().len();
    for number in 0..12 {
        let bad = folder.path().join(format!("bad-{number}"));
        copy_folder(&path, &bad);
        let db = OpenOptions::new().write(true).open(bad.join("db")).unwrap();
        // Where there is something: sled's file begins with its log and ends in zeros.
        db.write_all_at(&[0xa5; 16], length * number / 12 + 13).unwrap();
        heals(&bad, &story, &rows, &format!("flipped at {number} twelfths"));
    }
}

#[test]
fn a_row_that_is_not_what_was_written_is_noticed_by_the_digest() {
    for damage in 0..3 {
        let (_folder, path, story, rows) = a_store();
        let db = store(&path);
        let state = db.open_tree("state").unwrap();
        let (key, value) = state.scan_prefix(b"r").next().unwrap().unwrap();
        match damage {
            0 => {
                let text = String::from_utf8(value.to_vec()).unwrap();
                let text = text.replacen(r#""description":"""#, r#""description":"x""#, 1);
                assert_ne!(text.as_bytes(), &*value, "the row has no such field");
                state.insert(key, text.into_bytes()).unwrap();
            }
            1 => drop(state.remove(key).unwrap()),
            _ => drop(state.insert(b"n\x00ghost", &[0; 16]).unwrap()),
        }
        db.flush().unwrap();
        drop((state, db));
        let opened = edgestack_views::open(&path).unwrap();
        assert!(opened.restored.is_none(), "damage {damage} was believed");
        drop(opened);
        heals(&path, &story, &rows, &format!("damage {damage}"));
    }
}

#[test]
fn a_history_that_lacks_what_the_state_has_is_rebuilt() {
    let (_folder, path, story, rows) = a_store();
    let db = store(&path);
    assert!(db.drop_tree("history-3").unwrap());
    db.flush().unwrap();
    drop(db);
    assert!(edgestack_views::open(&path).unwrap().restored.is_none());
    heals(&path, &story, &rows, "no history");
}

#[test]
fn a_history_in_an_older_form_is_dropped_and_the_views_are_rebuilt() {
    let (_folder, path, story, rows) = a_store();
    let db = store(&path);
    db.drop_tree("history-3").unwrap();
    db.open_tree("history").unwrap().insert(b"h", b"as it was stored once").unwrap();
    db.flush().unwrap();
    drop(db);
    heals(&path, &story, &rows, "an older form");
    assert!(!store(&path).tree_names().iter().any(|name| name.as_ref() == b"history"), "it takes room for nothing");
}

#[test]
fn a_store_that_another_process_has_open_is_left_alone() {
    let (_folder, path, story, rows) = a_store();
    let first = story.followed(&path, 1);
    let second = edgestack_views::open(&path);
    assert_eq!(second.err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
    assert!(!path.with_file_name("views.broken").exists(), "it was moved away from under the first");
    assert!(first.rows().unwrap() == rows);
}
