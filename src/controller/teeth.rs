//! Ways to break the protocol, one at a time, so that tests can prove that they would notice.
//!
//! Each is a precaution of the design taken away. Only the feature `teeth` makes [`Ctx::broken`] anything but a
//! constant `false`, and only tests have that feature.

use super::Ctx;

/// A precaution that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A new attempt keeps the fence of the last one.
    KeepAttempt,
    /// The effect is sent before its intent is written.
    ActBeforeIntent,
    /// The effect is sent although the intent's window is over.
    SendLate,
    /// A changing call is made without looking first whether it is still needed. (For engines of class d.)
    SkipRead,
    /// Copies older than what is known are taken into the cache.
    IgnoreWatermark,
    /// A hold is freed at once on what the cache shows, without a consistent read.
    StealWithoutRead,
    /// A hold is freed as soon as its operation is seen gone, although its effect may still land.
    StealWithoutWait,
    /// An effect without a reply counts as one that was refused.
    TimeoutIsFailure,
    /// A write without a reply counts as one that is committed; no read decides.
    AmbiguousIsDone,
    /// An intent is written whether or not somebody cancelled meanwhile.
    DropGenerationTest,
    /// A transition is written whichever object has the name now.
    DropUidTest,
    /// A transition is written whatever was written meanwhile.
    DropSeqTest,
    /// Entries leave the status before their segment is written.
    SealAfterTrim,
    /// Grants share an epoch.
    SharedEpoch,
    /// The opposite effect does not wait until the forward one has landed.
    UndoWithoutWait,
    /// A takeover does not wait until the former writer's effect has landed.
    TakeoverWithoutWait,
    /// A takeover gives the effect a token of its own.
    FreshToken,
    /// Paths are compared as strings.
    PathsAsStrings,
    /// A missing lock is a free lock.
    MissingLockIsFree,
    /// What the engine reports is believed; nothing is read back.
    BelieveSuccess,
    /// The operation of an edit of a Dataset is created before the status says that the edit is handled.
    CreateBeforeNote,
    /// A newer edit of a Dataset leaves the name of an operation to whoever is still about to create it.
    NameNotTaken,
    /// The objects of a managed cache are made from its spec, whatever operations have made of it.
    RenderFromSpec,
    /// Who knows an older revision of a managed cache than its objects were made from writes them all the same.
    OlderRevision,
    /// While a cache is set up, pods that were made before an edit count as those that are wanted.
    CountOutdated,
    /// An operation on members ends without raising the fence of what it may still have on its way.
    EndWithoutFence,
    /// Workers are taken out of a cache without waiting until nothing would be lost with them.
    LowerBeforeDrain,
    /// What was written to workers that leave, until every client heard of it, is not looked for.
    SkipSecondList,
    /// A worker that the cache does not know at one look counts as out of use.
    GoneFromOneRead,
    /// A worker that is out of use and serves again is left alone.
    LetItServe,
    /// A pod is let go before its StatefulSet is seen to make what it shall be made anew from.
    EvictUnseen,
    /// A takeover lets the pod go that is there, without looking what it was made from.
    UidAnew,
    /// On the way back members are waited for before the release of before is written.
    WaitBeforeReset,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 33] = [
        Self::KeepAttempt,
        Self::ActBeforeIntent,
        Self::SendLate,
        Self::SkipRead,
        Self::IgnoreWatermark,
        Self::StealWithoutRead,
        Self::StealWithoutWait,
        Self::TimeoutIsFailure,
        Self::AmbiguousIsDone,
        Self::DropGenerationTest,
        Self::DropUidTest,
        Self::DropSeqTest,
        Self::SealAfterTrim,
        Self::SharedEpoch,
        Self::UndoWithoutWait,
        Self::TakeoverWithoutWait,
        Self::FreshToken,
        Self::PathsAsStrings,
        Self::MissingLockIsFree,
        Self::BelieveSuccess,
        Self::CreateBeforeNote,
        Self::NameNotTaken,
        Self::RenderFromSpec,
        Self::OlderRevision,
        Self::CountOutdated,
        Self::EndWithoutFence,
        Self::LowerBeforeDrain,
        Self::SkipSecondList,
        Self::GoneFromOneRead,
        Self::LetItServe,
        Self::EvictUnseen,
        Self::UidAnew,
        Self::WaitBeforeReset,
    ];
}

impl Ctx {
    /// Whether this controller is broken in this way.
    #[cfg(feature = "teeth")]
    pub fn broken(&self, how: Mutation) -> bool {
        self.config.mutation == Some(how)
    }

    /// Whether this controller is broken in this way.
    #[cfg(not(feature = "teeth"))]
    #[allow(clippy::unused_self, reason = "the same signature as with the feature")]
    pub const fn broken(&self, _how: Mutation) -> bool {
        false
    }
}
