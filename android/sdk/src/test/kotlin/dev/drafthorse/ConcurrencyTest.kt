package dev.drafthorse

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ConcurrencyTest {
    private val endless = GenerationOptions(minTokens = 512, draftLength = DraftLength.Fixed(0))

    @Test
    fun `a second collector on a session is refused, and the first goes on`() = withSession { session ->
        // More events than are buffered, so that the first collector holds the session until it goes on.
        val flow = session.generate("Once upon a time", GenerationOptions(maxTokens = 20, draftLength = DraftLength.Fixed(0)))
        val alone = flow.toList().text
        runBlocking(Dispatchers.Default) {
            val (started, goOn) = List(2) { CompletableDeferred<Unit>() }
            val first = async {
                flow.onEach {
                    started.complete(Unit)
                    goOn.await()
                }.toList().text
            }
            started.await()
            val refused = runCatching { flow.toList() }.exceptionOrNull()
            assertTrue(refused is DrafthorseException.SessionBusy, "$refused")
            goOn.complete(Unit)
            assertEquals(alone, first.await())
        }
    }

    @Test
    fun `sessions of one engine run side by side and do not mix`() = runBlocking(Dispatchers.Default) {
        val prompts = listOf("Once upon a time", "Tom had a dog", "The sun was", "Lily went to")
        val options = GenerationOptions(maxTokens = 24, draftLength = DraftLength.Fixed(4))
        suspend fun text(prompt: String) = Demo.engine.session().use { it.respond(prompt, options).text }
        val inTurn = prompts.map { text(it) }
        assertEquals(inTurn, prompts.map { async { text(it) } }.awaitAll())
    }

    @Test
    fun `closing a session in flight stops its run`() = runBlocking(Dispatchers.Default) {
        repeat(20) { attempt ->
            val session = Demo.engine.session()
            assertClosedInFlight(session, attempt) { session.close() }
            session.close()
        }
    }

    @Test
    fun `closing the engine in flight stops every run`() = runBlocking(Dispatchers.Default) {
        repeat(5) { attempt ->
            val engine = Engine.open(Demo.folder.path, Demo.options)
            assertClosedInFlight(engine.session(), attempt) { engine.close() }
            assertEquals(EngineState.CLOSED, engine.state.value)
        }
    }

    @Test
    fun `closing in flight waits for no collector, and what was generated is still delivered`() = runBlocking(Dispatchers.Default) {
        val session = Demo.engine.session()
        val (asleep, awake) = List(2) { CompletableDeferred<Unit>() }
        val seen = mutableListOf<GenerationEvent>()
        val outcome = async {
            runCatching {
                session.generate("Once upon a time", endless).collect {
                    seen += it
                    asleep.complete(Unit)
                    awake.await()
                }
            }.exceptionOrNull()
        }
        asleep.await()
        // Time for the loop to fill the buffer.
        delay(200)
        session.close()
        awake.complete(Unit)
        val error = outcome.await()
        assertTrue(error is DrafthorseException.Closed, "$error")
        assertTrue(seen.size > 1, "$seen")
    }

    private suspend fun assertClosedInFlight(session: Session, attempt: Int, close: () -> Unit) = runBlocking(Dispatchers.Default) {
        val started = CompletableDeferred<Unit>()
        val outcome = async {
            runCatching { session.generate(Demo.longPrompt, endless).collect { started.complete(Unit) } }.exceptionOrNull()
        }
        started.await()
        delay(attempt.toLong())
        close()
        val error = outcome.await()
        assertTrue(error is DrafthorseException.Closed, "$error")
    }

    /** One token is an event here, so what the loop did beyond what was collected can be counted. */
    @Test
    fun `a slow collector stops the loop`() = withSession { session ->
        val collected = 3
        var prompt = 0L
        runBlocking(Dispatchers.Default) {
            val full = CompletableDeferred<Unit>()
            val collector = launch {
                var tokens = 0
                session.generate("Once upon a time", endless).collect { event ->
                    if (event is GenerationEvent.Prefill) prompt = event.total
                    if (event is GenerationEvent.Tokens && ++tokens == collected) {
                        full.complete(Unit)
                        delay(Long.MAX_VALUE)
                    }
                }
            }
            full.await()
            // Time for a loop that does not wait to run to the end of the context.
            delay(1_000)
            collector.cancelAndJoin()
        }
        val confirmed = session.tokens().size - prompt
        // What was collected, what waits in the buffer, what waits to get there, and the run that was stopped.
        val most = collected + Session.EVENTS_BUFFERED + 2
        assertTrue(confirmed in collected..most, "$confirmed tokens, at most $most")
    }

    @Test
    fun `a slow collector loses nothing`() = withSession { session ->
        val options = GenerationOptions(maxTokens = 40, draftLength = DraftLength.Fixed(2))
        val fast = session.events("Once upon a time", options)
        val slow = mutableListOf<GenerationEvent>()
        session.generate("Once upon a time", options).collect {
            delay(2)
            slow += it
        }
        assertEquals(fast.tokens.map { it.id }, slow.tokens.map { it.id })
        assertEquals(fast.text, slow.text)
    }
}
