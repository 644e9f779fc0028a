//! The gate before a pack is written: the exported graph, run by the runtime, against the trained model on real text.

use std::path::Path;

use burn::tensor::Device;
use drafthorse::{Model as _, ModelOptions, OnnxModel};
use drafthorse_graph::folder::TARGET_FILE;
use drafthorse_graph::{GraphOptions, Layout, Precision, write_model};
use serde::Serialize;

use super::PrecisionName;
use super::decoder::decoder;
use crate::corpus::CorpusSettings;
use crate::error::IoContext;
use crate::model::{Llama, ModelConfig, host, token_tensor};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Texts that are compared, and tokens of each.
const TEXTS: usize = 8;
const TEXT_TOKENS_MAX: usize = 96;

/// Tokens of a real text.
pub type ParityText = Vec<u32>;

/// How well an exported graph agrees with its model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parity {
    /// "target" or "drafter".
    pub model: String,
    /// Format of the weights.
    pub precision: PrecisionName,
    /// Rows of logits compared.
    pub rows: usize,
    /// Root mean square difference of logits, each row's mean difference removed.
    pub rms: f64,
    /// Largest difference.
    pub worst: f64,
    /// Share of rows whose likeliest token is the same.
    pub argmax_agreement: f64,
}

/// Real texts out of a corpus: its last ones, cut to `context_len`.
///
/// # Errors
/// Of reading and encoding; `Setting` if the corpus has no text of two tokens.
pub(super) fn texts(
    settings: &CorpusSettings,
    data: &Path,
    tokenizer: &Tokenizer,
    context_len: usize,
) -> Result<Vec<ParityText>> {
    let documents = settings.documents(data)?;
    encoded(documents.iter().rev().take(TEXTS), tokenizer, TEXT_TOKENS_MAX.min(context_len))
}

/// Documents as tokens, each cut to `len_max`; those of one token are left out.
///
/// # Errors
/// Of encoding; `Setting` if none is left.
pub(super) fn encoded<'a>(
    documents: impl Iterator<Item = &'a String>,
    tokenizer: &Tokenizer,
    len_max: usize,
) -> Result<Vec<ParityText>> {
    let mut texts = Vec::new();
    for document in documents {
        let mut tokens = tokenizer.encode_prompt(document)?;
        tokens.truncate(len_max);
        if tokens.len() > 1 {
            texts.push(tokens);
        }
    }
    if texts.is_empty() {
        return Err(Error::setting("parity", "the corpus has no text to compare logits on"));
    }
    Ok(texts)
}

/// Runs a tiny graph, so that a runtime that is missing is known before anything is trained; `folder` is where it is
/// written for as long.
///
/// # Errors
/// `Runtime` with what the runtime said and how to place it; `Graph`, `Io`.
pub(crate) fn check_runtime(folder: &Path, device: &Device) -> Result<()> {
    let (config, weights) = decoder(&Llama::random(ModelConfig::tiny(), 1, device)?)?;
    std::fs::create_dir_all(folder).at(folder)?;
    let graph = folder.join(TARGET_FILE);
    let options = GraphOptions::new(Layout::Shared, Precision::FP32);
    let opened = write_model(&graph, &config, &weights, &options).map_err(super::graph).and_then(|_| {
        let opened = OnnxModel::open(&graph, &ModelOptions::default());
        opened.map_err(|error| Error::Runtime { pack: graph.clone(), reason: error.to_string() })
    });
    std::fs::remove_dir_all(folder).at(folder)?;
    opened.map(|_| ())
}

/// Compares and refuses what strays too far.
///
/// # Errors
/// `Parity` with the figure and its threshold, or what the runtime said.
pub(super) fn check(
    name: &str,
    precision: PrecisionName,
    model: &Llama,
    graph: &Path,
    texts: &[ParityText],
) -> Result<Parity> {
    let refused = |reason: String| Error::Parity { model: name.to_owned(), reason };
    let parity = compare(name, precision, model, graph, texts).map_err(|error| refused(error.to_string()))?;
    let (rms_max, agreement_min) = thresholds(precision);
    if parity.rms.is_nan() || parity.rms > rms_max {
        return Err(refused(format!("logits differ by {:.4} (rms), {precision:?} allows {rms_max}", parity.rms)));
    }
    if parity.argmax_agreement < agreement_min {
        let found = parity.argmax_agreement;
        return Err(refused(format!("{found:.3} of the likeliest tokens agree, {precision:?} needs {agreement_min}")));
    }
    Ok(parity)
}

/// Largest root mean square difference and least agreement. Quantised bounds leave room for small models, whose rows
/// have few blocks to average over; a wrong graph misses them by far.
fn thresholds(precision: PrecisionName) -> (f64, f64) {
    match precision {
        PrecisionName::Fp32 => (1e-3, 0.99),
        PrecisionName::Fp16 => (0.05, 0.97),
        PrecisionName::Int8 | PrecisionName::Int8Block128 => (0.1, 0.97),
        PrecisionName::Int4Int8 => (0.5, 0.85),
        PrecisionName::Int4 | PrecisionName::Int4Fp16 | PrecisionName::Int4Block128 => (0.7, 0.8),
        PrecisionName::Int8x8 => (0.15, 0.95),
        PrecisionName::Int8x8Static => (0.3, 0.9),
    }
}

fn compare(
    name: &str,
    precision: PrecisionName,
    model: &Llama,
    graph: &Path,
    texts: &[ParityText],
) -> drafthorse::Result<Parity> {
    let options = ModelOptions {
        role: if name == "drafter" { "drafter" } else { "target" },
        threads: Some(1),
        context_len_max: model.config().context_len,
        context_len: texts.iter().map(Vec::len).max(),
        ..ModelOptions::default()
    };
    let (mut exported, _) = OnnxModel::open(graph, &options)?;
    let width = exported.vocab_len();
    let (mut squares, mut worst, mut agreeing, mut rows) = (0.0f64, 0.0f64, 0usize, 0usize);
    for tokens in texts {
        let expected = host(model.forward(token_tensor(&[tokens], &model.device())));
        exported.truncate(0)?;
        // The second half reads the first one's keys and values, as every pass after the prompt's does.
        let (prompt, rest) = tokens.split_at(tokens.len() / 2);
        let mut found = Vec::with_capacity(tokens.len());
        for part in [prompt, rest].into_iter().filter(|part| !part.is_empty()) {
            let scored = exported.score(part)?;
            found.extend((0..part.len()).map(|row| scored.row(row).to_vec()));
        }
        for (found, expected) in found.iter().zip(expected.chunks_exact(width)) {
            let difference = |(x, y): (&f32, &f32)| f64::from(*x) - f64::from(*y);
            let mean = found.iter().zip(expected).map(difference).sum::<f64>() / width as f64;
            for pair in found.iter().zip(expected) {
                let strayed = difference(pair) - mean;
                squares += strayed * strayed;
                worst = worst.max(strayed.abs());
            }
            agreeing += usize::from(argmax(found) == argmax(expected));
            rows += 1;
        }
    }
    Ok(Parity {
        model: name.to_owned(),
        precision,
        rows,
        rms: (squares / (rows * width) as f64).sqrt(),
        worst,
        argmax_agreement: agreeing as f64 / rows as f64,
    })
}

/// Ties go to the lowest id, as in the runtime.
fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (index, value)| if *value > row[best] { index } else { best })
}

#[cfg(test)]
mod tests {
    use drafthorse_pack::onnx::ModelProto;
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_cache_in_the_wrong_order_does_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let model = Llama::random(ModelConfig::tiny(), 4, &Device::flex()).unwrap();
        let model = model.map(|_, tensor| tensor.mul_scalar(8.0));
        let (config, weights) = decoder(&model).unwrap();
        let options = GraphOptions::new(Layout::Growing { position_ids: false }, Precision::FP32);
        write_model(&path, &config, &weights, &options).unwrap();
        let texts = [(0..24).map(|t| (t * 7 + 3) % 32).collect()];
        check("target", PrecisionName::Fp32, &model, &path, &texts).unwrap();

        // New rows before those of the cache: the pass over a prompt, whose cache is empty, is still right.
        let mut graph = ModelProto::decode(&std::fs::read(&path).unwrap()[..]).unwrap();
        let nodes = graph.graph.as_mut().unwrap().node.iter_mut();
        let cached = nodes.filter(|node| node.op_type == "Concat" && node.output[0].starts_with("present."));
        assert!(cached.map(|node| node.input.swap(0, 1)).count() > 0);
        std::fs::write(&path, graph.encode_to_vec()).unwrap();
        let error = check("target", PrecisionName::Fp32, &model, &path, &texts).unwrap_err();
        assert!(matches!(error, Error::Parity { .. }), "{error}");
    }
}
