package dev.drafthorse.android

import android.os.Build
import dev.drafthorse.ExecutionProvider
import dev.drafthorse.ProviderChoice

/** Which execution providers to try, and in which order. */
public object ProviderPreference {
    /**
     * [wanted] as far as a device may have them, best first, with the CPU last.
     *
     * - QNN needs a Qualcomm processor and the app to bring `libQnnHtp.so` (the artifact `onnxruntime-android-qnn`), in a
     *   package that unpacks its libraries.
     * - WebGPU needs a Vulkan driver.
     * - NNAPI is deprecated since Android 15 and is left out from there on.
     * - XNNPACK computes floating-point weights only; it is of use for a small fp32 drafter.
     *
     * What this lets through is still proved when the pack is opened: a driver that fails costs nothing but the report's
     * line.
     */
    public fun choices(wanted: List<ExecutionProvider>, facts: DeviceFacts): List<ProviderChoice> {
        val possible = wanted.filter { it != ExecutionProvider.CPU && isPossible(it, facts) }.distinct()
        return possible.map { choice(it, facts) } + ProviderChoice(ExecutionProvider.CPU)
    }

    private fun isPossible(provider: ExecutionProvider, facts: DeviceFacts) = when (provider) {
        ExecutionProvider.CPU, ExecutionProvider.XNNPACK -> true
        ExecutionProvider.QNN -> facts.qnnLibrary != null && isQualcomm(facts)
        ExecutionProvider.WEB_GPU -> facts.vulkan
        ExecutionProvider.NNAPI -> facts.sdk < Build.VERSION_CODES.VANILLA_ICE_CREAM
        ExecutionProvider.CORE_ML, ExecutionProvider.CUDA -> false
    }

    /** Before Android 12 a device does not name its processor; the proof then decides alone. */
    private fun isQualcomm(facts: DeviceFacts) =
        facts.sdk < Build.VERSION_CODES.S || facts.socManufacturer.lowercase() in setOf("qti", "qualcomm")

    private fun choice(provider: ExecutionProvider, facts: DeviceFacts) = when (provider) {
        ExecutionProvider.QNN -> ProviderChoice(provider, options = mapOf("backend_path" to facts.qnnLibrary.orEmpty()))
        else -> ProviderChoice(provider)
    }
}
