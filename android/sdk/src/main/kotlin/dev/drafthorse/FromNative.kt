package dev.drafthorse

import dev.drafthorse.ffi.Account as NativeAccount
import dev.drafthorse.ffi.CacheLayout as NativeCacheLayout
import dev.drafthorse.ffi.DrafthorseException as NativeException
import dev.drafthorse.ffi.EngineReport as NativeEngineReport
import dev.drafthorse.ffi.GenerationEvent as NativeEvent
import dev.drafthorse.ffi.Passthrough as NativePassthrough
import dev.drafthorse.ffi.Placement as NativePlacement
import dev.drafthorse.ffi.StopReason as NativeStopReason
import dev.drafthorse.ffi.Token as NativeToken

// From the generated types to the public ones.

internal fun NativeEvent.toPublic(): GenerationEvent = when (this) {
    is NativeEvent.Prefill -> GenerationEvent.Prefill(done.toLong(), total.toLong())
    is NativeEvent.Tokens -> GenerationEvent.Tokens(text, tokens.toPublic(text))
    is NativeEvent.Finished -> GenerationEvent.Finished(account.toPublic())
}

/** Tokens end at bytes of UTF-8 on the other side, and at characters of a Kotlin string on this one. */
internal fun List<NativeToken>.toPublic(text: String): List<Token> {
    var bytes = 0
    var characters = 0
    return map { token ->
        while (bytes < token.textEnd.toInt()) {
            val codePoint = text.codePointAt(characters)
            bytes += utf8Length(codePoint)
            characters += Character.charCount(codePoint)
        }
        Token(token.id.toInt(), token.drafted, characters)
    }
}

private fun utf8Length(codePoint: Int) = when {
    codePoint < 0x80 -> 1
    codePoint < 0x800 -> 2
    codePoint < 0x10000 -> 3
    else -> 4
}

private fun NativeAccount.toPublic() = Account(
    stopReason = stopReason.toPublic(),
    promptTokens = promptTokens.toLong(),
    promptTokensKept = promptTokensKept.toLong(),
    tokens = tokens.toLong(),
    ttftMs = ttftMs,
    interTokenMs = with(interTokenMs) { Percentiles(p50, p90, p99, max) },
    prefillTokensPerSecond = prefillTokensPerS,
    decodeTokensPerSecond = decodeTokensPerS,
    rounds = rounds.toLong(),
    drafted = drafted.toLong(),
    proposed = proposed.toLong(),
    accepted = accepted.toLong(),
    acceptanceRate = acceptanceRate,
    positions = positions.map { PositionCount(it.proposed.toLong(), it.accepted.toLong()) },
    tokensPerTargetCall = tokensPerTargetCall,
    time = with(time) { TimeSpent(totalMs, prefillMs, draftMs, scoreMs, acceptMs, otherMs) },
    cacheBytes = cacheBytes.toLong(),
    targetNodes = targetNodes.mapValues { it.value.toLong() },
    drafterNodes = drafterNodes.mapValues { it.value.toLong() },
    draftLengths = draftLengths.associate { it.tokens.toLong() to it.rounds.toLong() },
    passthroughRounds = passthroughRounds.toLong(),
    passthrough = passthrough?.let { Passthrough(it.toCause(), passthroughText.orEmpty()) },
    seed = seed,
    lossless = lossless,
)

private fun NativeStopReason.toPublic() = when (this) {
    NativeStopReason.STOP_TOKEN -> StopReason.STOP_TOKEN
    NativeStopReason.STOP_SEQUENCE -> StopReason.STOP_SEQUENCE
    NativeStopReason.MAX_TOKENS -> StopReason.MAX_TOKENS
    NativeStopReason.CONTEXT_FULL -> StopReason.CONTEXT_FULL
    NativeStopReason.CANCELLED -> StopReason.CANCELLED
}

private fun NativePassthrough.toCause() = when (this) {
    NativePassthrough.Off -> PassthroughCause.OFF
    NativePassthrough.NoDrafter -> PassthroughCause.NO_DRAFTER
    NativePassthrough.LastRowOnly -> PassthroughCause.LAST_ROW_ONLY
    NativePassthrough.NothingToPropose -> PassthroughCause.NOTHING_TO_PROPOSE
    NativePassthrough.OneTokenLeft -> PassthroughCause.ONE_TOKEN_LEFT
    is NativePassthrough.DoesNotPay -> PassthroughCause.DOES_NOT_PAY
    NativePassthrough.TooManyRejections -> PassthroughCause.TOO_MANY_REJECTIONS
}

internal fun NativeEngineReport.toPublic() = EngineReport(
    path = path,
    runtime = runtime,
    target = target.toPublic(),
    drafter = drafter?.toPublic(),
    drafterMissing = drafterMissing,
    contextLength = contextLen.toLong(),
    cacheBytes = cacheBytes.toLong(),
    weightBytes = weightBytes.toLong(),
    residentBytes = residentBytes?.toLong(),
    costs = Costs(targetCosts.associate { it.rows.toLong() to it.ms }, drafterMs),
    notes = notes,
)

private fun NativePlacement.toPublic() = Placement(
    provider = provider(provider),
    nodes = nodes.associate { it.provider to it.nodes.toLong() },
    refused = refused.map { Refusal(provider(it.provider), it.reason) },
    cacheLayout = when (cacheLayout) {
        NativeCacheLayout.SHARED -> CacheLayout.SHARED
        NativeCacheLayout.GROWING -> CacheLayout.GROWING
    },
    chunkLength = chunkLen.toLong(),
)

private fun provider(shortName: String) = ExecutionProvider.entries.first { it.shortName == shortName }

/** Every error of the border by name: a new one fails to compile here. */
internal fun NativeException.toPublic(): DrafthorseException {
    val text = message.orEmpty()
    return when (this) {
        is NativeException.PackNotFound -> DrafthorseException.PackNotFound(text)
        is NativeException.PackInvalid -> DrafthorseException.PackInvalid(text)
        is NativeException.PackDamaged -> DrafthorseException.PackDamaged(text)
        is NativeException.VocabularyMismatch -> DrafthorseException.VocabularyMismatch(text)
        is NativeException.Unsupported -> DrafthorseException.Unsupported(text)
        is NativeException.OutOfMemoryBudget -> DrafthorseException.OutOfMemoryBudget(text)
        is NativeException.ProviderUnavailable -> DrafthorseException.ProviderUnavailable(text)
        is NativeException.RuntimeLibrary -> DrafthorseException.RuntimeLibrary(text)
        is NativeException.InvalidOptions -> DrafthorseException.InvalidOptions(text)
        is NativeException.ChatTemplate -> DrafthorseException.ChatTemplate(text)
        is NativeException.Constraint -> DrafthorseException.Constraint(text)
        is NativeException.ContextFull -> DrafthorseException.ContextFull(text)
        is NativeException.SessionBusy -> DrafthorseException.SessionBusy(text)
        is NativeException.InvalidLogits -> DrafthorseException.InvalidLogits(text)
        is NativeException.Closed -> DrafthorseException.Closed(text)
        is NativeException.Io -> DrafthorseException.Io(text)
        is NativeException.Internal -> DrafthorseException.Internal(text)
        is NativeException.Panic -> DrafthorseException.Panic(text)
    }
}
