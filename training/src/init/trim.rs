//! A head for the frequent tokens only (VocabTrim, arXiv 2506.22694); ids are mapped back in the pack.

use burn::tensor::{Device, Tensor, TensorData};

use crate::model::{Llama, ModelConfig};
use crate::{Error, Result};

/// How often each token occurs in `texts`.
pub fn count_tokens<'a>(texts: impl IntoIterator<Item = &'a [u32]>, vocab_len: usize) -> Vec<u64> {
    let mut counts = vec![0; vocab_len];
    for token in texts.into_iter().flatten() {
        if let Some(count) = counts.get_mut(*token as usize) {
            *count += 1;
        }
    }
    counts
}

/// The drafter with a head of the `kept` most frequent tokens; end tokens always stay.
///
/// `counts` has one entry per token, of target-generated text. Returns the share of counted tokens that the head can
/// still draft: the drafter is accepted at most that often.
///
/// # Errors
/// `Setting` if `kept` is 0 or above the vocabulary, or the head is trimmed already.
pub fn trim(drafter: &Llama, counts: &[u64], kept: usize, device: &Device) -> Result<(Llama, f64)> {
    let config = drafter.config();
    if kept == 0 || kept > config.vocab_len || counts.len() != config.vocab_len {
        return Err(Error::setting(
            "trim",
            format!("{kept} tokens of {} with {} counts", config.vocab_len, counts.len()),
        ));
    }
    if config.head_tokens.is_some() {
        return Err(Error::setting("trim", "the head is trimmed already"));
    }
    let mut order: Vec<u32> = (0..config.vocab_len as u32).collect();
    order.sort_by_key(|&token| (!config.eos_tokens.contains(&token), u64::MAX - counts[token as usize], token));
    order.truncate(kept);
    order.sort_unstable();
    let covered: u64 = order.iter().map(|&token| counts[token as usize]).sum();
    let total: u64 = counts.iter().sum();

    let rows: Vec<i32> = order.iter().map(|&token| token as i32).collect();
    let rows = Tensor::<1, burn::tensor::Int>::from_data(TensorData::new(rows, [kept]), device);
    let head = drafter.head().1.inner().select(0, rows);
    let weights: std::collections::BTreeMap<_, _> = drafter.clone().frozen().tensors().into_iter().collect();
    let trimmed = ModelConfig { tied_head: false, head_tokens: Some(order), ..config.clone() };
    let model = Llama::build(trimmed, device, |name, _| {
        Ok(if name == "lm_head.weight" { head.clone() } else { weights[name].clone() })
    })?;
    Ok((model, covered as f64 / total.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{host, token_tensor};

    #[test]
    fn kept_rows_score_as_before() {
        let device = Device::flex();
        let drafter = Llama::random(ModelConfig::tiny(), 3, &device).unwrap();
        let counts = count_tokens([&[5u32, 5, 9, 31, 31, 31, 2][..]], 32);
        let (trimmed, covered) = trim(&drafter, &counts, 3, &device).unwrap();
        assert_eq!(trimmed.config().head_tokens, Some(vec![0, 5, 31]), "the end token stays");
        assert!((covered - 5.0 / 7.0).abs() < 1e-12);
        let tokens = token_tensor(&[[1u32, 2]], &device);
        let (all, kept) = (host(drafter.forward(tokens.clone())), host(trimmed.forward(tokens)));
        assert_eq!(kept, [all[0], all[5], all[31], all[32], all[37], all[63]]);
        for wrong in [0, 33] {
            assert!(trim(&drafter, &counts, wrong, &device).is_err());
        }
        assert!(trim(&trimmed, &counts, 2, &device).is_err());
    }
}
