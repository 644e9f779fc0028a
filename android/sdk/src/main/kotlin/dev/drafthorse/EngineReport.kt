package dev.drafthorse

/**
 * What was opened.
 *
 * @property path The opened folder.
 * @property target What computes the target.
 * @property drafter What computes the drafter, if there is one.
 * @property drafterMissing Why there is no drafter, where the folder has one.
 * @property contextLength Tokens that a session holds.
 * @property cacheBytes Bytes of the KV caches of one session.
 * @property costs Measured costs of a pass.
 * @property notes What was noticed about the folder.
 * @property weightBytes Bytes of the opened models' files.
 * @property residentBytes Bytes by which the process grew while models and tokenizer were loaded; null where the system
 * does not tell.
 * @property runtime Version and build of ONNX Runtime, as it describes itself.
 */
public data class EngineReport(
    val path: String,
    val target: Placement,
    val drafter: Placement? = null,
    val drafterMissing: String? = null,
    val contextLength: Long = 0,
    val cacheBytes: Long = 0,
    val costs: Costs = Costs(),
    val notes: List<String> = emptyList(),
    val weightBytes: Long = 0,
    val residentBytes: Long? = null,
    val runtime: String = "",
)

/**
 * What really computes a model, and what was tried before.
 *
 * @property provider The choice that passed its proof.
 * @property nodes Nodes by provider (ONNX Runtime's names) as they really ran, most nodes first.
 * @property refused Earlier choices, each with the reason why it was refused, in order of preference.
 * @property cacheLayout Where keys and values live between passes.
 * @property chunkLength Tokens per pass of a prefill.
 */
public data class Placement(
    val provider: ExecutionProvider,
    val nodes: Map<String, Long> = emptyMap(),
    val refused: List<Refusal> = emptyList(),
    val cacheLayout: CacheLayout = CacheLayout.SHARED,
    val chunkLength: Long = 0,
)

/** Where the keys and values of past tokens live between passes. */
public enum class CacheLayout {
    /** One buffer per tensor, input and output at once. */
    SHARED,

    /** A pass copies what it was given and appends. */
    GROWING,
}

/**
 * An execution provider that could not run a model.
 *
 * @property provider Which one.
 * @property reason Why.
 */
public data class Refusal(val provider: ExecutionProvider, val reason: String)

/**
 * Measured times of forward passes.
 *
 * @property targetMs Milliseconds of a pass of the target, by the number of rows that it scores.
 * @property drafterMs Milliseconds of the drafter's pass over one row; null without a drafter.
 */
public data class Costs(val targetMs: Map<Long, Double> = emptyMap(), val drafterMs: Double? = null)
