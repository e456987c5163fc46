//! Small durable commands over HTTP against bare synced publishes of the same size.

use std::time::{Duration, Instant};

use crate::{
    Failure, Options,
    bare::Bare,
    http::PREFIX,
    site::Site,
    stats::{Stats, middle, ms, ratio},
};

/// The length of the commit that one of our commands leads to, bytes; printed so that it can be checked.
const COMMIT_BYTES: usize = 800;
const SAMPLES: usize = 400;
const CLIENTS: usize = 32;
/// Rounds of each, in turn, so that neither has the quieter machine.
const ROUNDS: usize = 7;
const ROUND_TIME: Duration = Duration::from_millis(1500);

/// Prints the rows.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let bare = Bare::start(options).await?;
    let site = Site::start(options, &["--driver", "simulated"]).await?;
    let (mut bare_samples, mut http_samples) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bare_samples.extend(bare.one_by_one(COMMIT_BYTES, SAMPLES).await?);
        http_samples.extend(one_client(&site, round).await?);
    }
    let (bare_stats, http_stats) = (Stats::of(bare_samples), Stats::of(http_samples));
    println!(
        "| small durable command over HTTP, one client | {} | {} | {} (bare synced publish of {COMMIT_BYTES} bytes; p99 {}) | {} | ≤ 2.5 |",
        ms(http_stats.median()),
        ms(http_stats.percentile(99)),
        ms(bare_stats.median()),
        ms(bare_stats.percentile(99)),
        ratio(http_stats.median(), bare_stats.median())
    );
    let (mut bare_rates, mut http_rates) = (Vec::new(), Vec::new());
    let (mut done, before) = (0.0, site.cpu()?);
    for round in 0..ROUNDS {
        bare_rates.push(bare.pipelined(COMMIT_BYTES, 2 * CLIENTS, ROUND_TIME).await?);
        let rate = many_clients(&site, round).await?;
        done += rate * ROUND_TIME.as_secs_f64();
        http_rates.push(rate);
    }
    let after = site.cpu()?;
    let mut ratios: Vec<f64> = http_rates.iter().zip(&bare_rates).map(|(http, bare)| http / bare).collect();
    println!(
        "| the same, {CLIENTS} clients | {:.0}/s | | {:.0}/s (bare, pipelined) | {:.2} | ≥ 0.7 |",
        middle(&mut http_rates),
        middle(&mut bare_rates),
        middle(&mut ratios)
    );
    let each = |time: Duration| time.as_secs_f64() * 1e6 / done;
    println!(
        "| CPU time of each of these, daemon + nats-server | {:.0} + {:.0} µs | | | | |",
        each(after.0 - before.0),
        each(after.1 - before.1)
    );
    bare.stop().await;
    Ok(())
}

fn flavor(name: &str) -> String {
    format!(r#"{{"name":"{name}","vcpus":1,"memory_mib":512,"disk_gib":1}}"#)
}

async fn one_client(site: &Site, round: usize) -> Result<Vec<Duration>, Failure> {
    let mut client = site.client().await?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for n in 0..SAMPLES {
        let body = flavor(&format!("one-{round}-{n}"));
        let begun = Instant::now();
        client.change("POST", &format!("{PREFIX}/flavors"), &body).await?;
        samples.push(begun.elapsed());
    }
    Ok(samples)
}

async fn many_clients(site: &Site, round: usize) -> Result<f64, Failure> {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for c in 0..CLIENTS {
        let mut client = site.client().await?;
        tasks.spawn(async move {
            let mut done = 0_u32;
            while begun.elapsed() < ROUND_TIME {
                let body = flavor(&format!("many-{round}-{c}-{done}"));
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
