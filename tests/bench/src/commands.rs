//! Small durable commands over HTTP against bare synced publishes of the same size.

use std::time::{Duration, Instant};

use crate::{
    Failure, Options,
    bare::Bare,
    http::PREFIX,
    site::Site,
    stats::{Stats, ms, ratio},
};

/// The length of the commit that one of our commands leads to, bytes; printed so that it can be checked.
const COMMIT_BYTES: usize = 800;
const SAMPLES: usize = 2000;
const CLIENTS: usize = 32;
const THROUGHPUT_TIME: Duration = Duration::from_secs(5);

/// Prints the rows.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let bare = Bare::start(options).await?;
    let site = Site::start(options, &["--driver", "simulated"]).await?;
    // Each in turn, twice, so that neither has the quieter machine.
    let mut bare_samples = bare.one_by_one(COMMIT_BYTES, SAMPLES).await?;
    let mut http_samples = one_client(&site, 0).await?;
    if http_samples.median() > Duration::ZERO {
        bare_samples = bare.one_by_one(COMMIT_BYTES, SAMPLES).await?;
        http_samples = one_client(&site, 1).await?;
    }
    println!(
        "| small durable command over HTTP, one client | {} | {} | {} (bare synced publish of {COMMIT_BYTES} bytes; p99 {}) | {} | ≤ 2.5 |",
        ms(http_samples.median()),
        ms(http_samples.percentile(99)),
        ms(bare_samples.median()),
        ms(bare_samples.percentile(99)),
        ratio(http_samples.median(), bare_samples.median())
    );
    let bare_rate = bare.pipelined(COMMIT_BYTES, 2 * CLIENTS, THROUGHPUT_TIME).await?;
    let rate = many_clients(&site).await?;
    println!(
        "| the same, {CLIENTS} clients | {rate:.0}/s | | {bare_rate:.0}/s (bare, pipelined) | {:.2} | ≥ 0.7 |",
        rate / bare_rate
    );
    bare.stop().await;
    Ok(())
}

fn flavor(name: &str) -> String {
    format!(r#"{{"name":"{name}","vcpus":1,"memory_mib":512,"disk_gib":1}}"#)
}

async fn one_client(site: &Site, round: usize) -> Result<Stats, Failure> {
    let mut client = site.client().await?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for n in 0..SAMPLES {
        let body = flavor(&format!("one-{round}-{n}"));
        let begun = Instant::now();
        client.change("POST", &format!("{PREFIX}/flavors"), &body).await?;
        samples.push(begun.elapsed());
    }
    Ok(Stats::of(samples))
}

async fn many_clients(site: &Site) -> Result<f64, Failure> {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for c in 0..CLIENTS {
        let mut client = site.client().await?;
        tasks.spawn(async move {
            let mut done = 0_u32;
            while begun.elapsed() < THROUGHPUT_TIME {
                let body = flavor(&format!("many-{c}-{done}"));
                client.change("POST", &format!("{PREFIX}/flavors"), &body).await?;
                done += 1;
            }
            Ok::<u32, Failure>(done)
        });
    }
    let mut done = 0;
    while let Some(task) = tasks.join_next().await {
        done += task??;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}
