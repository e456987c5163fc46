//! Records of VMs with the simulated driver: creation, reads, memory, start.

use std::time::Instant;

use crate::{
    Failure, Options,
    http::PREFIX,
    site::Site,
    start,
    stats::{Stats, ms},
};

const CLIENTS: usize = 32;
const READS: usize = 2000;
const LISTS: usize = 200;

/// Prints the rows.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let mut site = Site::start(options, &["--driver", "simulated"]).await?;
    prepare(&site).await?;
    let rate = create(&site, options.vms).await?;
    println!("| VM records created, {CLIENTS} clients, simulated driver | {rate:.0}/s | | | | ≥ 1,000/s |");
    wait_until_all_run(&site, options.vms).await?;

    let one = reads(&site, &format!("{PREFIX}/vms/vm-0-0"), READS).await?;
    println!("| GET one of {} VMs | {} | {} | | | p99 ≤ 1 ms |", options.vms, ms(one.median()), ms(one.percentile(99)));
    let list = reads(&site, &format!("{PREFIX}/vms?limit=100"), LISTS).await?;
    println!(
        "| list 100 of {} VMs | {} | {} | | | p99 ≤ 10 ms |",
        options.vms,
        ms(list.median()),
        ms(list.percentile(99))
    );
    let (daemon, nats) = site.resident_mib()?;
    println!(
        "| resident memory with {} VMs: daemon + nats-server | {} MiB ({daemon} + {nats}) | | | | ≤ 100 MiB |",
        options.vms,
        daemon + nats
    );
    start::measure(&mut site, options.vms).await
}

/// Makes the flavor `small` and the image `image`.
pub async fn prepare(site: &Site) -> Result<(), Failure> {
    let mut client = site.client().await?;
    let flavor = r#"{"name":"small","vcpus":1,"memory_mib":512,"disk_gib":1}"#;
    client.change("POST", &format!("{PREFIX}/flavors"), flavor).await?;
    let image = r#"{"name":"image","format":"qcow2","source":{"type":"path","path":"/simulated"}}"#;
    client.change("POST", &format!("{PREFIX}/images"), image).await?;
    loop {
        let image = client.change("GET", &format!("{PREFIX}/images/image"), "").await?;
        if String::from_utf8_lossy(&image).contains("\"active\"") {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn create(site: &Site, count: usize) -> Result<f64, Failure> {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for c in 0..CLIENTS {
        let mut client = site.client().await?;
        let mine = count / CLIENTS + usize::from(c < count % CLIENTS);
        tasks.spawn(async move {
            for n in 0..mine {
                let body = format!(r#"{{"name":"vm-{c}-{n}","image":"image","flavor":"small"}}"#);
                client.change("POST", &format!("{PREFIX}/vms"), &body).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    #[allow(clippy::cast_precision_loss)] // Thousands.
    let count = count as f64;
    Ok(count / begun.elapsed().as_secs_f64())
}

async fn wait_until_all_run(site: &Site, count: usize) -> Result<(), Failure> {
    let mut client = site.client().await?;
    loop {
        let answer = client.change("GET", &format!("{PREFIX}/vms?limit=1000&state=running"), "").await?;
        let list: serde_json::Value = serde_json::from_slice(&answer)?;
        let running = list["items"].as_array().map_or(0, Vec::len);
        if running >= count.min(1000) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn reads(site: &Site, path: &str, count: usize) -> Result<Stats, Failure> {
    let mut client = site.client().await?;
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        client.change("GET", path, "").await?;
        samples.push(begun.elapsed());
    }
    Ok(Stats::of(samples))
}
