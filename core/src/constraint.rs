//! What the output must look like: JSON schemas, regular expressions and Lark grammars, by llguidance.

mod vocabulary;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory, TokenParser};
use toktrie::{InferenceCapabilities, SimpleVob, TokTrie};

use crate::text::Tokenizer;
use crate::{ConstraintSpec, Error, Result, TokenId, TokenMaskSource};

/// Longest schema, expression or grammar, in bytes.
const SPEC_BYTES_MAX: usize = 256 << 10;

/// Deepest nesting of brackets in it; what parses it descends once per bracket.
const SPEC_DEPTH_MAX: usize = 200;

/// Stack of the thread that compiles, in bytes. llguidance descends once per `$ref` or rule that leads to the next, and
/// the longest chain that fits `SPEC_BYTES_MAX` has about ten thousand. Only what is used takes memory.
const COMPILE_STACK_BYTES: usize = 256 << 20;

/// States of a lexer, of one to two kB each; llguidance allows five times as many.
const LEXER_STATES_MAX: usize = 50_000;

/// Constraints that a compiler keeps, so that an app that asks for the same shape again does not wait for it.
const KEPT_MAX: usize = 4;

/// Compiles constraints for one tokenizer, and keeps the last few. Holds the vocabulary as a trie; build it once and
/// share it by `Arc`.
pub struct ConstraintCompiler {
    factory: ParserFactory,
    stop_tokens: Arc<[TokenId]>,
    /// Latest first; none of them has taken a token.
    kept: Mutex<VecDeque<(ConstraintSpec, Constraint)>>,
}

impl ConstraintCompiler {
    /// Prepares the vocabulary.
    ///
    /// # Errors
    /// `Constraint` if no stop token is in the vocabulary (a constrained output could not end), or if the vocabulary
    /// cannot be held as a trie.
    pub fn new(tokenizer: &Tokenizer, stop_tokens: &[TokenId]) -> Result<Self> {
        let known = |token: &TokenId| (*token as usize) < tokenizer.vocab_len();
        let stop_tokens: Arc<[TokenId]> = stop_tokens.iter().copied().filter(known).collect();
        let environment = vocabulary::environment(tokenizer, &stop_tokens)?;
        // Token masks are built in slices; these are llguidance's own, made for JSON strings and white space.
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(refused)?;
        factory.quiet();
        factory.limits_mut().max_lexer_states = LEXER_STATES_MAX;
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, stop_tokens, kept: Mutex::default() })
    }

    /// A constraint that stands before the first token of the output.
    ///
    /// # Errors
    /// `Constraint` with the reason, if the text is malformed, asks for something that is not supported, is too large,
    /// or describes no output at all.
    pub fn compile(&self, spec: &ConstraintSpec) -> Result<Constraint> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, constraint)) = kept().iter().find(|(kept, _)| kept == spec) {
            return Ok(constraint.deep_clone());
        }
        let constraint = self.compile_new(spec)?;
        let mut kept = kept();
        kept.push_front((spec.clone(), constraint.deep_clone()));
        kept.truncate(KEPT_MAX);
        Ok(constraint)
    }

    fn compile_new(&self, spec: &ConstraintSpec) -> Result<Constraint> {
        let (ConstraintSpec::JsonSchema(text) | ConstraintSpec::Regex(text) | ConstraintSpec::Lark(text)) = spec;
        check_size(text)?;
        let parser = on_deep_stack(|| self.parser(spec))?;
        let mut compiled = Constraint {
            matcher: Matcher::new(Ok(parser)),
            stop_tokens: Arc::clone(&self.stop_tokens),
            token_count: 0,
            stop_count: 0,
            mask: None,
        };
        // An output must be able to begin.
        compiled.mask()?;
        Ok(compiled)
    }

    fn parser(&self, spec: &ConstraintSpec) -> Result<TokenParser> {
        let grammar = match spec {
            ConstraintSpec::JsonSchema(schema) => TopLevelGrammar::from_json_schema(
                serde_json::from_str(schema).map_err(|error| constraint(format!("the schema is no JSON: {error}")))?,
            ),
            ConstraintSpec::Regex(expression) => TopLevelGrammar::from_regex(expression),
            ConstraintSpec::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        };
        let parser = self.factory.create_parser(grammar).map_err(refused)?;
        let rollback = parser.parser.grammar().lexer_spec().check_rollback();
        rollback.map_err(|error| constraint(format!("a draft could not be taken back: {error}")))?;
        Ok(parser)
    }
}

impl std::fmt::Debug for ConstraintCompiler {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ConstraintCompiler").field("stop_tokens", &self.stop_tokens).finish_non_exhaustive()
    }
}

/// A constraint under way: which tokens may follow those pushed.
///
/// Clones are independent and share what the grammar's lexer has learnt. The stop tokens are allowed exactly where the
/// output is complete; after one of them nothing else is.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    stop_tokens: Arc<[TokenId]>,
    /// Tokens that the matcher has taken.
    token_count: usize,
    /// Stop tokens that came last; the matcher has not seen them.
    stop_count: usize,
    /// The mask of this place, once asked for.
    mask: Option<SimpleVob>,
}

impl Constraint {
    /// True if the output is complete as it is; more may be allowed.
    ///
    /// # Errors
    /// `Constraint` if an earlier step failed.
    pub fn is_accepting(&mut self) -> Result<bool> {
        if self.is_done() {
            return Ok(true);
        }
        self.matcher.is_accepting().map_err(refused)
    }

    /// True if the output is complete and nothing but a stop token may follow.
    pub fn is_done(&self) -> bool {
        self.stop_count > 0 || (self.matcher.stop_reason().is_ok() && self.matcher.is_stopped())
    }

    /// Appends tokens that the constraint leaves no choice about to `tokens`: a draft that costs no model.
    ///
    /// They spell the bytes that must follow, as long tokens as there are. The target need not spell them so; it checks
    /// them like any draft. The last token is left out, since what follows may change it.
    pub fn forced_tokens(&mut self, tokens: &mut Vec<TokenId>) {
        if self.is_done() {
            return;
        }
        let bytes = self.matcher.compute_ff_bytes();
        let Ok(environment) = self.matcher.tok_env() else { return };
        // A marker byte stands for a special token of a Lark grammar, which has no other spelling.
        let plain = bytes.split(|&byte| byte == TokTrie::SPECIAL_TOKEN_MARKER).next().unwrap_or_default();
        let spelled = environment.tok_trie().greedy_tokenize(plain);
        tokens.extend(spelled.iter().take(spelled.len().saturating_sub(1)));
    }

    /// A clone with lexer states of its own: they are limited in number, and threads would wait for each other.
    fn deep_clone(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            stop_tokens: Arc::clone(&self.stop_tokens),
            token_count: self.token_count,
            stop_count: self.stop_count,
            mask: self.mask.clone(),
        }
    }

    fn compute_mask(&mut self) -> Result<SimpleVob> {
        let accepting = self.is_accepting()?;
        let mut mask = if self.is_done() {
            self.matcher.tok_env().map_err(refused)?.tok_trie().alloc_token_set()
        } else {
            self.matcher.compute_mask().map_err(refused)?
        };
        for &token in &*self.stop_tokens {
            mask.set(token as usize, accepting);
        }
        Ok(mask)
    }

    fn not_allowed(&self, token: TokenId) -> Error {
        constraint(format!("token {token} is not allowed after {} tokens of output", self.token_count))
    }
}

impl TokenMaskSource for Constraint {
    fn mask(&mut self) -> Result<Option<&[u32]>> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None => self.compute_mask()?,
        };
        Ok(Some(self.mask.insert(mask).as_slice()))
    }

    fn push(&mut self, token: TokenId) -> Result<()> {
        let known_to_fit = match &self.mask {
            Some(mask) if (token as usize) < mask.len() => Some(mask.is_allowed(token)),
            _ => None,
        };
        if known_to_fit == Some(false) {
            return Err(self.not_allowed(token));
        }
        if self.stop_tokens.contains(&token) {
            if !self.is_accepting()? {
                return Err(self.not_allowed(token));
            }
            self.stop_count += 1;
            self.mask = None;
            return Ok(());
        }
        if self.is_done() {
            return Err(self.not_allowed(token));
        }
        let taken = match known_to_fit {
            Some(_) => self.matcher.consume_token(token).map(|()| 1),
            // The matcher does not recover from a token outside its vocabulary.
            None if !self.in_vocabulary(token) => Ok(0),
            None => self.matcher.try_consume_tokens(&[token]),
        };
        if taken.map_err(refused)? == 0 {
            return Err(self.not_allowed(token));
        }
        self.token_count += 1;
        self.mask = None;
        Ok(())
    }

    fn rollback(&mut self, count: usize) -> Result<()> {
        let taken = self.token_count + self.stop_count;
        if count > taken {
            return Err(constraint(format!("{count} tokens were to be taken back of {taken}")));
        }
        if count > 0 {
            let stops = count.min(self.stop_count);
            self.matcher.rollback(count - stops).map_err(refused)?;
            self.stop_count -= stops;
            self.token_count -= count - stops;
            self.mask = None;
        }
        Ok(())
    }

    fn forced(&mut self, tokens: &mut Vec<TokenId>) {
        self.forced_tokens(tokens);
    }
}

impl Constraint {
    fn in_vocabulary(&self, token: TokenId) -> bool {
        self.matcher.tok_env().is_ok_and(|environment| (token as usize) < environment.tok_trie().vocab_size())
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Constraint")
            .field("token_count", &self.token_count)
            .field("stop_count", &self.stop_count)
            .finish_non_exhaustive()
    }
}

/// Runs `work` on a thread whose stack holds the deepest recursion that a constraint of the largest size can cause.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(COMPILE_STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| constraint(format!("no thread to compile it on: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(constraint("the compiler gave up".into())))
    })
}

/// Refuses texts that would take the compiler's time or stack.
fn check_size(text: &str) -> Result<()> {
    if text.len() > SPEC_BYTES_MAX {
        return Err(constraint(format!("{} bytes; at most {SPEC_BYTES_MAX} are compiled", text.len())));
    }
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > SPEC_DEPTH_MAX {
            return Err(constraint(format!("brackets are nested deeper than {SPEC_DEPTH_MAX}")));
        }
    }
    Ok(())
}

/// The first paragraph of what llguidance says; the rest is its own state.
fn refused(error: impl std::fmt::Display) -> Error {
    let text = format!("{error:#}");
    let end = ["\n<state>", "\n<non-verbose/>", "\n<backtrace>"].iter().filter_map(|mark| text.find(mark)).min();
    match text[..end.unwrap_or(text.len())].trim() {
        "NoExtensionBias" => constraint("no token of the vocabulary can go on from here".into()),
        reason => constraint(reason.to_owned()),
    }
}

fn constraint(reason: String) -> Error {
    Error::Constraint { reason }
}

#[cfg(test)]
mod tests;
