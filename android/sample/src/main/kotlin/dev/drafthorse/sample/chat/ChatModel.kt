package dev.drafthorse.sample.chat

import dev.drafthorse.Account
import dev.drafthorse.ContextPolicy
import dev.drafthorse.DrafthorseException
import dev.drafthorse.GenerationEvent
import dev.drafthorse.GenerationOptions
import dev.drafthorse.LanguageModel
import dev.drafthorse.Message
import dev.drafthorse.Session
import dev.drafthorse.SessionOptions
import dev.drafthorse.generate
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch

/** What the screen shows. */
data class ChatState(
    val messages: List<Message> = emptyList(),
    val answer: String = "",
    val busy: Boolean = false,
    val status: String = "Opening the pack …",
)

/** The screen's logic: it knows a [LanguageModel] and nothing of Android, so that a test can give it a fake. */
class ChatModel(private val scope: CoroutineScope, private val open: suspend () -> LanguageModel) {
    private val states = MutableStateFlow(ChatState(busy = true))
    private var model: LanguageModel? = null
    private var session: Session? = null
    private var running: Job = scope.launch { reporting { openModel() } }

    val state: StateFlow<ChatState> = states.asStateFlow()

    /** Sends the user's [text] and streams the answer. */
    fun send(text: String) {
        if (states.value.busy || text.isBlank()) return
        val asked = states.value.messages + Message.user(text.trim())
        states.update { it.copy(messages = asked, answer = "", busy = true, status = "Reading …") }
        running = scope.launch { reporting { answer(asked) } }
    }

    /** Stops the answer. What was said stays. */
    fun stop() {
        session?.cancel()
    }

    /** Frees the caches if nothing runs; the next message starts a session again. */
    fun closeIdleSession() {
        if (states.value.busy) return
        session?.close()
        session = null
    }

    /** Frees the weights too if nothing runs; the next message opens the pack again. */
    fun closeIdleModel() {
        closeIdleSession()
        if (states.value.busy) return
        model?.close()
        model = null
    }

    /** Ends everything. */
    fun close() {
        running.cancel()
        model?.close()
    }

    private suspend fun openModel(): LanguageModel {
        val opened = open().also { model = it }
        val report = opened.report
        val drafter = if (report.drafter == null) "no drafter: ${report.drafterMissing ?: "the pack has none"}" else "with drafter"
        states.update { it.copy(status = "Ready on ${report.target.provider.shortName}, $drafter") }
        return opened
    }

    private suspend fun answer(asked: List<Message>) {
        // A chat goes on when it outgrows the context: what was said first is left out.
        val sessions = SessionOptions(contextPolicy = ContextPolicy.DROP_OLDEST_TURNS)
        val session = session ?: (model ?: openModel()).session(sessions).also { session = it }
        val options = GenerationOptions(maxTokens = 200, temperature = 0.7f)
        session.generate(asked, options).collect { event ->
            when (event) {
                is GenerationEvent.Prefill -> states.update { it.copy(status = "Reading ${event.done} of ${event.total} …") }
                is GenerationEvent.Tokens -> states.update { it.copy(answer = it.answer + event.text, status = "Writing …") }
                is GenerationEvent.Finished -> states.update { it.finished(event.account) }
            }
        }
    }

    private fun ChatState.finished(account: Account) = copy(
        messages = messages + Message.assistant(answer.trim()),
        answer = "",
        status = "%.0f tokens/s, %.0f %% of drafts accepted, first token after %.0f ms"
            .format(account.decodeTokensPerSecond, account.acceptanceRate * 100, account.ttftMs),
    )

    private suspend fun reporting(action: suspend () -> Any) {
        try {
            action()
        } catch (error: DrafthorseException) {
            states.update { it.copy(status = error.message.orEmpty()) }
        } finally {
            states.update { it.copy(busy = false) }
        }
    }
}
