//! The task against a server that is played here, over a pipe in memory; time passes by itself when nothing happens.

use serde_json::{Value as Json, json};
use tokio::io::DuplexStream;

use super::*;
use crate::ovsdb::{Changes, Client, Operation, OperationResult, Row, Value, endpoint::Endpoint};

const WATCHED: [Watched; 1] = [Watched { table: "T", columns: &["name"] }];
const LONG: Duration = Duration::from_secs(3600);

/// The server's side.
struct Server {
    stream: DuplexStream,
    frames: Frames,
}

impl Server {
    async fn hear(&mut self) -> Json {
        loop {
            if let Some(message) = self.frames.next().unwrap() {
                return serde_json::from_slice(&message).unwrap();
            }
            assert_ne!(self.stream.read_buf(self.frames.room()).await.unwrap(), 0, "the client closed the connection");
        }
    }

    async fn say(&mut self, message: Json) {
        self.stream.write_all(message.to_string().as_bytes()).await.unwrap();
    }

    /// Answers to the monitors.
    async fn begin(&mut self) {
        for (id, result) in [("server", json!({})), ("copy", json!({}))] {
            let request = self.hear().await;
            assert_eq!((&request["method"], &request["id"]), (&json!("monitor"), &json!(id)));
            self.say(json!({"id": id, "result": result, "error": null})).await;
        }
    }
}

fn server() -> (Server, Stream) {
    let (ours, theirs) = tokio::io::duplex(256);
    (Server { stream: theirs, frames: Frames::new() }, Stream::of(ours))
}

async fn client(stream: Stream) -> Result<Client, Ended> {
    Client::over(stream, &Endpoint::Unix("/played".into()), "D", &WATCHED).await
}

async fn connected() -> (Server, Client) {
    let (mut server, stream) = server();
    let (client, ()) = tokio::join!(client(stream), server.begin());
    (server, client.unwrap())
}

fn row(name: &str) -> Json {
    json!({"T": {"00000000-0000-0000-0000-000000000001": {"new": {"name": name}}}})
}

async fn reason(mut changes: Changes) -> Ended {
    loop {
        match changes.changed().await {
            Ok(_) => {}
            Err(OvsdbError::Ended(ended)) => return ended,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_asked_and_then_given_up() {
    let (mut server, client) = connected().await;
    let began = Instant::now();
    let changes = client.changes();
    for _ in 0..3 {
        assert_eq!(server.hear().await, json!({"method": "echo", "params": [], "id": "echo"}));
        server.say(json!({"id": "echo", "result": [], "error": null})).await;
    }
    assert!(matches!(reason(changes).await, Ended::Silent(_)));
    assert!(!client.is_connected());
    assert_eq!(began.elapsed().as_secs(), (3 * PROBE_AFTER + PROBE_AFTER + SIGN_OF_LIFE_WITHIN).as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_sign_of_life_gets_it() {
    let (mut server, _client) = connected().await;
    server.say(json!({"method": "echo", "params": ["you", 1], "id": "theirs"})).await;
    assert_eq!(server.hear().await, json!({"id": "theirs", "result": ["you", 1], "error": null}));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_out_after_the_update_before_it() {
    let (mut server, client) = connected().await;
    let operations = [Operation::insert("T", Row::new().with("name", Value::text("a")))];
    let answering = async {
        let request = server.hear().await;
        server.say(json!({"method": "update", "params": ["copy", row("a")], "id": null})).await;
        let result = json!([{"uuid": ["uuid", "00000000-0000-0000-0000-000000000001"]}]);
        server.say(json!({"id": request["id"], "result": result, "error": null})).await;
    };
    let (results, ()) = tokio::join!(client.transact(&operations, LONG), answering);
    assert_eq!(results.unwrap(), [OperationResult::Inserted(uuid::Uuid::from_u128(1))]);
    assert!(client.copy().find("T", "name", "a").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_sent_and_not_answered_has_an_unknown_outcome() {
    let (mut server, client) = connected().await;
    let ending = async {
        server.hear().await;
        drop(server);
    };
    let comment = [Operation::comment("x")];
    let (outcome, ()) = tokio::join!(client.transact(&comment, LONG), ending);
    assert!(matches!(outcome, Err(OvsdbError::UnknownOutcome(Lost::Ended(Ended::Closed)))), "{outcome:?}");
    let outcome = client.transact(&[Operation::comment("x")], LONG).await;
    assert!(matches!(outcome, Err(OvsdbError::Ended(Ended::Closed))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_not_answered_in_time_is_canceled() {
    let (mut server, client) = connected().await;
    let outcome = client.transact(&[Operation::comment("x")], Duration::from_secs(1)).await;
    assert!(matches!(outcome, Err(OvsdbError::UnknownOutcome(Lost::TimedOut(_)))), "{outcome:?}");
    let request = server.hear().await;
    assert_eq!(server.hear().await, json!({"method": "cancel", "params": [request["id"]], "id": null}));
    server.say(json!({"id": request["id"], "result": null, "error": "canceled"})).await;
    let answering = async {
        let request = server.hear().await;
        server.say(json!({"id": request["id"], "result": [{}], "error": null})).await;
    };
    let comment = [Operation::comment("x")];
    let (outcome, ()) = tokio::join!(client.transact(&comment, LONG), answering);
    assert_eq!(outcome.unwrap(), [OperationResult::Done], "the late answer is not taken for that of another");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_told() {
    let (mut server, client) = connected().await;
    for result in [json!([]), json!([{"count": 1}]), json!([null]), json!([{}, {}])] {
        let answering = async {
            let request = server.hear().await;
            server.say(json!({"id": request["id"], "result": result, "error": null})).await;
        };
        let comment = [Operation::comment("x")];
        let (outcome, ()) = tokio::join!(client.transact(&comment, LONG), answering);
        assert!(matches!(outcome, Err(OvsdbError::UnknownOutcome(Lost::Answer(_)))), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_protocol_is_left() {
    for message in [
        json!([]),
        json!({"id": 1}),
        json!({"method": "update", "params": ["copy", {"U": {}}], "id": null}),
        json!({"method": "update", "params": ["copy", 1], "id": null}),
    ] {
        let (mut server, client) = connected().await;
        let changes = client.changes();
        server.say(message.clone()).await;
        let ended = reason(changes).await;
        assert!(matches!(ended, Ended::Violation(_)), "{message}: {ended}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_outside_of_its_cluster_is_not_believed() {
    let (mut played, stream) = server();
    let itself = |connected: bool| {
        let row = json!({"new": {"name": "D", "connected": connected}});
        json!({"Database": {"00000000-0000-0000-0000-000000000002": row}})
    };
    played.say(json!({"id": "server", "result": itself(false), "error": null})).await;
    assert!(matches!(client(stream).await, Err(Ended::Outside)));

    let (mut played, client) = connected().await;
    let changes = client.changes();
    played.say(json!({"method": "update", "params": ["server", itself(true)], "id": null})).await;
    played.say(json!({"method": "update", "params": ["server", itself(false)], "id": null})).await;
    assert!(matches!(reason(changes).await, Ended::Outside));
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_its_last_client() {
    let (mut server, client) = connected().await;
    let (other, changes) = (client.clone(), client.changes());
    drop(client);
    server.say(json!({"method": "update", "params": ["copy", row("a")], "id": null})).await;
    other.until("the row", LONG, |copy| copy.find("T", "name", "a").map(|_| ())).await.unwrap();
    drop(other);
    assert!(matches!(reason(changes).await, Ended::GivenUp));
    assert_eq!(server.stream.read_buf(server.frames.room()).await.unwrap(), 0);
}
