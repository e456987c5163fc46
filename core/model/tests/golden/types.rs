//! Which types of events there are, by their decoders' own word.

use edgestack_model::{
    Kind,
    event::{
        FlavorEvent, FloatingIpEvent, ImageEvent, KeypairEvent, LeaseEvent, LoadBalancerEvent, NetworkEvent, NodeEvent,
        RouterEvent, SecurityGroupEvent, SecurityGroupRuleEvent, VmEvent, VolumeEvent, WebhookEvent,
    },
};
use serde::de::DeserializeOwned;

/// Every type of a kind's events, as its decoder itself tells them.
fn types_of<E: DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_str::<E>(r#"{"type": "none of them", "data": {}}"#) else {
        panic!("there is a type of that name");
    };
    let text = error.to_string();
    let (_, expected) = text.split_once("expected").unwrap_or_else(|| panic!("another message: {text}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every type of event.
pub fn all_types() -> Vec<(Kind, String)> {
    let types = |kind| match kind {
        Kind::Vm => types_of::<VmEvent>(),
        Kind::Image => types_of::<ImageEvent>(),
        Kind::Flavor => types_of::<FlavorEvent>(),
        Kind::Keypair => types_of::<KeypairEvent>(),
        Kind::Node => types_of::<NodeEvent>(),
        Kind::Volume => types_of::<VolumeEvent>(),
        Kind::Network => types_of::<NetworkEvent>(),
        Kind::SecurityGroup => types_of::<SecurityGroupEvent>(),
        Kind::SecurityGroupRule => types_of::<SecurityGroupRuleEvent>(),
        Kind::Router => types_of::<RouterEvent>(),
        Kind::FloatingIp => types_of::<FloatingIpEvent>(),
        Kind::LoadBalancer => types_of::<LoadBalancerEvent>(),
        Kind::Webhook => types_of::<WebhookEvent>(),
        Kind::Lease => types_of::<LeaseEvent>(),
    };
    Kind::ALL.into_iter().flat_map(|kind| types(kind).into_iter().map(move |one| (kind, one))).collect()
}
