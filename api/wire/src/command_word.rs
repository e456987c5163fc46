//! The word by which `edgectl`'s commands call a kind: `show-vol`, `remove-sg`. The product's, and not always the kind's own.

use edgestack_model::Kind;

/// The word for one of a kind; lists add an s.
pub const fn of(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "vol",
        Kind::SecurityGroup => "sg",
        Kind::SecurityGroupRule => "sgr",
        Kind::FloatingIp => "fip",
        Kind::LoadBalancer => "lb",
        Kind::Vm => "vm",
        Kind::Image => "image",
        Kind::Flavor => "flavor",
        Kind::Keypair => "keypair",
        Kind::Node => "node",
        Kind::Network => "network",
        Kind::Router => "router",
        Kind::Webhook => "webhook",
        Kind::Lease => "lease",
    }
}

/// The kind that is meant by its own name or by the word of its commands.
pub fn kind(word: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == word || of(*kind) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_both_of_its_words() {
        for wanted in Kind::ALL {
            assert_eq!(kind(of(wanted)), Some(wanted));
            assert_eq!(kind(wanted.as_str()), Some(wanted));
        }
        assert_eq!(kind("sgs"), None);
    }
}
