//! One line about a generation, for people.

use drafthorse::{Account, StopReason};

/// Speed, first token, acceptance, and whatever a person should know.
pub(crate) fn line(account: &Account) -> String {
    let mut parts = vec![format!("{} tokens", account.tokens)];
    if account.decode_tokens_per_s > 0.0 {
        parts.push(format!("{:.1} tokens/s", account.decode_tokens_per_s));
    }
    if account.tokens > 0 {
        parts.push(format!("first after {:.0} ms", account.ttft_ms));
    }
    if account.proposed > 0 {
        parts.push(format!("{:.0} % of drafts accepted", 100.0 * account.acceptance_rate));
        parts.push(format!("{:.2} tokens per target call", account.tokens_per_target_call));
    }
    parts.extend(account.passthrough.map(|reason| format!("mostly not drafted: {reason}")));
    if !account.lossless {
        parts.push("not lossless".to_owned());
    }
    parts.extend(ending(account.stop_reason).map(str::to_owned));
    parts.join(" · ")
}

/// An end that is not the text's own.
fn ending(reason: StopReason) -> Option<&'static str> {
    match reason {
        StopReason::StopToken | StopReason::StopSequence => None,
        StopReason::MaxTokens => Some("cut at the limit of tokens"),
        StopReason::ContextFull => Some("cut: the context is full"),
        StopReason::Cancelled => Some("cancelled"),
    }
}
