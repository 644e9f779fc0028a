//! From what the caller wrote to the tokens, the plan and the constraint of a generation.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
};

use drafthorse_pack::{Folder, SearchDefaults};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Chat, ChatTemplate, ConstraintCompiler, Error, GenerationOptions, GenerationPlan, LocalTime, Message, OutputText,
    PlanContext, Result, SpecialTokens, StopTexts, TokenId, TokenMaskSource, Tokenizer,
};

/// What a generation starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prompt<'a> {
    /// Text as it is, with the tokenizer's own first token where it has one.
    Text(&'a str),
    /// A conversation, written out by the pack's chat template with the assistant's turn opened.
    Messages {
        /// Oldest message first.
        messages: &'a [Message],
        /// Tools that the model may call, as JSON schemas in the way that Hugging Face takes them.
        tools: &'a [Value],
    },
    /// Token ids as they are.
    Tokens(&'a [TokenId]),
}

/// What happens when a conversation outgrows the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextPolicy {
    /// `ContextFull`.
    #[default]
    Fail,
    /// Leave out the oldest turns after the system prompt until the rest fits with room for an answer: `max_tokens`,
    /// or a quarter of the context where none are given, but never more than half of it. Some more turns go than must,
    /// up to a quarter of what is kept, so that the next prompts begin alike and the cache serves them. The last turn
    /// stays, however long. Needs `Prompt::Messages`.
    DropOldestTurns,
}

/// Part of the context that is kept free for an answer of no stated length.
const RESERVE_PART: usize = 4;

/// Part of what is kept of a conversation that is left out at once.
const STEP_PART: usize = 4;

/// What turns prompts and options into tokens and plans: everything of a session that is no model.
#[derive(Clone)]
pub(crate) struct Conversation {
    common: Arc<Common>,
    context_policy: ContextPolicy,
}

/// What all conversations of an engine share.
struct Common {
    tokenizer: Tokenizer,
    /// Compiled when the first conversation needs it, so that packs with a broken template still complete text.
    template: OnceLock<ChatTemplate>,
    /// Built when the first constraint needs it: a trie of the whole vocabulary.
    constraints: OnceLock<ConstraintCompiler>,
    defaults: GenerationOptions,
    stop_tokens: Vec<TokenId>,
    vocab_len: usize,
    folder: Folder,
}

impl Conversation {
    /// What the conversations of `folder` share; `row_len` is the width of the target's logits.
    pub(crate) fn new(folder: Folder, tokenizer: Tokenizer, row_len: usize) -> Self {
        let mut stop_tokens = folder.eos_tokens.clone();
        if stop_tokens.is_empty() {
            stop_tokens.extend(tokenizer.eos());
        }
        let common = Common {
            // Columns past the tokenizer's last token are padding: nobody could read what they stand for.
            vocab_len: row_len.min(tokenizer.vocab_len()),
            tokenizer,
            template: OnceLock::new(),
            constraints: OnceLock::new(),
            defaults: defaults(&folder.search),
            stop_tokens,
            folder,
        };
        Self { common: Arc::new(common), context_policy: ContextPolicy::default() }
    }

    /// The same with a policy of its own.
    pub(crate) fn with_policy(&self, context_policy: ContextPolicy) -> Self {
        Self { common: Arc::clone(&self.common), context_policy }
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.common.tokenizer
    }

    /// Tokens that a generation may emit: those below it.
    pub(crate) fn vocab_len(&self) -> usize {
        self.common.vocab_len
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.common.folder
    }

    /// The tokens of `prompt`, at least one and few enough that one more fits the context.
    pub(crate) fn tokens(
        &self,
        prompt: Prompt<'_>,
        options: &GenerationOptions,
        context_len: usize,
    ) -> Result<Vec<TokenId>> {
        let tokens = match prompt {
            Prompt::Text(text) => self.common.tokenizer.encode(text)?,
            Prompt::Tokens(tokens) => tokens.to_vec(),
            Prompt::Messages { messages, tools } => {
                let asked = options.max_tokens.or(self.common.defaults.max_tokens);
                let reserve = asked.unwrap_or(context_len / RESERVE_PART).min(context_len / 2);
                self.turns(messages, tools, context_len - reserve)?
            }
        };
        let tokens = match (tokens.is_empty(), self.common.tokenizer.bos()) {
            (false, _) => tokens,
            (true, Some(bos)) => vec![bos],
            (true, None) => {
                let reason = "is empty, and the tokenizer has no token to begin with; give at least one token";
                return Err(Error::InvalidOption { option: "prompt", reason: reason.into() });
            }
        };
        if let Some(&unknown) = tokens.iter().find(|&&token| token as usize >= self.common.vocab_len) {
            let reason = format!("token {unknown}: the target's tokens are below {}", self.common.vocab_len);
            return Err(Error::InvalidOption { option: "prompt", reason });
        }
        if tokens.len() > context_len {
            return Err(Error::ContextFull { needed: tokens.len(), capacity: context_len });
        }
        Ok(tokens)
    }

    /// The tokens of a conversation, without its oldest turns where the policy says so and there are more than `len_max`.
    fn turns(&self, messages: &[Message], tools: &[Value], len_max: usize) -> Result<Vec<TokenId>> {
        let tokens = |messages: &[Message]| self.common.tokenizer.encode_plain(&self.render(messages, tools)?);
        let all = tokens(messages)?;
        if all.len() <= len_max || self.context_policy == ContextPolicy::Fail {
            return Ok(all);
        }
        // In steps: as the conversation grows, the same turns are left out until the next step is reached.
        let surplus = (all.len() - len_max).next_multiple_of((len_max / STEP_PART).max(1));
        let wanted = all.len().saturating_sub(surplus);
        let system = messages.iter().take_while(|message| message.role == "system").count();
        let starts: Vec<usize> = (system + 1..messages.len()).filter(|&i| messages[i].role == "user").collect();
        let (mut shortest, mut fitting) = (all, None);
        let (mut low, mut high) = (0, starts.len());
        while low < high {
            let middle = (low + high) / 2;
            let rest = tokens(&[&messages[..system], &messages[starts[middle]..]].concat())?;
            if rest.len() <= wanted {
                (high, fitting) = (middle, Some(rest));
            } else {
                (low, shortest) = (middle + 1, rest);
            }
        }
        Ok(fitting.unwrap_or(shortest))
    }

    fn render(&self, messages: &[Message], tools: &[Value]) -> Result<String> {
        let common = &self.common;
        let template = get_or_try_init(&common.template, || ChatTemplate::open(&common.folder.tokenizer))?;
        let now = LocalTime::now_utc();
        template.render(&Chat { messages, tools, add_generation_prompt: true, now, variables: &[] })
    }

    /// The checked options for a prompt of `prompt_len` tokens.
    pub(crate) fn plan(
        &self,
        options: &GenerationOptions,
        prompt_len: usize,
        context_len: usize,
    ) -> Result<GenerationPlan> {
        options.plan(&PlanContext {
            vocab_len: self.common.vocab_len,
            // The last token need not fit the cache: nothing is scored after it.
            tokens_left: context_len - prompt_len + 1,
            stop_tokens: &self.common.stop_tokens,
            defaults: &self.common.defaults,
            seed: RandomState::new().hash_one(prompt_len),
        })
    }

    /// The constraint that the options ask for.
    pub(crate) fn constraint(&self, options: &GenerationOptions) -> Result<Option<Box<dyn TokenMaskSource>>> {
        let Some(spec) = &options.constraint else { return Ok(None) };
        let common = &self.common;
        let new = || ConstraintCompiler::new(&common.tokenizer, &common.stop_tokens);
        Ok(Some(Box::new(get_or_try_init(&common.constraints, new)?.compile(spec)?)))
    }

    /// What shows the output of a generation after `prompt`.
    pub(crate) fn output(&self, prompt: Prompt<'_>, tokens: &[TokenId], plan: &GenerationPlan) -> Result<OutputText> {
        let stream = match prompt {
            // An answer is a text of its own; a completion goes on in the middle of one.
            Prompt::Messages { .. } => self.common.tokenizer.stream(SpecialTokens::Hide),
            Prompt::Text(_) | Prompt::Tokens(_) => self.common.tokenizer.stream_after(tokens, SpecialTokens::Hide),
        };
        Ok(OutputText::new(stream, StopTexts::new(&plan.stop)?, &self.common.stop_tokens))
    }
}

/// The cell's value, made by `new` if there is none yet. Two threads may both make one; the first stays.
fn get_or_try_init<T>(cell: &OnceLock<T>, new: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = new()?;
    Ok(cell.get_or_init(|| value))
}

/// What a folder's search settings say about a generation. Lengths that count the prompt are left out: they were
/// meant for sizing a cache.
fn defaults(search: &SearchDefaults) -> GenerationOptions {
    let number = |value: Option<f64>| value.map(|value| value as f32);
    GenerationOptions {
        max_tokens: search.max_new_tokens,
        min_tokens: search.min_new_tokens,
        temperature: Some(search.temperature_meant() as f32),
        top_k: search.top_k,
        top_p: number(search.top_p),
        min_p: number(search.min_p),
        repetition_penalty: number(search.repetition_penalty),
        seed: search.seed,
        ..GenerationOptions::default()
    }
}
