//! What is to be measured: pack × provider × prompts × decoding × mode, and by which rules.

use std::path::PathBuf;

use drafthorse::{DRAFT_LEN_MAX, Lenience, Provider, Verification};
use serde::{Deserialize, Serialize};

use crate::machine::HostFacts;
use crate::prompts::PromptSpec;
use crate::{Error, Result};

/// A run of the harness. Every field has a default but the pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Folder of the pack, in any of the kinds that the runtime opens.
    pub pack: PathBuf,
    /// Folder or ONNX file of a drafter in place of the pack's own.
    pub drafter: Option<PathBuf>,
    /// How the target was made bigger without a change to what it says, if it was; the report repeats it.
    pub inflated: Option<String>,
    /// The ONNX Runtime library; absent: where the runtime looks by itself.
    pub runtime_library: Option<PathBuf>,
    /// Where the run may make a folder for what an app keeps between starts, which it removes; absent: where the system
    /// keeps temporary files.
    pub cache_folder: Option<PathBuf>,
    /// Execution providers to measure one after the other; empty: the one that the pack asks for.
    pub providers: Vec<ProviderPair>,
    /// Threads within an operator, of both models; absent: the pack's, then the runtime's.
    pub threads: Option<usize>,
    /// Tokens that a session holds; absent: what models and the runtime's budget allow.
    pub context_len: Option<usize>,
    /// How tokens are chosen.
    pub decodings: Vec<Decoding>,
    /// How tokens are drafted. `plain` is what every other mode is compared with.
    pub modes: Vec<Mode>,
    /// Prompts written out here; empty: those of `prompts_file`, else the built-in ones.
    pub prompts: Vec<PromptSpec>,
    /// A JSONL file of prompts: our own, Spec-Bench's, MT-bench's or GSM8K's.
    pub prompts_file: Option<PathBuf>,
    /// Most prompts to use, spread evenly over the file.
    pub prompts_max: usize,
    /// Most tokens per answer.
    pub max_tokens: usize,
    /// Draft length of the modes with a fixed one.
    pub draft_len: usize,
    /// Longest draft of the adaptive mode.
    pub draft_len_max: usize,
    /// Repetitions of every prompt, decoding and mode.
    pub repetitions: usize,
    /// Seconds after which no further prompt is begun.
    pub budget_s: f64,
    /// Seed of sampling and of the bootstrap.
    pub seed: u64,
    /// When to let the device cool.
    pub cool_down: CoolDown,
    /// The lab's own name of this device, under which a fleet's reports are grouped.
    pub device_label: Option<String>,
    /// What an app knows of its device that files do not tell.
    pub host: Option<HostFacts>,
    /// Keep the time of every round in the report, not only their distribution.
    pub keep_rounds: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            pack: PathBuf::new(),
            drafter: None,
            inflated: None,
            runtime_library: None,
            cache_folder: None,
            providers: Vec::new(),
            threads: None,
            context_len: None,
            decodings: vec![Decoding::Greedy, Decoding::Sampled],
            modes: Mode::ALL.to_vec(),
            prompts: Vec::new(),
            prompts_file: None,
            prompts_max: 12,
            max_tokens: 96,
            draft_len: 4,
            draft_len_max: DRAFT_LEN_MAX,
            repetitions: 5,
            budget_s: 120.0,
            seed: 1,
            cool_down: CoolDown::default(),
            device_label: None,
            host: None,
            keep_rounds: false,
        }
    }
}

/// An execution provider for the target and one for the drafter, by the runtime's short names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProviderPair {
    /// The target's.
    pub target: String,
    /// The drafter's; absent: the target's.
    #[serde(default)]
    pub drafter: Option<String>,
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decoding {
    /// The likeliest token.
    Greedy,
    /// At temperature 1, verified in blocks: the target's own distribution.
    Sampled,
    /// At temperature 1, accepting more than the target would: **not lossless**.
    Lenient,
}

impl Decoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Greedy, Self::Sampled, Self::Lenient];

    /// Name, as in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::Sampled => "sampled",
            Self::Lenient => "lenient",
        }
    }

    pub(crate) fn temperature(self) -> f32 {
        if self == Self::Greedy { 0.0 } else { 1.0 }
    }

    /// p^0.7 in place of p: the one form that DistillSpec (arXiv 2310.08461) found to give a useful trade.
    pub(crate) fn verification(self) -> Option<Verification> {
        (self == Self::Lenient).then_some(Verification::Lenient(Lenience::Exponential(0.7)))
    }
}

/// How tokens are drafted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not at all: the target alone.
    Plain,
    /// By the drafter model, a fixed number in every round.
    Drafter,
    /// By prompt lookup, a fixed number at most.
    Lookup,
    /// By both, a fixed number at most.
    Both,
    /// By what there is, as many as pay: what an app gets that asks for nothing.
    Adaptive,
}

impl Mode {
    /// All of them, plain first.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Drafter, Self::Lookup, Self::Both, Self::Adaptive];

    /// Name, as in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Drafter => "drafter",
            Self::Lookup => "lookup",
            Self::Both => "both",
            Self::Adaptive => "adaptive",
        }
    }
}

/// When to let the device cool between prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CoolDown {
    /// Degrees above the temperature at the start at which a pause begins.
    pub rise_c_max: f64,
    /// Longest pause, in seconds; then the run goes on and says so.
    pub pause_s_max: f64,
    /// A pause between prompts whatever the sensors say, in seconds.
    pub pause_s: f64,
}

impl Default for CoolDown {
    fn default() -> Self {
        Self { rise_c_max: 12.0, pause_s_max: 60.0, pause_s: 0.0 }
    }
}

impl ProviderPair {
    /// The target's provider and the drafter's.
    pub(crate) fn parsed(&self) -> Result<(Provider, Provider)> {
        let parse = |name: &str| {
            name.parse()
                .map_err(|error: drafthorse::Error| Error::Plan { field: "providers", reason: error.to_string() })
        };
        Ok((parse(&self.target)?, parse(self.drafter.as_deref().unwrap_or(&self.target))?))
    }

    /// As on the command line.
    pub(crate) fn name(&self) -> String {
        match &self.drafter {
            Some(drafter) => format!("{}+{drafter}", self.target),
            None => self.target.clone(),
        }
    }
}

impl Plan {
    /// Checks numbers and names, and puts modes and decodings in order.
    ///
    /// # Errors
    /// `Plan` with the field and what is allowed.
    pub fn checked(mut self) -> Result<Self> {
        let range = |field, value: usize, low: usize, high: usize| {
            let reason = || format!("{value}: from {low} to {high}");
            if (low..=high).contains(&value) { Ok(()) } else { Err(Error::Plan { field, reason: reason() }) }
        };
        range("prompts_max", self.prompts_max, 1, 100_000)?;
        range("max_tokens", self.max_tokens, 2, 1_000_000)?;
        range("draft_len", self.draft_len, 1, DRAFT_LEN_MAX)?;
        range("draft_len_max", self.draft_len_max, 1, DRAFT_LEN_MAX)?;
        range("repetitions", self.repetitions, 1, 10_000)?;
        range("threads", self.threads.unwrap_or(1), 1, 1024)?;
        let CoolDown { rise_c_max, pause_s_max, pause_s } = self.cool_down;
        for (field, value) in [
            ("budget_s", self.budget_s),
            ("cool_down.rise_c_max", rise_c_max),
            ("cool_down.pause_s_max", pause_s_max),
            ("cool_down.pause_s", pause_s),
        ] {
            if !(0.0..=1e7).contains(&value) {
                return Err(Error::Plan { field, reason: format!("{value}: from 0 to ten million") });
            }
        }
        if self.pack.as_os_str().is_empty() {
            return Err(Error::Plan { field: "pack", reason: "no folder is named".into() });
        }
        for pair in &self.providers {
            pair.parsed()?;
        }
        self.modes.sort_unstable();
        self.modes.dedup();
        self.decodings.sort_unstable();
        self.decodings.dedup();
        if self.modes.is_empty() || self.decodings.is_empty() {
            let field = if self.modes.is_empty() { "modes" } else { "decodings" };
            return Err(Error::Plan { field, reason: "at least one is needed".into() });
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_a_pack_alone_is_whole() {
        let plan: Plan = serde_json::from_str(r#"{"pack": "p", "modes": ["adaptive", "plain", "plain"]}"#).unwrap();
        let plan = plan.checked().unwrap();
        assert_eq!(plan.modes, [Mode::Plain, Mode::Adaptive]);
        assert_eq!(plan.decodings, [Decoding::Greedy, Decoding::Sampled]);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let refused = |json: &str| serde_json::from_str::<Plan>(json).unwrap().checked().unwrap_err().to_string();
        assert!(refused(r#"{"pack": "p", "draft_len": 17}"#).starts_with("plan, draft_len: 17"));
        assert!(refused(r#"{"pack": "p", "budget_s": -1}"#).contains("budget_s"));
        assert!(refused("{}").contains("no folder"));
        assert!(refused(r#"{"pack": "p", "modes": []}"#).contains("modes"));
        let misspelt =
            refused(r#"{"pack": "p", "providers": [{"target": "cpu"}, {"target": "cpu", "drafter": "qnnn"}]}"#);
        assert!(misspelt.starts_with("plan, providers: ") && misspelt.contains("qnnn"), "{misspelt}");
        assert!(serde_json::from_str::<Plan>(r#"{"pack": "p", "speed": 1}"#).is_err());
    }
}
