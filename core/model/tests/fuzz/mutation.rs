//! JSON changed at random, by a seed: sometimes as bytes, mostly as a value, so that what comes out is often JSON still.

use std::time::SystemTime;

use serde_json::{Value, json};

/// The seed of a run: `EDGESTACK_FUZZ_SEED`, or else the day, so that each day tries others. A failure is tried again with the
/// one that is printed.
pub fn seed() -> u64 {
    let given = std::env::var("EDGESTACK_FUZZ_SEED").ok();
    let given = given.map(|text| text.parse().expect("EDGESTACK_FUZZ_SEED is a whole number"));
    let seed = given.unwrap_or_else(|| {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
        time.as_secs() / 86_400
    });
    println!("the same again: EDGESTACK_FUZZ_SEED={seed}");
    seed
}

/// Makes one document after the other from a corpus.
pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

/// What numbers and texts are replaced by: what is at the edges of something.
fn edges() -> Vec<Value> {
    let long = "x".repeat(5000);
    let mut edges = vec![
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(0),
        json!(-1),
        json!(1),
        json!(65536),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(0.5),
        json!(""),
        json!(" "),
        json!(long),
        json!("\u{0}"),
        json!("\u{feff}ä\u{1f600}"),
        json!("../../etc/passwd"),
        json!("-a"),
        json!("a-"),
        json!("A"),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("+262142-12-31T23:59:59Z"),
        json!("-262143-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:60Z"),
        json!("1970-01-01T00:00:00Z"),
        json!("running"),
        json!("always"),
        json!("halted"),
        json!("VmCreated"),
        json!("NodeRegistered"),
        json!("vm"),
        json!("volume"),
    ];
    edges.push((0..60).fold(json!(1), |inner, _| json!([inner])));
    edges
}

impl Mutator {
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self { state: seed, corpus }
    }

    /// SplitMix64: the same numbers in every release of every library.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap()
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        self.corpus[at].clone()
    }

    /// The next document.
    pub fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.pick();
        for _ in 0..1 + self.below(3) {
            bytes = match serde_json::from_slice(&bytes) {
                Ok(value) if self.below(10) > 0 => self.change_value(value),
                Ok(_) | Err(_) => self.change_bytes(bytes),
            };
        }
        bytes
    }

    fn change_value(&mut self, mut value: Value) -> Vec<u8> {
        let mut paths = Vec::new();
        collect(&value, String::new(), &mut paths);
        let path = paths[self.below(paths.len())].clone();
        let other: Value = serde_json::from_slice(&self.pick()).unwrap();
        let mut others = Vec::new();
        collect(&other, String::new(), &mut others);
        let from_other = other.pointer(&others[self.below(others.len())]).cloned().unwrap_or_default();
        let edges = edges();
        let edge = edges[self.below(edges.len())].clone();
        let choice = self.below(6);
        if let Some(place) = value.pointer_mut(&path) {
            match (choice, &mut *place) {
                (0, Value::Object(map)) => drop(map.insert("another".to_owned(), edge)),
                (0, Value::Array(list)) => list.extend(list.clone()),
                (1, Value::Object(map)) => {
                    let key = map.keys().nth(path.len() % map.len().max(1)).cloned().unwrap_or_default();
                    map.remove(&key);
                }
                (1, Value::Array(list)) => drop(list.pop()),
                (2, Value::String(text)) => text.push_str("-2"),
                (2, Value::Number(number)) => *place = json!(number.as_u64().unwrap_or_default().wrapping_add(1)),
                (3, _) => *place = from_other,
                _ => *place = edge,
            }
        }
        serde_json::to_vec(&value).unwrap()
    }

    fn change_bytes(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let length = bytes.len();
        let at = self.below(length);
        match self.below(5) {
            0 if length > 0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + self.below(40)).min(length);
                bytes.drain(at..end);
            }
            3 => {
                let other = self.pick();
                let from = self.below(other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let byte = u8::try_from(self.below(256)).unwrap();
                bytes.insert(at, byte);
            }
        }
        bytes
    }
}

/// The pointers (RFC 6901) of a value and all in it.
fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    paths.push(path.clone());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                collect(value, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), paths);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                collect(value, format!("{path}/{at}"), paths);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
