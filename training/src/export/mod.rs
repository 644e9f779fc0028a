//! Writes a trained target and its drafter as a pack: graphs, tokenizer, lineage, card and digests.
//!
//! Nothing appears at the pack's place before the exported graphs have computed what the trained models do.

mod calibration;
mod card;
pub(crate) mod decoder;
mod parity;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use drafthorse_graph::folder::{DRAFTER_FILE, GraphFile, SpecialTokens, TARGET_FILE, genai_config, write_json};
use drafthorse_graph::{
    DecoderConfig, FloatType, GraphOptions, Layout, Precision, WeightFormat, Weights, calibrate, write_model,
};
use drafthorse_pack::{Card, DataSet, DrafterRecord, IdMap, Lineage, Manifest, model_digest, write_manifest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use parity::check_runtime;
pub use parity::{Parity, ParityText};

use crate::corpus::CorpusSettings;
use crate::distill::pair::{same_vocabulary, whole_head};
use crate::error::IoContext;
use crate::evaluate::Records;
use crate::import::hugging_face;
use crate::model::{Llama, ModelConfig};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, folder};

/// A recipe of `export`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRecipe {
    /// Folder of the target: `config.json`, weights, `tokenizer.json`.
    pub target: PathBuf,
    /// Folder of the drafter; none writes the target alone.
    #[serde(default)]
    pub drafter: Option<PathBuf>,
    /// Format of the target's weights.
    pub target_precision: PrecisionName,
    /// Format of the drafter's weights.
    #[serde(default)]
    pub drafter_precision: PrecisionName,
    /// How the KV cache goes in and out.
    #[serde(default)]
    pub layout: LayoutName,
    /// Adds an output `hidden_states` `[batch, sequence, hidden_len]` to the target: what its head reads.
    #[serde(default)]
    pub hidden_states: bool,
    /// Proposed tokens per round that the pack suggests, 1 to 16.
    #[serde(default = "draft_len_default")]
    pub draft_len: usize,
    /// Jinja template of a conversation, if the target was trained on some; none takes the target's own, if it has one.
    #[serde(default)]
    pub chat_template: Option<String>,
    /// Real text for the parity gate; what static activation scales are calibrated on begins like it.
    pub parity: CorpusSettings,
    /// The evaluator's `acceptance.NAME.json` of this target and this drafter, for manifest and card.
    #[serde(default)]
    pub acceptance: Option<PathBuf>,
    /// For people.
    pub card: Card,
    /// Data that both models were trained on.
    #[serde(default)]
    pub data: Vec<DataSet>,
    /// Losses that the drafter was trained with, in order.
    #[serde(default)]
    pub losses: Vec<String>,
}

/// Formats that can be exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionName {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats throughout.
    Fp16,
    /// 8-bit weights in blocks of 32.
    Int8,
    /// 8-bit weights in blocks of 128.
    Int8Block128,
    /// 4-bit weights in blocks of 32.
    Int4,
    /// 4-bit weights in blocks of 32, 16-bit floats between.
    Int4Fp16,
    /// 4-bit weights in blocks of 128.
    Int4Block128,
    /// 4-bit layers; head and embedding in 8 bits.
    Int4Int8,
    /// 8-bit weights and activations, with a scale per row of activations.
    Int8x8,
    /// 8-bit weights and activations, with scales calibrated on what the target writes.
    Int8x8Static,
}

/// Cache layouts that can be exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutName {
    /// GroupQueryAttention over buffers of fixed capacity.
    #[default]
    Shared,
    /// Standard operators; the cache grows.
    Growing,
}

/// Share of an activation's spread that goes into the weights; the best of those tried (docs/adr/0003).
const SMOOTHING: f32 = 0.3;

fn draft_len_default() -> usize {
    4
}

impl PrecisionName {
    fn precision(self) -> Precision {
        let eight = WeightFormat::Int8 { block: 32 };
        match self {
            Self::Fp32 => Precision::FP32,
            Self::Fp16 => Precision::FP16,
            Self::Int8 => Precision::INT8,
            Self::Int8Block128 => Precision::uniform(WeightFormat::Int8 { block: 128 }, FloatType::F32),
            Self::Int4 => Precision::INT4,
            Self::Int4Fp16 => Precision { io: FloatType::F16, ..Precision::INT4 },
            Self::Int4Block128 => Precision::uniform(WeightFormat::Int4 { block: 128 }, FloatType::F32),
            Self::Int8x8 => Precision::INT8X8,
            Self::Int8x8Static => Precision::INT8X8_STATIC,
            Self::Int4Int8 => Precision { head: eight, embedding: eight, ..Precision::INT4 },
        }
    }
}

impl LayoutName {
    fn layout(self) -> Layout {
        match self {
            Self::Shared => Layout::Shared,
            Self::Growing => Layout::Growing { position_ids: false },
        }
    }
}

/// A model on its way out.
struct Part {
    name: &'static str,
    file: &'static str,
    model: Llama,
    config: DecoderConfig,
    weights: Weights,
    options: GraphOptions,
    precision: PrecisionName,
}

impl Part {
    fn load(
        name: &'static str,
        file: &'static str,
        from: &Path,
        precision: PrecisionName,
        layout: LayoutName,
        device: &Device,
    ) -> Result<Self> {
        let model = hugging_face::load(from, device)?;
        let (config, weights) = decoder::decoder(&model)?;
        let options = GraphOptions::new(layout.layout(), precision.precision());
        Ok(Self { name, file, model, config, weights, options, precision })
    }

    /// Finds constant activation scales, and smooths the weights for them.
    fn calibrate(&mut self, texts: &[ParityText]) -> Result<()> {
        let (weights, ranges) = calibrate(&self.config, &self.weights, texts, Some(SMOOTHING)).map_err(graph)?;
        self.weights = weights;
        self.options.activation_ranges = Some(ranges);
        Ok(())
    }

    fn graph_file(&self) -> GraphFile<'_> {
        GraphFile { file_name: self.file, config: &self.config, options: &self.options }
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct ExportOutcome {
    /// Agreement of each exported graph with its model: target, then drafter.
    pub parity: Vec<Parity>,
    /// Bytes of the pack.
    pub bytes: u64,
}

/// Writes the pack at `out`, replacing what was there as a whole.
///
/// # Errors
/// `Parity` if an exported graph strays from its model, `Mismatch` if the two models do not share a vocabulary or the
/// acceptance is of others, `Graph` or `Io`; `out` is then as it was.
pub fn export(recipe: &ExportRecipe, data: &Path, out: &Path, device: &Device) -> Result<ExportOutcome> {
    let tokenizer = Tokenizer::open(&recipe.target.join("tokenizer.json"))?;
    let mut target = Part::load("target", TARGET_FILE, &recipe.target, recipe.target_precision, recipe.layout, device)?;
    tokenizer.check_rows(target.model.config().vocab_len)?;
    let mut drafter = match &recipe.drafter {
        Some(from) => {
            let part = Part::load("drafter", DRAFTER_FILE, from, recipe.drafter_precision, recipe.layout, device)?;
            check_pair(recipe, &target.model, &part.model)?;
            Some(part)
        }
        None => {
            whole_head(&target.model)?;
            None
        }
    };
    target.options.hidden_states = recipe.hidden_states;
    // Both models read the same texts.
    let contexts = [Some(&target), drafter.as_ref()].into_iter().flatten().map(|part| part.model.config().context_len);
    let context_len = contexts.min().unwrap_or(0);
    let texts = parity::texts(&recipe.parity, data, &tokenizer, context_len)?;
    if [recipe.target_precision, recipe.drafter_precision].contains(&PrecisionName::Int8x8Static) {
        let written = calibration::texts(&recipe.parity, data, &tokenizer, &target.model, context_len)?;
        let parts = [Some(&mut target), drafter.as_mut()].into_iter().flatten();
        for part in parts.filter(|part| part.precision == PrecisionName::Int8x8Static) {
            part.calibrate(&written)?;
        }
    }
    let mut outcome = ExportOutcome { parity: Vec::new(), bytes: 0 };
    folder::replace(out, |folder| {
        for part in [Some(&target), drafter.as_ref()].into_iter().flatten() {
            let path = folder.join(part.file);
            write_model(&path, &part.config, &part.weights, &part.options).map_err(graph)?;
            outcome.parity.push(parity::check(part.name, part.precision, &part.model, &path, &texts)?);
        }
        write_settings(recipe, folder, &target, drafter.as_ref())?;
        write_tokenizer(recipe, folder, &target.model, &tokenizer)?;
        let mut manifest = manifest(recipe, &target, drafter.as_ref(), &outcome.parity)?;
        if let Some(lineage) = manifest.drafter.as_mut().and_then(|drafter| drafter.lineage.as_mut()) {
            let written = drafthorse_pack::open(folder, &drafthorse_pack::OpenOptions::default()).map_err(pack)?;
            let digest = model_digest(&written.target, &mut |_| ControlFlow::Continue(())).map_err(pack)?;
            lineage.target_digest = Some(digest);
        }
        let readme = folder.join("README.md");
        std::fs::write(&readme, card::markdown(recipe, &manifest, &outcome.parity)).at(&readme)?;
        let manifest = write_manifest(folder, manifest, &mut |_| ControlFlow::Continue(())).map_err(pack)?;
        outcome.bytes = manifest.files.values().map(|file| file.bytes).sum();
        drafthorse_pack::open(folder, &drafthorse_pack::OpenOptions::default()).map(|_| ()).map_err(pack)
    })?;
    Ok(outcome)
}

fn check_pair(recipe: &ExportRecipe, target: &Llama, drafter: &Llama) -> Result<()> {
    let file = |folder: &Path| folder.join("tokenizer.json");
    let from = recipe.drafter.as_deref().unwrap_or(&recipe.target);
    same_vocabulary(target, drafter, &file(&recipe.target), &file(from))?;
    if !(1..=16).contains(&recipe.draft_len) {
        return Err(Error::setting("draft_len", format!("{}: from 1 to 16", recipe.draft_len)));
    }
    Ok(())
}

/// `genai_config.json`; a trimmed drafter stays out of it, because onnxruntime-genai refuses unequal widths.
fn write_settings(recipe: &ExportRecipe, folder: &Path, target: &Part, drafter: Option<&Part>) -> Result<()> {
    let tokens = SpecialTokens {
        bos: target.model.config().bos_token,
        eos: target.model.config().eos_tokens.clone(),
        pad: None,
    };
    let whole = drafter.filter(|drafter| drafter.model.config().head_tokens.is_none());
    let pair = whole.map(|drafter| (drafter.graph_file(), recipe.draft_len));
    let mut config = genai_config(target.graph_file(), pair, &tokens);
    // Greedy unless sampling is asked for; what is then sampled must not be cut to one token.
    config["search"]["top_k"] = json!(50);
    config["search"]["top_p"] = json!(0.95);
    write_json(&folder.join("genai_config.json"), &config).map_err(graph)?;
    let Some(ids) = drafter.and_then(|drafter| drafter.model.config().head_tokens.clone()) else { return Ok(()) };
    let map = IdMap::new(ids).map_err(|reason| Error::Mismatch { reason })?;
    let path = folder.join(IdMap::FILE);
    std::fs::write(&path, map.to_json()).at(&path)
}

/// `tokenizer.json` and what describes it: the target's own settings where it has some, else what its configuration
/// says. The recipe's chat template replaces the target's.
fn write_tokenizer(recipe: &ExportRecipe, folder: &Path, target: &Llama, tokenizer: &Tokenizer) -> Result<()> {
    hugging_face::copy_tokenizer(&recipe.target.join("tokenizer.json"), folder)?;
    let path = folder.join("tokenizer_config.json");
    let mut config = if path.exists() {
        let text = std::fs::read_to_string(&path).at(&path)?;
        let found = serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
        let wrong = |reason| Error::format(&recipe.target.join("tokenizer_config.json"), reason);
        found
            .and_then(|config| if config.is_object() { Ok(config) } else { Err("is no object".into()) })
            .map_err(wrong)?
    } else {
        described(target.config(), tokenizer)?
    };
    if let Some(template) = &recipe.chat_template {
        config["chat_template"] = json!(template);
        let path = folder.join("chat_template.jinja");
        std::fs::write(&path, template).at(&path)?;
    }
    write_json(&path, &config).map_err(graph)
}

/// `tokenizer_config.json` of a target that came without one.
fn described(config: &ModelConfig, tokenizer: &Tokenizer) -> Result<Value> {
    let text = |id: u32| {
        let missing =
            || Error::Mismatch { reason: format!("the tokenizer has no token {id}, which the target's config names") };
        tokenizer.token_text(id).ok_or_else(missing)
    };
    let mut described = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": tokenizer.encode_prompt("a")? != tokenizer.encode("a")?,
        "clean_up_tokenization_spaces": false,
    });
    if let Some(bos) = config.bos_token {
        described["bos_token"] = json!(text(bos)?);
    }
    if let Some(&end) = config.eos_tokens.first() {
        let end = text(end)?;
        (described["eos_token"], described["pad_token"]) = (json!(end), json!(end));
    }
    Ok(described)
}

fn manifest(recipe: &ExportRecipe, target: &Part, drafter: Option<&Part>, parity: &[Parity]) -> Result<Manifest> {
    let mut manifest = Manifest::new(format!("drafthorse-train {}", env!("CARGO_PKG_VERSION")));
    manifest.card = Some(recipe.card.clone());
    if let Some(path) = &recipe.acceptance {
        let drafter = drafter.ok_or_else(|| Error::setting("acceptance", "is a drafter's, and the recipe has none"))?;
        let records = Records::read(path)?;
        records.check(path, &target.model, &drafter.model)?;
        manifest.acceptance = records.acceptance;
    }
    manifest.extra.insert("parity".into(), json!(parity));
    let mut own = json!(recipe);
    shorten_paths(&mut own);
    manifest.extra.insert("export".into(), own);
    let Some(drafter) = drafter else { return Ok(manifest) };
    let trimmed = drafter.model.config().head_tokens.is_some();
    let run = recipe.drafter.as_deref().and_then(run_record);
    let seed = run.as_ref().and_then(|run| run["recipe"]["train"]["seed"].as_u64());
    manifest.drafter = Some(DrafterRecord {
        decoder: trimmed.then(|| decoder_block(drafter)),
        id_map: trimmed.then(|| IdMap::FILE.to_owned()),
        lineage: Some(Lineage {
            target_digest: None,
            target_name: Some(recipe.card.name.clone()),
            parameters: Some(drafter.model.config().parameters()),
            target_parameters: Some(target.model.config().parameters()),
            data: recipe.data.clone(),
            losses: recipe.losses.clone(),
            seed,
            commit: crate::run::commit(),
            recipe: run,
            ..Lineage::default()
        }),
        ..DrafterRecord::default()
    });
    Ok(manifest)
}

/// The decoder block that genai_config.json would have for the drafter.
fn decoder_block(drafter: &Part) -> serde_json::Map<String, Value> {
    let config = genai_config(drafter.graph_file(), None, &SpecialTokens::default());
    config["model"]["decoder"].as_object().cloned().unwrap_or_default()
}

/// `run.toml` of the run whose checkpoint `folder` is, without paths of this machine.
fn run_record(folder: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(folder.parent()?.join("run.toml")).ok()?;
    let mut value: Value = toml::from_str(&text).ok()?;
    shorten_paths(&mut value);
    Some(value)
}

fn shorten_paths(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with('/') => {
            *text = Path::new(text).file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        }
        Value::Array(items) => items.iter_mut().for_each(shorten_paths),
        Value::Object(fields) => fields.values_mut().for_each(shorten_paths),
        _ => {}
    }
}

fn graph(error: drafthorse_graph::Error) -> Error {
    Error::Graph(error.to_string())
}

fn pack(error: drafthorse_pack::Error) -> Error {
    Error::Graph(error.to_string())
}
