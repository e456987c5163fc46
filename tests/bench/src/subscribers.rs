//! A thousand programs that follow the site's events while it works: how soon each hears, and whether each hears all.
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    Failure, Options,
    http::PREFIX,
    site::Site,
    stats::{Stats, ms},
};

const SUBSCRIBERS: usize = 1000;
/// One in so many looks at the time of each event; the others only count.
const LOOKS: usize = 20;
const COMMITS_A_SECOND: u64 = 500;
const SECONDS: u64 = 10;
/// How long the last event may take to come to all.
const DEADLINE: Duration = Duration::from_secs(60);

/// Prints the row.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let site = Site::start(options, &["--driver", "simulated"]).await?;
    let wanted = COMMITS_A_SECOND * SECONDS;
    let mut subscribers = Vec::with_capacity(SUBSCRIBERS);
    for number in 0..SUBSCRIBERS {
        let stream = subscribe(&site).await?;
        subscribers.push(tokio::spawn(listen(stream, wanted, number % LOOKS == 0)));
    }
    let before = site.cpu()?;
    let begun = Instant::now();
    let (mut client, mut beat) =
        (site.client().await?, interval(Duration::from_secs(1) / u32::try_from(COMMITS_A_SECOND)?));
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0..wanted {
        beat.tick().await;
        let body = format!(r#"{{"name":"s-{n}","vcpus":1,"memory_mib":512,"disk_gib":1}}"#);
        client.change("POST", &format!("{PREFIX}/flavors"), &body).await?;
    }
    let elapsed = begun.elapsed();
    let mut delays = Vec::new();
    let (mut whole, mut told) = (0, 0);
    for subscriber in subscribers {
        let (count, mut found) = timeout(DEADLINE, subscriber).await???;
        whole += usize::from(count == wanted);
        told += count;
        delays.append(&mut found);
    }
    let after = site.cpu()?;
    let stats = Stats::of(delays);
    println!(
        "| {SUBSCRIBERS} subscribers, {:.0} commits/s: decided to delivered | {} | {} | {whole} of {SUBSCRIBERS} heard all of {wanted}; {:.0} deliveries/s, {:.2} cores of the daemon | | p99 ≤ 50 ms, nothing lost |",
        wanted as f64 / elapsed.as_secs_f64(),
        ms(stats.median()),
        ms(stats.percentile(99)),
        told as f64 / elapsed.as_secs_f64(),
        (after.0 - before.0).as_secs_f64() / elapsed.as_secs_f64()
    );
    Ok(())
}

async fn subscribe(site: &Site) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(&site.address).await?;
    let head = format!(
        "GET /edgetron/events?type=FlavorCreated HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\r\n",
        site.token
    );
    stream.write_all(head.as_bytes()).await?;
    // The first sign of life says that it listens.
    let mut text = Vec::new();
    while !contains(&text, b"event: heartbeat") {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Err(format!("no stream: {}", String::from_utf8_lossy(&text)).into());
        }
        text.extend_from_slice(&piece[..length]);
    }
    Ok(stream)
}

/// Counts events until all have come; where `looks`, the time from each one's decision to here.
async fn listen(mut stream: TcpStream, wanted: u64, looks: bool) -> Result<(u64, Vec<Duration>), Failure> {
    let (mut count, mut delays) = (0, Vec::new());
    let mut rest: Vec<u8> = Vec::new();
    let mut piece = vec![0; 64 << 10];
    while count < wanted {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        let now = Utc::now();
        rest.extend_from_slice(&piece[..length]);
        // An event begins with `data: {"specversion"`, and its time comes early in it.
        let mut at = 0;
        while let Some(found) = find(&rest[at..], b"\"specversion\"") {
            let Some(end) = find(&rest[at + found..], b"\n\n") else { break };
            if looks {
                let event = &rest[at + found..at + found + end];
                if let Some(time) = time_of(event) {
                    delays.push((now - time).to_std().unwrap_or_default());
                }
            }
            count += 1;
            at += found + end + 2;
        }
        rest.drain(..at);
    }
    Ok((count, delays))
}

fn time_of(event: &[u8]) -> Option<DateTime<Utc>> {
    const KEY: &[u8] = b"\"time\":\"";
    let from = find(event, KEY)? + KEY.len();
    let length = event[from..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&event[from..from + length]).ok()?.parse().ok()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}
