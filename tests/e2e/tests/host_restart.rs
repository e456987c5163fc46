//! The host restarted: every process of ours and every QEMU is gone at once. VMs whose run strategy says so come back by
//! themselves, the others stay down, and no disk is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{PATIENCE, Site, processes};
use serde_json::json;

#[tokio::test]
async fn after_a_restart_of_the_host_vms_run_as_their_strategy_says() {
    let Some(mut site) = Site::start("after_a_restart_of_the_host_vms_run_as_their_strategy_says").await else {
        return;
    };
    site.add_tiny().await;
    for (name, strategy) in
        [("always", "always"), ("rerun", "rerun_on_failure"), ("manual", "manual"), ("stopped", "always")]
    {
        site.create(name, &json!({"run_strategy": strategy})).await;
    }
    site.await_vm("manual", "stopped").await;
    site.api().act("manual", &json!({"action": "start"})).await.accepted();
    for name in ["always", "rerun", "manual", "stopped"] {
        site.await_vm(name, "running").await;
    }
    site.api().act("stopped", &json!({"action": "stop", "grace_seconds": 0})).await.accepted();
    site.await_vm("stopped", "stopped").await;
    // One that was just asked for, and one just to be removed.
    site.create("asked-for", &json!({})).await;
    site.create("to-go", &json!({})).await;
    site.await_vm("to-go", "running").await;
    let before: Vec<_> = {
        let always = site.api().get("vms/always").await;
        vec![always["instance"]["pid"].clone(), always["boot_disk"]["volume_id"].clone()]
    };
    site.api().delete("vms/to-go").await.accepted();
    site.kill_everything();
    assert!(processes::touching(&site.state()).is_empty());

    site.up().await;
    let always = site
        .await_vm_that("always runs anew", "always", PATIENCE, |vm| {
            vm["state"] == "running" && vm["instance"]["pid"] != before[0]
        })
        .await;
    assert_eq!(always["boot_disk"]["volume_id"], before[1]);
    site.await_vm("asked-for", "running").await;
    site.await_vm_that("rerun runs anew", "rerun", PATIENCE, |vm| {
        vm["state"] == "running" && vm["last_stop"]["how"].is_string()
    })
    .await;
    let manual = site.await_vm("manual", "stopped").await;
    assert!(manual["last_stop"]["detail"].is_string(), "{manual}");
    assert_eq!(site.await_vm("stopped", "stopped").await["last_stop"]["how"], "forced");
    site.await_no_vm("to-go").await;
    assert_eq!(processes::qemus(&site.state()).len(), 3);
    site.assert_no_orphan().await;
}
