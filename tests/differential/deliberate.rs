//! Where tidegate differs from Envoy on purpose. Every entry is reviewed: it says why a user is better off.

/// A difference in one case.
pub(crate) struct Deliberate {
    /// The case's name.
    pub(crate) case: &'static str,
    /// The lines that only Envoy shows there.
    pub(crate) envoy: &'static [&'static str],
    /// The lines that tidegate shows instead.
    pub(crate) ours: &'static [&'static str],
    /// Why.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const DELIBERATE: &[Deliberate] = &[];
