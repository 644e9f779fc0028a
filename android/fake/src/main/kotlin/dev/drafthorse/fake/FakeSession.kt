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
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow

/** A conversation of a [FakeLanguageModel]. Every chunk is a token; their ids count up from 0. */
internal class FakeSession(private val model: FakeLanguageModel, private val options: SessionOptions) : Session {
    private val busy = AtomicBoolean()
    private val confirmed = ArrayList<Int>()

    @Volatile
    private var closed = false

    @Volatile
    private var cancelled = false

    override fun generate(prompt: Prompt, options: GenerationOptions): Flow<GenerationEvent> = channelFlow {
        try {
            holding { run(FakeRequest(prompt, options, this@FakeSession.options), channel) }
        } catch (error: DrafthorseException) {
            // As the real one does: what came before the error is delivered first.
            close(error)
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

    private suspend fun run(request: FakeRequest, events: SendChannel<GenerationEvent>) {
        cancelled = false
        model.began()
        try {
            events.send(GenerationEvent.Finished(answer(request, events)))
        } finally {
            model.ended()
        }
    }

    private suspend fun answer(request: FakeRequest, events: SendChannel<GenerationEvent>): Account {
        val answer = model.answer(request)
        events.send(GenerationEvent.Prefill(done = 1, total = 1))
        var text = ""
        var count = 0
        for (chunk in answer.chunks) {
            delay(answer.chunkDelayMs)
            if (closed) throw DrafthorseException.Closed("the session was closed while it generated")
            if (cancelled) return account(StopReason.CANCELLED, count)
            val stop = request.options.stop.map { (text + chunk).indexOf(it) }.filter { it >= 0 }.minOrNull()
            val shown = if (stop == null) chunk else (text + chunk).substring(text.length.coerceAtMost(stop), stop)
            text += shown
            events.send(GenerationEvent.Tokens(shown, listOf(Token(id = count, drafted = false, textEnd = shown.length))))
            confirmed += count++
            if (stop != null) return account(StopReason.STOP_SEQUENCE, count)
            if (count == request.options.maxTokens) return account(StopReason.MAX_TOKENS, count)
        }
        answer.failure?.let { throw it }
        return account(StopReason.STOP_TOKEN, count)
    }

    private fun account(reason: StopReason, tokens: Int) =
        Account(reason, promptTokens = 1, tokens = tokens.toLong(), rounds = tokens.toLong())

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
