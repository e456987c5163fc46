//! The command line client against the real server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::process::{Command, Output};

use edgestack_e2e::{Site, edgectl};
use serde_json::Value;

struct Cli<'s> {
    site: &'s Site,
}

impl Cli<'_> {
    fn run(&self, line: &str) -> Output {
        self.run_words(&line.split(' ').collect::<Vec<_>>())
    }

    fn run_words(&self, words: &[&str]) -> Output {
        Command::new(edgectl())
            .args(words)
            .env("EDGESTACK_URL", &self.site.api().url)
            .env("EDGESTACK_TOKEN", &self.site.api().token)
            .env("HOME", self.site.folder())
            .env("NO_COLOR", "1")
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .expect("edgectl runs")
    }

    #[track_caller]
    fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "edgectl {line}: {words}");
        words
    }

    #[track_caller]
    fn works(&self, line: &str) -> String {
        let output = self.run(line);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "edgectl {line}: {}: {words}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.works(line)).expect("JSON")
    }
}

#[tokio::test]
async fn edgectl_leads_a_vm_through_its_life() {
    let Some(site) = Site::start("edgectl_leads_a_vm_through_its_life").await else { return };
    site.add_tiny().await;
    let cli = Cli { site: &site };

    // A dry run says what would be, and makes nothing.
    cli.works("create-vm a --image tiny --flavor tiny --dry-run");
    cli.fails("show-vm a", 1);

    // It waits until the VM runs; the data alone is on standard output.
    let vm = cli.json("create-vm a --image tiny --flavor tiny -o json");
    assert_eq!(vm["name"], "a");
    assert_eq!(cli.json("show-vm a -o json")["state"], "running");
    let table = cli.works("list-vms");
    assert!(table.contains("NAME") && table.contains("running"), "{table}");
    assert_eq!(cli.works("list-vms -o name").trim(), "a");
    assert!(cli.works("show-vm a -o yaml").contains("name: a"));
    let events = cli.works("show-vm-events a");
    assert!(events.contains("VmCreated") && events.contains("VmStarted"), "{events}");
    let manifest = cli.works("show-vm-manifest a");
    let manifest: Value = serde_norway::from_str(&manifest).expect("YAML");
    assert_eq!(edgestack_kubevirt::complaints(&manifest), Vec::<String>::new(), "{manifest}");
    assert_eq!(cli.json("show-vm-manifest a -o json"), manifest);
    assert!(cli.works("list-nodes").contains("n1"));

    for (line, state) in [
        ("pause-vm a --wait", "paused"),
        ("unpause-vm a --wait", "running"),
        ("stop-vm a --force --wait", "stopped"),
        ("start-vm a --wait", "running"),
    ] {
        cli.works(line);
        assert_eq!(cli.json("show-vm a -o json")["state"], state, "{line}");
    }

    // Raw calls and the configuration.
    let raw = cli.json("api GET vms/a");
    assert_eq!(raw["id"], vm["id"]);
    assert_eq!(cli.json("api GET /edgetron/resources/kubvirt/vms/a")["id"], vm["id"]);
    let body = r#"{"name":"raw","vcpus":1,"memory_mib":64,"disk_gib":1}"#;
    let output = cli.run_words(&["api", "POST", "flavors", "-d", body]);
    assert!(output.status.success(), "{output:?}");
    let config = cli.json("config view -o json");
    assert_eq!(config["url"], site.api().url);
    assert_eq!(config["token"], site.api().token);

    cli.works("remove-vm a --wait");
    cli.fails("show-vm a", 1);
    assert!(cli.works("show-vm-events a").contains("VmDeleted"), "history outlives the VM");
}

#[tokio::test]
async fn edgectl_tells_failures_apart_by_its_exit_code() {
    let Some(site) = Site::start("edgectl_tells_failures_apart_by_its_exit_code").await else { return };
    site.add_tiny().await;
    let cli = Cli { site: &site };
    // 1: refused, in one line with the fix.
    let words = cli.fails("create-vm a --image missing --flavor tiny", 1);
    assert!(words.contains("missing"), "{words}");
    assert_eq!(words.trim().lines().count(), 1, "{words}");
    cli.fails("show-vm missing", 1);
    cli.fails("api GET vms/missing", 1);
    // 2: wrong usage.
    cli.fails("create-vm", 2);
    cli.fails("no-such-command", 2);
    cli.fails("list-vms -o colourful", 2);
    // 3: timed out while waiting. This guest is deaf to the power button.
    cli.works("create-vm deaf --image tiny --flavor tiny");
    cli.fails("stop-vm deaf --grace-seconds 600 --wait --timeout 1", 3);
    assert_eq!(cli.json("show-vm deaf -o json")["state"], "stopping");
    // 1: the wrong token, and no server.
    let output = Command::new(edgectl())
        .args(["list-vms"])
        .env("EDGESTACK_URL", &site.api().url)
        .env("EDGESTACK_TOKEN", "wrong")
        .env("HOME", site.folder())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("wrong\n"));
    let output = Command::new(edgectl())
        .args(["list-vms"])
        .env("EDGESTACK_URL", "http://127.0.0.1:9")
        .env("EDGESTACK_TOKEN", "x")
        .env("HOME", site.folder())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim().lines().count(), 1, "{output:?}");
    cli.works("remove-vm deaf --wait");
}

#[tokio::test]
async fn an_uploaded_image_makes_vms_and_leaves_nothing() {
    let Some(site) = Site::start("an_uploaded_image_makes_vms_and_leaves_nothing").await else { return };
    site.add_tiny().await;
    let cli = Cli { site: &site };
    let file = site.folder().join("upload.raw");
    edgestack_e2e::write_boot_disk(&file, edgestack_e2e::TINY);

    cli.works(&format!("create-image sent --file {} --format raw", file.display()));
    let image = cli.json("show-image sent -o json");
    assert_eq!((&image["state"], &image["size_bytes"]), (&"active".into(), &(1 << 20).into()), "{image}");
    cli.works("create-vm a --image sent --flavor tiny");
    let refused = cli.fails("remove-image sent", 1);
    assert!(refused.contains("in use by vm \"a\""), "{refused}");
    cli.works("remove-vm a");
    cli.works("remove-image sent");

    // What is no disk of the declared kind is told so.
    std::fs::write(&file, "no disk").expect("a file");
    let refused = cli.fails(&format!("create-image bad --file {} --format qcow2", file.display()), 1);
    assert!(refused.contains("not qcow2 as declared"), "{refused}");
    cli.works("remove-image bad");
    let id = image["id"].as_str().expect("an id");
    let left: Vec<_> = ["images", "uploads"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(site.state().join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    let uploads = std::fs::read_dir(site.state().join("uploads")).expect("a folder").count();
    assert!(uploads == 0 && !left.iter().any(|name| name.starts_with(id)), "{left:?}");
}
