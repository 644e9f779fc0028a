package dev.drafthorse

/**
 * How to open a pack.
 *
 * @property contextLength Tokens that a session must hold, no more than the target was made for; otherwise what models and
 *   budget allow, 256 to 4,096.
 * @property cacheBytesMax Most bytes for the KV caches of one session, target's and drafter's together; otherwise 1 GiB.
 * On Android, `MemoryBudget` of `drafthorse-android` knows the device.
 * @property targetProviders Execution providers for the target, best first. Each is proved with a dummy pass, the first
 * that passes is taken, and the report says why earlier ones were refused. Empty means what the pack asks for, then the
 * CPU.
 * @property drafterProviders The same for the drafter.
 * @property targetThreads Threads within an operator of the target; otherwise left to the pack, then to the runtime.
 * @property drafterThreads The same for the drafter.
 * @property drafter A drafter from elsewhere: path of a folder, or of an ONNX file. It replaces the pack's own.
 * @property withoutDrafter Do not open the drafter model, even if there is one.
 * @property failIfDrafterDoesNotFit Throw if the drafter's cache does not fit the budget, rather than run without it.
 * @property variant Which of several models of a Hugging Face folder: "q4", "fp16", and so on.
 * @property drafterVariant As [variant], for [drafter].
 * @property allowedRoots Further folders that links inside the pack may lead into.
 * @property checkDigests Compare every file with the pack's digests before anything is loaded.
 * @property runtimeLibrary The ONNX Runtime library; otherwise the variable `ORT_DYLIB_PATH`, then where
 * `cargo xtask setup` puts it. A process has one. On Android, `AndroidEngine` names the app's own.
 * @property cacheFolder Where measured costs and compiled graphs are kept between starts; otherwise they are not kept.
 * @property spinning What worker threads of both models do while they wait.
 * @property device The device and its drivers in any words that change when they do, since graphs are compiled for one of
 * them; otherwise the operating system and the kind of processor. On Android, `AndroidEngine` names the build.
 */
public data class EngineOptions(
    val contextLength: Int? = null,
    val cacheBytesMax: Long? = null,
    val targetProviders: List<ProviderChoice> = emptyList(),
    val drafterProviders: List<ProviderChoice> = emptyList(),
    val targetThreads: Int? = null,
    val drafterThreads: Int? = null,
    val drafter: String? = null,
    val withoutDrafter: Boolean = false,
    val failIfDrafterDoesNotFit: Boolean = false,
    val variant: String? = null,
    val drafterVariant: String? = null,
    val allowedRoots: List<String> = emptyList(),
    val checkDigests: Boolean = true,
    val runtimeLibrary: String? = null,
    val cacheFolder: String? = null,
    val spinning: Spinning = Spinning.WITHIN_PASS,
    val device: String? = null,
)

/** What worker threads do while they wait for work. */
public enum class Spinning {
    /** Sleep: least energy, slowest start of an operator. */
    NEVER,

    /** Spin while a pass is under way, so that two models take turns without fighting for cores. */
    WITHIN_PASS,

    /** Spin between passes too: only for a model that runs alone. */
    ALWAYS,
}

/**
 * Something that computes a graph, or a part of it.
 *
 * @property shortName Its name in packs, in reports and on the command line.
 */
public enum class ExecutionProvider(public val shortName: String) {
    /** MLAS, with KleidiAI on ARM: everywhere, every operator. */
    CPU("cpu"),

    /** Google's floating-point kernels; nothing for block-quantised weights. */
    XNNPACK("xnnpack"),

    /** Apple's Core ML. */
    CORE_ML("coreml"),

    /** Android's neural-network API, deprecated since Android 15. */
    NNAPI("nnapi"),

    /** Qualcomm's neural processor. */
    QNN("qnn"),

    /** WebGPU over Vulkan. */
    WEB_GPU("webgpu"),

    /** NVIDIA's GPUs. */
    CUDA("cuda"),
}

/**
 * One entry of an ordered preference.
 *
 * @property provider Which provider.
 * @property options Options in the provider's own words; they win over the defaults of this library.
 * @property strict Refuse the provider unless it runs every node.
 * @property library Path of the library of a provider that is a plug-in; null for one that is part of ONNX Runtime.
 */
public data class ProviderChoice(
    val provider: ExecutionProvider,
    val options: Map<String, String> = emptyMap(),
    val strict: Boolean = false,
    val library: String? = null,
)

/**
 * How to start a session.
 *
 * @property drafting Where drafts come from.
 * @property contextPolicy What happens when a conversation outgrows the context.
 */
public data class SessionOptions(
    val drafting: Drafting = Drafting.AUTO,
    val contextPolicy: ContextPolicy = ContextPolicy.FAIL,
)

/** Where a session's drafts come from. */
public enum class Drafting {
    /** The pack's drafter if it has one, prompt lookup otherwise. */
    AUTO,

    /** Nowhere: the target alone. */
    TARGET_ALONE,

    /** The drafter model. */
    MODEL,

    /** Prompt lookup: what followed the last tokens when they occurred before. */
    LOOKUP,

    /** Prompt lookup where its match is long, the drafter model elsewhere. */
    BOTH,
}

/** What happens when a conversation outgrows the context. */
public enum class ContextPolicy {
    /** [DrafthorseException.ContextFull]. */
    FAIL,

    /**
     * Leave out the oldest turns after the system prompt until the rest fits with room for an answer: `maxTokens`, or a
     * quarter of the context, never more than half of it. Needs [Prompt.Messages].
     */
    DROP_OLDEST_TURNS,
}
