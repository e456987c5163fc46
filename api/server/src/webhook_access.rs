//! What the server asks of those who deliver webhooks. It knows nothing of the worker.

use edgestack_model::{
    Id,
    webhook::{NotAllowed, TargetUrl, Webhook},
};
use edgestack_wire::webhook::Delivery;

/// Webhooks on this site.
pub trait WebhookAccess: Send + Sync {
    /// Whether a target may be registered. It is the operator's policy for this site, not a rule of the model, and it is
    /// asked again whenever something is delivered.
    ///
    /// # Errors
    /// [`NotAllowed`], with what the operator can do.
    fn check(&self, url: &TargetUrl) -> Result<(), NotAllowed>;

    /// How a webhook's deliveries go, where the log ends at `head`; `None` while its worker has not seen it.
    fn delivery(&self, webhook: Id<Webhook>, head: u64) -> Option<Delivery>;
}
