//! NNAPI: Android only, static shapes only, deprecated since Android 15. Kept for old devices; never a default.

use ort::ep::ExecutionProviderDispatch;

use super::ProviderChoice;

/// Takes `use_fp16`, `use_nchw`, `cpu_disabled` and `cpu_only`, each `0` or `1`; NNAPI's own CPU path is off by default.
#[cfg(feature = "nnapi")]
pub(super) fn dispatch(choice: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::NNAPI;

    super::available::<NNAPI>()?;
    let mut provider = NNAPI::default().with_disable_cpu(true);
    for (key, value) in &choice.options {
        let on = value == "1";
        provider = match key.as_str() {
            "use_fp16" => provider.with_fp16(on),
            "use_nchw" => provider.with_nchw(on),
            "cpu_disabled" => provider.with_disable_cpu(on),
            "cpu_only" => provider.with_cpu_only(on),
            _ => return Err(format!("option {key}: NNAPI takes use_fp16, use_nchw, cpu_disabled and cpu_only")),
        };
    }
    Ok(provider.build())
}

#[cfg(not(feature = "nnapi"))]
pub(super) fn dispatch(_: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    Err(super::not_compiled_in("nnapi"))
}
