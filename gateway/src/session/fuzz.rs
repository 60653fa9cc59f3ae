//! Entry points for fuzzing, see [`crate::fuzzing`].

/// The query of an upgrade request: served, or refused with a code that says why. True if it names
/// a version that is served.
pub(crate) fn query(text: &str) -> bool {
    let refusal = super::upgrade::refusal(text);
    assert_ne!(refusal, Some(super::CloseCode::Normal));
    refusal.is_none() && text.contains("v=")
}
