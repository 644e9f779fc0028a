//! How good an answer is.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// How an answer is compared with the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The number after the last `####` is the same (GSM8K).
    FinalNumber,
    /// The text after `the answer is`, or all of it, is the same (BIG-Bench Hard).
    ExactMatch,
    /// How many runs of one to six letters are shared with the reference (translation): chrF with β = 2 (Popović, 2015).
    #[serde(rename = "chrf")]
    ChrF,
}

impl Score {
    /// 0 for a wrong answer to 1 for the reference's, which are all that there is but for chrF. An answer that gives
    /// nothing is wrong. Neither text has the token that ends it.
    pub fn of(self, reference: &str, answer: &str) -> f64 {
        let right = match self {
            Self::FinalNumber => final_number(reference).is_some_and(|wanted| final_number(answer) == Some(wanted)),
            Self::ExactMatch => !final_text(answer).is_empty() && final_text(reference) == final_text(answer),
            Self::ChrF => return chrf(reference, answer),
        };
        f64::from(u8::from(right))
    }
}

/// chrF2 of one sentence: precision and recall of runs of 1 to 6 letters, spaces left out, each a mean over the lengths
/// that the reference has, joined with twice the weight on recall.
fn chrf(reference: &str, answer: &str) -> f64 {
    const BETA_SQUARED: f64 = 4.0;
    let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<Vec<char>>();
    let (reference, answer) = (letters(reference), letters(answer));
    let lens = 1..=reference.len().min(6);
    let (mut precision, mut recall) = (0.0, 0.0);
    for len in lens.clone() {
        let mut left: HashMap<&[char], usize> = HashMap::new();
        reference.windows(len).for_each(|run| *left.entry(run).or_default() += 1);
        let mut take = |run| left.get_mut(run).filter(|count| **count > 0).map(|count| *count -= 1).is_some();
        let shared = answer.windows(len).filter(|run| take(*run)).count() as f64;
        precision += shared / answer.windows(len).count().max(1) as f64;
        recall += shared / reference.windows(len).count() as f64;
    }
    if recall == 0.0 {
        0.0
    } else {
        (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall) / lens.count() as f64
    }
}

/// The number after the last `####` without its commas, currency and trailing zeros.
fn final_number(text: &str) -> Option<String> {
    let (_, after) = text.rsplit_once("####")?;
    let kept = |letter: &char| letter.is_ascii_digit() || matches!(letter, '-' | '.');
    let digits: String =
        after.trim_start().chars().filter(|letter| !matches!(letter, ',' | '$')).take_while(kept).collect();
    let digits = digits.trim_end_matches('.');
    let number: f64 = digits.parse().ok()?;
    Some(number.to_string())
}

/// What follows the last `the answer is`, or the first line that is not empty, without its final full stop.
fn final_text(text: &str) -> &str {
    let after = text.rsplit_once("the answer is").map_or(text, |(_, after)| after);
    after.trim_start().lines().next().unwrap_or("").trim().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let right = |answer| Score::FinalNumber.of("So 70,000 dollars.\n#### 70,000", answer) == 1.0;
        assert!(right("#### 70000") && right("1 #### 3\n#### $70,000.00") && right("####70000."));
        assert!(!right("70000") && !right("#### 7000") && !right("#### many") && !right(""));
        assert_eq!(Score::FinalNumber.of("no number", "no number"), 0.0);
    }

    #[test]
    fn exact_answers_are_compared_after_the_reasoning() {
        let right = |answer| Score::ExactMatch.of(" (B)", answer) == 1.0;
        assert!(right("Because of it. So the answer is (B).") && right("(B)\nQ: next") && right(" (B)"));
        assert!(!right("(A)") && !right("") && !right("so (B)"));
    }

    #[test]
    fn chrf_counts_shared_runs_of_letters() {
        let score = |answer| Score::ChrF.of(" Ein Hund.", answer);
        assert_eq!((score("Ein Hund."), score("Ein  Hund. ")), (1.0, 1.0));
        assert_eq!((score(""), score("xyz"), Score::ChrF.of("", "Hund")), (0.0, 0.0, 0.0));
        // Of `ab` one letter is right, of its runs of two none: precision 1/4, recall 1/4.
        assert!((Score::ChrF.of("ab", "ax") - 0.25).abs() < 1e-12);
        // Shared letters count once; the longer answer loses precision only: 1/2 and 1.
        assert!((Score::ChrF.of("a", "aa") - 5.0 * 0.5 / (4.0 * 0.5 + 1.0)).abs() < 1e-12);
    }
}
