//! What uploads left behind is removed, and nothing else.

use std::{collections::BTreeSet, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use edgestack_model::{
    Command, Id, Kind,
    image::{Image, ImageCommand, ImageContent, ImageReport},
    waiting::FailedAttempt,
};
use edgestack_server::UploadSweep;
use serde_json::json;
use tower::ServiceExt;
use uuid::Uuid;

use crate::site::{DEADLINE, Site, request};

async fn queued(site: &Site, name: &str) -> Id<Image> {
    let image = json!({"name": name, "format": "raw", "source": {"type": "upload"}});
    let made = site.call("POST", "/images", Some(image)).await.expect(202).json();
    made["id"].as_str().unwrap().parse().unwrap()
}

async fn uploaded(site: &Site, name: &str) -> Id<Image> {
    let id = queued(site, name).await;
    let mut request = request("PUT", &format!("/images/{name}/file"), &[]);
    *request.body_mut() = Body::from("content");
    site.send(request).await.expect(202);
    id
}

async fn told(site: &Site, id: Id<Image>, report: ImageReport) {
    let generation = site.state.replica.world().images[&id].meta.generation;
    site.submit(Command::Image(ImageCommand::Report { image: id, generation, report })).await;
}

fn put(site: &Site, name: &str) {
    std::fs::create_dir_all(&site.state.uploads).unwrap();
    std::fs::write(site.state.uploads.join(name), "x").unwrap();
}

fn there(site: &Site) -> BTreeSet<String> {
    let entries = std::fs::read_dir(&site.state.uploads).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn a_sweep(site: &Site) -> UploadSweep {
    UploadSweep::new(site.state.clone(), "edge-1".parse().unwrap())
}

#[tokio::test]
async fn what_nothing_will_come_for_is_swept_and_told_and_the_rest_is_left() {
    let site = Site::new().await;
    let waits = queued(&site, "waits").await;
    put(&site, &waits.to_string());
    let importing = uploaded(&site, "importing").await;
    let rejected = uploaded(&site, "rejected").await;
    let failed = FailedAttempt { step: "import".into(), reason: "no disk".into(), fix: None };
    told(&site, rejected, ImageReport::Rejected(failed)).await;
    let active = uploaded(&site, "active").await;
    let content = ImageContent { size_bytes: 7, virtual_size_bytes: 7, sha256: "a".repeat(64) };
    told(&site, active, ImageReport::Imported(content)).await;
    let gone = uploaded(&site, "gone").await;
    site.call("DELETE", "/images/gone", None).await.expect(202);
    told(&site, gone, ImageReport::Removed).await;
    let unknown = Uuid::from_u128(7);
    put(&site, &unknown.to_string());
    // Of a known image and of none; broken off, both.
    put(&site, &format!("{waits}.part"));
    put(&site, &format!("{unknown}.part"));
    for foreign in ["notes.txt", "notes.part", ".part"] {
        put(&site, foreign);
    }
    std::fs::create_dir(site.state.uploads.join(format!("{}.part", Uuid::from_u128(8)))).unwrap();

    let mut sweep = a_sweep(&site);
    sweep.once().await;
    let left = [
        waits.to_string(),
        importing.to_string(),
        unknown.to_string(),
        format!("{}.part", Uuid::from_u128(8)),
        "notes.txt".into(),
        "notes.part".into(),
        ".part".into(),
    ];
    assert_eq!(there(&site), left.into());

    let node = site.state.replica.world().id_of(Kind::Node, &"edge-1".parse().unwrap()).unwrap();
    let mut head = site.state.replica.watch_head();
    let sweeping = tokio::spawn(sweep.run(Duration::from_secs(3600)));
    let removed = async {
        loop {
            let removed: BTreeSet<String> = events(&site).await;
            if removed.len() == 5 {
                return removed;
            }
            head.changed().await.unwrap();
        }
    };
    let removed = tokio::time::timeout(DEADLINE, removed).await.expect("each removal is told");
    let expect = [
        format!("uploads/{rejected}"),
        format!("uploads/{active}"),
        format!("uploads/{gone}"),
        format!("uploads/{waits}.part"),
        format!("uploads/{unknown}.part"),
    ];
    assert_eq!(removed, expect.into());
    assert_eq!(site.state.replica.world().nodes[&Id::new(node)].orphans, []);
    site.shutdown.cancel();
    tokio::time::timeout(DEADLINE, sweeping).await.expect("it ends with the process").unwrap();
}

/// The places of what was removed, as the node's history tells them.
async fn events(site: &Site) -> BTreeSet<String> {
    let list = site.get("/nodes/edge-1/events?limit=1000").await.expect(200).json();
    let items = list["items"].as_array().unwrap().clone();
    let removed = items.iter().filter(|event| event["type"] == "NodeLeftoverRemoved");
    removed.map(|event| event["data"]["leftover"]["place"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_upload_that_runs_is_not_swept() {
    let site = Site::new().await;
    let id = queued(&site, "raw").await;
    let (sender, receiver) = futures::channel::mpsc::unbounded::<std::io::Result<Bytes>>();
    let mut put = request("PUT", "/images/raw/file", &[]);
    *put.body_mut() = Body::from_stream(receiver);
    let upload = tokio::spawn(site.app.clone().oneshot(put));
    sender.unbounded_send(Ok(Bytes::from_static(b"a"))).unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !site.state.uploads.join(format!("{id}.part")).exists() {
        assert!(tokio::time::Instant::now() < deadline, "the upload never began");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let file = std::fs::File::open(site.state.uploads.join(format!("{id}.part"))).unwrap();
    assert!(file.try_lock_shared().is_err(), "who looks from elsewhere sees that it is being written");
    let mut sweep = a_sweep(&site);
    sweep.once().await;
    assert_eq!(there(&site), [format!("{id}.part")].into());
    sender.unbounded_send(Ok(Bytes::from_static(b"b"))).unwrap();
    drop(sender);
    assert_eq!(upload.await.unwrap().unwrap().status(), 202);
    file.lock_shared().unwrap();
    drop(file);
    sweep.once().await;
    assert_eq!(std::fs::read(site.state.uploads.join(id.to_string())).unwrap(), b"ab");
}

#[tokio::test]
async fn a_sweep_without_a_folder_is_fine() {
    let site = Site::new().await;
    a_sweep(&site).once().await;
    assert!(!site.state.uploads.exists());
}
