package dev.drafthorse.fake

import dev.drafthorse.Account
import dev.drafthorse.DrafthorseException
import dev.drafthorse.GenerationEvent
import dev.drafthorse.GenerationOptions
import dev.drafthorse.Prompt
import dev.drafthorse.Session
import dev.drafthorse.SessionOptions
import dev.drafthorse.StopReason
import dev.drafthorse.Token
import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.flow

/** A conversation of a [FakeLanguageModel]. Every chunk is a token; their ids count up from 0. */
internal class FakeSession(private val model: FakeLanguageModel, private val options: SessionOptions) : Session {
    private val busy = AtomicBoolean()
    private val confirmed = ArrayList<Int>()

    @Volatile
    private var closed = false

    @Volatile
    private var cancelled = false

    override fun generate(prompt: Prompt, options: GenerationOptions): Flow<GenerationEvent> = flow {
        holding {
            cancelled = false
            model.began()
            try {
                run(FakeRequest(prompt, options, this@FakeSession.options))
            } finally {
                model.ended()
            }
        }
    }.buffer(Session.EVENTS_BUFFERED)

    override fun cancel() {
        cancelled = true
    }

    override suspend fun rewind(tokenCount: Long) = holding {
        while (confirmed.size > tokenCount) confirmed.removeAt(confirmed.lastIndex)
    }

    override suspend fun tokens(): List<Int> = holding { confirmed.toList() }

    override fun close() {
        closed = true
        model.forget(this)
    }

    private suspend fun FlowCollector<GenerationEvent>.run(request: FakeRequest) {
        val answer = model.answer(request)
        emit(GenerationEvent.Prefill(done = 1, total = 1))
        var text = ""
        var count = 0
        for (chunk in answer.chunks) {
            delay(answer.chunkDelayMs)
            if (closed) throw DrafthorseException.Closed("the session was closed while it generated")
            if (cancelled) return emit(finished(StopReason.CANCELLED, count))
            val stop = request.options.stop.map { (text + chunk).indexOf(it) }.filter { it >= 0 }.minOrNull()
            val shown = if (stop == null) chunk else (text + chunk).substring(text.length.coerceAtMost(stop), stop)
            text += shown
            emit(GenerationEvent.Tokens(shown, listOf(Token(id = count, drafted = false, textEnd = shown.length))))
            confirmed += count++
            if (stop != null) return emit(finished(StopReason.STOP_SEQUENCE, count))
            if (count == request.options.maxTokens) return emit(finished(StopReason.MAX_TOKENS, count))
        }
        answer.failure?.let { throw it }
        emit(finished(StopReason.STOP_TOKEN, count))
    }

    private fun finished(reason: StopReason, tokens: Int) =
        GenerationEvent.Finished(Account(reason, promptTokens = 1, tokens = tokens.toLong(), rounds = tokens.toLong()))

    private inline fun <T> holding(action: () -> T): T {
        if (closed) throw DrafthorseException.Closed("the session is closed")
        if (!busy.compareAndSet(false, true)) throw DrafthorseException.SessionBusy("the session is busy")
        try {
            return action()
        } finally {
            busy.set(false)
        }
    }
}
