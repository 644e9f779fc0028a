package dev.drafthorse.fake

import dev.drafthorse.DrafthorseException
import dev.drafthorse.EngineReport
import dev.drafthorse.EngineState
import dev.drafthorse.ExecutionProvider
import dev.drafthorse.GenerationOptions
import dev.drafthorse.LanguageModel
import dev.drafthorse.Placement
import dev.drafthorse.Prompt
import dev.drafthorse.Session
import dev.drafthorse.SessionOptions
import java.util.concurrent.CopyOnWriteArrayList
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update

/**
 * A [LanguageModel] for tests of apps: no pack, no native library, the same rules.
 *
 * Flows are cold, a second generation on a session throws [DrafthorseException.SessionBusy], closed ones throw
 * [DrafthorseException.Closed], and `maxTokens` and `stop` are kept. Delays are those of coroutines, so that virtual time
 * applies to them.
 *
 * ```
 * val model = FakeLanguageModel { request -> FakeAnswer("Hello, " + request.text) }
 * ```
 *
 * @property report What the model says of itself.
 * @param answer What it answers; may suspend, and may throw a [DrafthorseException] for the app to handle.
 */
public class FakeLanguageModel(
    override val report: EngineReport = EngineReport(
        path = "fake",
        target = Placement(ExecutionProvider.CPU),
        contextLength = 4096,
    ),
    private val answer: suspend (FakeRequest) -> FakeAnswer,
) : LanguageModel {
    private val running = MutableStateFlow(0)
    private val states = MutableStateFlow(EngineState.READY)
    private val sessions = CopyOnWriteArrayList<FakeSession>()
    private val asked = CopyOnWriteArrayList<FakeRequest>()

    /** Answers every prompt with [text]. */
    public constructor(text: String) : this(answer = { FakeAnswer(text) })

    override val state: StateFlow<EngineState> = states.asStateFlow()

    /** Every request so far, oldest first. */
    public val requests: List<FakeRequest> get() = asked.toList()

    /** Sessions that are open. A test can assert that the app closed them. */
    public val openSessions: Int get() = sessions.size

    override suspend fun session(options: SessionOptions): Session {
        requireOpen()
        return FakeSession(this, options).also(sessions::add)
    }

    /** One token per word. */
    override suspend fun tokenize(text: String): List<Int> {
        requireOpen()
        return List(FakeAnswer(text).chunks.size) { it }
    }

    override fun close() {
        states.value = EngineState.CLOSED
        sessions.forEach(Session::close)
    }

    internal suspend fun answer(request: FakeRequest): FakeAnswer {
        asked += request
        return answer.invoke(request)
    }

    internal fun began() {
        running.update { it + 1 }
        states.update { if (it == EngineState.CLOSED) it else EngineState.GENERATING }
    }

    internal fun ended() {
        running.update { it - 1 }
        states.update { if (it == EngineState.GENERATING && running.value == 0) EngineState.READY else it }
    }

    internal fun forget(session: FakeSession) {
        sessions -= session
    }

    private fun requireOpen() {
        if (states.value == EngineState.CLOSED) throw DrafthorseException.Closed("the model is closed")
    }
}

/**
 * What an app asked a [FakeLanguageModel].
 *
 * @property prompt The prompt.
 * @property options The options of the generation.
 * @property session The options of its session.
 */
public data class FakeRequest(val prompt: Prompt, val options: GenerationOptions, val session: SessionOptions) {
    /** The prompt's text, or the last message's; empty for tokens. */
    public val text: String
        get() = when (val prompt = prompt) {
            is Prompt.Text -> prompt.text
            is Prompt.Messages -> prompt.messages.lastOrNull()?.content.orEmpty()
            is Prompt.Tokens -> ""
        }
}

/**
 * What a [FakeLanguageModel] answers.
 *
 * @property chunks What each round brings; each counts as a token.
 * @property chunkDelayMs Time before each of them, in milliseconds.
 * @property failure Thrown after the last chunk, in place of the end.
 */
public data class FakeAnswer(
    val chunks: List<String>,
    val chunkDelayMs: Long = 0,
    val failure: DrafthorseException? = null,
) {
    /** The answer [text], word by word. */
    public constructor(text: String, chunkDelayMs: Long = 0, failure: DrafthorseException? = null) :
        this(words(text), chunkDelayMs, failure)

    private companion object {
        /** Words with the space before them, as tokenizers cut. */
        fun words(text: String): List<String> = Regex("\\s*\\S+|\\s+$").findAll(text).map { it.value }.toList()
    }
}
