//! The shape of a drafter that takes a given share of the target.

use crate::model::ModelConfig;
use crate::{Error, Result};

/// The widest shape of `layers` layers within `percent` of the target's parameters.
///
/// Heads keep the target's width; widths are multiples of 32 so that 4-bit blocks fill.
///
/// # Errors
/// `Setting` if the narrowest shape is too large already.
pub(super) fn shape(target: &ModelConfig, percent: f64, layers: usize) -> Result<ModelConfig> {
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(Error::setting("percent", format!("{percent}: above 0 and at most 100")));
    }
    if layers == 0 || layers > 128 {
        return Err(Error::setting("layers", format!("{layers}: from 1 to 128")));
    }
    let allowed = (target.parameters() as f64 * percent / 100.0) as u64;
    let at = |hidden_len: usize| {
        let heads = (hidden_len / target.head_len).max(1);
        let kv_heads = (1..=heads.min(target.kv_heads)).rev().find(|kv| heads.is_multiple_of(*kv)).unwrap_or(1);
        ModelConfig {
            hidden_len,
            layers,
            heads,
            kv_heads,
            ffn_len: (hidden_len * 8 / 3).next_multiple_of(32),
            tied_head: true,
            head_tokens: None,
            ..target.clone()
        }
    };
    let widths = (1..=target.hidden_len.div_ceil(32)).rev().map(|step| at(32 * step));
    widths.into_iter().find(|config| config.parameters() <= allowed).ok_or_else(|| {
        let least = at(32).parameters();
        let reason = format!("{percent} % of the target is {allowed} parameters, the narrowest drafter has {least}");
        Error::setting("percent", format!("{reason}; allow more"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_within_the_share_and_the_next_is_not() {
        let target = ModelConfig {
            vocab_len: 1024,
            hidden_len: 192,
            layers: 8,
            heads: 6,
            head_len: 32,
            ffn_len: 512,
            ..ModelConfig::tiny()
        };
        for (percent, layers) in [(6.0, 1), (10.0, 2), (40.0, 3)] {
            let found = shape(&target, percent, layers).unwrap();
            let share = 100.0 * found.parameters() as f64 / target.parameters() as f64;
            assert!(share <= percent && share > percent / 3.0, "{share} {percent}");
            assert!(found.check().is_ok() && found.vocab_len == target.vocab_len);
        }
        assert!(shape(&target, 0.5, 1).is_err());
        assert!(shape(&target, f64::NAN, 1).is_err());
    }
}
