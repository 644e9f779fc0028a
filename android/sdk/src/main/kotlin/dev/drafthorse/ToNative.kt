package dev.drafthorse

import dev.drafthorse.ffi.Constraint as NativeConstraint
import dev.drafthorse.ffi.ContextPolicy as NativeContextPolicy
import dev.drafthorse.ffi.DeviceReading as NativeDeviceReading
import dev.drafthorse.ffi.DraftLength as NativeDraftLength
import dev.drafthorse.ffi.DrafterMisfit as NativeDrafterMisfit
import dev.drafthorse.ffi.Drafting as NativeDrafting
import dev.drafthorse.ffi.EngineOptions as NativeEngineOptions
import dev.drafthorse.ffi.GenerationOptions as NativeGenerationOptions
import dev.drafthorse.ffi.Lenience as NativeLenience
import dev.drafthorse.ffi.Message as NativeMessage
import dev.drafthorse.ffi.Prompt as NativePrompt
import dev.drafthorse.ffi.Provider as NativeProvider
import dev.drafthorse.ffi.ProviderChoice as NativeProviderChoice
import dev.drafthorse.ffi.SessionOptions as NativeSessionOptions
import dev.drafthorse.ffi.Spinning as NativeSpinning
import dev.drafthorse.ffi.TokenBias as NativeTokenBias
import dev.drafthorse.ffi.Verification as NativeVerification

// From the public types to the generated ones. Nothing is decided here: the runtime checks what an app asks.

internal fun Prompt.toNative(): NativePrompt = when (this) {
    is Prompt.Text -> NativePrompt.Text(text)
    is Prompt.Messages -> NativePrompt.Messages(messages.map { it.toNative() }, toolsJson)
    is Prompt.Tokens -> NativePrompt.Tokens(tokens.map { it.toNative("prompt") })
}

private fun Message.toNative() = NativeMessage(role, content, moreJson)

internal fun GenerationOptions.toNative() = NativeGenerationOptions(
    maxTokens = maxTokens?.toLong()?.toNative("maxTokens"),
    minTokens = minTokens?.toLong()?.toNative("minTokens"),
    temperature = temperature,
    topK = topK?.toLong()?.toNative("topK"),
    topP = topP,
    minP = minP,
    repetitionPenalty = repetitionPenalty,
    frequencyPenalty = frequencyPenalty,
    presencePenalty = presencePenalty,
    logitBias = logitBias.map { (token, bias) -> NativeTokenBias(token.toNative("logitBias"), bias) },
    seed = seed,
    stop = stop,
    verification = verification?.toNative(),
    draftLength = draftLength?.toNative(),
    constraint = constraint?.toNative(),
)

private fun DraftLength.toNative() = when (this) {
    is DraftLength.Adaptive -> NativeDraftLength.Adaptive(maxDraftTokens.toLong().toNative("maxDraftTokens"))
    is DraftLength.Fixed -> NativeDraftLength.Fixed(draftTokens.toLong().toNative("draftTokens"))
}

private fun Verification.toNative() = when (this) {
    Verification.Token -> NativeVerification.Token
    Verification.Block -> NativeVerification.Block
    Verification.SeedCoupled -> NativeVerification.SeedCoupled
    is Verification.Lenient -> NativeVerification.Lenient(
        when (form) {
            Lenience.LINEAR -> NativeLenience.Linear(epsilon)
            Lenience.SQUARE -> NativeLenience.Square(epsilon)
            Lenience.EXPONENTIAL -> NativeLenience.Exponential(epsilon)
        },
    )
}

private fun Constraint.toNative() = when (this) {
    is Constraint.JsonSchema -> NativeConstraint.JsonSchema(schema)
    is Constraint.Regex -> NativeConstraint.Regex(pattern)
    is Constraint.Lark -> NativeConstraint.Lark(grammar)
}

internal fun EngineOptions.toNative() = NativeEngineOptions(
    targetProviders = targetProviders.map { it.toNative() },
    drafterProviders = drafterProviders.map { it.toNative() },
    targetThreads = targetThreads?.toNative("targetThreads"),
    drafterThreads = drafterThreads?.toNative("drafterThreads"),
    spinning = spinning.toNative(),
    contextLen = contextLength?.toLong()?.toNative("contextLength"),
    cacheBytesMax = cacheBytesMax?.toNative("cacheBytesMax"),
    drafterMisfit = if (failIfDrafterDoesNotFit) NativeDrafterMisfit.FAIL else NativeDrafterMisfit.RUN_WITHOUT,
    withoutDrafter = withoutDrafter,
    checkDigests = checkDigests,
    variant = variant,
    drafter = drafter,
    drafterVariant = drafterVariant,
    allowedRoots = allowedRoots,
    runtimeLibrary = runtimeLibrary,
    cacheFolder = cacheFolder,
    device = device,
)

private fun Spinning.toNative() = when (this) {
    Spinning.NEVER -> NativeSpinning.NEVER
    Spinning.WITHIN_PASS -> NativeSpinning.WITHIN_PASS
    Spinning.ALWAYS -> NativeSpinning.ALWAYS
}

private fun ProviderChoice.toNative() = NativeProviderChoice(provider.toNative(), options, strict, library)

private fun ExecutionProvider.toNative() = when (this) {
    ExecutionProvider.CPU -> NativeProvider.CPU
    ExecutionProvider.XNNPACK -> NativeProvider.XNNPACK
    ExecutionProvider.CORE_ML -> NativeProvider.CORE_ML
    ExecutionProvider.NNAPI -> NativeProvider.NNAPI
    ExecutionProvider.QNN -> NativeProvider.QNN
    ExecutionProvider.WEB_GPU -> NativeProvider.WEB_GPU
    ExecutionProvider.CUDA -> NativeProvider.CUDA
}

internal fun SessionOptions.toNative() = NativeSessionOptions(drafting.toNative(), contextPolicy.toNative())

private fun Drafting.toNative() = when (this) {
    Drafting.AUTO -> NativeDrafting.AUTO
    Drafting.TARGET_ALONE -> NativeDrafting.TARGET_ALONE
    Drafting.MODEL -> NativeDrafting.MODEL
    Drafting.LOOKUP -> NativeDrafting.LOOKUP
    Drafting.BOTH -> NativeDrafting.BOTH
}

private fun ContextPolicy.toNative() = when (this) {
    ContextPolicy.FAIL -> NativeContextPolicy.FAIL
    ContextPolicy.DROP_OLDEST_TURNS -> NativeContextPolicy.DROP_OLDEST_TURNS
}

internal fun DeviceReading.toNative() = NativeDeviceReading(
    temperatureC = temperatureC,
    thermalState = thermalState,
    thermalHeadroom = thermalHeadroom,
    batteryPercent = batteryPercent,
    batteryMa = batteryMa,
    energyJ = energyJ,
    residentBytes = residentBytes?.toNative("residentBytes"),
    absent = absent,
)

/** The border's numbers have no sign: a negative one would arrive as a huge one. */
internal fun Long.toNative(option: String): ULong = if (this >= 0) toULong() else throw negative(option, this)

internal fun Int.toNative(option: String): UInt = if (this >= 0) toUInt() else throw negative(option, toLong())

private fun negative(option: String, value: Long) =
    DrafthorseException.InvalidOptions("option $option: $value: must be 0 or above")
