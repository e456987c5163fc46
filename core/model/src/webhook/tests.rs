//! Webhooks: what people can ask, what their worker reports, and which events are for them.

use chrono::TimeDelta;

use super::{
    CreateWebhook, EventFilter, GaveUp, PREVIOUS_SECRET_SECONDS_MAX, Told, UpdateWebhook, WEBHOOKS_MAX, Webhook,
    WebhookCommand, WebhookReport, WebhookState,
};
use crate::{Kind, Labels, Sequence, builders::*, meta::MetaChange};

fn update(webhook: &str) -> UpdateWebhook {
    UpdateWebhook {
        webhook: webhook.into(),
        change: MetaChange::default(),
        url: None,
        filter: None,
        paused: None,
        skip: false,
    }
}

fn rotate(webhook: &str, previous_valid_seconds: u32) -> WebhookCommand {
    WebhookCommand::RotateSecret { webhook: webhook.into(), secret: a_secret("new"), previous_valid_seconds }
}

fn failing(site: &Site) -> WebhookReport {
    WebhookReport::Failing {
        attempt: 2,
        reason: "the target answered 503".into(),
        fix: None,
        next_attempt_at: site.now + TimeDelta::seconds(30),
        delivered_through: site.world.sequence,
    }
}

fn gave_up(site: &Site, why: GaveUp) -> WebhookReport {
    let reason = "the target answered 410 Gone".into();
    WebhookReport::GaveUp { why, reason, delivered_through: site.world.sequence }
}

fn a_site() -> Site {
    let mut site = a_world();
    site.has(a_webhook("hook"));
    site
}

fn hook(site: &Site) -> &Webhook {
    site.world.webhook(&"hook".into()).unwrap()
}

#[test]
fn a_webhook_begins_with_what_happens_from_its_making_on_or_where_it_is_told() {
    let mut site = a_world();
    let before = site.world.sequence;
    check(&site, a_webhook("hook"), Ok(&["WebhookCreated"]));
    site.has(a_webhook("hook"));
    assert_eq!((hook(&site).begin_after, hook(&site).delivered_through), (before, before));
    let after = |after| CreateWebhook { after: Some(Sequence(after)), ..a_webhook("past") };
    let begins = |site: &Site| site.world.webhook(&"past".into()).unwrap().begin_after;
    let mut beyond = site.clone();
    beyond.has(after(site.world.sequence.0 + 1));
    assert_eq!(begins(&beyond), site.world.sequence);
    site.has(after(0));
    assert_eq!(begins(&site), Sequence(0));
}

#[test]
fn the_first_wrong_thing_is_told() {
    let mut site = a_site();
    let many = EventFilter { names: (0..65).map(|number| number.to_string()).collect(), ..EventFilter::default() };
    let bad = CreateWebhook {
        description: too_long(),
        spec: super::WebhookSpec { filter: many.clone(), ..a_webhook("hook").spec },
        ..a_webhook("hook")
    };
    check(&site, bad.clone(), Err("invalid-value description"));
    let bad = CreateWebhook { description: String::new(), ..bad };
    check(&site, bad.clone(), Err("invalid-value filter.names"));
    let bad = CreateWebhook { spec: a_webhook("hook").spec, ..bad };
    check(&site, bad, Err("name-taken name"));
    for (field, filter) in [
        ("filter.types", EventFilter { types: ["x".repeat(129)].into(), ..EventFilter::default() }),
        ("filter.actors", EventFilter { actors: [String::new()].into(), ..EventFilter::default() }),
        ("filter.names", many),
    ] {
        check(&site, UpdateWebhook { filter: Some(filter), ..update("hook") }, Err(&format!("invalid-value {field}")));
    }
    for number in 1..WEBHOOKS_MAX {
        site.has(a_webhook(&format!("hook-{number}")));
    }
    check(&site, a_webhook("hook"), Err("name-taken name"));
    check(&site, a_webhook("one-more"), Err("too-many"));
}

#[test]
fn each_field_changes_and_the_same_again_is_nothing() {
    let mut site = a_site();
    check(&site, update("none"), Err("not-found"));
    check(&site.clone().having_seen(9), update("hook"), Err("precondition-failed If-Match"));
    check(&site, UpdateWebhook { change: described(&too_long()), ..update("hook") }, Err("invalid-value description"));
    let other = UpdateWebhook {
        change: described("for the ops"),
        url: Some("https://other.example.com/".parse().unwrap()),
        filter: Some(EventFilter { kinds: [Kind::Vm].into(), ..EventFilter::default() }),
        ..update("hook")
    };
    site.has(other.clone());
    assert_eq!(hook(&site).spec.url.to_string(), "https://other.example.com/");
    assert!(hook(&site).spec.filter.kinds.contains(&Kind::Vm));
    check(&site, other, Ok(&[]));
    check(&site, update("hook"), Ok(&[]));
}

#[test]
fn it_is_paused_resumed_and_can_skip_what_it_missed() {
    let mut site = a_site();
    let paused = |paused| UpdateWebhook { paused: Some(paused), ..update("hook") };
    check(&site, paused(false), Ok(&[]));
    site.has(paused(true));
    check(&site, paused(true), Ok(&[]));
    assert!(!hook(&site).state.delivers());
    assert_eq!(hook(&site).waiting().unwrap().owner, "user");
    site.has(a_vm("web"));
    let now = site.world.sequence;
    site.has(UpdateWebhook { skip: true, ..paused(false) });
    assert_eq!((hook(&site).begin_after, hook(&site).state.as_str()), (now, "active"));
    assert_eq!(hook(&site).waiting(), None);
}

#[test]
fn a_secret_is_rotated_and_the_old_one_stays_valid_for_a_while() {
    let mut site = a_site();
    check(&site, rotate("none", 0), Err("not-found"));
    check(&site.clone().having_seen(9), rotate("hook", 0), Err("precondition-failed If-Match"));
    let too_long = rotate("hook", PREVIOUS_SECRET_SECONDS_MAX + 1);
    check(&site, too_long, Err("invalid-value previous_valid_seconds"));
    site.has(rotate("hook", 60));
    let previous = hook(&site).previous_secret.clone().unwrap();
    assert_eq!((previous.secret, previous.until), (a_secret("old"), site.now + TimeDelta::seconds(60)));
    assert_eq!(hook(&site).secret, a_secret("new"));
    site.has(rotate("hook", 0));
    assert_eq!(hook(&site).previous_secret, None);
}

#[test]
fn it_fails_recovers_and_each_is_told_once() {
    let mut site = a_site();
    check(&site, told(&site, WebhookReport::Recovered { delivered_through: Sequence(1) }), Ok(&[]));
    check(&site, told(&site, failing(&site)), Ok(&["WebhookFailing"]));
    site.has(told(&site, failing(&site)));
    check(&site, told(&site, failing(&site)), Ok(&[]));
    let waiting = hook(&site).waiting().unwrap();
    assert_eq!((waiting.owner.as_str(), waiting.reason.as_str()), ("worker.webhook", "the target answered 503"));
    assert!(waiting.next_attempt_at.is_some());
    assert!(waiting.fix.unwrap().contains("edgectl update-webhook hook --resume"));
    let resume = UpdateWebhook { paused: Some(false), ..update("hook") };
    check(&site, resume.clone(), Ok(&["WebhookUpdated"]));
    let mut resumed = site.clone();
    resumed.has(resume);
    assert_eq!(hook(&resumed).state, WebhookState::Active);
    // What it told before is a lower bound, and what is yet to come was not delivered.
    let through = hook(&site).delivered_through;
    site.has(told(&site, WebhookReport::Recovered { delivered_through: Sequence(1) }));
    assert_eq!((hook(&site).delivered_through, hook(&site).state.as_str()), (through, "active"));
    site.has(told(&site, failing(&site)));
    let now = site.world.sequence;
    site.has(told(&site, WebhookReport::Recovered { delivered_through: Sequence(999) }));
    assert_eq!(hook(&site).delivered_through, now);
}

#[test]
fn another_target_is_another_matter() {
    let mut site = a_site();
    site.has(told(&site, failing(&site)));
    let stale = told(&site, gave_up(&site, GaveUp::TooLong));
    site.has(UpdateWebhook { url: Some("https://b.example.com/".parse().unwrap()), ..update("hook") });
    assert_eq!(hook(&site).state, WebhookState::Active);
    check(&site, stale, Err("stale-report"));
}

#[test]
fn who_gave_up_is_resumed_by_a_person() {
    for why in [GaveUp::Gone, GaveUp::TooLong] {
        let mut site = a_site();
        site.has(told(&site, gave_up(&site, why)));
        assert_eq!(hook(&site).state.as_str(), "disabled");
        assert!(hook(&site).waiting().unwrap().fix.unwrap().contains("--resume"));
        for report in [failing(&site), gave_up(&site, why), WebhookReport::Recovered { delivered_through: Sequence(1) }]
        {
            check(&site, told(&site, report), Ok(&[]));
        }
        site.has(UpdateWebhook { paused: Some(false), ..update("hook") });
        assert_eq!(hook(&site).state, WebhookState::Active);
    }
}

#[test]
fn what_a_target_says_is_kept_short() {
    let mut site = a_site();
    let long = WebhookReport::GaveUp {
        why: GaveUp::Gone,
        reason: "x".repeat(100_000),
        delivered_through: site.world.sequence,
    };
    site.has(told(&site, long));
    assert!(matches!(&hook(&site).state, WebhookState::Disabled { reason, .. } if reason.len() == 1024));
}

#[test]
fn a_removed_one_is_gone_with_its_name() {
    let mut site = a_site();
    let remove = |webhook: &str| WebhookCommand::Delete { webhook: webhook.into() };
    check(&site, remove("none"), Err("not-found"));
    check(&site.clone().having_seen(9), remove("hook"), Err("precondition-failed If-Match"));
    let report = told(&site, failing(&site));
    site.has(remove("hook"));
    check(&site, report, Err("not-found"));
    check(&site, a_webhook("hook"), Ok(&["WebhookCreated"]));
}

#[test]
fn a_filter_takes_what_all_its_parts_take() {
    let web = labels(&[("app", "web")]);
    let id = uuid::Uuid::from_u128(7);
    let event = Told {
        sequence: Sequence(1),
        kind: Kind::Vm,
        resource_id: id,
        name: "web-1",
        event_type: "VmStarted",
        actor: "worker.vm@edge-1",
        labels: &web,
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let none = EventFilter::default;
    for (filter, takes) in [
        (none(), true),
        (EventFilter { kinds: [Kind::Volume, Kind::Vm].into(), ..none() }, true),
        (EventFilter { kinds: [Kind::Volume].into(), ..none() }, false),
        (EventFilter { names: words(&["db", "web-1"]), ..none() }, true),
        (EventFilter { names: words(&[&id.to_string()]), ..none() }, true),
        (EventFilter { names: words(&["db"]), ..none() }, false),
        (EventFilter { labels: web.clone(), ..none() }, true),
        (EventFilter { labels: labels(&[("app", "web"), ("x", "1")]), ..none() }, false),
        (EventFilter { types: words(&["VmStopped", "VmStarted"]), ..none() }, true),
        (EventFilter { types: words(&["VmStopped"]), ..none() }, false),
        (EventFilter { actors: words(&["worker.vm@edge-1"]), ..none() }, true),
        (EventFilter { actors: words(&["admin"]), kinds: [Kind::Vm].into(), ..none() }, false),
    ] {
        assert_eq!(filter.takes(&event), takes, "{filter:?}");
        let read: EventFilter = serde_json::from_str(&serde_json::to_string(&filter).unwrap()).unwrap();
        assert_eq!(read, filter);
    }
}

#[test]
fn events_of_webhooks_are_for_those_alone_that_ask_and_never_about_their_own_deliveries() {
    let site = a_site();
    let mut webhook = hook(&site).clone();
    let (own, other) = (webhook.id.uuid(), uuid::Uuid::from_u128(7));
    let wants = |webhook: &Webhook, resource_id, event_type| {
        let sequence = Sequence(webhook.begin_after.0 + 1);
        let (actor, labels) = ("admin", &Labels::default());
        webhook.wants(&Told { sequence, kind: Kind::Webhook, resource_id, name: "hook", event_type, actor, labels })
    };
    let all = ["WebhookCreated", "WebhookUpdated", "WebhookFailing", "WebhookRecovered", "WebhookDisabled"];
    for event_type in all {
        assert!(!wants(&webhook, own, event_type) && !wants(&webhook, other, event_type), "{event_type} unasked");
    }
    webhook.spec.filter.kinds = [Kind::Webhook].into();
    for event_type in all {
        assert!(wants(&webhook, other, event_type), "{event_type} asked for");
        let of_a_person = ["WebhookCreated", "WebhookUpdated"].contains(&event_type);
        assert_eq!(wants(&webhook, own, event_type), of_a_person, "{event_type} of itself");
    }
    webhook.spec.filter = EventFilter { types: ["WebhookFailing".to_owned()].into(), ..EventFilter::default() };
    assert!(wants(&webhook, other, "WebhookFailing") && !wants(&webhook, own, "WebhookFailing"));
    assert!(!wants(&webhook, other, "WebhookCreated"));
}

#[test]
fn what_came_before_its_beginning_is_not_for_it() {
    let site = a_site();
    let webhook = hook(&site);
    let wants = |sequence| {
        let (kind, resource_id, actor) = (Kind::Vm, uuid::Uuid::from_u128(7), "admin");
        let (name, event_type, labels) = ("web", "VmStarted", &Labels::default());
        webhook.wants(&Told { sequence, kind, resource_id, name, event_type, actor, labels })
    };
    assert!(!wants(webhook.begin_after) && wants(Sequence(webhook.begin_after.0 + 1)));
}

fn told(site: &Site, report: WebhookReport) -> WebhookCommand {
    site.told_of_webhook("hook", report)
}
