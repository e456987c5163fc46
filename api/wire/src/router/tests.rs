//! Requests to commands, and what is shown.

use super::*;
use serde_json::{Value, json};

fn created(mut body: Value) -> Result<model::CreateRouter, Invalid> {
    body["name"] = "edge".into();
    match serde_json::from_value::<CreateRouter>(body).unwrap().try_into()? {
        RouterCommand::Create(create) => Ok(*create),
        other => panic!("{other:?}"),
    }
}

fn updated(body: Value) -> Result<model::UpdateRouter, Invalid> {
    match serde_json::from_value::<UpdateRouter>(body).unwrap().into_command("edge".into())? {
        RouterCommand::Update(update) => Ok(*update),
        other => panic!("{other:?}"),
    }
}

fn outside(network: &str, fixed_ip: Option<&str>) -> ExternalRequest {
    ExternalRequest { network: network.into(), fixed_ip: fixed_ip.map(|ip| ip.parse().unwrap()) }
}

#[test]
fn a_way_outside_is_asked_for_in_either_of_two_forms() {
    for (body, expect) in [
        (json!({}), None),
        (json!({"external": {}}), None),
        (json!({"external": null, "external_network": null, "external_ip": null}), None),
        (json!({"external": {"192.0.2.5": "out"}}), Some(outside("out", Some("192.0.2.5")))),
        (json!({"external_network": "out"}), Some(outside("out", None))),
        (json!({"external_network": "out", "external_ip": "192.0.2.5"}), Some(outside("out", Some("192.0.2.5")))),
    ] {
        assert_eq!(created(body.clone()).unwrap().external, expect, "{body}");
    }
    for (body, field) in [
        (json!({"external": {"192.0.2.5": "out", "192.0.2.6": "out"}}), "external"),
        (json!({"external": {"x": "out"}}), "external"),
        (json!({"external": {"192.0.2.5": ""}}), "external"),
        (json!({"external": {"192.0.2.5": "out"}, "external_network": "out"}), "external"),
        (json!({"external": {}, "external_ip": "192.0.2.5"}), "external"),
        (json!({"external_network": ""}), "external_network"),
        (json!({"external_network": "out", "external_ip": "x"}), "external_ip"),
        (json!({"external_ip": "192.0.2.5"}), "external_ip"),
    ] {
        assert_eq!(created(body.clone()).unwrap_err().field, field, "{body}");
        assert_eq!(updated(body.clone()).unwrap_err().field, field, "{body}");
    }
}

#[test]
fn an_absent_field_leaves_and_null_clears() {
    let nothing = updated(json!({})).unwrap();
    assert_eq!(nothing, super::nothing("edge".into()));
    let cleared = updated(json!({
        "description": null, "internal_networks": null, "external": null, "peer_router": null, "routes": null,
    }));
    let cleared = cleared.unwrap();
    assert_eq!((cleared.change.description, cleared.internal), (Some(String::new()), Some(vec![])));
    assert_eq!((cleared.external, cleared.peer, cleared.routes), (Some(None), Some(None), Some(vec![])));
    assert_eq!(updated(json!({"external": {}})).unwrap().external, Some(None));
    assert_eq!(updated(json!({"external_network": null})).unwrap().external, Some(None));
    let given = updated(json!({
        "enable_snat": false, "attach": ["red"], "detach": ["blue"],
        "peer_router": {"ip_address": "192.0.2.254", "mac_address": "02:00:00:00:00:01"},
    }));
    let given = given.unwrap();
    assert_eq!((given.enable_snat, given.attach, given.detach), (Some(false), vec!["red".into()], vec!["blue".into()]));
    assert_eq!(given.peer.unwrap().unwrap().ip_address, "192.0.2.254".parse::<IpAddr>().unwrap());
    assert!(created(json!({})).unwrap().enable_snat, "it is on unless it is said otherwise");
}

#[test]
fn each_wrong_value_is_told_by_its_field() {
    let peer = |ip: &str, mac: &str| json!({"peer_router": {"ip_address": ip, "mac_address": mac}});
    for (body, field) in [
        (json!({"internal_networks": ["blue", ""]}), "internal_networks.1"),
        (json!({"internal_networks": vec!["blue"; 65]}), "internal_networks"),
        (peer("x", "02:00:00:00:00:01"), "peer_router.ip_address"),
        (peer("192.0.2.254", "x"), "peer_router.mac_address"),
        (json!({"routes": [{"destination": "10.9.0.1/16", "next_hop": "10.0.0.9"}]}), "routes.0.destination"),
        (json!({"routes": [{"destination": "10.9.0.0/16", "next_hop": "x"}]}), "routes.0.next_hop"),
        (json!({"labels": {"a b": "c"}}), "labels"),
    ] {
        assert_eq!(created(body.clone()).unwrap_err().field, field, "{body}");
        assert_eq!(updated(body.clone()).unwrap_err().field, field, "{body}");
    }
    for (body, field) in [(json!({"attach": [""]}), "attach.0"), (json!({"detach": [""]}), "detach.0")] {
        assert_eq!(updated(body).unwrap_err().field, field);
    }
    for body in [json!({"peer_router": ["192.0.2.254", "02:00:00:00:00:01"]}), json!({"enable_snat": null})] {
        serde_json::from_value::<UpdateRouter>(body).unwrap_err();
    }
    let alone = PeerRouter { ip_address: "x".to_owned(), mac_address: "02:00:00:00:00:01".to_owned() };
    assert_eq!(peer_command("edge".into(), Some(&alone)).unwrap_err().field, "ip_address");
}
