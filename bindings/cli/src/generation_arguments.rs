//! Flags of one generation, as the runtime's `GenerationOptions`. Ranges are checked there, not here.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use drafthorse::{ConstraintSpec, DraftLength, GenerationOptions, Lenience, TokenId, Verification};

use crate::failure::{Failure, Result};

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationArguments {
    /// Most tokens to emit [default: what the context holds].
    #[arg(long, short = 'n', value_name = "N")]
    max_tokens: Option<usize>,

    /// Fewest tokens before the model may stop.
    #[arg(long, value_name = "N")]
    min_tokens: Option<usize>,

    /// 0 takes the likeliest token each time [default: the pack's, else 0].
    #[arg(long, short, value_name = "T")]
    temperature: Option<f32>,

    /// Keep the K likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,

    /// Keep the likeliest tokens until their probability reaches P; 1 keeps all.
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,

    /// Drop tokens less likely than P times the likeliest; 0 keeps all.
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,

    /// Make tokens already seen less likely; 1 is off.
    #[arg(long, value_name = "R")]
    repetition_penalty: Option<f32>,

    /// Subtracted per earlier occurrence in the output; 0 is off.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,

    /// Subtracted once for tokens in the output; 0 is off.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,

    /// Add BIAS to the logit of a token; may be repeated.
    #[arg(long, value_name = "TOKEN:BIAS", value_parser = logit_bias)]
    logit_bias: Vec<(TokenId, f32)>,

    /// Seed of the random source; brings a sampled text back with a fixed draft length or --verification seed-coupled
    /// [default: drawn, and reported].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Text that ends the output; may be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Most tokens to draft in a round; how many are drafted follows from measured costs and acceptance.
    #[arg(long, value_name = "N")]
    max_draft_tokens: Option<usize>,

    /// Draft exactly N tokens in every round; 0 runs the target alone.
    #[arg(long, value_name = "N", conflicts_with = "max_draft_tokens")]
    draft_tokens: Option<usize>,

    /// Rule by which proposals are checked when sampling.
    #[arg(long, value_name = "RULE", value_enum)]
    verification: Option<Rule>,

    /// Accept more than the target would, by the given form; **not lossless**. EPSILON in (0, 1], 1 is lossless.
    #[arg(long, value_name = "FORM:EPSILON", value_parser = lenience, conflicts_with = "verification")]
    lenient: Option<Lenience>,

    /// The output is a JSON document that fits the JSON schema in FILE.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "constraint")]
    json_schema: Option<PathBuf>,

    /// The output matches the regular expression as a whole.
    #[arg(long, value_name = "REGEX", group = "constraint")]
    regex: Option<String>,

    /// The output follows the Lark grammar in FILE.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "constraint")]
    grammar: Option<PathBuf>,
}

/// Exact rules.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rule {
    /// Token by token.
    Token,
    /// The whole block at once; never shorter than token by token.
    Block,
    /// The text of plain sampling with the same seed, whatever the drafter.
    SeedCoupled,
}

impl GenerationArguments {
    /// The same, in the runtime's words.
    ///
    /// # Errors
    /// If the file of a schema or grammar cannot be read.
    pub(crate) fn options(&self) -> Result<GenerationOptions> {
        let fixed = self.draft_tokens.map(DraftLength::Fixed);
        let rule = self.verification.map(|rule| match rule {
            Rule::Token => Verification::Token,
            Rule::Block => Verification::Block,
            Rule::SeedCoupled => Verification::SeedCoupled,
        });
        let constraint = match (&self.json_schema, &self.regex, &self.grammar) {
            (Some(path), ..) => Some(ConstraintSpec::JsonSchema(read(path)?)),
            (_, Some(regex), _) => Some(ConstraintSpec::Regex(regex.clone())),
            (.., Some(path)) => Some(ConstraintSpec::Lark(read(path)?)),
            _ => None,
        };
        Ok(GenerationOptions {
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed,
            stop: self.stop.clone(),
            verification: rule.or(self.lenient.map(Verification::Lenient)),
            draft_length: fixed.or(self.max_draft_tokens.map(DraftLength::Adaptive)),
            constraint,
        })
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::file(error.to_string(), path))
}

fn logit_bias(text: &str) -> Result<(TokenId, f32), String> {
    let (token, bias) = text.split_once(':').ok_or("write TOKEN:BIAS, as in 42:-5")?;
    let token = token.parse().map_err(|_| format!("{token:?} is no token id"))?;
    let bias = bias.parse().map_err(|_| format!("{bias:?} is no number"))?;
    Ok((token, bias))
}

fn lenience(text: &str) -> Result<Lenience, String> {
    let (form, epsilon) = text.split_once(':').ok_or("write FORM:EPSILON, as in exponential:0.8")?;
    let epsilon = epsilon.parse().map_err(|_| format!("{epsilon:?} is no number"))?;
    match form {
        "linear" => Ok(Lenience::Linear(epsilon)),
        "square" => Ok(Lenience::Square(epsilon)),
        "exponential" => Ok(Lenience::Exponential(epsilon)),
        _ => Err(format!("{form:?} is no form; linear, square or exponential")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        generation: GenerationArguments,
    }

    fn parse(flags: &[&str]) -> Result<GenerationOptions, clap::Error> {
        Line::try_parse_from(std::iter::once(&"x").chain(flags)).map(|line| line.generation.options().unwrap())
    }

    #[test]
    fn nothing_asked_leaves_everything_open() {
        assert_eq!(parse(&[]).unwrap(), GenerationOptions::default());
    }

    #[test]
    fn flags_become_options() {
        let options = parse(&["--draft-tokens", "0", "--logit-bias", "7:-2.5", "--stop", "a", "--stop", "b"]).unwrap();
        assert_eq!(options.draft_length, Some(DraftLength::Fixed(0)));
        assert_eq!(options.logit_bias, [(7, -2.5)]);
        assert_eq!(options.stop, ["a", "b"]);
        let lenient = parse(&["--lenient", "exponential:0.8"]).unwrap().verification;
        assert_eq!(lenient, Some(Verification::Lenient(Lenience::Exponential(0.8))));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        assert!(parse(&["--draft-tokens", "4", "--max-draft-tokens", "4"]).is_err());
        assert!(parse(&["--lenient", "linear:0.5", "--verification", "token"]).is_err());
        assert!(parse(&["--lenient", "cubic:0.5"]).is_err());
    }
}
