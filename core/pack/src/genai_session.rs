//! `session_options` of genai_config.json, as far as a folder may decide about the session of its model.
//!
//! ONNX Runtime also has entries and provider options that write files, load libraries or are taken for addresses of
//! memory. A folder sets those listed here; others are passed over and named. What an application sets is its own affair.

use std::collections::BTreeMap;

use crate::{
    Result,
    json::{self, Fields},
    settings::{ProviderChoice, SessionSettings},
};

/// Entries beside those of the CPU's kernels (`mlas.`): spinning, optimisers and arithmetic.
const ENTRIES: [&str; 20] = [
    "optimization.disable_specified_optimizers",
    "optimization.enable_cast_chain_elimination",
    "optimization.enable_gelu_approximation",
    "session.disable_aot_function_inlining",
    "session.disable_double_qdq_remover",
    "session.disable_prepacking",
    "session.disable_qdq_constant_folding",
    "session.disable_quant_qdq",
    "session.dynamic_block_base",
    "session.enable_dq_matmulnbits_fusion",
    "session.enable_quant_qdq_cleanup",
    "session.force_spinning_stop",
    "session.graph_optimizations_loop_level",
    "session.inter_op.allow_spinning",
    "session.intra_op.allow_spinning",
    "session.qdq_matmulnbits_accuracy_level",
    "session.qdq_matmulnbits_block_size",
    "session.qdqisint8allowed",
    "session.set_denormal_as_zero",
    "session.use_device_allocator_for_initializers",
];

/// Options of each provider that hold neither a path nor an address.
const PROVIDER_OPTIONS: [(&str, &[&str]); 7] = [
    ("cpu", &["use_arena"]),
    (
        "coreml",
        &[
            "AllowLowPrecisionAccumulationOnGPU",
            "EnableOnSubgraphs",
            "MLComputeUnits",
            "ModelFormat",
            "RequireStaticInputShapes",
            "SpecializationStrategy",
        ],
    ),
    (
        "cuda",
        &[
            "arena_extend_strategy",
            "cudnn_conv_algo_search",
            "cudnn_conv_use_max_workspace",
            "device_id",
            "do_copy_in_default_stream",
            "enable_cuda_graph",
            "enable_skip_layer_norm_strict_mode",
            "fuse_conv_bias",
            "gpu_mem_limit",
            "prefer_nhwc",
            "sdpa_kernel",
            "use_ep_level_unified_stream",
            "use_tf32",
        ],
    ),
    ("nnapi", &["cpu_disabled", "cpu_only", "use_fp16", "use_nchw"]),
    (
        "qnn",
        &[
            "backend_type",
            "device_id",
            "enable_htp_fp16_precision",
            "enable_htp_shared_memory_allocator",
            "enable_htp_spill_fill_buffer",
            "htp_arch",
            "htp_graph_finalization_optimization_mode",
            "htp_performance_mode",
            "offload_graph_io_quantization",
            "qnn_context_priority",
            "rpc_control_latency",
            "soc_model",
            "vtcm_mb",
        ],
    ),
    (
        "webgpu",
        &[
            "dawnBackendType",
            "defaultBufferCacheMode",
            "enableGraphCapture",
            "powerPreference",
            "preferredLayout",
            "queryResolveBufferCacheMode",
            "storageBufferCacheMode",
            "uniformBufferCacheMode",
            "validationMode",
        ],
    ),
    ("xnnpack", &["intra_op_num_threads"]),
];

/// Reads `session_options`.
pub(crate) fn session(mut options: Fields<'_>, unknown: &mut Vec<String>) -> Result<SessionSettings> {
    if options.value("custom_ops_library").is_some() {
        let reason = "it would load native code named by the folder; register the operators in the application";
        return Err(options.unsupported("custom_ops_library", reason));
    }
    let mut config_entries = options.texts("config_entries")?.unwrap_or_default();
    let is_listed = |key: &str| key.starts_with("mlas.") || ENTRIES.contains(&key);
    keep_listed(&mut config_entries, is_listed, &options.field("config_entries"), unknown);
    let settings = SessionSettings {
        intra_op_threads: options.size("intra_op_num_threads")?,
        inter_op_threads: options.size("inter_op_num_threads")?,
        graph_optimization_level: options.text("graph_optimization_level")?.map(str::to_owned),
        cpu_fallback: options.flag("disable_cpu_ep_fallback")?.map(|disabled| !disabled),
        config_entries,
        providers: providers(&mut options, unknown)?,
    };
    options.known(&["log_id", "log_severity_level", "log_verbosity_level", "enable_profiling"]);
    options.known(&["enable_cpu_mem_arena", "enable_mem_pattern", "use_env_allocators"]);
    options.finish(unknown);
    Ok(settings)
}

fn providers(options: &mut Fields<'_>, unknown: &mut Vec<String>) -> Result<Vec<ProviderChoice>> {
    let mut providers = Vec::new();
    for (index, entry) in options.list("provider_options")?.unwrap_or_default().iter().enumerate() {
        let key = format!("provider_options[{index}]");
        let Some(map) = entry.as_object() else {
            return Err(options.malformed(&key, format!("must be an object, is {}", json::kind(entry))));
        };
        let mut entry = Fields::new(options.path(), map);
        for name in map.keys() {
            let mut options_of_one = entry.texts(name)?.unwrap_or_default();
            if options_of_one.keys().any(|option| option.contains("genie_model")) {
                let reason = "a Genie model returns the last row's logits only and keeps its cache to itself";
                return Err(options.unsupported(&format!("{key}.{name}.genie_model"), reason));
            }
            let short_name = name.to_ascii_lowercase().replace("executionprovider", "");
            let listed =
                PROVIDER_OPTIONS.iter().find(|(provider, _)| *provider == short_name).map(|(_, listed)| listed);
            let is_listed = |option: &str| listed.is_some_and(|listed| listed.contains(&option));
            keep_listed(&mut options_of_one, is_listed, &options.field(&format!("{key}.{name}")), unknown);
            providers.push(ProviderChoice { name: name.clone(), options: options_of_one });
        }
    }
    Ok(providers)
}

/// Drops the settings of `field` that are not listed, and names them.
fn keep_listed(
    settings: &mut BTreeMap<String, String>,
    is_listed: impl Fn(&str) -> bool,
    field: &str,
    unknown: &mut Vec<String>,
) {
    settings.retain(|key, _| {
        let listed = is_listed(key);
        if !listed {
            unknown.push(format!("{field}.{key}"));
        }
        listed
    });
}
