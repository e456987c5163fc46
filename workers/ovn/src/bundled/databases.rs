//! The database files: made once, kept ever after, brought to the schema of the installed package.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::folder::Folder;
use super::part::Part;
use super::programs::Programs;
use super::tool::{self, ToolError};

/// How long ovsdb-tool may work on a file.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a database can't be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("{} can't be read or made", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the database {} can't be made ready", path.display())]
    Tool { path: PathBuf, source: ToolError },
}

/// Makes the database of a part if it isn't there, or converts it to a newer schema. Its server must not run.
///
/// A file appears under its name when it is whole; what there was before a conversion stays beside it as
/// `….before-conversion`. A database of a newer schema than the installed one is left as it is: the other way would drop
/// what the older schema doesn't know, and the programs live with it.
pub(super) async fn ensure(part: Part, folder: &Folder, programs: &Programs) -> Result<(), DatabaseError> {
    let Some(schema) = part.schema(programs) else {
        return Ok(());
    };
    let path = folder.database(part);
    let new = path.with_extension("db.new");
    let file_error = |source| DatabaseError::File { path: path.clone(), source };
    let there = path.try_exists().map_err(file_error)?;
    let ovsdb_tool = |words: &[&Path]| {
        let mut command = Command::new(&programs.ovsdb_tool);
        command.args(words);
        let path = path.clone();
        async move { tool::run(command, PATIENCE).await.map_err(|source| DatabaseError::Tool { path, source }) }
    };
    if there {
        let needs = ovsdb_tool(&[Path::new("needs-conversion"), &path, schema]).await?;
        if needs.trim() != "yes" {
            return Ok(());
        }
        let has = ovsdb_tool(&[Path::new("db-version"), &path]).await?;
        let wants = ovsdb_tool(&[Path::new("schema-version"), schema]).await?;
        if version(&wants) < version(&has) {
            tracing::warn!(path = %path.display(), has = has.trim(), installed = wants.trim(),
                "a database is newer than the installed programs; it stays as it is");
            return Ok(());
        }
        tracing::info!(path = %path.display(), from = has.trim(), to = wants.trim(), "a database is converted");
    }
    remove_if_there(&new).map_err(file_error)?;
    if there {
        ovsdb_tool(&[Path::new("convert"), &path, schema, &new]).await?;
        let before = path.with_extension("db.before-conversion");
        remove_if_there(&before).and_then(|()| fs::hard_link(&path, &before)).map_err(file_error)?;
    } else {
        ovsdb_tool(&[Path::new("create"), &new, schema]).await?;
    }
    put_in_place(&new, &path).map_err(file_error)
}

fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    File::open(new)?.sync_all()?;
    fs::rename(new, path)?;
    if let (Some(folder), Some(name)) = (path.parent(), new.file_name()) {
        remove_if_there(&folder.join(format!(".{}.~lock~", name.to_string_lossy())))?;
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A schema's version, x.y.z by RFC 7047, section 3.2; parts that are no numbers count as the least.
fn version(text: &str) -> Vec<u64> {
    text.trim().split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(programs: &Programs, words: &[&str]) -> String {
        let mut command = Command::new(&programs.ovsdb_tool);
        command.args(words);
        tool::run(command, PATIENCE).await.expect("ovsdb-tool")
    }

    /// The northbound schema with another version and one column less.
    fn other_schema(programs: &Programs, folder: &Path, version: &str) -> PathBuf {
        let text = fs::read_to_string(&programs.northbound_schema).expect("a schema");
        let mut schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        schema["version"] = version.into();
        let columns = schema["tables"]["Logical_Switch"]["columns"].as_object_mut().expect("columns");
        columns.remove("copp").expect("a column");
        let path = folder.join(format!("{version}.ovsschema"));
        fs::write(&path, schema.to_string()).expect("written");
        path
    }

    const SWITCHES: &str =
        r#"["OVN_Northbound",{"op":"select","table":"Logical_Switch","where":[],"columns":["name"]}]"#;

    #[tokio::test]
    async fn a_database_is_made_once_and_converted_to_a_newer_schema_only() {
        let Ok(programs) = Programs::find() else {
            println!("skipped: a_database_is_made_once_and_converted_to_a_newer_schema_only: no OVN is installed");
            return;
        };
        let part = Part::NorthboundDatabase;
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(temporary.path()).expect("made");
        let path = folder.database(part).display().to_string();
        let installed = run(&programs, &["schema-version", &programs.northbound_schema.display().to_string()]).await;
        for (version, after) in [("5.0.0", installed.trim()), ("99.0.0", "99.0.0")] {
            // A half-made file of an earlier life is in the way of nobody.
            fs::write(folder.path().join("nb.db.new"), "half").expect("written");
            let mut old = programs.clone();
            old.northbound_schema = other_schema(&programs, temporary.path(), version);
            ensure(part, &folder, &old).await.expect("made");
            let insert = r#"["OVN_Northbound",{"op":"insert","table":"Logical_Switch","row":{"name":"kept"}}]"#;
            run(&programs, &["transact", &path, insert]).await;
            for _ in 0..2 {
                ensure(part, &folder, &programs).await.expect("ready");
                assert_eq!(run(&programs, &["db-version", &path]).await.trim(), after);
                assert!(run(&programs, &["query", &path, SWITCHES]).await.contains("kept"));
            }
            assert_eq!(folder.path().join("nb.db.before-conversion").exists(), version == "5.0.0");
            assert!(!folder.path().join("nb.db.new").exists());
            fs::remove_file(folder.path().join("nb.db.before-conversion")).ok();
            fs::remove_file(&path).expect("removed");
        }
        fs::write(&path, "").expect("written");
        ensure(part, &folder, &programs).await.expect_err("what is no database is not replaced by one");
        assert_eq!(fs::read(&path).expect("there"), b"");
    }
}
