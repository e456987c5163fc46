//! The daemon killed in the middle of an upload: nothing of it counts, nothing of it stays, and it can be repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, path::Path};

use edgestack_e2e::{PATIENCE, Site, TINY, eventually, write_boot_disk};
use reqwest::{Method, header};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// A client that is slow: sends half of it, and then nothing for a while.
async fn half_an_upload(site: &Site, image: &str, content: &[u8]) -> TcpStream {
    let address = site.api().url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let mut client = TcpStream::connect(&address).await.expect("accepted");
    let head = format!(
        "PUT /edgetron/resources/kubevirt/images/{image}/file HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        site.api().token,
        content.len()
    );
    client.write_all(head.as_bytes()).await.expect("sent");
    client.write_all(&content[..content.len() / 2]).await.expect("sent");
    client
}

async fn await_some_of(part: &Path) {
    eventually("some of it is on the disk", PATIENCE, async || match fs::metadata(part) {
        Ok(metadata) if metadata.len() > 0 => Ok(()),
        Ok(_) => Err("it is empty".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_the_daemons_end_broke_off_is_swept_and_can_be_repeated() {
    let test = "an_upload_that_the_daemons_end_broke_off_is_swept_and_can_be_repeated";
    let Some(mut site) = Site::start(test).await else { return };
    site.add_tiny().await;
    let image = json!({"name": "sent", "format": "raw", "source": {"type": "upload"}});
    let image = site.api().post("images", &image).await.accepted();
    let id = image["id"].as_str().expect("an id").to_owned();
    let disk = site.folder().join("sent.img");
    write_boot_disk(&disk, TINY);
    let mut content = fs::read(&disk).expect("readable");
    content.resize(4 << 20, 0);

    let client = half_an_upload(&site, "sent", &content).await;
    let part = site.state().join(format!("uploads/{id}.part"));
    await_some_of(&part).await;
    site.kill_daemon();
    drop(client);
    assert!(part.exists(), "nobody was left to remove it");

    site.up().await;
    site.await_node().await;
    let shown = site.api().get("images/sent").await;
    assert_eq!(shown["state"], "queued", "{shown}");
    eventually("what broke off is removed, and the removal told", PATIENCE, async || {
        if part.exists() {
            return Err("it is there still".to_owned());
        }
        let events = site.api().get("nodes/n1/events?limit=1000").await;
        let removed = |event: &&serde_json::Value| {
            event["type"] == "NodeLeftoverRemoved" && event["data"]["leftover"]["id"] == id.as_str()
        };
        events["items"].as_array().and_then(|all| all.iter().find(removed)).map(drop).ok_or_else(|| events.to_string())
    })
    .await;

    let again =
        site.api().request(Method::PUT, "images/sent/file").header(header::CONTENT_TYPE, "application/octet-stream");
    site.api().send(again.body(content)).await.expect("an answer").accepted();
    site.await_image("sent", "active").await;
    site.create("made", &json!({"image": "sent"})).await;
    site.await_vm("made", "running").await;
    let node = site.api().get("nodes/n1").await;
    assert_eq!(node["orphans"], json!([]), "{node}");
    assert_eq!(fs::read_dir(site.state().join("uploads")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_rejected_upload_does_not_stay_though_its_image_does() {
    let Some(site) = Site::start("a_rejected_upload_does_not_stay_though_its_image_does").await else { return };
    let image = json!({"name": "bad", "format": "qcow2", "source": {"type": "upload"}});
    site.api().post("images", &image).await.accepted();
    let put =
        site.api().request(Method::PUT, "images/bad/file").header(header::CONTENT_TYPE, "application/octet-stream");
    site.api().send(put.body("no disk")).await.expect("an answer").accepted();
    site.await_image("bad", "failed").await;
    let uploads = site.state().join("uploads");
    eventually("the upload is gone", PATIENCE, async || match fs::read_dir(&uploads).expect("a folder").count() {
        0 => Ok(()),
        files => Err(format!("{files} files")),
    })
    .await;
    let shown = site.api().get("images/bad").await;
    assert_eq!(shown["state"], "failed");
    assert!(shown["waiting"]["reason"].as_str().is_some_and(|reason| reason.contains("not qcow2")), "{shown}");
    site.api().delete("images/bad").await.accepted();
}

#[tokio::test]
async fn an_upload_that_runs_is_no_orphan_though_its_image_is_gone() {
    let Some(site) = Site::start("an_upload_that_runs_is_no_orphan_though_its_image_is_gone").await else { return };
    let image = json!({"name": "sent", "format": "raw", "source": {"type": "upload"}});
    let image = site.api().post("images", &image).await.accepted();
    let part = site.state().join(format!("uploads/{}.part", image["id"].as_str().expect("an id")));
    let content = vec![7; 4 << 20];
    let mut client = half_an_upload(&site, "sent", &content).await;
    await_some_of(&part).await;
    site.api().delete("images/sent").await.accepted();
    eventually("the image is gone", PATIENCE, async || {
        let reply = site.api().look("images/sent").await.map_err(|error| error.to_string())?;
        if reply.status == 404 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    // A true one, put there now: once it is told, the folders were looked through twice.
    let id = "0190d2b4-0000-7000-8000-000000000001";
    fs::write(site.state().join(format!("volumes/{id}.qcow2")), "x").expect("written");
    let orphans = eventually("the true orphan is told", PATIENCE, async || {
        // Its client isn't that slow, or it would be cut off.
        client.write_all(&content[..64]).await.map_err(|error| error.to_string())?;
        let node = site.api().look("nodes/n1").await.map_err(|error| error.to_string())?.json();
        let orphans = node["orphans"].as_array().cloned().unwrap_or_default();
        if orphans.is_empty() { Err(node.to_string()) } else { Ok(orphans) }
    })
    .await;
    assert!(orphans.len() == 1 && orphans[0]["id"] == id, "{orphans:?}");
    assert!(part.exists());
    drop(client);
    eventually("what it left is gone with its client", PATIENCE, async || {
        if part.exists() { Err("it is there still".to_owned()) } else { Ok(()) }
    })
    .await;
}
