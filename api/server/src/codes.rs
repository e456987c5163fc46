//! Every problem that the API answers, in one table: `GET /problems/{code}` says
//! what stands here. Codes are stable and never reused.

use edgestack_model::Refusal;
use edgestack_wire::{Problem, health::ProblemMeaning};

/// A problem's code and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Stable, kebab-case; the last path segment of the problem's type.
    pub code: &'static str,
    /// The HTTP status that it comes with.
    pub status: u16,
    /// When it is answered.
    pub meaning: &'static str,
    /// What to do.
    pub fix: &'static str,
}

const fn code(code: &'static str, status: u16, meaning: &'static str, fix: &'static str) -> Code {
    Code { code, status, meaning, fix }
}

pub(crate) static NOT_FOUND: Code = code(
    "not-found",
    404,
    "The resource in the path does not exist, or exists no more.",
    "Look at the list of its kind; a deleted resource still has its history under …/events.",
);
pub(crate) static REFERENCE_NOT_FOUND: Code = code(
    "reference-not-found",
    409,
    "A field of the request names a resource that does not exist.",
    "Create that resource first, or name another one.",
);
pub(crate) static NAME_TAKEN: Code = code(
    "name-taken",
    409,
    "Another resource of the kind has this name; names are unique within a kind.",
    "Choose another name, or remove the other resource first.",
);
pub(crate) static INVALID_VALUE: Code = code(
    "invalid-value",
    422,
    "A field's value breaks a rule; the detail tells the rule.",
    "Correct the field and send the request again.",
);
pub(crate) static IN_USE: Code =
    code("in-use", 409, "Other resources depend on this one; the detail names them.", "Remove those first.");
pub(crate) static WRONG_STATE: Code = code(
    "wrong-state",
    409,
    "The action does not fit the resource's present state.",
    "Do what the detail says, or wait until the state fits.",
);
pub(crate) static REASON_REQUIRED: Code = code(
    "reason-required",
    409,
    "What forces or repairs something must say why; the reason stays in the history.",
    "Give a reason: edgectl --reason, or the header EdgeStack-Reason.",
);
pub(crate) static FORCE_NOT_NEEDED: Code = code(
    "force-not-needed",
    409,
    "The usual removal has not been asked for, or is on its way: force would leave something behind.",
    "Remove it the usual way; force it once an attempt failed, after a minute, or when its node is lost.",
);
pub(crate) static NOT_ADOPTABLE: Code = code(
    "not-adoptable",
    409,
    "What carries this id can't be taken over as it is; the detail tells what is missing.",
    "Do what the detail says; edgectl show-node lists what is on a node and not in the log.",
);
pub(crate) static PRECONDITION_FAILED: Code = code(
    "precondition-failed",
    412,
    "If-Match names another generation than the present one: somebody changed the resource in between.",
    "Read the resource again and repeat the change on what you find.",
);
pub(crate) static IDEMPOTENCY_KEY_REUSED: Code = code(
    "idempotency-key-reused",
    422,
    "The Idempotency-Key was used for another request in the last 24 hours.",
    "Take a fresh key for each new request; keep a key only for repeating the same request.",
);
pub(crate) static FLAVOR_LARGER_THAN_ANY_NODE: Code = code(
    "flavor-larger-than-any-node",
    409,
    "The flavor asks for more than any node has in all.",
    "Take a smaller flavor, or add a larger node.",
);
pub(crate) static IMAGE_NOT_ACTIVE: Code = code(
    "image-not-active",
    409,
    "The image is not ready to make VMs from.",
    "Wait until its state is active, or name another image.",
);
pub(crate) static TOO_SMALL_FOR_IMAGE: Code = code(
    "too-small-for-image",
    409,
    "The image needs more disk or memory than the VM would get.",
    "Take a larger flavor, or for the disk set boot_disk.size_gib.",
);
pub(crate) static ADDRESS_IN_USE: Code = code(
    "address-in-use",
    409,
    "The IP or MAC address that was wished for has another holder; the detail names it.",
    "Leave it out to be given a free one, or choose another.",
);
pub(crate) static ADDRESSES_EXHAUSTED: Code = code(
    "addresses-exhausted",
    409,
    "The network has no free address; the detail names who holds them.",
    "Remove one of the holders, or give the network another pool.",
);
pub(crate) static SEGMENT_IN_USE: Code = code(
    "segment-in-use",
    409,
    "The segment id (a number or a VLAN) is another network's on the same wire; the detail names it.",
    "Leave it out to be given a free one, or choose another.",
);
pub(crate) static RULE_EXISTS: Code = code(
    "rule-exists",
    409,
    "The security group lets this traffic through already: it has the same rule; the detail names it.",
    "Nothing is to be done, or name another rule.",
);
pub(crate) static GROUP_FULL: Code = code(
    "group-full",
    409,
    "The security group has as many rules as one can have.",
    "Remove a rule that is not needed any more, or spread the rules over groups: a NIC may be in several.",
);
pub(crate) static TOO_MANY: Code = code(
    "too-many",
    409,
    "The site has as many resources of the kind as it takes.",
    "Remove one that is not needed any more.",
);
pub(crate) static WEBHOOK_TARGET_NOT_ALLOWED: Code = code(
    "webhook-target-not-allowed",
    403,
    "The operator does not allow webhooks to deliver there.",
    "Choose another target, or have the operator allow it: the detail names the entry for edgestackd's --webhook-allow.",
);
pub(crate) static STALE_REPORT: Code = code(
    "stale-report",
    409,
    "A worker reported on a wish that has changed since. Only workers see this.",
    "Nothing: the worker looks again.",
);
pub(crate) static LEASE_MOVED: Code = code(
    "lease-moved",
    409,
    "A process did work of the site that another process does by now. Only processes of the site see this.",
    "Nothing: the process has stepped back.",
);
pub(crate) static MISDIRECTED: Code = code(
    "misdirected",
    421,
    "The daemon that was asked has no images and VMs of its own: it has joined the site of one that has.",
    "Send it to the API of the daemon that the node's workers run with; all else can go to any daemon.",
);
pub(crate) static UNAUTHORIZED: Code = code(
    "unauthorized",
    401,
    "The request has no valid bearer token.",
    "Send `Authorization: Bearer TOKEN`; `edgectl config view` shows the token.",
);
pub(crate) static NO_SUCH_PATH: Code =
    code("no-such-path", 404, "The API has no such path.", "Look at /openapi.json or /docs.");
pub(crate) static METHOD_NOT_ALLOWED: Code = code(
    "method-not-allowed",
    405,
    "The path exists, the method does not; the Allow header lists those that do.",
    "Use one of the methods in Allow.",
);
pub(crate) static INVALID_PATH: Code = code(
    "invalid-path",
    400,
    "The path is not a valid one: bad percent-encoding, an encoded slash, or a segment that is empty or too long.",
    "Give the resource's name or id, percent-encoded as UTF-8.",
);
pub(crate) static INVALID_PARAMETER: Code = code(
    "invalid-parameter",
    400,
    "A query parameter is unknown, given twice, or has a wrong value; the field names it.",
    "Correct or leave out the parameter; /docs lists those of each operation.",
);
pub(crate) static INVALID_HEADER: Code = code(
    "invalid-header",
    400,
    "A request header has a wrong value; the field names it.",
    "Correct or leave out the header.",
);
pub(crate) static URI_TOO_LONG: Code = code(
    "uri-too-long",
    414,
    "The request's path and query are longer than 8 KiB.",
    "Shorten it; use fewer filters at once.",
);
pub(crate) static BODY_NOT_UTF8: Code =
    code("body-not-utf8", 400, "The body is not valid UTF-8.", "Send JSON encoded as UTF-8.");
pub(crate) static MALFORMED_JSON: Code =
    code("malformed-json", 400, "The body is not JSON; the detail tells line and column.", "Correct the JSON.");
pub(crate) static INVALID_BODY: Code = code(
    "invalid-body",
    422,
    "The body is JSON, but a field is missing, unknown, given twice or of a wrong type; the field names it.",
    "Correct the field; /docs shows the schema.",
);
pub(crate) static UNSUPPORTED_MEDIA_TYPE: Code = code(
    "unsupported-media-type",
    415,
    "The body's Content-Type is not one that the operation takes.",
    "Send application/json (changes also take application/merge-patch+json, uploads application/octet-stream).",
);
pub(crate) static BODY_TOO_LARGE: Code = code(
    "body-too-large",
    413,
    "The body is larger than the operation takes.",
    "Send less: 1 MiB for JSON; the site's bound for uploads is in the detail.",
);
pub(crate) static COMMAND_TOO_LARGE: Code = code(
    "command-too-large",
    413,
    "What the request leads to does not fit in one commit of the log.",
    "Shorten its texts and labels.",
);
pub(crate) static BODY_TIMED_OUT: Code =
    code("body-timed-out", 408, "The body stopped coming for 30 seconds.", "Send it again, on a better line.");
pub(crate) static BODY_INCOMPLETE: Code =
    code("body-incomplete", 400, "The body ended before its announced length.", "Send it again, whole.");
pub(crate) static UPLOAD_IN_PROGRESS: Code = code(
    "upload-in-progress",
    409,
    "Another upload to this image is under way.",
    "Wait for its end; or, if it was yours and broke off, try again in a minute.",
);
pub(crate) static STORAGE_FULL: Code = code(
    "storage-full",
    507,
    "The disk of the upload folder is full; nothing of the upload was kept.",
    "Free space on the node or remove unused images, then upload again.",
);
pub(crate) static UPLOAD_NOT_STORED: Code = code(
    "upload-not-stored",
    503,
    "The upload could not be written on the node; nothing of it was kept.",
    "Try again; if it stays so, look into edgestackd's log under the correlation id.",
);
pub(crate) static GONE_SINCE: Code = code(
    "gone-since",
    410,
    "The request with this Idempotency-Key took effect before, and its resource was removed since.",
    "Take a fresh key if you want to make it anew.",
);
pub(crate) static GONE: Code = code(
    "gone",
    410,
    "The resource was removed while the request was answered.",
    "Look at its history under …/events.",
);
pub(crate) static TOO_MANY_REQUESTS: Code = code(
    "too-many-requests",
    429,
    "More is asked at once than the site takes; nothing changed.",
    "Try again after the time in Retry-After.",
);
pub(crate) static LOG_UNAVAILABLE: Code = code(
    "log-unavailable",
    503,
    "The log takes no commits now; nothing changed, reads go on.",
    "Try again after the time in Retry-After.",
);
pub(crate) static OUTCOME_UNKNOWN: Code = code(
    "outcome-unknown",
    503,
    "The log did not answer in time: the change may or may not take effect.",
    "Send the same request with the same Idempotency-Key again, it takes effect once; without a key, look first.",
);
pub(crate) static LOG_DAMAGED: Code = code(
    "log-damaged",
    503,
    "The log is not what was acknowledged, so writes have stopped; reads go on.",
    "It is repaired from the archive by itself; try again, and if it stays so an operator must look at the alarm in edgestackd's log.",
);
pub(crate) static VIEWS_UNAVAILABLE: Code = code(
    "views-unavailable",
    503,
    "The read models cannot be read now.",
    "Try again; restart edgestackd if it stays so, the views are rebuilt from the log.",
);
pub(crate) static PAST_UNAVAILABLE: Code = code(
    "past-unavailable",
    503,
    "The log cannot be read back to that moment now.",
    "Try again; if it stays so look at edgestackd's log under the correlation id. Reads without \"at\" go on.",
);
pub(crate) static NOT_READY: Code = code(
    "not-ready",
    503,
    "The site does not take commands now; the detail says why.",
    "Wait; `edgectl` and load balancers ask /readyz again.",
);
pub(crate) static REQUEST_TIMED_OUT: Code = code(
    "request-timed-out",
    503,
    "The answer took longer than 30 seconds; a change may or may not have taken effect.",
    "Try again with the same Idempotency-Key.",
);
pub(crate) static VM_NOT_RUNNING: Code =
    code("vm-not-running", 409, "The VM does not run, so nothing in it can answer.", "Start it first.");
pub(crate) static GUEST_AGENT_NOT_ANSWERING: Code = code(
    "guest-agent-not-answering",
    409,
    "The VM runs, but the guest agent in it does not answer.",
    "Wait until the guest has booted; install and start qemu-guest-agent in it.",
);
pub(crate) static GUEST_UNREACHABLE: Code = code(
    "guest-unreachable",
    503,
    "The node could not reach the guest.",
    "Try again; look into edgestackd's log under the correlation id.",
);
pub(crate) static NETWORK_NOT_HERE: Code = code(
    "network-not-here",
    409,
    "This daemon cannot test the virtual network: there is none, or another daemon works it.",
    "Turn networks on, or ask the daemon that holds the lease gateway: edgectl list-leases.",
);
pub(crate) static NETWORK_UNREACHABLE: Code = code(
    "network-unreachable",
    503,
    "The virtual network could not be tested now; the detail says why.",
    "Try again; look into edgestackd's log under the correlation id.",
);
pub(crate) static INTERNAL: Code = code(
    "internal",
    500,
    "A fault of EdgeStack's own.",
    "Report it with the correlation id; edgestackd's log tells more under it.",
);

/// Every code.
pub static ALL: &[&Code] = &[
    &NOT_FOUND,
    &REFERENCE_NOT_FOUND,
    &NAME_TAKEN,
    &INVALID_VALUE,
    &IN_USE,
    &WRONG_STATE,
    &REASON_REQUIRED,
    &FORCE_NOT_NEEDED,
    &NOT_ADOPTABLE,
    &PRECONDITION_FAILED,
    &IDEMPOTENCY_KEY_REUSED,
    &FLAVOR_LARGER_THAN_ANY_NODE,
    &IMAGE_NOT_ACTIVE,
    &TOO_SMALL_FOR_IMAGE,
    &ADDRESS_IN_USE,
    &ADDRESSES_EXHAUSTED,
    &SEGMENT_IN_USE,
    &RULE_EXISTS,
    &GROUP_FULL,
    &TOO_MANY,
    &WEBHOOK_TARGET_NOT_ALLOWED,
    &STALE_REPORT,
    &LEASE_MOVED,
    &MISDIRECTED,
    &UNAUTHORIZED,
    &NO_SUCH_PATH,
    &METHOD_NOT_ALLOWED,
    &INVALID_PATH,
    &INVALID_PARAMETER,
    &INVALID_HEADER,
    &URI_TOO_LONG,
    &BODY_NOT_UTF8,
    &MALFORMED_JSON,
    &INVALID_BODY,
    &UNSUPPORTED_MEDIA_TYPE,
    &BODY_TOO_LARGE,
    &COMMAND_TOO_LARGE,
    &BODY_TIMED_OUT,
    &BODY_INCOMPLETE,
    &UPLOAD_IN_PROGRESS,
    &STORAGE_FULL,
    &UPLOAD_NOT_STORED,
    &GONE_SINCE,
    &GONE,
    &TOO_MANY_REQUESTS,
    &LOG_UNAVAILABLE,
    &OUTCOME_UNKNOWN,
    &LOG_DAMAGED,
    &VIEWS_UNAVAILABLE,
    &PAST_UNAVAILABLE,
    &NOT_READY,
    &REQUEST_TIMED_OUT,
    &VM_NOT_RUNNING,
    &GUEST_AGENT_NOT_ANSWERING,
    &GUEST_UNREACHABLE,
    &NETWORK_NOT_HERE,
    &NETWORK_UNREACHABLE,
    &INTERNAL,
];

/// The code of that name.
pub fn find(name: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.code == name)
}

/// The entry of a refusal of the model.
pub(crate) fn of_refusal(refusal: &Refusal) -> &'static Code {
    match refusal {
        Refusal::NotFound { .. } => &NOT_FOUND,
        Refusal::ReferenceNotFound { .. } => &REFERENCE_NOT_FOUND,
        Refusal::NameTaken { .. } => &NAME_TAKEN,
        Refusal::Invalid { .. } => &INVALID_VALUE,
        Refusal::InUse { .. } => &IN_USE,
        Refusal::WrongState { .. } => &WRONG_STATE,
        Refusal::PreconditionFailed { .. } => &PRECONDITION_FAILED,
        Refusal::IdempotencyKeyReused { .. } => &IDEMPOTENCY_KEY_REUSED,
        Refusal::FlavorLargerThanAnyNode { .. } => &FLAVOR_LARGER_THAN_ANY_NODE,
        Refusal::ImageNotActive { .. } => &IMAGE_NOT_ACTIVE,
        Refusal::TooSmallForImage { .. } => &TOO_SMALL_FOR_IMAGE,
        Refusal::AddressInUse { .. } => &ADDRESS_IN_USE,
        Refusal::AddressesExhausted { .. } => &ADDRESSES_EXHAUSTED,
        Refusal::SegmentInUse { .. } => &SEGMENT_IN_USE,
        Refusal::RuleExists { .. } => &RULE_EXISTS,
        Refusal::GroupFull { .. } => &GROUP_FULL,
        Refusal::ReasonRequired { .. } => &REASON_REQUIRED,
        Refusal::ForceNotNeeded { .. } => &FORCE_NOT_NEEDED,
        Refusal::NotAdoptable { .. } => &NOT_ADOPTABLE,
        Refusal::TooMany { .. } => &TOO_MANY,
        Refusal::StaleReport { .. } => &STALE_REPORT,
        Refusal::LeaseMoved { .. } => &LEASE_MOVED,
    }
}

impl Code {
    /// As `GET /problems/{code}` shows it.
    pub fn meaning(&self) -> ProblemMeaning {
        ProblemMeaning {
            code: self.code.to_owned(),
            title: Problem::new(self.status, self.code, "").title,
            status: self.status,
            meaning: self.meaning.to_owned(),
            fix: self.fix.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgestack_model::{Generation, Kind, Sequence, refusal::Category};

    /// The HTTP status of a category of refusals.
    fn status_of(category: Category) -> u16 {
        match category {
            Category::Missing => 404,
            Category::Conflict => 409,
            Category::Precondition => 412,
            Category::Invalid => 422,
        }
    }

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut names: Vec<&str> = ALL.iter().map(|code| code.code).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a code stands twice");
        for code in ALL {
            assert!(
                code.code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                code.code
            );
            assert!((400..600).contains(&code.status), "{}", code.code);
            assert_eq!(find(code.code), Some(*code));
        }
    }

    #[test]
    fn every_refusal_of_the_model_has_its_entry_with_its_status() {
        let name = || "a".parse().unwrap();
        let refusals = [
            Refusal::NotFound { kind: Kind::Vm, name: "a".to_owned() },
            Refusal::ReferenceNotFound { field: "image".into(), kind: "image".into(), name: "a".to_owned() },
            Refusal::NameTaken { kind: Kind::Vm, name: name() },
            Refusal::Invalid { field: "name".into(), reason: String::new() },
            Refusal::InUse { kind: Kind::Vm, name: name(), by: vec![] },
            Refusal::WrongState { kind: Kind::Vm, name: name(), state: "".into(), action: "".into(), fix: "".into() },
            Refusal::PreconditionFailed {
                kind: Kind::Vm,
                name: name(),
                expected: Generation(1),
                actual: Generation(2),
            },
            Refusal::IdempotencyKeyReused { first: Sequence(1) },
            Refusal::FlavorLargerThanAnyNode { flavor: name(), wanted: String::new(), largest: String::new() },
            Refusal::ImageNotActive { image: name(), state: "".into() },
            Refusal::TooSmallForImage {
                field: "flavor".into(),
                image: name(),
                needs: String::new(),
                got: String::new(),
                fix: "".into(),
            },
            Refusal::AddressInUse { field: "networks.0.fixed_ip".into(), address: String::new(), by: String::new() },
            Refusal::AddressesExhausted {
                field: "networks.0.network".into(),
                network: name(),
                pool: String::new(),
                by: vec![],
            },
            Refusal::SegmentInUse { segment: String::new(), by: String::new() },
            Refusal::RuleExists { rule: name(), group: name() },
            Refusal::GroupFull { group: name(), most: 200 },
            Refusal::ReasonRequired { kind: Kind::Vm, name: String::new(), action: "".into() },
            Refusal::ForceNotNeeded { kind: Kind::Vm, name: name(), why: String::new(), fix: String::new() },
            Refusal::NotAdoptable { id: uuid::Uuid::nil(), why: String::new(), fix: String::new() },
            Refusal::TooMany { kind: Kind::Webhook, most: 64 },
            Refusal::StaleReport { kind: Kind::Vm, name: name(), reported: Generation(1), actual: Generation(2) },
            Refusal::LeaseMoved { lease: name(), expected: 1, actual: 2 },
        ];
        for refusal in refusals {
            // `of_refusal` has no `_` arm, so that a new refusal is not forgotten there.
            let entry = of_refusal(&refusal);
            assert_eq!(entry.code, refusal.code());
            assert_eq!(entry.status, status_of(refusal.category()), "{}", entry.code);
        }
    }
}
