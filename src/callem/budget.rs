//! The budget of requests that all sources of one host share. Plain arithmetic; the time is passed in.

/// What a request is for; in the order in which they may have the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A call that is live.
    Live,
    /// New calls.
    Head,
    /// An analysis that is waited for.
    Analysis,
    /// The whole list: the baseline, late edits, deletions.
    Sweep,
}
