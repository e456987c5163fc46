use crate::site::{BASE, Site, request};

#[tokio::test]
async fn every_resource_path_asks_for_a_token() {
    let site = Site::new().await;
    for path in ["/vms", "/vms/x", "/nothing", "/vms/x/y/z"] {
        for wrong in ["Bearer wrong", "Basic YWRtaW4=", ""] {
            let reply = site.call_with("GET", path, &[("authorization", wrong)], None).await;
            let reply = reply.expect_problem(401, "unauthorized", None);
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
        let mut without = request("DELETE", path, &[]);
        without.headers_mut().remove("authorization");
        site.send(without).await.expect_problem(401, "unauthorized", None);
    }
}

#[tokio::test]
async fn a_refused_token_changes_nothing() {
    let site = Site::new().await;
    let before = site.state.replica.head().sequence;
    let flavor = serde_json::json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4});
    site.call_with("POST", "/flavors", &[("authorization", "Bearer no")], Some(flavor)).await.expect(401);
    assert_eq!(site.state.replica.head().sequence, before);
}

#[tokio::test]
async fn open_paths_need_no_token() {
    let site = Site::new().await;
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs", "/problems/name-taken", "/metrics"] {
        let mut open = request("GET", &format!("/{path}"), &[]);
        open.headers_mut().remove("authorization");
        site.send(open).await.expect(200);
    }
}

#[tokio::test]
async fn metrics_from_elsewhere_need_the_token() {
    let site = Site::new().await;
    let mut remote = request("GET", "//metrics", &[]);
    let peer: std::net::SocketAddr = "192.0.2.7:1000".parse().unwrap();
    remote.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    remote.headers_mut().remove("authorization");
    site.send(remote).await.expect(401);
}

#[tokio::test]
async fn the_history_tells_actor_credential_and_address_but_no_token() {
    let site = Site::new().await;
    let flavor = serde_json::json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4});
    site.call_with("POST", "/flavors", &[("authorization", "Bearer another-token")], Some(flavor)).await.expect(201);
    let events = site.get("/flavors/small/events").await.expect(200);
    let actor = &events.json()["items"][0]["actor"];
    assert_eq!(actor["name"], "robot");
    assert_eq!(actor["from"], "127.0.0.1");
    let credential = actor["credential"].as_str().unwrap();
    assert_eq!(credential.len(), "token:".len() + 8, "{credential}");
    assert!(!events.text().contains("another-token"));
}

#[tokio::test]
async fn both_spellings_of_the_prefix_serve_and_links_use_kubevirt() {
    let site = Site::new().await;
    let flavor = serde_json::json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4});
    let made = site.call("POST", "//edgetron/resources/kubvirt/flavors", Some(flavor)).await.expect(201);
    assert_eq!(made.header("location"), format!("{BASE}/flavors/small"));
    for base in ["/edgetron/resources/kubvirt", BASE] {
        site.get(&format!("/{base}/flavors/small")).await.expect(200);
    }
    site.get("//edgetron/resources/kubevirtx/flavors").await.expect(404);
}
