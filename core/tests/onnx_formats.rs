//! Every model family and weight format that the graph builder writes, through ONNX Runtime, against the reference.

mod fixture;

use std::path::Path;

use drafthorse::{Model, ModelOptions, OnnxModel, TokenId};
use drafthorse_graph::random::Extras;
use drafthorse_graph::{
    Activation, DecoderConfig, Error, ExternalData, FloatType, GraphOptions, InflatedSize, Layout, Precision, Rope,
    RopeScaling, WeightFormat, Weights, calibrate, inflate, reference, write_model,
};
use fixture::{LAYOUTS, difference, open, score};

const EXTRAS: Extras = Extras { biases: false, head_norms: false, tied: false };

fn base() -> DecoderConfig {
    DecoderConfig { kv_head_count: 2, context_len_max: 64, ..DecoderConfig::llama(96, 64, 160, 2, 4) }
}

/// Members of the family, each with what sets it apart.
fn families() -> Vec<(&'static str, DecoderConfig, Extras)> {
    let interleaved = Rope { theta: 500.0, interleaved: true, scaling: RopeScaling::None };
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context_len: 16,
    };
    let gemma = DecoderConfig {
        norm_offset: 1.0,
        embedding_scale: 8.0,
        activation: Activation::GeluTanh,
        head_len: 32,
        ..base()
    };
    let narrow = DecoderConfig { rope: interleaved.clone(), head_count: 8, kv_head_count: 4, head_len: 8, ..base() };
    let biased = Extras { biases: true, ..EXTRAS };
    vec![
        ("tied", base(), Extras { tied: true, ..EXTRAS }),
        ("qwen2", base(), biased),
        ("qwen3", base(), Extras { head_norms: true, ..EXTRAS }),
        ("gemma", gemma, Extras { tied: true, ..EXTRAS }),
        ("interleaved", DecoderConfig { rope: interleaved, ..base() }, Extras { head_norms: true, ..biased }),
        ("narrow heads", narrow, biased),
        ("llama3", DecoderConfig { rope: Rope { scaling, ..base().rope }, ..base() }, EXTRAS),
        ("trimmed", DecoderConfig { head_vocab_len: 50, hidden_len: 48, head_len: 16, ..base() }, EXTRAS),
    ]
}

fn tokens(len: usize) -> Vec<TokenId> {
    (0..len).map(|index| ((index * index * 11 + index * 37) % 96) as TokenId).collect()
}

fn model(folder: &Path, config: &DecoderConfig, weights: &Weights, options: &GraphOptions) -> OnnxModel {
    let path = folder.join("model.onnx");
    write_model(&path, config, weights, options).unwrap();
    open(&path, &ModelOptions { threads: Some(1), ..ModelOptions::default() })
}

/// Prefill, decode and verify with rollbacks in one: widths and how many rows are forgotten again.
fn rows_with_rollbacks(model: &mut OnnxModel, tokens: &[TokenId]) -> Vec<f32> {
    let mut rows = Vec::new();
    for (width, wrong) in [(13, 0), (1, 0), (5, 2), (5, 5), (5, 0), (1, 0), (8, 1)].into_iter().cycle() {
        let len = model.len();
        let width = width.min(tokens.len() - len);
        if width == 0 {
            return rows;
        }
        let kept = width.saturating_sub(wrong);
        let mut drafted = tokens[len..len + width].to_vec();
        drafted[kept..].iter_mut().for_each(|token| *token = (*token + 5) % 50);
        let scored = score(model, &drafted);
        rows.extend_from_slice(&scored[..scored.len() / width * kept]);
        model.truncate(len + kept).unwrap();
    }
    rows
}

#[test]
fn every_family_gives_the_reference_rows() {
    let (folder, tokens) = (tempfile::tempdir().unwrap(), tokens(40));
    for (name, config, extras) in families() {
        let weights = Weights::random(&config, extras, 3.0, 7).unwrap();
        let expected = reference::logits(&config, &weights, &tokens);
        for layout in LAYOUTS {
            let mut model = model(folder.path(), &config, &weights, &GraphOptions::new(layout, Precision::FP32));
            let off = difference(&rows_with_rollbacks(&mut model, &tokens), &expected);
            assert!(off < 2e-4, "{name}, {layout:?}: {off}");
        }
    }
}

#[test]
fn narrow_heads_with_norms_need_the_growing_layout() {
    let (folder, config) = (tempfile::tempdir().unwrap(), DecoderConfig { head_count: 8, head_len: 8, ..base() });
    let weights = Weights::random(&config, Extras { head_norms: true, ..EXTRAS }, 3.0, 7).unwrap();
    let write = |layout| {
        let options = GraphOptions::new(layout, Precision::FP32);
        write_model(&folder.path().join("model.onnx"), &config, &weights, &options)
    };
    assert!(matches!(write(Layout::Shared), Err(Error::Option { option: "layout", .. })));
    write(Layout::Growing { position_ids: true }).unwrap();
}

/// Formats with the error that they may have: root mean square over that of the logits.
fn formats() -> Vec<(Precision, f32)> {
    let four = |block| Precision::uniform(WeightFormat::Int4 { block }, FloatType::F32);
    let eight = WeightFormat::Int8 { block: 128 };
    vec![
        (Precision::FP32, 1e-5),
        // A processor that multiplies in half precision adds in it too.
        (Precision::FP16, if cfg!(target_arch = "aarch64") { 6e-3 } else { 3e-3 }),
        (Precision::INT8, 0.04),
        (Precision::uniform(eight, FloatType::F32), 0.04),
        (Precision::INT4, 0.35),
        (four(128), 0.35),
        (Precision { head: eight, embedding: eight, ..four(32) }, 0.3),
        (Precision { io: FloatType::F16, ..four(32) }, 0.35),
        (Precision::INT8X8, 0.05),
        (Precision::INT8X8_STATIC, 0.05),
    ]
}

/// The options that write `precision`, with the weights to write: calibrated on `tokens` if it is static.
fn prepared(
    config: &DecoderConfig,
    weights: &Weights,
    tokens: &[TokenId],
    (layout, precision): (Layout, Precision),
) -> (GraphOptions, Weights) {
    let options = GraphOptions { external_data: ExternalData::Always, ..GraphOptions::new(layout, precision) };
    if precision != Precision::INT8X8_STATIC {
        return (options, weights.clone());
    }
    let (smoothed, ranges) = calibrate(config, weights, &[tokens.to_vec()], Some(0.5)).unwrap();
    (GraphOptions { activation_ranges: Some(ranges), ..options }, smoothed)
}

#[test]
fn every_format_stays_near_the_reference() {
    let (folder, tokens) = (tempfile::tempdir().unwrap(), tokens(40));
    for tied in [false, true] {
        let weights = Weights::random(&base(), Extras { tied, ..EXTRAS }, 3.0, 7).unwrap();
        let expected = reference::logits(&base(), &weights, &tokens);
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
        for (precision, near) in formats() {
            for layout in LAYOUTS {
                let (options, weights) = prepared(&base(), &weights, &tokens, (layout, precision));
                let mut model = model(folder.path(), &base(), &weights, &options);
                let rows = rows_with_rollbacks(&mut model, &tokens);
                let off =
                    norm(&mut rows.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
                assert!(off < near, "{layout:?}, tied {tied}, {precision:?}: {off}");
            }
        }
    }
}

#[test]
fn rejected_rows_change_no_bit_of_accepted_ones() {
    let (folder, tokens) = (tempfile::tempdir().unwrap(), tokens(26));
    let weights = Weights::random(&base(), EXTRAS, 3.0, 7).unwrap();
    for (precision, _) in formats() {
        for layout in LAYOUTS {
            let (options, weights) = prepared(&base(), &weights, &tokens, (layout, precision));
            let mut model = model(folder.path(), &base(), &weights, &options);
            score(&mut model, &tokens[..20]);
            let mut first: Option<Vec<f32>> = None;
            for change in 0..5 {
                let mut drafted = tokens[20..].to_vec();
                drafted[3..].iter_mut().for_each(|token| *token = (*token + 7 * change) % 96);
                let rows = score(&mut model, &drafted)[..3 * base().vocab_len].to_vec();
                model.truncate(20).unwrap();
                assert_eq!(*first.get_or_insert(rows.clone()), rows, "{layout:?}, {precision:?}");
            }
        }
    }
}

#[test]
fn rows_of_zeros_stay_numbers() {
    let (folder, mut weights) = (tempfile::tempdir().unwrap(), Weights::random(&base(), EXTRAS, 3.0, 7).unwrap());
    weights.embedding[..base().hidden_len].fill(0.0);
    let tokens = [vec![0], tokens(9)].concat();
    let expected = reference::logits(&base(), &weights, &tokens);
    for layout in LAYOUTS {
        let mut model = model(folder.path(), &base(), &weights, &GraphOptions::new(layout, Precision::INT8X8));
        let off = difference(&score(&mut model, &tokens), &expected);
        assert!(off < 0.5, "{layout:?}: {off}");
    }
}

#[test]
fn inflated_models_give_the_same_rows() {
    let (folder, tokens) = (tempfile::tempdir().unwrap(), tokens(20));
    let weights = Weights::random(&base(), EXTRAS, 3.0, 7).unwrap();
    let same_width = InflatedSize { hidden_len: 64, ffn_len: 160, kv_head_count: 2, layer_count: 5 };
    let wide = InflatedSize { hidden_len: 128, ffn_len: 256, kv_head_count: 3, layer_count: 3 };
    for (precision, near) in [(Precision::FP32, 2e-4), (Precision::INT4, 0.3), (Precision::INT8X8, 0.3)] {
        let options = GraphOptions::new(Layout::Shared, precision);
        let expected = score(&mut model(folder.path(), &base(), &weights, &options), &tokens);
        for (size, near) in [(same_width, 1e-5), (wide, near)] {
            let (config, inflated) = inflate(&base(), &weights, size).unwrap();
            let off = difference(&score(&mut model(folder.path(), &config, &inflated, &options), &tokens), &expected);
            assert!(off <= near, "{precision:?}, {size:?}: {off}");
        }
    }
}
