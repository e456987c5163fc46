//! The objects of the virtual network, read at once.

use std::collections::BTreeMap;

use edgestack_model::Kind;
use edgestack_wire::{
    floating_ip::FloatingIp, lb_health::LbHealth, load_balancer::LoadBalancer, network::Network, router::Router,
    security_group::SecurityGroup, vm::Vm,
};
use serde::de::DeserializeOwned;

use crate::{client::Client, failure::Failure, lb_health, resource};

/// All of them.
pub struct Site {
    pub networks: Vec<Network>,
    pub routers: Vec<Router>,
    pub floating_ips: Vec<FloatingIp>,
    pub load_balancers: Vec<LoadBalancer>,
    /// By load balancer; of those whose members are asked, as far as it is known.
    pub health: BTreeMap<String, LbHealth>,
    pub groups: Vec<SecurityGroup>,
    pub vms: Vec<Vm>,
}

impl Site {
    /// # Errors
    /// The server's.
    pub async fn read(client: &Client) -> Result<Self, Failure> {
        let load_balancers: Vec<LoadBalancer> = all(client, Kind::LoadBalancer).await?;
        let mut health = BTreeMap::new();
        for balancer in load_balancers.iter().filter(|balancer| balancer.health_check.is_some()) {
            // Where it is not known, the rest is shown all the same.
            let known = lb_health::health(client, &balancer.meta.name).await.ok();
            health.extend(known.map(|known| (balancer.meta.name.clone(), known)));
        }
        Ok(Self {
            networks: all(client, Kind::Network).await?,
            routers: all(client, Kind::Router).await?,
            floating_ips: all(client, Kind::FloatingIp).await?,
            load_balancers,
            health,
            groups: all(client, Kind::SecurityGroup).await?,
            vms: all(client, Kind::Vm).await?,
        })
    }

    /// What can be named, each once.
    pub fn names(&self) -> Vec<String> {
        let metas = self.networks.iter().map(|one| &one.meta);
        let metas = metas.chain(self.routers.iter().map(|one| &one.meta));
        let metas = metas.chain(self.load_balancers.iter().map(|one| &one.meta));
        let metas = metas.chain(self.groups.iter().map(|one| &one.meta)).chain(self.vms.iter().map(|one| &one.meta));
        let mut names: Vec<String> = metas.map(|meta| meta.name.clone()).collect();
        let places = self.vms.iter().map(|vm| format!("vm:{}", vm.meta.name));
        let places = places.chain(self.networks.iter().map(|network| format!("network:{}", network.meta.name)));
        names.extend(places.chain(self.routers.iter().map(|router| format!("router:{}", router.meta.name))));
        names.push("outside".to_owned());
        names.sort();
        names.dedup();
        names
    }
}

async fn all<T: DeserializeOwned>(client: &Client, kind: Kind) -> Result<Vec<T>, Failure> {
    let pages = resource::pages(client, &[kind.plural()], &[], None).await?;
    Ok(pages.items.iter().map(|raw| serde_json::from_str(raw.get())).collect::<Result<_, _>>()?)
}
