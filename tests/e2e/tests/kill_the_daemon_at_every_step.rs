//! `kill -9` of the daemon at every step of create, stop and delete: before and after each append, each driver call and
//! each report. What was acknowledged is finished by itself, once, and nothing is left over.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{collections::BTreeSet, time::Duration};

use edgestack_e2e::{PATIENCE, Reply, Site, TINY, eventually, processes, write_boot_disk};
use edgestack_engine::crash_point;
use reqwest::Method;
use serde_json::{Value, json};

/// Points that every change passes.
const ALWAYS: &[&str] = &["append.before", "append.sent", "append.after", "report.before", "report.after"];
const CREATE: &[&str] = &["volume.create.before", "volume.create.after", "vm.start.before", "vm.start.after"];
const STOP: &[&str] = &["vm.stop.before", "vm.stop.after"];
const DELETE: &[&str] = &["vm.release.before", "vm.release.after", "volume.remove.before", "volume.remove.after"];
const IMAGE: &[&str] = &["image.import.before", "image.import.after", "image.remove.after"];

/// Visited by `vm_nics.rs`.
const NICS: &[&str] = &["vm.plug.before", "vm.plug.after", "vm.unplug.before", "vm.unplug.after"];

/// Visited by `webhooks.rs`.
const WEBHOOK: &[&str] = &["webhook.deliver.before", "webhook.deliver.after"];

/// Visited by `networks.rs`.
const GATEWAY: &[&str] = &["gateway.drift.before", "gateway.write.before", "gateway.write.after", "gateway.realized"];

/// Visited by `archive_before.rs`.
const RELEASE: &[&str] =
    &["release.proven", "release.recorded", "release.filled", "release.between", "release.swapped", "release.done"];
/// Behind the answer of every commit; each walk visits them.
const BEHIND: &[&str] = &["archive.written", "archive.synced", "views.before", "views.between"];

/// More passes than any of these changes needs.
const PASSES_MAX: u32 = 12;
/// How long after its goal a change may still pass a crash point.
const AFTERMATH: Duration = Duration::from_millis(200);

#[test]
fn every_crash_point_is_on_the_path_of_some_change() {
    let on_some_path: BTreeSet<&str> =
        [ALWAYS, CREATE, STOP, DELETE, IMAGE, NICS, GATEWAY, WEBHOOK, RELEASE, BEHIND].concat().into_iter().collect();
    assert_eq!(on_some_path, crash_point::ALL.into_iter().collect());
}

#[tokio::test]
async fn a_create_is_finished_whenever_the_daemon_was_killed() {
    let Some(mut matrix) = Matrix::start("a_create_is_finished_whenever_the_daemon_was_killed").await else { return };
    matrix.site.kill_daemon();
    matrix.walk(&[ALWAYS, CREATE].concat(), Change::Create).await;
}

#[tokio::test]
async fn a_stop_is_finished_whenever_the_daemon_was_killed() {
    let Some(mut matrix) = Matrix::start("a_stop_is_finished_whenever_the_daemon_was_killed").await else { return };
    matrix.walk(&[ALWAYS, STOP].concat(), Change::Stop).await;
}

#[tokio::test]
async fn a_delete_is_finished_whenever_the_daemon_was_killed() {
    let Some(mut matrix) = Matrix::start("a_delete_is_finished_whenever_the_daemon_was_killed").await else { return };
    matrix.walk(&[ALWAYS, DELETE].concat(), Change::Delete).await;
}

#[tokio::test]
async fn an_image_is_imported_and_removed_whenever_the_daemon_was_killed() {
    let test = "an_image_is_imported_and_removed_whenever_the_daemon_was_killed";
    let Some(mut matrix) = Matrix::start(test).await else { return };
    write_boot_disk(&matrix.site.folder().join("other.img"), TINY);
    let points = [ALWAYS, IMAGE].concat();
    let mut reached = matrix.visit(Change::Import).await;
    reached.extend(matrix.visit(Change::RemoveImage).await);
    assert_reached(&points, &reached);
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Stop,
    Delete,
    Import,
    RemoveImage,
}

struct Matrix {
    site: Site,
    next: u32,
}

impl Matrix {
    async fn start(test: &str) -> Option<Self> {
        let site = Site::start(test).await?;
        site.add_tiny().await;
        Some(Self { site, next: 0 })
    }

    async fn walk(&mut self, points: &[&str], change: Change) {
        let reached = self.visit(change).await;
        assert_reached(points, &reached);
    }

    /// Every point and every pass of it; gives those that were reached.
    async fn visit(&mut self, change: Change) -> BTreeSet<&'static str> {
        let mut reached = BTreeSet::new();
        for point in crash_point::ALL {
            let mut passes = 0;
            while passes < PASSES_MAX && self.case(change, &format!("{point}:{}", passes + 1)).await {
                passes += 1;
                reached.insert(point);
            }
            assert!(passes < PASSES_MAX, "{change:?} passes {point} more than {PASSES_MAX} times");
            println!("{change:?}: {point}: {passes} passes");
        }
        reached
    }

    /// One change with one crash point: whether it was reached.
    async fn case(&mut self, change: Change, crash_at: &str) -> bool {
        self.next += 1;
        let name = format!("x{}", self.next);
        println!("{change:?} {name} with a crash at {crash_at}");
        self.restart(&[]).await;
        let before = self.prepare(change, &name).await;
        self.site.kill_daemon();
        let up = self.site.try_up_with(&[("EDGESTACK_CRASH_AT", crash_at)]).await;
        let acknowledged = if up { self.ask(change, &name).await.is_ok_and(|reply| reply.status < 300) } else { false };
        let crashed = self.await_crash_or_goal(change, &name).await;
        self.site.assert_one_qemu_a_disk();
        let orphan_or_ours: Vec<u32> = processes::qemus(&self.site.state()).iter().map(|qemu| qemu.pid).collect();

        self.restart(&[]).await;
        if !acknowledged {
            // The client knows no more than that, and asks again under the same key.
            let reply = self.ask(change, &name).await.expect("an answer");
            assert!(reply.status < 300, "{crash_at}: {} {}", reply.status, reply.text);
        }
        eventually(&format!("{change:?} {name} reaches its goal after {crash_at}"), PATIENCE, async || {
            self.site.assert_one_qemu_a_disk();
            self.is_done(change, &name).await
        })
        .await;
        self.check_done_once(change, &name, before.as_ref(), &orphan_or_ours).await;
        self.site.assert_no_orphan().await;
        self.clean_up(change, &name).await;
        crashed
    }

    async fn restart(&mut self, variables: &[(&str, &str)]) {
        self.site.kill_daemon();
        self.site.up_with(variables).await;
    }

    /// What must be there before the change is asked for.
    async fn prepare(&self, change: Change, name: &str) -> Option<Value> {
        match change {
            Change::Create | Change::Import => None,
            Change::Stop | Change::Delete => {
                self.site.create_tiny(name).await;
                Some(self.site.await_vm(name, "running").await)
            }
            Change::RemoveImage => {
                self.site.add_image(name, "raw", &self.site.folder().join("other.img")).await;
                Some(self.site.api().get(&format!("images/{name}")).await)
            }
        }
    }

    async fn ask(&self, change: Change, name: &str) -> Result<Reply, reqwest::Error> {
        let other = self.site.folder().join("other.img");
        let (method, path, body) = match change {
            Change::Create => {
                (Method::POST, "vms".to_owned(), Some(json!({"name": name, "image": "tiny", "flavor": "tiny"})))
            }
            Change::Stop => {
                let stop = json!({"action": "stop", "grace_seconds": 0});
                (Method::POST, format!("vms/{name}/action"), Some(stop))
            }
            Change::Delete => (Method::DELETE, format!("vms/{name}"), None),
            Change::Import => {
                let image = json!({"name": name, "format": "raw", "source": {"type": "path", "path": other}});
                (Method::POST, "images".to_owned(), Some(image))
            }
            Change::RemoveImage => (Method::DELETE, format!("images/{name}"), None),
        };
        self.site.api().send_once(method, &path, body.as_ref(), &format!("{change:?}-{name}")).await
    }

    /// Whether the daemon died; the goal without it means that the point is not passed so often.
    async fn await_crash_or_goal(&mut self, change: Change, name: &str) -> bool {
        let begun = std::time::Instant::now();
        loop {
            let daemon = self.site.daemon.as_mut().expect("a daemon");
            if daemon.ended().is_some() {
                assert!(daemon.was_killed(), "it ended by itself:\n{}", daemon.log());
                return true;
            }
            if self.is_done(change, name).await.is_ok() {
                let daemon = self.site.daemon.as_mut().expect("a daemon");
                let until = std::time::Instant::now() + AFTERMATH;
                while std::time::Instant::now() < until {
                    if daemon.was_killed() {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "{change:?} {name}: neither a crash nor the goal\n{}", self.site.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_done(&self, change: Change, name: &str) -> Result<(), String> {
        let path = match change {
            Change::Create | Change::Stop | Change::Delete => format!("vms/{name}"),
            Change::Import | Change::RemoveImage => format!("images/{name}"),
        };
        let reply = self.site.api().look(&path).await.map_err(|error| error.to_string())?;
        let done = match change {
            Change::Create => reply.json()["state"] == "running",
            Change::Stop => reply.json()["state"] == "stopped",
            Change::Import => reply.json()["state"] == "active",
            Change::Delete | Change::RemoveImage => reply.status == 404,
        };
        if done { Ok(()) } else { Err(format!("{} {}", reply.status, reply.text)) }
    }

    async fn check_done_once(&self, change: Change, name: &str, before: Option<&Value>, qemus: &[u32]) {
        let count = |types: &[String], wanted: &str| types.iter().filter(|found| *found == wanted).count();
        match change {
            Change::Create => {
                let vm = self.site.api().get(&format!("vms/{name}")).await;
                let types = self.site.api().event_types(name).await;
                assert_eq!(count(&types, "VmCreated"), 1, "{types:?}");
                assert_eq!(count(&types, "VmStarted"), 1, "it was started twice: {types:?}");
                assert_eq!(count(&types, "VolumeCreated"), 1, "{types:?}");
                let running: Vec<u32> = processes::qemus(&self.site.state()).iter().map(|qemu| qemu.pid).collect();
                assert_eq!(running, [Site::pid_of(&vm)]);
                if let [found] = qemus {
                    assert_eq!(*found, Site::pid_of(&vm), "the QEMU that outlived the daemon is adopted");
                }
            }
            Change::Stop => {
                let types = self.site.api().event_types(name).await;
                assert_eq!(count(&types, "VmStopRequested"), 1, "{types:?}");
                assert_eq!(count(&types, "VmStopped"), 1, "{types:?}");
                assert_eq!(count(&types, "VmStarted"), 1, "{types:?}");
                assert!(processes::qemus(&self.site.state()).is_empty());
            }
            Change::Delete => {
                let types = self.site.api().event_types(name).await;
                assert_eq!(count(&types, "VmDeleted"), 1, "{types:?}");
                assert_eq!(count(&types, "VmStarted"), 1, "{types:?}");
                let id = before.and_then(|vm| vm["id"].as_str()).expect("the VM's id");
                self.site.await_nothing_left(&[id]).await;
            }
            Change::Import => {
                assert_eq!(self.site.stored_images().len(), 2, "{:?}", self.site.stored_images());
            }
            Change::RemoveImage => {
                assert_eq!(self.site.stored_images().len(), 1, "{:?}", self.site.stored_images());
            }
        }
    }

    async fn clean_up(&self, change: Change, name: &str) {
        match change {
            Change::Create | Change::Stop => {
                self.site.api().delete(&format!("vms/{name}")).await.accepted();
                self.site.await_no_vm(name).await;
                self.site.await_nothing_left(&[]).await;
            }
            Change::Import => {
                self.site.api().delete(&format!("images/{name}")).await.accepted();
                eventually("the image is gone", PATIENCE, async || self.is_done(Change::RemoveImage, name).await).await;
            }
            Change::Delete | Change::RemoveImage => {}
        }
    }
}

fn assert_reached(points: &[&str], reached: &BTreeSet<&'static str>) {
    for point in points {
        assert!(reached.contains(point), "{point} was never passed");
    }
}
