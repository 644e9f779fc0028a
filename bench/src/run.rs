//! The method: everything that is compared runs in turns, prompt by prompt, after a warm-up, until the repetitions are
//! done or the time is up.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use drafthorse::{Content, DraftLength, Drafting, Engine, GenerationOptions, Message, Prompt, Session, SessionOptions};
use sha2::{Digest, Sha256};

use crate::case::{self, Context};
use crate::generation::{Generation, Place};
use crate::load::{self, Opened};
use crate::machine::Machine;
use crate::plan::{Decoding, Mode, Plan, ProviderPair};
use crate::probe::{HostProbe, Sample};
use crate::prompts::{self, PromptSpec};
use crate::recorder::Recorder;
use crate::report::{FORMAT_VERSION, NodeCount, Pack, Pause, Report, Subject};
use crate::{Error, Result, cool_down, notes, prediction, warm_up};

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is under way.
    pub step: String,
    /// Generations done, on this provider; those that did not fit the context are done with.
    pub done: usize,
    /// Generations planned, on this provider; the time may be up before.
    pub planned: usize,
}

/// Told before every generation and again and again while a hot device cools; `Break` ends the run with `Cancelled`.
pub type OnProgress<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// Runs the plan and returns the report.
///
/// # Errors
/// `Plan`, `Prompts`, those of the runtime, or `Cancelled`.
pub fn run(plan: Plan, host: Option<&dyn HostProbe>, on_progress: OnProgress<'_>) -> Result<Report> {
    let plan = plan.checked()?;
    let prompts = prompts::of_plan(&plan)?;
    let started = SystemTime::now();
    let mut recorder = Recorder::new(host);
    let mut machine = Machine::read(Path::new("/"), plan.host.as_ref(), plan.device_label.clone());
    machine.sensors = recorder.probe.describe();
    let start_c = recorder.look().temperature_c;
    let pack = load::describe(&plan)?;
    let providers: Vec<Option<&ProviderPair>> =
        if plan.providers.is_empty() { vec![None] } else { plan.providers.iter().map(Some).collect() };
    let mut lab =
        Lab { plan: &plan, prompts: &prompts, recorder, start_c, on_progress, done: 0, planned: 0, notes: Vec::new() };
    let share = plan.budget_s / providers.len() as f64;
    let mut subjects = Vec::new();
    for provider in providers {
        match lab.subject(provider, share, &pack) {
            Ok(subject) => subjects.push(subject),
            // What was measured on others stands.
            Err(error) if !subjects.is_empty() && !is_cancelled(&error) => {
                let reason = load::without_folders(&error.to_string(), &plan);
                lab.notes.push(format!("not measured: {}: {reason}", name(provider)));
            }
            Err(error) => return Err(error),
        }
    }
    let (notes, duration_s) = (lab.notes, lab.recorder.at_s());
    let mut report = Report {
        format_version: FORMAT_VERSION,
        id: String::new(),
        program: PROGRAM.to_owned(),
        started_at: humantime::format_rfc3339_seconds(started).to_string(),
        duration_s,
        plan: without_folders(plan),
        machine,
        pack,
        subjects,
        notes,
    };
    report.notes.extend(notes::of(&report));
    report.id = id(&report);
    Ok(report)
}

fn name(provider: Option<&ProviderPair>) -> String {
    provider.map_or_else(|| "the pack's provider".to_owned(), ProviderPair::name)
}

fn is_cancelled(error: &Error) -> bool {
    matches!(error, Error::Cancelled | Error::Runtime(drafthorse::Error::Cancelled))
}

/// Name and version of this program.
pub(crate) const PROGRAM: &str = concat!("drafthorse-bench ", env!("CARGO_PKG_VERSION"));

/// A digest of all that the report says.
pub(crate) fn id(report: &Report) -> String {
    drafthorse_pack::hexadecimal(&Sha256::digest(report.to_json())[..16])
}

/// The plan as it may travel.
pub(crate) fn without_folders(mut plan: Plan) -> Plan {
    let strip = |path: &mut PathBuf| *path = load::last_name(path).into();
    strip(&mut plan.pack);
    let further = [&mut plan.drafter, &mut plan.runtime_library, &mut plan.cache_folder, &mut plan.prompts_file];
    further.into_iter().flatten().for_each(strip);
    plan
}

/// What a run works with.
struct Lab<'a> {
    plan: &'a Plan,
    prompts: &'a [PromptSpec],
    recorder: Recorder<'a>,
    /// Temperature before anything was opened, if it is known.
    start_c: Option<f64>,
    on_progress: OnProgress<'a>,
    /// Generations of the provider that is measured.
    done: usize,
    planned: usize,
    notes: Vec<String>,
}

/// What one provider's generations left behind.
#[derive(Default)]
struct Records {
    generations: Vec<Generation>,
    samples: Vec<Sample>,
    pauses: Vec<Pause>,
    /// Of the last prompt that did not fit.
    context_full: Option<Error>,
}

impl Lab<'_> {
    /// Everything on one provider, within `budget_s` seconds as far as whole prompts allow.
    fn subject(&mut self, provider: Option<&ProviderPair>, budget_s: f64, pack: &Pack) -> Result<Subject> {
        let begin = Instant::now();
        (self.done, self.planned) = (0, 0);
        self.tell(&format!("opening on {}, cold and warm", name(provider)))?;
        let Opened { kept: _kept, engine, load, memory } = load::open(self.plan, provider, &self.recorder.probe)?;
        let costs = warm_up::costs(&engine, &mut |sweep| {
            self.tell(&format!("warming up: sweep {} over the cost curve", sweep + 1))
        })?;
        let modes = self.modes(&engine);
        let records = self.records(&engine, &modes, begin, budget_s)?;
        let Records { mut generations, samples, pauses, .. } = records;
        case::mark_outliers(&mut generations);
        let context = Context { parameter_ratio: pack.parameter_ratio.value().copied(), seed: self.plan.seed };
        let cases = case::cases(&generations, context);
        if !self.plan.keep_rounds {
            generations.iter_mut().for_each(|generation| generation.detail = None);
        }
        let report = engine.report();
        let nodes = |model: &str, placement: &drafthorse::PlacementReport| -> Vec<NodeCount> {
            let count = |(provider, nodes): &(String, usize)| NodeCount {
                model: model.to_owned(),
                provider: provider.clone(),
                nodes: *nodes,
            };
            placement.nodes.iter().map(count).collect()
        };
        let refused = |model: &str, placement: &drafthorse::PlacementReport| -> Vec<String> {
            let reason = |(provider, reason): &(_, String)| {
                format!("{model} on {provider}: {}", load::without_folders(reason, self.plan))
            };
            placement.refused.iter().map(reason).collect()
        };
        let drafter = report.drafter.as_ref();
        Ok(Subject {
            engine: concat!("drafthorse ", env!("CARGO_PKG_VERSION")).to_owned(),
            runtime: report.runtime.clone(),
            provider: report.target.provider.to_string(),
            drafter_provider: drafter.map(|placement| placement.provider.to_string()),
            refused: [refused("target", &report.target), drafter.map_or_else(Vec::new, |d| refused("drafter", d))]
                .concat(),
            nodes: [nodes("target", &report.target), drafter.map_or_else(Vec::new, |d| nodes("drafter", d))].concat(),
            threads: self.plan.threads,
            load: Some(load),
            memory: Some(memory),
            predictions: prediction::predictions(&costs, &cases, self.plan.draft_len),
            costs: Some(costs),
            cases,
            generations,
            samples,
            pauses,
        })
    }

    /// The modes asked for that the pack can do.
    fn modes(&mut self, engine: &Engine) -> Vec<Mode> {
        let has_drafter = engine.report().drafter.is_some();
        let needs_one = |mode: &Mode| matches!(mode, Mode::Drafter | Mode::Both);
        let (left_out, modes): (Vec<Mode>, Vec<Mode>) =
            self.plan.modes.iter().partition(|mode| needs_one(mode) && !has_drafter);
        if !left_out.is_empty() {
            let names: Vec<&str> = left_out.iter().map(|mode| mode.name()).collect();
            let reason = engine.report().drafter_missing.as_deref().unwrap_or("the folder has no drafter model");
            self.notes.push(format!("not measured: {}: {reason}", names.join(", ")));
        }
        modes
    }

    fn records(&mut self, engine: &Engine, modes: &[Mode], begin: Instant, budget_s: f64) -> Result<Records> {
        let sessions = modes
            .iter()
            .map(|&mode| Ok((mode, engine.session(&session_options(mode, engine))?)))
            .collect::<Result<BTreeMap<Mode, Session>>>()?;
        let turns: Vec<(Decoding, Mode)> =
            self.plan.decodings.iter().flat_map(|&decoding| modes.iter().map(move |&mode| (decoding, mode))).collect();
        let blocks = self.plan.repetitions * self.prompts.len();
        let mut records = Records::default();
        self.unmeasured(&sessions)?;
        let answers: usize = self.prompts.iter().map(answers).sum();
        self.planned = self.plan.repetitions * turns.len() * answers;
        for block in 0..blocks {
            if block > 0 && begin.elapsed().as_secs_f64() > budget_s {
                self.notes.push(format!(
                    "the time was up ({budget_s:.0} s) after {block} of {blocks} prompts, repetitions counted"
                ));
                break;
            }
            let (repetition, prompt) = (block / self.prompts.len(), block % self.prompts.len());
            records.pauses.extend(self.cool_down()?);
            for (decoding, mode) in in_order(&turns, prompt, repetition) {
                self.converse(&sessions[&mode], prompt, repetition, decoding, mode, &mut records)?;
            }
        }
        records.samples.push(self.recorder.look());
        match records.context_full.take() {
            Some(error) if records.generations.is_empty() => Err(error),
            _ => Ok(records),
        }
    }

    /// Waits while the device is hot, if it is.
    fn cool_down(&mut self) -> Result<Option<Pause>> {
        let Self { plan, recorder, start_c, on_progress, done, planned, .. } = self;
        let since = recorder.since();
        let mut keep_going = |reason: &str| tell(on_progress, &format!("waiting: {reason}"), *done, *planned);
        cool_down::wait(&mut recorder.probe, *start_c, plan.cool_down, since, &mut keep_going)
    }

    /// One short answer of every session, so that none of them meets the first prompt with untouched buffers.
    fn unmeasured(&mut self, sessions: &BTreeMap<Mode, Session>) -> Result<()> {
        for (&mode, session) in sessions {
            self.tell(&format!("warming up: {}", mode.name()))?;
            let options = GenerationOptions {
                max_tokens: Some(self.plan.max_tokens.min(32)),
                ..self.options(Decoding::Greedy, mode, 0)
            };
            for event in session.generate(Prompt::Text("Once upon a time"), &options)? {
                event?;
            }
            session.reset()?;
        }
        Ok(())
    }

    /// All turns of one prompt.
    fn converse(
        &mut self,
        session: &Session,
        prompt: usize,
        repetition: usize,
        decoding: Decoding,
        mode: Mode,
        records: &mut Records,
    ) -> Result<()> {
        session.reset()?;
        let spec = &self.prompts[prompt];
        let options = self.options(decoding, mode, (prompt * self.plan.repetitions + repetition) as u64);
        let mut messages: Vec<Message> = Vec::new();
        for turn in 0..answers(spec) {
            let place = Place { prompt, turn, task: &spec.task, repetition, decoding, mode };
            self.tell(&step(&place, self.plan.repetitions))?;
            let mut take = |prompt: Prompt<'_>| self.recorder.take(session, prompt, &options, &place);
            let taken = match &spec.text {
                Some(text) => take(Prompt::Text(text)),
                None => {
                    messages.push(Message::new("user", spec.turns[turn].clone()));
                    match take(Prompt::Messages { messages: &messages, tools: &[] }) {
                        // A folder without a chat template takes the turns as plain text.
                        Err(Error::Runtime(drafthorse::Error::ChatTemplate { .. })) => {
                            take(Prompt::Text(&plain_text(&messages)))
                        }
                        other => other,
                    }
                }
            };
            let taken = match taken {
                // What was measured so far stands.
                Err(error @ Error::Runtime(drafthorse::Error::ContextFull { .. })) => {
                    records.context_full = Some(error);
                    self.note_left_out(&place);
                    self.done += answers(spec) - turn;
                    break;
                }
                other => other?,
            };
            self.done += 1;
            records.samples.push(taken.before);
            records.generations.push(taken.generation);
            messages.push(Message::new("assistant", taken.text));
        }
        Ok(())
    }

    /// Says once what does not fit, however many modes and repetitions met it.
    fn note_left_out(&mut self, place: &Place<'_>) {
        let turn = if place.turn == 0 { String::new() } else { format!("turn {} of ", place.turn + 1) };
        let note = format!("{turn}prompt {} ({}) does not fit the context, left out", place.prompt + 1, place.task);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn options(&self, decoding: Decoding, mode: Mode, number: u64) -> GenerationOptions {
        let draft_length = match mode {
            Mode::Plain => DraftLength::Fixed(0),
            Mode::Adaptive => DraftLength::Adaptive(self.plan.draft_len_max),
            _ => DraftLength::Fixed(self.plan.draft_len),
        };
        GenerationOptions {
            max_tokens: Some(self.plan.max_tokens),
            temperature: Some(decoding.temperature()),
            // What the pack would add to the choice of tokens is left out, so that packs are measured alike.
            top_k: Some(0),
            top_p: Some(1.0),
            min_p: Some(0.0),
            repetition_penalty: Some(1.0),
            seed: Some(self.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number)),
            // Without a draft there is nothing to be lenient about.
            verification: decoding.verification().filter(|_| mode != Mode::Plain),
            draft_length: Some(draft_length),
            ..GenerationOptions::default()
        }
    }

    fn tell(&mut self, step: &str) -> Result<()> {
        tell(self.on_progress, step, self.done, self.planned)
    }
}

fn tell(on_progress: OnProgress<'_>, step: &str, done: usize, planned: usize) -> Result<()> {
    match on_progress(&Progress { step: step.to_owned(), done, planned }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    }
}

/// Where a run is, in words.
fn step(place: &Place<'_>, repetitions: usize) -> String {
    let Place { task, repetition, decoding, mode, .. } = place;
    format!("repetition {} of {repetitions}, {task}, {} {}", repetition + 1, decoding.name(), mode.name())
}

/// Generations that a prompt asks for.
fn answers(prompt: &PromptSpec) -> usize {
    prompt.turns.len().max(1)
}

/// A, B, C, then C, B, A, from prompt to prompt and for each prompt from repetition to repetition: what grows slower or
/// faster over time favours neither end, in all prompts together and in each of them.
fn in_order<T: Copy>(turns: &[T], prompt: usize, repetition: usize) -> impl Iterator<Item = T> {
    let forward = (prompt + repetition).is_multiple_of(2);
    (0..turns.len()).map(move |place| turns[if forward { place } else { turns.len() - 1 - place }])
}

fn session_options(mode: Mode, engine: &Engine) -> SessionOptions {
    let drafting = match mode {
        Mode::Plain => Drafting::None,
        Mode::Drafter => Drafting::Model,
        Mode::Lookup => Drafting::Lookup,
        Mode::Both => Drafting::Both,
        Mode::Adaptive if engine.report().drafter.is_some() => Drafting::Both,
        Mode::Adaptive => Drafting::Lookup,
    };
    SessionOptions { drafting, ..SessionOptions::default() }
}

fn plain_text(messages: &[Message]) -> String {
    let text = |message: &Message| match &message.content {
        Some(Content::Text(text)) => text.clone(),
        _ => String::new(),
    };
    messages.iter().map(text).collect::<Vec<_>>().join("\n\n")
}
