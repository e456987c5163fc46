//! Serves a whole site in memory on loopback, with simulated workers: for trying
//! MM3 without NATS and QEMU, and for running API test tools against it.
//!
//! `cargo run -p edgestack-server --example in_memory -- 127.0.0.1:8080`, then
//! `Authorization: Bearer a-token-of-the-tests`.

#[allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // It is the tests' own room.
#[path = "../tests/mm3/site.rs"]
mod site;

use edgestack_server::Listener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let site = site::Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    site.with_vm("web").await;
    let listener = Listener::bind(address.parse()?, None).await?;
    println!("http://{} Bearer {}", listener.address(), site::TOKEN);
    listener.serve(site.app.clone(), site.shutdown.clone()).await;
    Ok(())
}
