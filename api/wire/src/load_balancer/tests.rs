use super::*;
use serde_json::{Value, json};

fn created(body: Value) -> Result<LoadBalancerCommand, Invalid> {
    serde_json::from_value::<CreateLoadBalancer>(body).unwrap().try_into()
}

fn updated(body: Value) -> Result<LoadBalancerCommand, Invalid> {
    serde_json::from_value::<UpdateLoadBalancer>(body).unwrap().into_command("l".into())
}

fn with(fields: &Value) -> Value {
    let mut body = json!({"name": "l", "network": "blue"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn all_of_a_new_one_but_name_and_network_can_be_left_open() {
    let LoadBalancerCommand::Create(open) = created(with(&json!({}))).unwrap() else { panic!("it is made") };
    assert_eq!((open.vip, open.members, open.rules, open.health_check), (None, vec![], vec![], None));
    let whole = with(&json!({
        "vip": "10.0.0.9", "members": ["10.0.0.2", "web"], "session_affinity": "client_ip",
        "rules": [{"protocol": "TCP", "port_range_min": 80, "member_port": 8080}, {"protocol": "icmp"}],
        "health_check": {"interval_seconds": 9},
    }));
    let LoadBalancerCommand::Create(whole) = created(whole).unwrap() else { panic!("it is made") };
    let members = [MemberRequest::Address("10.0.0.2".parse().unwrap()), MemberRequest::Vm("web".into())];
    assert_eq!(whole.members, members);
    assert_eq!(whole.rules[0].port_pairs().collect::<Vec<_>>(), [(80, 8080)]);
    let timing = model::HealthTiming { interval_seconds: 9, ..model::HealthTiming::default() };
    assert_eq!(whole.health_check, Some(timing));
}

#[test]
fn each_wrong_value_is_told_by_its_field() {
    let rule = |fields: Value| json!({"rules": [fields]});
    for (fields, field) in [
        (json!({"name": "A b"}), "name"),
        (json!({"labels": {"a b": "c"}}), "labels"),
        (json!({"network": ""}), "network"),
        (json!({"vip": "x"}), "vip"),
        (json!({"members": [""]}), "members.0"),
        (json!({"members": vec!["a"; 65]}), "members"),
        (rule(json!({"protocol": "tcp"})), "rules.0.port_range_min"),
        (rule(json!({"protocol": "icmp", "port_range_min": 1})), "rules.0.port_range_min"),
        (rule(json!({"protocol": "tcp", "port_range_min": 0})), "rules.0.port_range_min"),
        (rule(json!({"protocol": "tcp", "port_range_min": 9, "port_range_max": 8})), "rules.0.port_range_max"),
        (rule(json!({"protocol": "udp", "port_range_min": 1, "member_port": 0})), "rules.0.member_port"),
        (
            rule(json!({"protocol": "udp", "port_range_min": 1, "port_range_max": 9, "member_port": 65530})),
            "rules.0.member_port",
        ),
    ] {
        let body = with(&fields);
        assert_eq!(created(body.clone()).unwrap_err().field, field, "{body}");
    }
    assert_eq!(updated(json!({"add": [""]})).unwrap_err().field, "add.0");
    assert_eq!(updated(json!({"remove": [""]})).unwrap_err().field, "remove.0");
    assert_eq!(remove_rule("l".into(), "tcp-x").unwrap_err().field, "rule");
}

#[test]
fn what_is_absent_of_an_update_stays_and_null_clears() {
    let LoadBalancerCommand::Update(nothing) = updated(json!({})).unwrap() else { panic!("an update") };
    assert_eq!(
        (nothing.members, nothing.rules, nothing.session_affinity, nothing.health_check),
        (None, None, None, None)
    );
    let cleared = json!({"members": null, "rules": null, "health_check": null});
    let LoadBalancerCommand::Update(cleared) = updated(cleared).unwrap() else { panic!("an update") };
    assert_eq!((cleared.members, cleared.rules, cleared.health_check), (Some(vec![]), Some(vec![]), Some(None)));
}
