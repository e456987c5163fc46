//! The OVSDB client against a real ovsdb-server with OVN's northbound schema.

#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

#[path = "ovsdb/server.rs"]
mod server;

use std::time::{Duration, Instant};

use edgestack_ovn::ovsdb::{
    Atom, Client, Ended, LocalCopy, Mutation, Operation, OperationResult, OvsdbError, Row, Selection, Tls, Value,
    Watched,
};
use server::{DATABASE, Model, Pki, SOON, Server, WATCHED, endpoints, free_port, server};
use uuid::Uuid;

fn a_set(name: &str) -> Operation {
    Operation::insert("Address_Set", Row::new().with("name", Value::text(name)))
}

fn inserted(results: &[OperationResult]) -> Vec<Uuid> {
    let uuid = |result: &OperationResult| if let OperationResult::Inserted(uuid) = result { Some(*uuid) } else { None };
    results.iter().filter_map(uuid).collect()
}

/// Carries out one operation and answers with the row that it inserted.
async fn insert(client: &Client, operation: Operation) -> Uuid {
    inserted(&client.transact(&[operation], SOON).await.unwrap())[0]
}

fn names(copy: &LocalCopy, table: &str) -> Vec<String> {
    let mut names: Vec<_> = copy.rows(table).filter_map(|(_, row)| row.text("name").map(str::to_owned)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_first_copy_has_what_the_database_has() {
    let Some(server) = server() else { return };
    let first = server.client().await;
    assert_eq!(*first.copy(), LocalCopy::of(&WATCHED));
    let row = Row::new()
        .with("name", Value::text("ü \"{\\"))
        .with("addresses", Value::texts(["10.0.0.2", "10.0.0.1"]))
        .with("external_ids", Value::map([("owner", "edgestack")]));
    let uuid = insert(&first, Operation::insert("Address_Set", row.clone())).await;
    let second = server.client().await;
    assert_eq!(*second.copy(), LocalCopy::of(&WATCHED).with("Address_Set", uuid, row));
    assert_eq!(first.copy(), second.copy());
    assert!(second.is_connected());
    assert_eq!((second.endpoint(), second.database()), (&server.endpoint(), DATABASE));
}

#[tokio::test]
async fn rows_of_one_transaction_refer_to_each_other() {
    let Some(server) = server() else { return };
    let client = server.client().await;
    let ports = Value::set(["one", "two"].map(|name| Atom::NamedUuid(name.to_owned())));
    let port = |name: &str| {
        let row = Row::new().with("name", Value::text(name)).with("tag", Value::integer(7));
        Operation::insert_named(name, "Logical_Switch_Port", row)
    };
    let operations = [
        Operation::insert("Logical_Switch", Row::new().with("name", Value::text("net")).with("ports", ports)),
        port("one"),
        port("two"),
        Operation::comment("a network with two ports"),
    ];
    let results = client.transact(&operations, SOON).await.unwrap();
    assert_eq!(results[3], OperationResult::Done);
    let [switch, one, two] = inserted(&results)[..] else { panic!("{results:?}") };
    let copy = client.copy();
    let mut referred: Vec<_> = copy.row("Logical_Switch", switch).unwrap().uuids("ports").collect();
    referred.sort();
    let mut ports = [one, two];
    ports.sort();
    assert_eq!(referred, ports);
    assert_eq!(copy.row("Logical_Switch_Port", one).unwrap().integer("tag"), Some(7));
    assert_eq!(copy.row("Logical_Switch_Port", one).unwrap().get("up"), Some(&Value::empty()));
}

#[tokio::test]
async fn what_a_transaction_did_is_in_the_copy_when_it_answers() {
    let Some(server) = server() else { return };
    let client = server.client().await;
    let uuid = insert(&client, a_set("a")).await;
    let global = insert(&client, Operation::insert("NB_Global", Row::new())).await;

    let row = Row::new().with("name", Value::text("b")).with("addresses", Value::text("10.0.0.1"));
    let results = client.transact(&[Operation::update("Address_Set", uuid, row)], SOON).await.unwrap();
    assert_eq!(results, [OperationResult::Count(1)]);
    assert_eq!(client.copy().row("Address_Set", uuid).unwrap().text("name"), Some("b"));

    let mutations = [
        Mutation::insert("addresses", Value::texts(["10.0.0.2", "10.0.0.3"])),
        Mutation::delete("addresses", Value::text("10.0.0.1")),
        Mutation::insert("external_ids", Value::map([("k", "v"), ("l", "w"), ("m", "x")])),
        Mutation::delete("external_ids", Value::texts(["k"])),
        Mutation::delete("external_ids", Value::map([("l", "w"), ("m", "another")])),
        Mutation::insert("external_ids", Value::map([("m", "is there already")])),
    ];
    let operations = [
        Operation::mutate("Address_Set", uuid, mutations),
        Operation::mutate("NB_Global", global, [Mutation::add("nb_cfg", 5), Mutation::add("nb_cfg", -2)]),
    ];
    let results = client.transact(&operations, SOON).await.unwrap();
    assert_eq!(results, [OperationResult::Count(1), OperationResult::Count(1)]);
    let copy = client.copy();
    let row = copy.row("Address_Set", uuid).unwrap();
    assert_eq!(row.get("addresses"), Some(&Value::texts(["10.0.0.2", "10.0.0.3"])));
    assert_eq!(row.get("external_ids"), Some(&Value::map([("m", "x")])));
    assert_eq!(copy.row("NB_Global", global).unwrap().integer("nb_cfg"), Some(3));

    // A value that was read is one that can be written, and writing it changes nothing.
    let again = [Operation::update("Address_Set", uuid, row.clone()), Operation::delete("Address_Set", Uuid::nil())];
    let results = client.transact(&again, SOON).await.unwrap();
    assert_eq!(results, [OperationResult::Count(1), OperationResult::Count(0)]);
    assert_eq!(client.copy(), copy);

    let gone = [Operation::delete("Address_Set", Selection::having("name", Value::text("b")))];
    assert_eq!(client.transact(&gone, SOON).await.unwrap(), [OperationResult::Count(1)]);
    assert_eq!(names(&client.copy(), "Address_Set"), [""; 0]);
    assert_eq!(copy.row("Address_Set", uuid).unwrap().text("name"), Some("b"), "a copy once taken stays as it was");
}

#[tokio::test]
async fn a_refused_transaction_tells_the_servers_words_and_changes_nothing() {
    let Some(server) = server() else { return };
    let client = server.client().await;
    let kept = insert(&client, a_set("kept")).await;
    insert(&client, Operation::insert("NB_Global", Row::new())).await;
    let before = client.copy();
    let other_column = Row::new().with("colour", Value::text("red"));
    let refers = Row::new().with("name", Value::text("n")).with("ports", Value::uuid(Uuid::from_u128(1)));
    let acl = Row::new()
        .with("direction", Value::text("sideways"))
        .with("action", Value::text("drop"))
        .with("match", Value::text("1"))
        .with("priority", Value::integer(1));
    for (second, operation, error, details) in [
        (Operation::insert("Address_Set", other_column), Some(1), "unknown column", "No column colour in table"),
        (Operation::insert("Nothing", Row::new()), Some(1), "syntax error", "No table named Nothing"),
        (Operation::insert("ACL", acl), Some(1), "constraint violation", "sideways"),
        (a_set("kept"), None, "constraint violation", "identical values (kept) for index"),
        (Operation::insert("NB_Global", Row::new()), None, "constraint violation", "contain 2 rows"),
        (Operation::insert("Logical_Switch", refers), None, "referential integrity violation", "nonexistent row"),
        (
            Operation::wait("Address_Set", kept, ["name"], [Row::new().with("name", Value::text("else"))]),
            Some(1),
            "timed out",
            "\"where\" clause test failed",
        ),
    ] {
        let refused = match client.transact(&[a_set("new"), second.clone()], SOON).await {
            Err(OvsdbError::Refused(refused)) => refused,
            other => panic!("{second:?}: {other:?}"),
        };
        assert_eq!((refused.operation, refused.error.as_str()), (operation, error), "{refused}");
        assert!(refused.to_string().contains(details), "{refused}");
        assert_eq!(refused.guard_failed(), error == "timed out");
        assert_eq!(client.copy(), before, "{refused}");
    }
    assert_eq!(server.client().await.copy(), before);
    let holds = Operation::wait("Address_Set", kept, ["name"], [Row::new().with("name", Value::text("kept"))]);
    let absent = Operation::wait("Address_Set", Selection::having("name", Value::text("new")), ["name"], []);
    client.transact(&[holds, absent, a_set("new")], SOON).await.unwrap();
    assert_eq!(names(&client.copy(), "Address_Set"), ["kept", "new"]);
}

#[tokio::test]
async fn what_the_server_does_not_have_is_refused_at_once() {
    let Some(server) = server() else { return };
    for (database, watched, error) in [
        ("Nothing", WATCHED[0], "unknown database"),
        (DATABASE, Watched { table: "Nothing", columns: &[] }, "no table named Nothing"),
        (DATABASE, Watched { table: "Address_Set", columns: &["name", "colour"] }, "colour"),
    ] {
        match server.connect(database, &[watched]).await {
            Err(OvsdbError::Refused(refused)) => {
                assert!(refused.to_string().contains(error), "{refused}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_change_of_another_client_wakes_who_waits_for_it() {
    let Some(server) = server() else { return };
    let (ours, theirs) = (server.client().await, server.client().await);
    let found = |copy: &LocalCopy| copy.find("Address_Set", "name", "theirs").map(|(uuid, _)| uuid);
    let mut changes = ours.changes();
    let (awaited, inserted) = tokio::join!(ours.until("their set", SOON, found), insert(&theirs, a_set("theirs")));
    assert_eq!(awaited.unwrap(), inserted);
    assert_eq!(found(&changes.changed().await.unwrap()), Some(inserted));
    assert_eq!(ours.until("what is there already", SOON, found).await.unwrap(), inserted);
    let never = ours.until("what never comes", Duration::from_millis(50), |_| None::<()>).await;
    match never {
        Err(error @ OvsdbError::TimedOut { .. }) => assert_eq!(error.to_string(), "what never comes: not within 50ms"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn transactions_of_many_at_once_are_each_answered() {
    let Some(server) = server() else { return };
    let client = server.client().await;
    let global = insert(&client, Operation::insert("NB_Global", Row::new())).await;
    let each = (0..200).map(|number: i64| {
        let client = client.clone();
        async move {
            let operations =
                [Operation::mutate("NB_Global", global, [Mutation::add("nb_cfg", 1)]), a_set(&format!("s{number}"))];
            let results = client.transact(&operations, SOON).await.unwrap();
            let set = inserted(&results)[0];
            let copy = client.copy();
            assert_eq!(copy.row("Address_Set", set).unwrap().text("name"), Some(format!("s{number}").as_str()));
        }
    });
    futures::future::join_all(each).await;
    assert_eq!(client.copy().row("NB_Global", global).unwrap().integer("nb_cfg"), Some(200));
}

#[tokio::test]
async fn the_end_of_a_killed_server_is_told_at_once() {
    let Some(mut server) = server() else { return };
    let client = server.client().await;
    insert(&client, a_set("a")).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.until("what never comes", SOON, |_| None::<()>).await }
    });
    let mut changes = client.changes();
    tokio::task::yield_now().await;
    let killed = Instant::now();
    server.kill();
    let ended = waiting.await.unwrap();
    assert!(matches!(ended, Err(OvsdbError::Ended(Ended::Closed))), "{ended:?}");
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    assert!(!client.is_connected());
    assert!(matches!(changes.changed().await, Err(OvsdbError::Ended(Ended::Closed))));
    assert!(matches!(client.transact(&[a_set("b")], SOON).await, Err(OvsdbError::Ended(Ended::Closed))));
    assert!(matches!(client.until("a", SOON, |_| Some(())).await, Err(OvsdbError::Ended(_))));
    assert_eq!(names(&client.copy(), "Address_Set"), ["a"], "the last copy stays, for who wants to look");
    let again = server.connect(DATABASE, &WATCHED).await;
    assert!(matches!(again, Err(OvsdbError::Unreachable { .. })), "{again:?}");
}

#[tokio::test]
async fn a_big_copy_is_read_in_reasonable_time() {
    const ROWS: usize = 20_000;
    let Some(server) = server() else { return };
    let writer = server.client().await;
    let rows: Vec<Operation> = (0..ROWS)
        .map(|number| {
            let addresses = (0..20).map(|host| format!("10.{}.{}.{host}", number / 250, number % 250));
            let row = Row::new()
                .with("name", Value::text(format!("set-{number}")))
                .with("addresses", Value::texts(addresses))
                .with("external_ids", Value::map([("owner", "edgestack"), ("braces", "}{\"\\")]));
            Operation::insert("Address_Set", row)
        })
        .collect();
    let began = Instant::now();
    writer.transact(&rows, 6 * SOON).await.unwrap();
    eprintln!("{ROWS} rows written by one transaction, and in the copy, after {:?}", began.elapsed());
    let began = Instant::now();
    let reader = Client::connect(&server.endpoint().into(), DATABASE, &WATCHED, 3 * SOON).await.unwrap();
    let elapsed = began.elapsed();
    let bytes: usize = reader.copy().rows("Address_Set").map(|(_, row)| format!("{row:?}").len()).sum();
    eprintln!("{ROWS} rows, some {} MiB, read as the first copy in {elapsed:?}", bytes >> 20);
    assert_eq!(reader.copy().table("Address_Set").len(), ROWS);
    assert_eq!(reader.copy(), writer.copy());
    let held = reader.copy();
    let began = Instant::now();
    for number in 0..100 {
        insert(&reader, a_set(&format!("one-more-{number}"))).await;
    }
    eprintln!("one row more takes {:?} with a copy of all held", began.elapsed() / 100);
    assert_eq!(held.table("Address_Set").len(), ROWS);
}

#[tokio::test]
async fn the_servers_are_tried_in_turn() {
    let Some(server) = server() else { return };
    let (nobody, there) = ("unix:/nonexistent/socket", server.endpoint());
    let both = endpoints(&format!("{nobody},{there}"));
    let client = Client::connect(&both, DATABASE, &WATCHED, SOON).await.unwrap();
    assert_eq!(client.endpoint(), &there);
    let port = free_port();
    let neither = endpoints(&format!("{nobody},tcp:127.0.0.1:{port}"));
    let error = Client::connect(&neither, DATABASE, &WATCHED, SOON).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no server of the database OVN_Northbound can be used: {nobody}: cannot connect: No such file or directory \
             (os error 2); tcp:127.0.0.1:{port}: cannot connect: Connection refused (os error 111)"
        )
    );
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_takes_its_share_of_the_time_only() {
    let Some(server) = server() else { return };
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let both = endpoints(&format!("tcp:{},{}", mute.local_addr().unwrap(), server.endpoint()));
    let client = Client::connect(&both, DATABASE, &WATCHED, Duration::from_secs(2)).await.unwrap();
    assert_eq!(client.endpoint(), &server.endpoint());
}

#[tokio::test]
async fn a_clustered_database_is_like_any_other() {
    let Some(server) = Server::start(Model::Clustered, |_| Vec::new()) else { return };
    let client = server.client().await;
    for number in 0..20 {
        let name = format!("s{number}");
        let uuid = insert(&client, a_set(&name)).await;
        assert_eq!(client.copy().row("Address_Set", uuid).unwrap().text("name"), Some(name.as_str()));
    }
}

#[tokio::test]
async fn tls_trusts_the_ca_and_shows_a_certificate() {
    let Some(pki) = Pki::new() else { return };
    let port = free_port();
    let files = pki.files("server", "switchca");
    let Some(_server) = Server::start(Model::Standalone, |_| {
        vec![
            format!("--remote=pssl:{port}:127.0.0.1"),
            format!("--ca-cert={}", files.ca.display()),
            format!("--certificate={}", files.certificate.display()),
            format!("--private-key={}", files.private_key.display()),
        ]
    }) else {
        return;
    };
    let connect = |tls: Option<Tls>| async move {
        let mut endpoints = endpoints(&format!("ssl:127.0.0.1:{port}"));
        if let Some(tls) = tls {
            endpoints = endpoints.with_tls(tls);
        }
        Client::connect(&endpoints, DATABASE, &WATCHED, SOON).await
    };
    let client = connect(Some(pki.files("client", "switchca"))).await.unwrap();
    insert(&client, a_set("by TLS")).await;
    assert_eq!(names(&client.copy(), "Address_Set"), ["by TLS"]);

    let refused = |outcome: Result<Client, OvsdbError>, why: &str| {
        let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(why), "{why}: {error}");
    };
    refused(connect(None).await, "TLS cannot be set up: no CA, certificate and private key are given");
    refused(connect(Some(pki.files("client", "controllerca"))).await, "UnknownIssuer");
    refused(connect(Some(pki.files("nobody", "switchca"))).await, "nobody-");
}
