use serde_json::json;

use crate::site::Site;

async fn with_flavors(count: usize) -> Site {
    let site = Site::new().await;
    for at in 0..count {
        let flavor = json!({
            "name": format!("f-{at:02}"), "vcpus": 1, "memory_mib": 64, "disk_gib": 1,
            "labels": {"parity": if at % 2 == 0 { "even" } else { "odd" }, "site": "b"},
        });
        site.call("POST", "/flavors", Some(flavor)).await.expect(201);
    }
    site
}

fn names(list: &serde_json::Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_in_order_of_name_without_gaps() {
    let site = with_flavors(7).await;
    let mut all = Vec::new();
    let mut path = "/flavors?limit=3".to_owned();
    loop {
        let page = site.get(&path).await.expect(200).json();
        assert_eq!(page["sequence"], site.state.replica.head().sequence);
        assert!(names(&page).len() <= 3);
        all.extend(names(&page));
        match page["continue"].as_str() {
            Some(token) => path = format!("/flavors?limit=3&continue={token}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..7).map(|at| format!("f-{at:02}")).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_last_page_that_is_just_full_has_no_continue() {
    let site = with_flavors(4).await;
    let page = site.get("/flavors?limit=4").await.json();
    assert_eq!(names(&page).len(), 4);
    assert_eq!(page.get("continue"), None);
    let page = site.get("/flavors?limit=2&label=parity=even").await.json();
    assert_eq!(names(&page), ["f-00", "f-02"]);
    assert_eq!(page.get("continue"), None);
}

#[tokio::test]
async fn names_labels_and_states_filter() {
    let site = with_flavors(4).await;
    let get = async |query: &str| names(&site.get(&format!("/flavors?{query}")).await.expect(200).json());
    assert_eq!(get("name=f-01").await, ["f-01"]);
    assert_eq!(get("name=none").await, [""; 0]);
    assert_eq!(get("name=NOT%20A%20NAME").await, [""; 0]);
    assert_eq!(get("label=parity%3Dodd").await, ["f-01", "f-03"]);
    assert_eq!(get("label=parity=odd,site=b").await, ["f-01", "f-03"]);
    assert_eq!(get("label=parity=odd,site=c").await, [""; 0]);
    assert_eq!(get("name=f-01&label=parity=even").await, [""; 0]);
    let nodes = site.get("/nodes?state=ready,not_ready").await.expect(200).json();
    assert_eq!(names(&nodes), ["edge-1"]);
    assert_eq!(names(&site.get("/nodes?state=not_ready").await.json()), [""; 0]);
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let site = Site::new().await;
    for (path, parameter) in [
        ("/vms?limit=0", "limit"),
        ("/vms?limit=1001", "limit"),
        ("/vms?limit=ten", "limit"),
        ("/vms?continue=%25%25", "continue"),
        ("/vms?label=a", "label"),
        ("/vms?label=-a=b", "label"),
        ("/vms?label=a=b,a=c", "label"),
        ("/vms?state=runnning", "state"),
        ("/flavors?state=active", "state"),
        ("/vms?watch=yes", "watch"),
        ("/vms?colour=red", "colour"),
        ("/vms?name=a&name=b", "name"),
        ("/nodes/edge-1?watch=true", "watch"),
        ("/nodes/edge-1/events?after=1", "after"),
        ("/nodes/edge-1/events?continue=eA", "continue"),
    ] {
        site.get(path).await.expect_problem(400, "invalid-parameter", Some(parameter));
    }
}

#[tokio::test]
async fn every_kind_can_be_listed() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    site.call("POST", "/keypairs", Some(json!({"name": "laptop"}))).await.expect(201);
    for (kind, name) in [
        ("vms", "web"),
        ("images", "debian"),
        ("flavors", "small"),
        ("keypairs", "laptop"),
        ("nodes", "edge-1"),
        ("volumes", "web-root"),
    ] {
        assert_eq!(names(&site.get(&format!("/{kind}")).await.expect(200).json()), [name]);
        site.get(&format!("/{kind}/{name}")).await.expect(200);
        site.get(&format!("/{kind}/{name}/events")).await.expect(200);
    }
}
