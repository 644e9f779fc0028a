//! Writes random models in many formats with reference logits beside them, for a check through ONNX Runtime.
//!
//! `cargo run -p drafthorse-graph --example parity -- OUT`

use std::fs;
use std::path::Path;

use drafthorse_graph::random::Extras;
use drafthorse_graph::{
    Activation, DecoderConfig, FloatType, GraphOptions, Layout, Precision, Rope, RopeScaling, WeightFormat, Weights,
    reference, write_model,
};

fn main() -> anyhow::Result<()> {
    let out = std::env::args().nth(1).expect("usage: parity OUT");
    let base = DecoderConfig { kv_head_count: 2, context_len_max: 128, ..DecoderConfig::llama(96, 64, 160, 2, 4) };
    let rope = Rope { theta: 500.0, interleaved: true, scaling: RopeScaling::None };
    let gemma = DecoderConfig {
        norm_offset: 1.0,
        embedding_scale: 8.0,
        activation: Activation::GeluTanh,
        head_len: 32,
        ..base.clone()
    };
    let trimmed = DecoderConfig { head_vocab_len: 50, hidden_len: 48, head_len: 16, ..base.clone() };
    let models = [
        ("llama", base.clone(), Extras::default()),
        ("tied", base.clone(), Extras { tied: true, ..Extras::default() }),
        (
            "interleaved",
            DecoderConfig { rope: rope.clone(), ..base.clone() },
            Extras { biases: true, head_norms: true, tied: false },
        ),
        ("qwen2", base.clone(), Extras { biases: true, ..Extras::default() }),
        ("qwen3", base.clone(), Extras { head_norms: true, ..Extras::default() }),
        ("gemma", gemma, Extras { tied: true, ..Extras::default() }),
        ("trimmed", trimmed, Extras::default()),
    ];
    let block = |bits: usize, block| {
        Precision::uniform(
            if bits == 4 { WeightFormat::Int4 { block } } else { WeightFormat::Int8 { block } },
            FloatType::F32,
        )
    };
    let precisions = [
        ("fp32", Precision::FP32),
        ("fp16", Precision::FP16),
        ("int8", Precision::INT8),
        ("int4", Precision::INT4),
        ("int8b128", block(8, 128)),
        ("int4b128", block(4, 128)),
        ("q4f16", Precision { io: FloatType::F16, ..Precision::INT4 }),
    ];
    let layouts = [
        ("shared", Layout::Shared),
        ("growing", Layout::Growing { position_ids: true }),
        ("counted", Layout::Growing { position_ids: false }),
    ];
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37 + i * i * 11) % 96).collect();
    for (name, config, extras) in models {
        let weights = Weights::random(&config, extras, 3.0, 7)?;
        let folder = Path::new(&out).join(name);
        fs::create_dir_all(&folder)?;
        let logits = reference::logits(&config, &weights, &tokens);
        fs::write(folder.join("logits.f32"), logits.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())?;
        fs::write(folder.join("tokens.json"), format!("{tokens:?}"))?;
        for (layout_name, layout) in layouts {
            for (precision_name, precision) in precisions {
                let mut options = GraphOptions::new(layout, precision);
                if name == "tied" {
                    options.external_data = drafthorse_graph::ExternalData::Always;
                }
                let summary = write_model(
                    &folder.join(format!("{layout_name}-{precision_name}.onnx")),
                    &config,
                    &weights,
                    &options,
                )?;
                println!("{name} {layout_name} {precision_name}: {} nodes", summary.node_count);
            }
        }
    }
    Ok(())
}
