//! Bugs that are planted on purpose, so that the simulation can prove that it would find them (ADR 0027).
//!
//! A place that could be wrong asks [`is`] whether it shall be. In a product build the answer is a constant `false`.
//! With the feature `bugs` it is a thread's own: a run of the simulation is one thread, so runs beside it stay clean.

/// A mistake that somebody could make, and one of the simulation's checkers has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A worker's report on a wish that has changed since is taken.
    StaleReportAccepted,
    /// A name that another object has is given again.
    NameGivenTwice,
    /// An idempotency key that came with another request is answered with that one's outcome.
    KeyOfAnotherRequestAccepted,
    /// `If-Match` is not compared.
    PreconditionIgnored,
    /// What VMs have taken of a node is not counted.
    CapacityNotCounted,
    /// What VMs have taken of a node is counted twice.
    CapacityCountedTwice,
    /// An SSH port that another VM of the node has is given again.
    PortGivenTwice,
    /// A cordoned node takes VMs.
    CordonIgnored,
    /// The pauses between attempts grow without a bound.
    BackOffWithoutEnd,
    /// A time of a next attempt that a clock set back has moved far ahead is waited for.
    ClockSetBackBelieved,
    /// Idempotency keys are not among what a world is restored from.
    KeysForgottenAtRestart,
    /// A client is told of success before the log has answered.
    AcknowledgedBeforeStored,
    /// An append whose outcome is unknown is taken for stored.
    OutcomeGuessed,
    /// After an unknown outcome the command is decided again, without a look at what is stored.
    BlindRetry,
    /// An append that lost its race is told as a success.
    ConflictAcknowledged,
    /// A refused command is answered as one that had come before.
    RefusalAcknowledged,
    /// What rests on commits in flight is answered before they are durable.
    AnsweredAheadOfFlight,
    /// After a failed append the writer goes on with the world that had it.
    RewindForgotten,
    /// The writer leaves it to the follower to fold what it acknowledges.
    FoldLeftToFollower,
    /// A view is given a commit twice.
    CommitProjectedTwice,
    /// A commit is folded before the next one's hash has told whether it is the one that was stored.
    FoldedBeforeVouched,
    /// Workers begin on the world of the past that a damaged log leads to.
    PastActedUpon,
    /// A dry run is appended.
    DryRunStored,
    /// The chain of hashes is not compared.
    HashNotChecked,
    /// A log that ends before what was folded is taken for whole.
    RollbackNotNoticed,
    /// The reading of the whole log on a timer is off.
    VerifyTimerOff,
    /// Nodes that are not heard stay ready.
    HeartbeatIgnored,
    /// The log takes an entry whatever last sequence it expects.
    LogWithoutFence,
    /// The log compares the sequence, and not the commit before.
    FenceBySequenceAlone,
    /// A view writes its position, and the rows with the next batch.
    ViewBatchSplit,
    /// A change of a VM wakes nobody: only the beat sees it.
    WakeLost,
    /// A command is refused without a look whether another engine has made it possible.
    RefusedOnOldWorld,
    /// Work that another process has taken over goes on writing.
    LeaseWithoutFence,
    /// A pool looks at everything once, and never again.
    BeatOff,
    /// Two tasks of a pool work at one resource.
    TwoTasksAtOnce,
    /// A VM is started before its disk is there.
    StartedWithoutDisk,
    /// What cannot be seen is taken for gone.
    UnseenTakenForGone,
    /// A pool looks again at once at what rests.
    BusyAtRest,
    /// A thing is told as an orphan at its first sight.
    OrphanNotConfirmed,
    /// After a start nobody looks at VMs that are to be removed.
    DeletionForgottenAtRestart,
    /// The archive does not sync what it confirms.
    ArchiveSyncSkipped,
    /// At a start the log is not compared with the archive.
    ArchiveNotConsulted,
    /// A damaged log is replaced before the archive has taken what it lacks.
    SalvageSkipped,
    /// An IP address that another NIC has is given again.
    AddressGivenTwice,
    /// A MAC address that another NIC has is given again.
    MacGivenTwice,
    /// A segment id that another network has is given again.
    SegmentGivenTwice,
    /// A network is removed while VMs have NICs on it.
    NetworkInUseRemoved,
    /// A network's gateway is given to a router while another one has it.
    GatewayGivenTwice,
    /// A router is removed while floating IPs lead through it.
    RouterInUseRemoved,
    /// A floating IP goes on leading to a VM that is removed.
    FloatingIpLeftBehind,
    /// A VM that is removed stays a member of load balancers.
    MemberLeftBehind,
    /// A security group is removed while NICs are in it.
    GroupInUseRemoved,
    /// A security group is told as gone, and its rules are not.
    RulesOutliveGroup,
    /// A NIC whose groups change counts as ready all the while.
    RegroupedUnawaited,
    /// A NIC that left a group stays in its port group.
    LeftGroupKept,
    /// A NIC in no group is not guarded: where nothing shall pass, all does.
    EmptyGroupsUnguarded,
    /// What a removed rule let through passes on, until the log has forgotten the rule.
    RemovedRuleStays,
    /// A NIC that is not in a group yet is told as taken out of it by others.
    UnsettledTakenForDrift,
    /// Where others take away what a row refers to, such as a NIC from a group, it is put back, and nobody is told.
    ReferencesNotCompared,
    /// What others did to the virtual network is mended, and nobody is told.
    DriftNotTold,
    /// It is mended also where the log could not take what was to be told.
    DriftMendedUntold,
    /// Names that came and went with VMs before a start are taken for others' doing.
    NamesTakenForDrift,
    /// What could not be written is taken for written, and its absence for others' doing.
    FailedWriteBelieved,
    /// Rows that nobody wishes any more stay.
    OrphanRowsLeft,
    /// What is not written yet is told as what the nodes work by.
    RealizedBeforeWritten,
    /// What the nodes have not confirmed is told as what they work by.
    RealizedUnconfirmed,
    /// A network is told as gone before its rows are.
    RemovedBeforeGone,
    /// The northbound database takes writes of those whose turn is over.
    NorthboundWithoutFence,
    /// The archive is brought up to the log at a start, and follows it no more.
    ArchiveLeftBehind,
    /// A wish raises a VM's generation by two.
    GenerationSkipped,
    /// A rule lets through whoever comes, and not its prefix alone.
    RemotePrefixLeftOut,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 71] = [
        Self::StaleReportAccepted,
        Self::NameGivenTwice,
        Self::KeyOfAnotherRequestAccepted,
        Self::PreconditionIgnored,
        Self::CapacityNotCounted,
        Self::CapacityCountedTwice,
        Self::PortGivenTwice,
        Self::CordonIgnored,
        Self::BackOffWithoutEnd,
        Self::ClockSetBackBelieved,
        Self::KeysForgottenAtRestart,
        Self::AcknowledgedBeforeStored,
        Self::OutcomeGuessed,
        Self::BlindRetry,
        Self::ConflictAcknowledged,
        Self::RefusalAcknowledged,
        Self::AnsweredAheadOfFlight,
        Self::RewindForgotten,
        Self::FoldLeftToFollower,
        Self::CommitProjectedTwice,
        Self::FoldedBeforeVouched,
        Self::PastActedUpon,
        Self::DryRunStored,
        Self::HashNotChecked,
        Self::RollbackNotNoticed,
        Self::VerifyTimerOff,
        Self::HeartbeatIgnored,
        Self::LogWithoutFence,
        Self::FenceBySequenceAlone,
        Self::ViewBatchSplit,
        Self::WakeLost,
        Self::RefusedOnOldWorld,
        Self::LeaseWithoutFence,
        Self::BeatOff,
        Self::TwoTasksAtOnce,
        Self::StartedWithoutDisk,
        Self::UnseenTakenForGone,
        Self::BusyAtRest,
        Self::OrphanNotConfirmed,
        Self::DeletionForgottenAtRestart,
        Self::ArchiveSyncSkipped,
        Self::ArchiveNotConsulted,
        Self::SalvageSkipped,
        Self::AddressGivenTwice,
        Self::MacGivenTwice,
        Self::SegmentGivenTwice,
        Self::NetworkInUseRemoved,
        Self::GatewayGivenTwice,
        Self::RouterInUseRemoved,
        Self::FloatingIpLeftBehind,
        Self::MemberLeftBehind,
        Self::GroupInUseRemoved,
        Self::RulesOutliveGroup,
        Self::RegroupedUnawaited,
        Self::LeftGroupKept,
        Self::EmptyGroupsUnguarded,
        Self::RemovedRuleStays,
        Self::UnsettledTakenForDrift,
        Self::ReferencesNotCompared,
        Self::DriftNotTold,
        Self::DriftMendedUntold,
        Self::NamesTakenForDrift,
        Self::FailedWriteBelieved,
        Self::OrphanRowsLeft,
        Self::RealizedBeforeWritten,
        Self::RealizedUnconfirmed,
        Self::RemovedBeforeGone,
        Self::NorthboundWithoutFence,
        Self::ArchiveLeftBehind,
        Self::GenerationSkipped,
        Self::RemotePrefixLeftOut,
    ];
}

/// Whether this program could hold a planted bug.
pub const COMPILED_IN: bool = cfg!(feature = "bugs");

#[cfg(feature = "bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is planted in this thread.
#[cfg(feature = "bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted in this thread: never, in a program without the feature `bugs`.
#[cfg(not(feature = "bugs"))]
#[must_use]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Plants a bug in this thread, or pulls it out.
#[cfg(feature = "bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// What is done at a crash point, which is named.
#[cfg(feature = "bugs")]
pub type AtCrashPoint = std::rc::Rc<dyn Fn(&'static str)>;

#[cfg(feature = "bugs")]
thread_local! {
    static AT_CRASH_POINT: std::cell::RefCell<Option<AtCrashPoint>> =
        const { std::cell::RefCell::new(None) };
}

/// What this thread does at each crash point of the product: a simulated process is killed there by unwinding.
#[cfg(feature = "bugs")]
pub fn at_crash_points(act: Option<AtCrashPoint>) {
    AT_CRASH_POINT.set(act);
}

/// Whether this thread is a simulation.
#[must_use]
pub fn is_simulation() -> bool {
    #[cfg(feature = "bugs")]
    {
        AT_CRASH_POINT.with_borrow(Option::is_some)
    }
    #[cfg(not(feature = "bugs"))]
    false
}

/// Passes a crash point: nothing, in a program without the feature `bugs`.
#[inline]
pub fn pass_crash_point(name: &'static str) {
    #[cfg(feature = "bugs")]
    {
        // Cloned, so that what unwinds through here leaves nothing borrowed.
        let act = AT_CRASH_POINT.with_borrow(Clone::clone);
        if let Some(act) = act {
            act(name);
        }
    }
    #[cfg(not(feature = "bugs"))]
    let _ = name;
}

/// Does something without the planted bug: a checker must not share the mistakes of what it checks.
pub fn without<T>(check: impl FnOnce() -> T) -> T {
    #[cfg(feature = "bugs")]
    {
        let planted = PLANTED.replace(None);
        let checked = check();
        PLANTED.set(planted);
        checked
    }
    #[cfg(not(feature = "bugs"))]
    check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_listed_once_and_in_order() {
        assert!(Bug::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        // The last variant's number tells how many there are.
        assert_eq!(Bug::ALL.len(), Bug::RemotePrefixLeftOut as usize + 1);
    }

    #[cfg(not(feature = "bugs"))]
    #[test]
    fn without_the_feature_no_bug_is_ever_there() {
        const { assert!(!COMPILED_IN) };
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }

    #[cfg(feature = "bugs")]
    #[test]
    fn a_planted_bug_is_its_threads_own_and_unknown_to_checkers() {
        plant(Some(Bug::WakeLost));
        assert!(is(Bug::WakeLost) && !is(Bug::BeatOff));
        assert!(!without(|| is(Bug::WakeLost)) && is(Bug::WakeLost));
        std::thread::spawn(|| assert!(!is(Bug::WakeLost))).join().unwrap();
        plant(None);
        assert!(!is(Bug::WakeLost));
    }
}
