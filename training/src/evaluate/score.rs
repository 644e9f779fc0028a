//! When an answer is right.

use serde::{Deserialize, Serialize};

/// How an answer is compared with the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The number after the last `####` is the same (GSM8K).
    FinalNumber,
    /// The text after `the answer is`, or all of it, is the same (BIG-Bench Hard).
    ExactMatch,
}

impl Score {
    /// True if `answer` gives what `reference` gives. An answer that gives nothing is wrong.
    pub fn right(self, reference: &str, answer: &str) -> bool {
        match self {
            Self::FinalNumber => final_number(reference).is_some_and(|wanted| final_number(answer) == Some(wanted)),
            Self::ExactMatch => !final_text(answer).is_empty() && final_text(reference) == final_text(answer),
        }
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
    let text = text.split("<|endoftext|>").next().unwrap_or("");
    let after = text.rsplit_once("the answer is").map_or(text, |(_, after)| after);
    after.trim_start().lines().next().unwrap_or("").trim().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let right = |answer| Score::FinalNumber.right("So 70,000 dollars.\n#### 70,000", answer);
        assert!(right("#### 70000<|endoftext|>") && right("1 #### 3\n#### $70,000.00") && right("####70000."));
        assert!(!right("70000") && !right("#### 7000") && !right("#### many") && !right(""));
        assert!(!Score::FinalNumber.right("no number", "no number"));
    }

    #[test]
    fn exact_answers_are_compared_after_the_reasoning() {
        let right = |answer| Score::ExactMatch.right(" (B)", answer);
        assert!(right("Because of it. So the answer is (B).") && right("(B)\nQ: next") && right(" (B)<|endoftext|>"));
        assert!(!right("(A)") && !right("") && !right("so (B)"));
    }
}
