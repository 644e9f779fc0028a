package dev.drafthorse.fake

import dev.drafthorse.DrafthorseException
import dev.drafthorse.EngineState
import dev.drafthorse.GenerationEvent
import dev.drafthorse.GenerationOptions
import dev.drafthorse.Message
import dev.drafthorse.StopReason
import dev.drafthorse.generate
import dev.drafthorse.respond
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.test.currentTime
import kotlinx.coroutines.test.runTest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class FakeLanguageModelTest {
    @Test
    fun `streams the answer word by word and ends with an account`() = runTest {
        val model = FakeLanguageModel { request -> FakeAnswer("You said: ${request.text}") }
        val events = model.session().generate(listOf(Message.user("hi there"))).toList()
        val words = events.filterIsInstance<GenerationEvent.Tokens>().map { it.text }
        assertEquals(listOf("You", " said:", " hi", " there"), words)
        assertEquals(StopReason.STOP_TOKEN, (events.last() as GenerationEvent.Finished).account.stopReason)
        assertEquals("hi there", model.requests.single().text)
    }

    @Test
    fun `keeps maxTokens and stop`() = runTest {
        val session = FakeLanguageModel("one two three four").session()
        val short = session.respond("", GenerationOptions(maxTokens = 2))
        assertEquals("one two" to StopReason.MAX_TOKENS, short.text to short.account.stopReason)
        val stopped = session.respond("", GenerationOptions(stop = listOf("ree")))
        assertEquals("one two th" to StopReason.STOP_SEQUENCE, stopped.text to stopped.account.stopReason)
    }

    @Test
    @OptIn(ExperimentalCoroutinesApi::class)
    fun `delays are virtual, and states follow`() = runTest {
        val model = FakeLanguageModel { FakeAnswer("a b c", chunkDelayMs = 1_000) }
        val session = model.session()
        val job = launch { session.respond("") }
        assertEquals(EngineState.GENERATING, model.state.first { it != EngineState.READY })
        job.join()
        assertEquals(3_000, currentTime)
        assertEquals(EngineState.READY, model.state.value)
    }

    @Test
    fun `fails as told, after the chunks`() = runTest {
        val session = FakeLanguageModel { FakeAnswer("a b", failure = DrafthorseException.Internal("broken")) }.session()
        val seen = mutableListOf<String>()
        val error = runCatching {
            session.generate("").filterIsInstance<GenerationEvent.Tokens>().map { it.text }.collect(seen::add)
        }.exceptionOrNull()
        assertTrue(error is DrafthorseException.Internal, "$error")
        assertEquals(listOf("a", " b"), seen)
    }

    @Test
    fun `a second generation is refused, and cancelling frees the session`() = runTest {
        val session = FakeLanguageModel { FakeAnswer("a b c", chunkDelayMs = 1_000) }.session()
        val started = CompletableDeferred<Unit>()
        val job = launch { session.generate("").onEach { started.complete(Unit) }.collect() }
        started.await()
        val refused = runCatching { session.respond("") }.exceptionOrNull()
        assertTrue(refused is DrafthorseException.SessionBusy, "$refused")
        job.cancelAndJoin()
        assertEquals("a b c", session.respond("").text)
    }

    @Test
    fun `cancel ends the flow with an account`() = runTest {
        val session = FakeLanguageModel { FakeAnswer("a b c", chunkDelayMs = 1_000) }.session()
        val events = session.generate("").onEach { if (it is GenerationEvent.Tokens) session.cancel() }.toList()
        val account = (events.last() as GenerationEvent.Finished).account
        assertEquals(StopReason.CANCELLED, account.stopReason)
        assertTrue(account.tokens < 3)
    }

    @Test
    fun `closed ones say so`() = runTest {
        val model = FakeLanguageModel("a")
        val session = model.session()
        assertEquals(1, model.openSessions)
        model.close()
        assertEquals(0, model.openSessions)
        assertEquals(EngineState.CLOSED, model.state.value)
        val errors = listOf(
            runCatching { model.session() },
            runCatching { model.tokenize("a") },
            runCatching { session.respond("") },
            runCatching { session.tokens() },
        )
        assertTrue(errors.all { it.exceptionOrNull() is DrafthorseException.Closed }, "$errors")
    }
}
