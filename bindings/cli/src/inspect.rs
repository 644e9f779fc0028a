//! `drafthorse inspect`: what a folder holds, read once and shown to people or machines.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use drafthorse_pack::{Acceptance, Card, Folder, FolderKind, Header, Lineage, ModelFiles};
use serde::Serialize;

use crate::arguments::Inspect;
use crate::assignment::Assignment;
use crate::failure::Result;
use crate::format::{bytes, count};
use crate::style::{FAINT, STRONG};

/// What is shown, in the order shown.
#[derive(Debug, Serialize)]
struct Description {
    kind: &'static str,
    model_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<Card>,
    target: Model,
    drafter: Option<Model>,
    end_tokens: Vec<u32>,
    chat_templates: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<Lineage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acceptance: Vec<Acceptance>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_this_machine: Option<Assignment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    settings_passed_over: Vec<String>,
}

/// One of the two models.
#[derive(Debug, Serialize)]
struct Model {
    file: String,
    /// With its external data.
    bytes: u64,
    weights: BTreeMap<String, u64>,
    cache_layout: &'static str,
    logits: Option<String>,
    logits_rows: &'static str,
    cache: Option<String>,
    cache_bytes_per_token: Option<u64>,
    vocab_len: Option<usize>,
    context_len: Option<usize>,
    layers: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_len: Option<usize>,
    hidden_len: Option<usize>,
    trimmed_vocab: bool,
}

pub(crate) fn run(arguments: &Inspect, json: bool) -> Result<ExitCode> {
    let folder = &arguments.models.folder;
    let mut description = describe(&drafthorse_pack::open(&folder.pack, &folder.options())?);
    if !arguments.files_only {
        match arguments.models.open(json) {
            Ok(engine) => description.on_this_machine = Some((&engine).into()),
            Err(failure) => description.notes.push(format!("cannot run here: {failure}")),
        }
    }
    if json {
        let text = serde_json::to_string_pretty(&description).expect("strings and numbers serialise");
        writeln!(std::io::stdout().lock(), "{text}")?;
    } else {
        write(&mut anstream::stdout().lock(), &description)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(folder: &Folder) -> Description {
    let manifest = folder.drafter_source.as_ref().map_or(folder.manifest.as_ref(), |source| source.manifest.as_ref());
    Description {
        kind: match folder.kind {
            FolderKind::Pack => "pack",
            FolderKind::Genai => "onnxruntime-genai",
            FolderKind::HuggingFace => "Hugging Face",
        },
        model_type: folder.model_type.clone(),
        variant: folder.variant.clone(),
        card: folder.manifest.as_ref().and_then(|manifest| manifest.card.clone()),
        target: model(&folder.target),
        drafter: folder.drafter.as_ref().map(model),
        end_tokens: folder.eos_tokens.clone(),
        chat_templates: folder.tokenizer.chat_templates.iter().map(|template| template.name.clone()).collect(),
        lineage: manifest.and_then(|manifest| manifest.drafter.as_ref()?.lineage.clone()),
        acceptance: manifest.map_or_else(Vec::new, |manifest| manifest.acceptance.clone()),
        notes: folder.notes.clone(),
        on_this_machine: None,
        settings_passed_over: folder.unknown_keys.clone(),
    }
}

fn model(files: &ModelFiles) -> Model {
    let shape = files.shape;
    Model {
        file: files.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes: files.bytes,
        weights: weights(&files.header),
        cache_layout: if files.shares_buffer() { "shared buffer" } else { "growing" },
        logits: files.logits_element().map(|element| element.to_string()),
        logits_rows: if files.last_row_only() { "the last token only: no speculation" } else { "every token" },
        cache: files.cache_element().map(|element| element.to_string()),
        cache_bytes_per_token: files.cache_bytes_per_token(),
        vocab_len: shape.vocab_len,
        context_len: shape.context_len,
        layers: shape.layers,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_len: shape.head_len,
        hidden_len: shape.hidden_len,
        trimmed_vocab: files.id_map.is_some(),
    }
}

/// Matrix products by the precision of their weights.
fn weights(header: &Header) -> BTreeMap<String, u64> {
    let mut weights: BTreeMap<String, u64> = header
        .block_quantisation
        .iter()
        .map(|(format, &number)| {
            let name =
                format!("int{} block {}, accuracy level {}", format.bits, format.block_size, format.accuracy_level);
            (name, number)
        })
        .collect();
    for operator in ["MatMul", "Gemm", "MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul"] {
        if header.count(operator) > 0 {
            weights.insert(operator.to_owned(), header.count(operator));
        }
    }
    weights
}

fn write(out: &mut impl Write, description: &Description) -> Result<()> {
    let variant = description.variant.as_ref().map(|variant| format!(", variant {variant}")).unwrap_or_default();
    line(out, "kind", &format!("{} folder{variant}", description.kind))?;
    line(out, "model", &description.model_type)?;
    if let Some(card) = &description.card {
        line(out, "name", &card.name)?;
        line(out, "summary", &card.summary)?;
        line(out, "licence", &card.licence)?;
        for limit in &card.limits {
            line(out, "limit", limit)?;
        }
    }
    write_model(out, "target", &description.target)?;
    match &description.drafter {
        Some(drafter) => write_model(out, "drafter", drafter)?,
        None => writeln!(out, "\n{STRONG}drafter{STRONG:#}\n  none; prompt lookup needs no model")?,
    }
    writeln!(out, "\n{STRONG}text{STRONG:#}")?;
    let tokens: Vec<String> = description.end_tokens.iter().map(u32::to_string).collect();
    line(out, "end tokens", &tokens.join(", "))?;
    line(out, "templates", &description.chat_templates.join(", "))?;
    if let Some(lineage) = &description.lineage {
        write_lineage(out, lineage)?;
    }
    for measured in &description.acceptance {
        let efficiency = measured.block_efficiency.map(|tau| format!(", {tau:.2} tokens per target call"));
        line(
            out,
            "acceptance",
            &format!(
                "{}: {:.1} % at temperature {}, {} drafted{}",
                measured.task,
                100.0 * measured.acceptance,
                measured.temperature,
                measured.draft_len,
                efficiency.unwrap_or_default()
            ),
        )?;
    }
    if let Some(assignment) = &description.on_this_machine {
        assignment.write(out)?;
    }
    if !description.notes.is_empty() || !description.settings_passed_over.is_empty() {
        writeln!(out, "\n{STRONG}notes{STRONG:#}")?;
    }
    for note in &description.notes {
        writeln!(out, "  {note}")?;
    }
    if !description.settings_passed_over.is_empty() {
        writeln!(out, "  not known here and passed over: {}", description.settings_passed_over.join(", "))?;
    }
    Ok(())
}

fn write_model(out: &mut impl Write, name: &str, model: &Model) -> Result<()> {
    writeln!(out, "\n{STRONG}{name}{STRONG:#}")?;
    line(out, "file", &format!("{}, {}", model.file, bytes(model.bytes)))?;
    let weights: Vec<String> = model.weights.iter().map(|(name, number)| format!("{number} × {name}")).collect();
    line(out, "weights", &weights.join("; "))?;
    let sizes = [
        ("layers", model.layers),
        ("heads", model.heads),
        ("KV heads", model.kv_heads),
        ("per head", model.head_len),
        ("hidden", model.hidden_len),
    ];
    let sizes: Vec<String> = sizes.iter().filter_map(|(name, size)| Some(format!("{name} {}", (*size)?))).collect();
    line(out, "sizes", &sizes.join(", "))?;
    let known = |size: Option<usize>| size.map_or_else(|| "not stated".to_owned(), count);
    line(out, "context", &format!("{} tokens", known(model.context_len)))?;
    let trimmed = if model.trimmed_vocab { " (trimmed; ids are mapped)" } else { "" };
    line(out, "vocabulary", &format!("{} tokens{trimmed}", known(model.vocab_len)))?;
    let element = |element: &Option<String>| element.clone().unwrap_or_else(|| "unknown type".to_owned());
    line(out, "logits", &format!("{}, for {}", element(&model.logits), model.logits_rows))?;
    let per_token = model.cache_bytes_per_token.map(|size| format!(", {} per token", bytes(size)));
    line(
        out,
        "KV cache",
        &format!("{}, {}{}", model.cache_layout, element(&model.cache), per_token.unwrap_or_default()),
    )
}

fn write_lineage(out: &mut impl Write, lineage: &Lineage) -> Result<()> {
    writeln!(out, "\n{STRONG}how the drafter was made{STRONG:#}")?;
    if let Some(name) = &lineage.target_name {
        line(out, "target", name)?;
    }
    if let Some(digest) = &lineage.target_digest {
        line(out, "target digest", digest)?;
    }
    if let (Some(drafter), Some(target)) = (lineage.parameters, lineage.target_parameters) {
        let share = 100.0 * drafter as f64 / target.max(1) as f64;
        line(out, "parameters", &format!("{} ({share:.1} % of the target's)", count(drafter as usize)))?;
    }
    for set in &lineage.data {
        line(out, "data", &format!("{}, {}", set.name, set.licence))?;
    }
    if !lineage.losses.is_empty() {
        line(out, "losses", &lineage.losses.join(", then "))?;
    }
    if let Some(seed) = lineage.seed {
        line(out, "seed", &seed.to_string())?;
    }
    if let Some(commit) = &lineage.commit {
        line(out, "commit", commit)?;
    }
    Ok(())
}

/// One figure with its name.
pub(crate) fn line(out: &mut impl Write, name: &str, value: &str) -> Result<()> {
    if !value.is_empty() {
        writeln!(out, "  {FAINT}{name:<14}{FAINT:#} {value}")?;
    }
    Ok(())
}
