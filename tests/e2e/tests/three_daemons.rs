//! A log on three nodes: any one of them may be killed, cut off or damaged, nothing acknowledged is lost, and the others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use edgestack_e2e::{
    Node, PATIENCE, Three,
    damage::{blocks, cut_in_half, flip_in_the_middle},
    eventually,
};

/// A damaged replica is read again a minute after the last reading at the latest.
const FOUND_WITHIN: Duration = Duration::from_secs(120);

/// What was acknowledged, and how long each took at most.
#[derive(Default)]
struct Acknowledged {
    names: BTreeSet<String>,
    longest: Duration,
}

impl Acknowledged {
    /// Makes so many flavors on a node, each tried until it is acknowledged.
    async fn some(&mut self, node: &Node, prefix: &str, count: usize) {
        for number in 0..count {
            let (name, begun) = (format!("{prefix}-{number}"), Instant::now());
            // A try whose outcome nobody knew may have been stored.
            let made = |told: String| if told.contains("exists") { Ok(()) } else { Err(told) };
            let what = format!("{name} is acknowledged by {}", node.name);
            eventually(&what, PATIENCE, async || node.create_flavor(&name).or_else(made)).await;
            self.longest = self.longest.max(begun.elapsed());
            self.names.insert(name);
        }
    }
}

async fn await_said(node: &Node, words: &str, times: usize, within: Duration) {
    eventually(&format!("{} says {words:?}", node.name), within, async || {
        let said = node.log().matches(words).count();
        if said >= times { Ok(()) } else { Err(format!("{said} times\n{}", node.log())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_one_of_three_nodes_may_be_lost() {
    let Some(mut three) = Three::start("any_one_of_three_nodes_may_be_lost").await else { return };
    let mut acknowledged = Acknowledged::default();
    for node in &three.nodes {
        acknowledged.some(node, &format!("first-{}", node.name), 5).await;
    }
    println!("with all three, a command took {:?} at most", acknowledged.longest);
    for lost in 0..3 {
        acknowledged.longest = Duration::ZERO;
        three.nodes[lost].lose();
        for other in [(lost + 1) % 3, (lost + 2) % 3] {
            acknowledged.some(&three.nodes[other], &format!("without-{lost}-{other}"), 3).await;
        }
        println!(
            "node {} lost: a command on the others took {:?} at most",
            three.nodes[lost].name, acknowledged.longest
        );
        three.await_flavors(&[(lost + 1) % 3, (lost + 2) % 3], &acknowledged.names).await;
        three.nodes[lost].up().await;
        acknowledged.some(&three.nodes[lost], &format!("back-{lost}"), 1).await;
        three.await_flavors(&[lost], &acknowledged.names).await;
    }
    // The server alone: its daemon goes on with the others, and starts it again.
    for lost in 0..3 {
        three.nodes[lost].kill_server();
        acknowledged.some(&three.nodes[lost], &format!("server-{lost}"), 2).await;
    }
    three.await_flavors(&[0, 1, 2], &acknowledged.names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_replica_is_made_anew_from_the_others() {
    let Some(mut three) = Three::start("a_damaged_replica_is_made_anew_from_the_others").await else { return };
    let mut acknowledged = Acknowledged::default();
    for node in &three.nodes {
        acknowledged.some(node, &format!("first-{}", node.name), 8).await;
    }
    let (anew, whole) = ("this node's replica of the log is damaged", "the log is whole again");

    // While it is stopped, in order: what is killed, nats-server itself looks at when it starts.
    three.nodes[1].daemon.as_mut().unwrap().stop().await;
    blocks(three.nodes[1].state()).iter().for_each(|block| flip_in_the_middle(block));
    three.nodes[1].up().await;
    await_said(&three.nodes[1], anew, 1, FOUND_WITHIN).await;
    await_said(&three.nodes[1], whole, 1, PATIENCE).await;
    acknowledged.some(&three.nodes[1], "after-a-flip", 1).await;

    // A block cut in half (which its server gives up at once, or serves with a gap), the index lost, the whole store gone.
    let store = three.nodes[2].state().join("nats/jetstream");
    for damage in ["cut", "index", "store"] {
        three.nodes[2].daemon.as_mut().unwrap().stop().await;
        match damage {
            "cut" => blocks(three.nodes[2].state()).iter().for_each(|block| cut_in_half(block)),
            "index" => fs::remove_file(blocks(three.nodes[2].state())[0].with_file_name("index.db")).unwrap(),
            _ => fs::remove_dir_all(&store).unwrap(),
        }
        three.nodes[2].up().await;
        acknowledged.some(&three.nodes[2], &format!("after-{damage}"), 1).await;
        three.await_flavors(&[2], &acknowledged.names).await;
        eventually("the log is whole", FOUND_WITHIN, async || {
            let told = three.nodes[2].edgectl(&["verify-log"]);
            if told.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&told.stderr).into_owned()) }
        })
        .await;
    }

    // While it runs.
    let server = &three.nodes[0];
    blocks(server.state()).iter().for_each(|block| flip_in_the_middle(block));
    await_said(server, anew, 1, FOUND_WITHIN).await;
    // The others take commands all the while.
    acknowledged.some(&three.nodes[1], "meanwhile", 1).await;
    await_said(server, whole, 1, PATIENCE).await;
    acknowledged.some(server, "in-the-end", 1).await;
    three.await_flavors(&[0, 1, 2], &acknowledged.names).await;

    // And what each has now carries the site alone with any other.
    for lost in 0..3 {
        three.nodes[lost].lose();
        acknowledged.some(&three.nodes[(lost + 1) % 3], &format!("without-{lost}"), 1).await;
        three.nodes[lost].up().await;
    }
    three.await_flavors(&[0, 1, 2], &acknowledged.names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_writes_nothing_and_catches_up() {
    let test = "a_node_that_is_cut_off_writes_nothing_and_catches_up";
    let Some(three) = Three::start_in_namespaces(test).await else { return };
    let mut acknowledged = Acknowledged::default();
    for node in &three.nodes {
        acknowledged.some(node, &format!("first-{}", node.name), 3).await;
    }
    for cut in 0..3 {
        acknowledged.longest = Duration::ZERO;
        three.cut_off(cut);
        for other in [(cut + 1) % 3, (cut + 2) % 3] {
            acknowledged.some(&three.nodes[other], &format!("without-{cut}-{other}"), 2).await;
        }
        println!("{} cut off: a command on the others took {:?} at most", three.nodes[cut].name, acknowledged.longest);
        // A majority is not there: nothing is acknowledged, and reads go on.
        if cut == 0 {
            let told = three.nodes[cut].create_flavor("alone").expect_err("it is cut off");
            println!("the node that is cut off: {}", told.trim());
        }
        let read = three.nodes[cut].edgectl(&["list-flavors"]);
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        three.reconnect(cut);
        acknowledged.some(&three.nodes[cut], &format!("back-{cut}"), 1).await;
        three.await_flavors(&[0, 1, 2], &acknowledged.names).await;
    }
}
