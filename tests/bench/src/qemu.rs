//! From the create command to running vCPUs, against the same QEMU command line by hand.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    process::Command,
};

use crate::{
    Failure, Options,
    http::{Client, PREFIX},
    site::Site,
    stats::{Stats, ms, ratio},
};

const RUNS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// Prints the row.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let site = Site::start(options, &[]).await?;
    let images = tempfile::tempdir()?;
    let image = images.path().join("tiny.raw");
    // A boot sector that halts for ever: `cli; hlt; jmp -3`, and the signature at its end.
    let mut disk = vec![0_u8; 1 << 20];
    disk[..4].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&image, disk)?;
    let mut client = site.client().await?;
    let body = r#"{"name":"small","vcpus":1,"memory_mib":128,"disk_gib":1}"#;
    client.change("POST", &format!("{PREFIX}/flavors"), body).await?;
    let body = format!(r#"{{"name":"tiny","format":"raw","source":{{"type":"path","path":"{}"}}}}"#, image.display());
    client.change("POST", &format!("{PREFIX}/images"), &body).await?;
    wait_for(&mut client, "images/tiny", "active").await?;

    let mut ours = Vec::new();
    let mut by_hand = Vec::new();
    for n in 0..RUNS {
        let name = format!("vm-{n}");
        let body = format!(r#"{{"name":"{name}","image":"tiny","flavor":"small"}}"#);
        let begun = Instant::now();
        client.change("POST", &format!("{PREFIX}/vms"), &body).await?;
        let vm = wait_for(&mut client, &format!("vms/{name}"), "running").await?;
        ours.push(begun.elapsed());
        let pid = vm["instance"]["pid"].as_u64().ok_or("no pid")?;
        let line = command_line(pid)?;
        let stop = r#"{"action":"stop","grace_seconds":0}"#;
        client.change("POST", &format!("{PREFIX}/vms/{name}/action"), stop).await?;
        wait_for(&mut client, &format!("vms/{name}"), "stopped").await?;
        let id = vm["id"].as_str().ok_or("no id")?;
        by_hand.push(run_by_hand(&line, &site.folder().join("vms").join(id).join("run")).await?);
        client.change("DELETE", &format!("{PREFIX}/vms/{name}"), "").await?;
    }
    let (ours, by_hand) = (Stats::of(ours), Stats::of(by_hand));
    println!(
        "| create command to running vCPUs, image cached | {} | {} | {} (the same command line by hand) | {} | ≤ 1.3 |",
        ms(ours.median()),
        ms(ours.percentile(99)),
        ms(by_hand.median()),
        ratio(ours.median(), by_hand.median())
    );
    Ok(())
}

async fn wait_for(client: &mut Client, path: &str, state: &str) -> Result<serde_json::Value, Failure> {
    let begun = Instant::now();
    loop {
        let answer = client.change("GET", &format!("{PREFIX}/{path}"), "").await?;
        let resource: serde_json::Value = serde_json::from_slice(&answer)?;
        if resource["state"] == state {
            return Ok(resource);
        }
        if begun.elapsed() > DEADLINE {
            return Err(format!("{path} did not become {state}: {resource}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn command_line(pid: u64) -> io::Result<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    Ok(bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect())
}

/// Starts it, connects to its monitor, lets it run, and waits until it says that it runs.
async fn run_by_hand(line: &[String], run: &Path) -> Result<Duration, Failure> {
    let (program, arguments) = line.split_first().ok_or("no command line")?;
    let socket: PathBuf = run.join("control.sock");
    let begun = Instant::now();
    let mut qemu =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
    let stream = loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => break stream,
            Err(_) if begun.elapsed() < DEADLINE => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => return Err(error.into()),
        }
    };
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    for command in ["qmp_capabilities", "cont", "query-status"] {
        stream.get_mut().write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).await?;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Err("QEMU ended".into());
            }
            if line.contains("\"return\"") {
                break;
            }
        }
    }
    if !line.contains("\"running\": true") {
        return Err(format!("by hand it does not run: {line}").into());
    }
    let taken = begun.elapsed();
    qemu.kill().await?;
    Ok(taken)
}
