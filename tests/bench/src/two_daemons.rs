//! Writers on two daemons of one log against as many on one daemon alone.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::{
    Failure, Options,
    http::{Client, PREFIX},
    site::Site,
    stats::middle,
};

const CLIENTS: usize = 32;
/// Rounds of each, in turn, so that neither has the quieter machine.
const ROUNDS: usize = 7;
const ROUND_TIME: Duration = Duration::from_millis(1500);
/// How long the second daemon may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A daemon that has joined a site; ended when dropped.
struct Joined {
    _daemon: Child,
    address: String,
    token: String,
}

impl Joined {
    async fn start(options: &Options, site: &Site) -> Result<Self, Failure> {
        let program = match &options.edgestackd {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("edgestackd"),
        };
        let printed = Command::new(&program).arg("--state-dir").arg(site.folder()).arg("--print-join").output().await?;
        let (ticket, folder) = (site.folder().join("join.json"), site.folder().join("second"));
        std::fs::write(&ticket, printed.stdout)?;
        let daemon = Command::new(&program)
            .arg("--state-dir")
            .arg(&folder)
            .arg("--join")
            .arg(&ticket)
            .args(["--listen", "127.0.0.1:0", "--node", "second"])
            .env("EDGESTACK_LOG", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let begun = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(folder.join("client.json")) {
                let client: serde_json::Value = serde_json::from_str(&text)?;
                let text = |key: &str| client[key].as_str().unwrap_or_default().to_owned();
                return Ok(Self { _daemon: daemon, address: text("url").replace("http://", ""), token: text("token") });
            }
            if begun.elapsed() > START_DEADLINE {
                return Err("the second daemon did not start in time".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Prints the row.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let alone = Site::start(options, &["--driver", "simulated"]).await?;
    let pair = Site::start(options, &["--driver", "simulated"]).await?;
    let second = Joined::start(options, &pair).await?;
    let (mut of_one, mut of_two, mut followed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let one = (alone.address.as_str(), alone.token.as_str());
        of_one.push(rate(&[one], round).await?);
        let two = [(pair.address.as_str(), pair.token.as_str()), (second.address.as_str(), second.token.as_str())];
        of_two.push(rate(&two, round).await?);
        followed.push(rate(&two[..1], round + ROUNDS).await?);
    }
    let (two, one, followed) = (middle(&mut of_two), middle(&mut of_one), middle(&mut followed));
    println!(
        "| {CLIENTS} writers on two daemons of one log | {two:.0}/s | | {one:.0}/s (on one daemon alone) | {:.2} | ≥ 1 |",
        two / one
    );
    println!(
        "| {CLIENTS} writers on one of two daemons, the other only follows | {followed:.0}/s | | {one:.0}/s (the same) | {:.2} | |",
        followed / one
    );
    Ok(())
}

/// Commands a second, of clients that are shared out among some daemons.
async fn rate(daemons: &[(&str, &str)], round: usize) -> Result<f64, Failure> {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for (number, (address, token)) in daemons.iter().cycle().take(CLIENTS).enumerate() {
        let mut client = Client::connect(address, token).await?;
        tasks.spawn(async move {
            let mut done = 0_u32;
            while begun.elapsed() < ROUND_TIME {
                let name = format!("many-{round}-{number}-{done}");
                let body = format!(r#"{{"name":"{name}","vcpus":1,"memory_mib":512,"disk_gib":1}}"#);
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
