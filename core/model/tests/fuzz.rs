//! A fuzz target for the commit decoder: the golden corpus, changed at random, in a bounded time.
//!
//! It never panics, whatever the bytes; what it reads encodes to bytes that it reads as the same; and folding what it
//! reads never panics either. `EDGESTACK_FUZZ_SECONDS=600 cargo nextest run -p edgestack-model --test fuzz` looks longer;
//! each day has another seed, or `EDGESTACK_FUZZ_SEED=7`; a failure prints it and the bytes. Why no libFuzzer: ADR 0027.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]
#![allow(clippy::disallowed_methods, reason = "the model knows no clock; how long it is tried, the test decides")]

#[path = "fuzz/mutation.rs"]
mod mutation;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use edgestack_model::{Commit, World};
use mutation::Mutator;

/// All golden commits, and a commit of each golden event.
fn corpus() -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let commit = fs::read(golden.join("commit/v1.json")).unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(&commit).unwrap();
    let mut corpus = vec![serde_json::to_vec(&envelope).unwrap()];
    for kind in fs::read_dir(golden.join("events")).unwrap() {
        for file in fs::read_dir(kind.unwrap().path()).unwrap() {
            let event: serde_json::Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            let mut one = envelope.clone();
            one["events"] = serde_json::json!([event]);
            corpus.push(serde_json::to_vec(&one).unwrap());
        }
    }
    corpus.sort();
    corpus
}

/// What must hold of any bytes; whether they are a commit.
fn check(bytes: &[u8]) -> bool {
    let Ok(commit) = Commit::decode(bytes) else { return false };
    let encoded = commit.encode().unwrap();
    let again = Commit::decode(&encoded).unwrap();
    assert_eq!(again, commit, "what was read encodes to something else");
    // Whether it fits is another question; it is answered, not guessed.
    let _ = World::default().evolve(&commit);
    true
}

#[test]
fn any_bytes_decode_or_are_refused_and_what_decodes_means_the_same_when_encoded_again() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seconds, seed) = (number("EDGESTACK_FUZZ_SECONDS").unwrap_or(5), mutation::seed());
    let corpus = corpus();
    assert!(corpus.len() > 40 && corpus.iter().all(|bytes| check(bytes)), "each of the corpus is a commit");
    let mut mutator = Mutator::new(seed, corpus);
    let (end, mut tried, mut read) = (Instant::now() + Duration::from_secs(seconds), 0_u64, 0_u64);
    while Instant::now() < end {
        let bytes = mutator.next();
        match catch_unwind(AssertUnwindSafe(|| check(&bytes))) {
            Ok(is_commit) => read += u64::from(is_commit),
            Err(_) => panic!("the bytes above this line broke it: {}", String::from_utf8_lossy(&bytes)),
        }
        tried += 1;
    }
    println!("{tried} payloads, {read} of them commits, none broke it (seed {seed}, {seconds} s)");
    assert!(
        read * 200 > tried,
        "almost nothing was a commit: the changes are too wild to reach what comes after parsing"
    );
}
