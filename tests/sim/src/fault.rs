//! The ways in which things go wrong, each counted as it happens: a fault that never fires proves nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An append is stored, and its answer never comes.
    AnswerLost,
    /// An append is stored, and its answer comes seconds later.
    AnswerLate,
    /// An append is lost on its way, with the same sign as a lost answer.
    LostBeforeStoring,
    /// An append is given up by its sender, and stored a moment later.
    StoredLate,
    /// An append arrives twice.
    SentTwice,
    /// Another writer was faster.
    AppendConflict,
    /// A follower is given a commit again.
    DeliveredTwice,
    /// A follower hears of a commit much later.
    DeliveredLate,
    /// The log is out of reach for a few calls.
    LogFlickers,
    /// The log is away for a while.
    LogAway,
    /// The log's disk is full: it is read, and takes nothing.
    LogFull,
    /// The last commits of the log are gone, and it doesn't know of them.
    LogRolledBack,
    /// A commit in the midst of the log is gone.
    LogSkips,
    /// A bit of a stored commit is flipped.
    LogBitFlipped,
    /// The log is empty.
    LogStoreGone,
    /// A second process with an engine writes into the same log.
    SecondWriter,
    /// The control plane is killed at an await.
    Killed,
    /// It is killed between two steps of something that writes.
    KilledWhileWriting,
    /// The views' folder is gone.
    ViewsLost,
    /// The views are as they were a life ago: what they wrote since was never synced.
    ViewsSetBack,
    /// What the archive wrote and had not synced is gone after a power cut.
    ArchiveWriteLost,
    /// Half of it is gone.
    ArchiveWriteTorn,
    /// A bit of a closed segment of the archive is flipped.
    ArchiveBitFlipped,
    /// A closed segment of the archive is gone.
    ArchiveSegmentGone,
    /// A driver's call fails.
    DriverFailed,
    /// A driver's call takes a minute.
    DriverStuck,
    /// A driver does it and says that it failed.
    DidButSaidError,
    /// A driver says that it did it, and didn't.
    SaidDoneButDidNot,
    /// A driver can't tell what is there.
    Unseen,
    /// A driver's write is given up by its sender, and carried out a while later.
    WrittenLate,
    /// The nodes don't confirm what was written in the virtual network.
    Unconfirmed,
    /// Others remove a row of the virtual network.
    RowRemoved,
    /// Others change a row of the virtual network.
    RowChanged,
    /// Others copy a row of the virtual network, our id included.
    RowCopied,
    /// The virtual network's database is empty.
    NorthboundEmptied,
    /// A driver's watch is missed.
    WatchMissed,
    /// An SSH port is taken by another program.
    PortTaken,
    /// A node's disk is full for a while.
    DiskFull,
    /// A guest doesn't hear its power button.
    GuestDeaf,
    /// A guest dies.
    GuestCrashed,
    /// A guest dies while all is at rest, and no watch tells of it.
    DiedUnseen,
    /// A guest shuts itself down.
    GuestShutDown,
    /// All of a node's guests die.
    NodeDown,
    /// A node's workers don't reach the engine.
    NodeCutOff,
    /// The workers' process doesn't reach the log.
    WorkersCutFromLog,
    /// A node is lost for good.
    NodeLost,
    /// The clock jumps forward.
    ClockForward,
    /// The clock is set back.
    ClockBack,
    /// Something is left on a node that no log knows.
    OrphanLeft,
    /// Those who hold leases are not heard, and live.
    HolderSilent,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 50] = [
        Self::AnswerLost,
        Self::AnswerLate,
        Self::LostBeforeStoring,
        Self::StoredLate,
        Self::SentTwice,
        Self::AppendConflict,
        Self::DeliveredTwice,
        Self::DeliveredLate,
        Self::LogFlickers,
        Self::LogAway,
        Self::LogFull,
        Self::LogRolledBack,
        Self::LogSkips,
        Self::LogBitFlipped,
        Self::LogStoreGone,
        Self::SecondWriter,
        Self::Killed,
        Self::KilledWhileWriting,
        Self::ViewsLost,
        Self::ViewsSetBack,
        Self::ArchiveWriteLost,
        Self::ArchiveWriteTorn,
        Self::ArchiveBitFlipped,
        Self::ArchiveSegmentGone,
        Self::DriverFailed,
        Self::DriverStuck,
        Self::DidButSaidError,
        Self::SaidDoneButDidNot,
        Self::Unseen,
        Self::WrittenLate,
        Self::Unconfirmed,
        Self::RowRemoved,
        Self::RowChanged,
        Self::RowCopied,
        Self::NorthboundEmptied,
        Self::WatchMissed,
        Self::PortTaken,
        Self::DiskFull,
        Self::GuestDeaf,
        Self::GuestCrashed,
        Self::DiedUnseen,
        Self::GuestShutDown,
        Self::NodeDown,
        Self::NodeCutOff,
        Self::WorkersCutFromLog,
        Self::NodeLost,
        Self::ClockForward,
        Self::ClockBack,
        Self::OrphanLeft,
        Self::HolderSilent,
    ];
}

/// How often each fired. Clones share it.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<Fault, u64>>>);

impl Faults {
    /// It has just happened.
    pub fn fired(&self, fault: Fault) {
        *self.0.lock().unwrap().entry(fault).or_default() += 1;
    }

    /// Of all that fired, how often.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        self.0.lock().unwrap().clone()
    }
}
