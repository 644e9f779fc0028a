//! Opens a pack, builds the pair, measures what it costs, starts sessions.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use drafthorse_pack::{Folder, Manifest, ModelFiles};
use serde::{Deserialize, Serialize};

use crate::{
    CombinedDrafter, ContextPolicy, CostProfile, DRAFT_LEN_MAX, DraftLength, DraftLengthController, Drafter,
    EngineOptions, Error, History, Model, ModelDrafter, NGRAM_RANGE, NodeCounts, OnnxGraph, OnnxModel, PlacementReport,
    PromptLookup, Result, Session, Tokenizer,
    conversation::Conversation,
    kept::Kept,
    loading::{self, Loaded},
    measure,
    memory::resident_bytes,
    onnx::build_info,
    opening::Room,
    state::State,
};

/// Where a session's drafts come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drafting {
    /// The pack's drafter if it has one, prompt lookup otherwise.
    #[default]
    Auto,
    /// Nowhere: the target alone.
    None,
    /// The drafter model.
    Model,
    /// Prompt lookup: what followed the last tokens when they occurred before.
    Lookup,
    /// Prompt lookup where its match is long, the drafter model elsewhere.
    Both,
}

/// Tokens that must agree before a copy is trusted more than the drafter model.
const COPY_MATCH_LEN_MIN: usize = 6;

/// How to start a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {
    /// Where drafts come from.
    pub drafting: Drafting,
    /// What happens when a conversation outgrows the context.
    pub context_policy: ContextPolicy,
}

/// What was opened.
#[derive(Clone, Debug)]
pub struct EngineReport {
    /// Version and build of ONNX Runtime, as it describes itself.
    pub runtime: String,
    /// What computes the target.
    pub target: PlacementReport,
    /// What computes the drafter, if there is one.
    pub drafter: Option<PlacementReport>,
    /// Why there is no drafter, where the folder has one.
    pub drafter_missing: Option<String>,
    /// Tokens that a session holds.
    pub context_len: usize,
    /// Bytes of the KV caches of one session, when full.
    pub cache_bytes: u64,
    /// Bytes of the models' files.
    pub weight_bytes: u64,
    /// Bytes by which the process grew while models and tokenizer were loaded; `None` where the system does not tell.
    /// Whatever else the process did meanwhile counts too.
    pub resident_bytes: Option<u64>,
    /// Measured costs of a pass.
    pub costs: CostProfile,
}

/// An opened pack: weights, tokenizer and measured costs, shared by its sessions. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    target: OnnxGraph,
    drafter: Option<OnnxGraph>,
    conversation: Conversation,
    report: EngineReport,
}

impl Engine {
    /// Opens the folder at `path` in any of the three kinds.
    ///
    /// # Errors
    /// `Pack` for what is wrong with the folder, `VocabularyMismatch`, `Tokenizer`, `RuntimeLibrary`,
    /// `UnsupportedGraph`, `ExecutionProvider` or `OutOfMemory`. Nothing is loaded before the folder has been checked.
    pub fn open(path: impl AsRef<Path>, options: &EngineOptions) -> Result<Self> {
        let folder = drafthorse_pack::open(path.as_ref(), &options.folder)?;
        if options.check_digests {
            check_digests(&folder, options)?;
        }
        let room = Room::of(&folder, options)?;
        let resident_before = resident_bytes();
        let Loaded { target, drafter, drafter_missing, tokenizer } = loading::load(&folder, &room, options)?;
        let resident_bytes = resident_bytes().zip(resident_before).map(|(now, before)| now.saturating_sub(before));
        let ((target, target_report), (drafter, drafter_report)) = (target, drafter.unzip());
        let costs = match &options.costs {
            Some(costs) => costs.clone(),
            None => {
                let reports = [Some(&target_report), drafter_report.as_ref()];
                let kept = options
                    .cache_folder
                    .as_ref()
                    .map(|place| kept_costs(place, &folder, options, build_info(), reports));
                costs(kept, &target, drafter.as_ref())?
            }
        };
        let report = EngineReport {
            runtime: build_info().to_owned(),
            context_len: target.context_len_max(),
            cache_bytes: (target.cache_bytes() + drafter.as_ref().map_or(0, OnnxGraph::cache_bytes)) as u64,
            weight_bytes: folder.target.bytes
                + folder.drafter.as_ref().filter(|_| drafter.is_some()).map_or(0, |d| d.bytes),
            resident_bytes,
            target: target_report,
            drafter: drafter_report,
            drafter_missing,
            costs,
        };
        let conversation = Conversation::new(folder, tokenizer, target.vocab_len());
        Ok(Self(Arc::new(Inner { target, drafter, conversation, report })))
    }

    /// What was opened, what computes it, and what a pass costs.
    pub fn report(&self) -> &EngineReport {
        &self.0.report
    }

    /// Times what passes cost just now: the target's over each of `widths` rows (from 1 to 17; others are left out), and
    /// the drafter's over one. For measuring apart from any generation: nothing that sessions use is changed.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for caches; errors of the models.
    pub fn measure_costs(&self, widths: &[usize]) -> Result<CostProfile> {
        Ok(measured(&self.0.target, self.0.drafter.as_ref(), widths, true)?.0)
    }

    /// The folder: kind, files, sizes, lineage, notes.
    pub fn folder(&self) -> &Folder {
        self.0.conversation.folder()
    }

    /// The tokenizer of both models.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.0.conversation.tokenizer()
    }

    /// Starts a conversation with caches of its own.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for the caches; `InvalidOption` if drafts are asked for that the pack cannot
    /// make.
    pub fn session(&self, options: &SessionOptions) -> Result<Session> {
        let target = self.0.target.model()?;
        let context_len = target.context_len_max();
        let drafter = if target.scores_every_row() { self.drafter(options.drafting, context_len)? } else { None };
        Ok(self.start((Box::new(target), drafter), self.nodes(options.drafting), options.context_policy))
    }

    /// A session over models of the caller's own, with this engine's tokenizer and costs: for measuring the loop apart
    /// from its models.
    #[doc(hidden)]
    pub fn session_over(
        &self,
        target: Box<dyn Model>,
        drafter: Option<Box<dyn Drafter>>,
        context_policy: ContextPolicy,
    ) -> Session {
        self.start((target, drafter), NodeCounts::default(), context_policy)
    }

    fn start(
        &self,
        (target, drafter): (Box<dyn Model>, Option<Box<dyn Drafter>>),
        nodes: NodeCounts,
        context_policy: ContextPolicy,
    ) -> Session {
        let inner = &*self.0;
        let state = State {
            history: History::new(inner.conversation.vocab_len(), target.context_len_max() + DRAFT_LEN_MAX + 1),
            drafter,
            target,
            draft_length: DraftLengthController::new(DraftLength::Fixed(0), &inner.report.costs, self.acceptance()),
            nodes: Arc::new(nodes),
            rows_independent: !self.folder().target.header.per_tensor_activations(),
        };
        Session::new(state, inner.conversation.with_policy(context_policy))
    }

    /// Where the nodes of the models run that a session with `drafting` asks.
    fn nodes(&self, drafting: Drafting) -> NodeCounts {
        let counts = |report: &PlacementReport| report.nodes.iter().cloned().collect();
        let report = self.report();
        let drafter = report.drafter.as_ref().filter(|_| !matches!(drafting, Drafting::None | Drafting::Lookup));
        NodeCounts { target: counts(&report.target), drafter: drafter.map(counts).unwrap_or_default() }
    }

    /// What the pack says about its own drafter; of one from elsewhere nothing is known.
    fn acceptance(&self) -> Option<f64> {
        let folder = self.folder();
        let own = folder.manifest.as_ref().filter(|_| folder.drafter_source.is_none());
        own.and_then(Manifest::acceptance_mean)
    }

    fn drafter(&self, drafting: Drafting, context_len: usize) -> Result<Option<Box<dyn Drafter>>> {
        let lookup = || PromptLookup::new(*NGRAM_RANGE.start(), *NGRAM_RANGE.end(), context_len);
        let needed = || Error::InvalidOption {
            option: "drafting",
            reason: self
                .0
                .report
                .drafter_missing
                .clone()
                .unwrap_or_else(|| "the folder has no drafter model; name one, or draft by prompt lookup".into()),
        };
        let model = || self.model_drafter()?.ok_or_else(needed);
        Ok(match drafting {
            Drafting::None => None,
            Drafting::Lookup => Some(Box::new(lookup())),
            Drafting::Model => Some(Box::new(model()?)),
            Drafting::Both => Some(Box::new(CombinedDrafter::new(lookup(), model()?, COPY_MATCH_LEN_MIN))),
            Drafting::Auto if self.0.drafter.is_none() => Some(Box::new(lookup())),
            Drafting::Auto => Some(Box::new(model()?)),
        })
    }

    fn model_drafter(&self) -> Result<Option<ModelDrafter<OnnxModel>>> {
        let Some(drafter) = &self.0.drafter else { return Ok(None) };
        let (model, vocab_len) = (drafter.model()?, self.0.conversation.vocab_len());
        let id_map = self.folder().drafter.as_ref().and_then(|files| files.id_map.as_ref());
        Ok(Some(match id_map {
            Some(map) => ModelDrafter::with_ids(model, map.target_ids().to_vec(), vocab_len)?,
            None => ModelDrafter::new(model, vocab_len),
        }))
    }
}

/// Compares the files with their digests, unless they are the very files that an earlier start found intact.
fn check_digests(folder: &Folder, options: &EngineOptions) -> Result<()> {
    // Taken before the files are read: what changes meanwhile is another state.
    let kept =
        options.cache_folder.as_ref().zip(folder.file_states()).map(|(cache_folder, states)| {
            Kept::new(cache_folder, "intact", &folder.path.display().to_string(), states)
        });
    if kept.as_ref().is_some_and(|kept| kept.read::<()>().is_some()) {
        return Ok(());
    }
    folder.check_digests(&mut |_| ControlFlow::Continue(()))?;
    if let Some(kept) = kept {
        kept.write(());
    }
    Ok(())
}

/// What tells the weights of `folder`'s models from others: digests, or paths and sizes where there are none.
fn weights(folder: &Folder) -> String {
    let of = |files: &ModelFiles| match folder.recorded_digest(files) {
        Some(digest) => digest,
        None => format!("{} {}", files.path.display(), files.bytes),
    };
    [Some(&folder.target), folder.drafter.as_ref()].into_iter().flatten().map(of).collect::<Vec<_>>().join(" ")
}

/// Where the costs of `folder`'s models are kept: one file for each way in which a caller has them computed. They were
/// measured on caches of a size of their own, so that neither memory budget nor context matters.
fn kept_costs(
    place: &Path,
    folder: &Folder,
    options: &EngineOptions,
    runtime: &str,
    reports: [Option<&PlacementReport>; 2],
) -> Kept {
    let drafter = folder.drafter.as_ref();
    let drafter_path = drafter.filter(|_| reports[1].is_some()).map(|drafter| &drafter.path);
    let asked = (
        (&options.target_providers, options.target_threads),
        (&options.drafter_providers, options.drafter_threads),
        options.spinning,
    );
    let subject = format!("{:?}", (&folder.target.path, drafter_path, asked));
    let placed = reports.map(|report| report.map(|report| (report.provider, &report.nodes, report.layout)));
    let settings = (&folder.target.session, drafter.map(|drafter| &drafter.session));
    let runs = (runtime, &options.device, placed, settings, measure::WIDTHS);
    let key = format!("{subject} {} {runs:?}", weights(folder));
    Kept::new(place, "costs", &subject, key)
}

/// Costs kept from an earlier start, or measured now.
fn costs(kept: Option<Kept>, target: &OnnxGraph, drafter: Option<&OnnxGraph>) -> Result<CostProfile> {
    if let Some(costs) = kept.as_ref().and_then(Kept::read) {
        return Ok(costs);
    }
    let (costs, calm) = measured(target, drafter, &measure::WIDTHS, false)?;
    // Costs measured while other programs kept the processor busy are better measured again at the next start.
    if let Some(kept) = kept.filter(|_| calm) {
        kept.write(&costs);
    }
    Ok(costs)
}

/// Costs measured on models with small caches of their own, and whether the machine was calm.
fn measured(
    target: &OnnxGraph,
    drafter: Option<&OnnxGraph>,
    widths: &[usize],
    every: bool,
) -> Result<(CostProfile, bool)> {
    let mut target = target.model_of(measure::CACHE_LEN)?;
    let mut drafter = drafter.map(|drafter| drafter.model_of(measure::CACHE_LEN)).transpose()?;
    measure::costs(&mut target, drafter.as_mut().map(|drafter| drafter as &mut dyn Model), widths, every)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{CacheLayout, Provider, Spinning};

    #[test]
    fn kept_costs_are_those_of_what_computes_and_of_nothing_else() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs/demo");
        let folder = drafthorse_pack::open(&demo, &Default::default()).unwrap();
        let report = PlacementReport {
            provider: Provider::Cpu,
            nodes: vec![("CPUExecutionProvider".to_owned(), 80)],
            refused: Vec::new(),
            layout: CacheLayout::Shared,
            chunk_len: 256,
        };
        let refused = PlacementReport { refused: vec![(Provider::Cuda, "not here".to_owned())], ..report.clone() };
        let slow = PlacementReport { layout: CacheLayout::Growing, ..report.clone() };
        let kept = |options: &EngineOptions, runtime, reports| {
            kept_costs(Path::new("cache"), &folder, options, runtime, reports)
        };
        let asked = EngineOptions { target_threads: Some(2), ..EngineOptions::default() };
        let first = kept(&asked, "1.31.1", [Some(&report), Some(&report)]);

        let elsewhere = EngineOptions {
            cache_bytes_max: 123_456_789,
            context_len: Some(300),
            check_digests: false,
            runtime_library: Some("lib.so".into()),
            cache_folder: Some("cache".into()),
            ..asked.clone()
        };
        assert_eq!(kept(&elsewhere, "1.31.1", [Some(&refused), Some(&report)]), first);

        let one = EngineOptions { target_threads: Some(1), ..asked.clone() };
        let never = EngineOptions { spinning: Spinning::Never, ..asked.clone() };
        let cuda = EngineOptions { drafter_providers: vec![Provider::Cuda.into()], ..asked.clone() };
        let both = [Some(&report), Some(&report)];
        let others = [
            kept(&one, "1.31.1", both),
            kept(&never, "1.31.1", both),
            kept(&cuda, "1.31.1", both),
            kept(&asked, "1.31.1", [Some(&report), None]),
        ];
        let files: HashSet<_> = others.iter().chain([&first]).map(Kept::path).collect();
        assert_eq!(files.len(), 5, "each in a file of its own");

        // What changes by and by takes the place of what was.
        let device = EngineOptions { device: Some("new driver".to_owned()), ..asked.clone() };
        let later = [
            kept(&asked, "1.32.0", both),
            kept(&device, "1.31.1", both),
            kept(&asked, "1.31.1", [Some(&slow), both[1]]),
        ];
        for later in later {
            assert!(later != first && later.path() == first.path());
        }
    }
}
