use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::site::{DEADLINE, Reply, Site, request};

async fn queued(site: &Site, name: &str) -> String {
    let image = json!({"name": name, "format": "raw", "source": {"type": "upload"}});
    let made = site.call("POST", "/images", Some(image)).await.expect(202).json();
    made["id"].as_str().unwrap().to_owned()
}

async fn put(site: &Site, name: &str, headers: &[(&str, &str)], body: Body) -> Reply {
    let mut request = request("PUT", &format!("/images/{name}/file"), headers);
    *request.body_mut() = body;
    site.send(request).await
}

#[tokio::test]
async fn an_upload_is_stored_whole_with_its_checksum() {
    let site = Site::new().await;
    let id = queued(&site, "raw").await;
    let content = vec![7_u8; 3 << 20];
    let pieces: Vec<_> =
        content.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let key = [("idempotency-key", "u"), ("content-type", "application/octet-stream")];
    let reply = put(&site, "raw", &key, Body::from_stream(futures::stream::iter(pieces))).await.expect(202);
    assert_eq!(reply.json()["state"], "importing");
    assert_eq!(std::fs::read(site.state.uploads.join(&id)).unwrap(), content);
    assert!(!site.state.uploads.join(&id).with_extension("part").exists());
    let events = site.get("/images/raw/events").await.json();
    let data = &events["items"][1]["data"];
    assert_eq!(data["size_bytes"], content.len());
    assert_eq!(data["sha256"], hex::encode(Sha256::digest(&content)));
    // The repetition is answered before its bytes are read.
    let again = put(&site, "raw", &key, Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>()))
        .await
        .expect(202);
    assert_eq!(again.header("idempotent-replayed"), "true");
    put(&site, "raw", &[], Body::from("x")).await.expect_problem(409, "wrong-state", None);
    put(&site, "none", &[], Body::from("x")).await.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let site = Site::new().await;
    let id = queued(&site, "raw").await;
    let broken =
        futures::stream::iter([Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("the line went dead"))]);
    put(&site, "raw", &[], Body::from_stream(broken)).await.expect_problem(400, "body-incomplete", None);
    assert_eq!(site.get("/images/raw").await.json()["state"], "queued");
    assert_eq!(std::fs::read_dir(&site.state.uploads).unwrap().count(), 0);
    put(&site, "raw", &[], Body::empty()).await.expect_problem(422, "invalid-body", None);
    put(&site, "raw", &[], Body::from("whole")).await.expect(202);
    assert_eq!(std::fs::read(site.state.uploads.join(id)).unwrap(), b"whole");
}

#[tokio::test]
async fn two_uploads_at_once_are_one_too_many() {
    let site = Site::new().await;
    queued(&site, "raw").await;
    let (sender, receiver) = futures::channel::mpsc::unbounded::<std::io::Result<Bytes>>();
    let mut first = request("PUT", "/images/raw/file", &[]);
    *first.body_mut() = Body::from_stream(receiver);
    let first = tokio::spawn(site.app.clone().oneshot(first));
    sender.unbounded_send(Ok(Bytes::from_static(b"a"))).unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while std::fs::read_dir(&site.state.uploads).map_or(0, Iterator::count) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the first upload never began");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    put(&site, "raw", &[], Body::from("b")).await.expect_problem(409, "upload-in-progress", None);
    // Its client vanishes: nothing stays, and the next one may.
    first.abort();
    let _ = first.await;
    drop(sender);
    assert_eq!(std::fs::read_dir(&site.state.uploads).unwrap().count(), 0);
    put(&site, "raw", &[], Body::from("b")).await.expect(202);
}

#[tokio::test]
async fn an_upload_beyond_the_bound_is_refused_announced_or_not() {
    let site = Site::with(|state| state.upload_bytes_max = 10).await;
    queued(&site, "raw").await;
    let endless = futures::stream::repeat(()).map(|()| Ok::<_, std::io::Error>(Bytes::from_static(b"1234")));
    put(&site, "raw", &[], Body::from_stream(endless)).await.expect_problem(413, "body-too-large", None);
    let announced = [("content-length", "11")];
    let pending = Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>());
    put(&site, "raw", &announced, pending).await.expect_problem(413, "body-too-large", None);
    assert_eq!(std::fs::read_dir(&site.state.uploads).map_or(0, Iterator::count), 0);
}

#[tokio::test]
async fn an_upload_can_be_tried_without_effect_and_guarded() {
    let site = Site::new().await;
    queued(&site, "raw").await;
    let reply = site.call("PUT", "/images/raw/file?dry_run=true", None).await.expect(200);
    assert_eq!(reply.json()["state"], "importing");
    assert_eq!(site.get("/images/raw").await.json()["state"], "queued");
    put(&site, "raw", &[("if-match", "\"g7.r1\"")], Body::from("x")).await.expect_problem(
        412,
        "precondition-failed",
        Some("If-Match"),
    );
    put(&site, "raw", &[("content-type", "text/html")], Body::from("x")).await.expect_problem(
        415,
        "unsupported-media-type",
        Some("Content-Type"),
    );
}

/// A full disk is made with a small tmpfs, which needs root.
#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: a_full_disk_is_told_and_nothing_is_kept: no tmpfs can be mounted here");
        return;
    }
    let _mount = Mount(folder.path().to_owned());
    let uploads = folder.path().to_owned();
    let site = Site::with(|state| state.uploads.clone_from(&uploads)).await;
    queued(&site, "raw").await;
    put(&site, "raw", &[], Body::from(vec![1; 4 << 20])).await.expect_problem(507, "storage-full", None);
    assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 0);
    put(&site, "raw", &[], Body::from("small")).await.expect(202);
}

struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
