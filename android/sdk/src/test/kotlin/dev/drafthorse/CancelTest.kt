package dev.drafthorse

import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import java.util.concurrent.locks.LockSupport
import kotlin.random.Random
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class CancelTest {
    private val asked = GenerationOptions(maxTokens = 32, draftLength = DraftLength.Fixed(4))
    private val again = asked.copy(maxTokens = 6)

    /** Half of the moments are places among the events, half are times: the latter also fall within a forward pass. */
    @Test
    fun `cancelled at 200 random moments, the next generation is right`() = withSession { session ->
        val started = System.nanoTime()
        val whole = session.events(Demo.longPrompt, asked)
        val wholeNs = System.nanoTime() - started
        val right = session.events(Demo.longPrompt, again).text
        assertTrue(whole.text.startsWith(right))

        val random = Random(20261121)
        var inPrefill = 0
        var inDecode = 0
        repeat(200) { attempt ->
            // Every other pair begins with a prefill; the rest finds the prompt in the cache and begins to decode.
            if (attempt % 4 < 2) session.reset()
            val rounds = when (attempt % 2) {
                0 -> cancelledAfter(session, events = random.nextInt(whole.size))
                else -> cancelledAt(session, ns = random.nextLong(wholeNs))
            }
            if (rounds == 0) inPrefill++ else inDecode++
            // Not busy: the collector returned when the session was idle.
            session.tokens()
            assertEquals(right, session.events(Demo.longPrompt, again).text, "attempt $attempt")
        }
        assertTrue(inPrefill >= 5 && inDecode >= 50, "$inPrefill in prefill, $inDecode in decode")
    }

    /** Cancels within the collector, after so many events. Returns how many rounds it saw. */
    private suspend fun cancelledAfter(session: Session, events: Int): Int {
        var seen = 0
        var rounds = 0
        withContext(Dispatchers.Default) {
            launch(start = CoroutineStart.UNDISPATCHED) {
                if (events == 0) currentCoroutineContext().job.cancel()
                session.generate(Demo.longPrompt, asked).collect { event ->
                    if (event is GenerationEvent.Tokens) rounds++
                    if (++seen >= events) currentCoroutineContext().job.cancel()
                }
            }.join()
        }
        return rounds
    }

    /** Cancels from another thread, after so much time. */
    private suspend fun cancelledAt(session: Session, ns: Long): Int {
        var rounds = 0
        withContext(Dispatchers.Default) {
            val collector = launch {
                session.generate(Demo.longPrompt, asked).collect { if (it is GenerationEvent.Tokens) rounds++ }
            }
            LockSupport.parkNanos(ns)
            collector.cancelAndJoin()
        }
        return rounds
    }

    @Test
    fun `a collector that has enough stops the run`() = withSession { session ->
        assertEquals(2, session.generate(Demo.longPrompt, asked).take(2).toList().size)
        session.generate(Demo.longPrompt, asked).first()
        assertEquals(session.events(Demo.longPrompt, again).text, session.events(Demo.longPrompt, again).text)
    }

    @Test
    fun `a collector that throws stops the run`() = withSession { session ->
        class Own : Exception()
        val error = runCatching { session.generate(Demo.longPrompt, asked).collect { throw Own() } }.exceptionOrNull()
        assertTrue(error is Own, "$error")
        session.reset()
    }

    @Test
    fun `cancel ends the flow with an account`() = withSession { session ->
        session.cancel()
        val events = session.generate(Demo.longPrompt, asked).onEach { if (it is GenerationEvent.Tokens) session.cancel() }.toList()
        assertEquals(StopReason.CANCELLED, events.account.stopReason)
        assertEquals(events.tokens.size.toLong(), events.account.tokens)
        session.cancel()
        assertEquals(StopReason.MAX_TOKENS, session.events(Demo.longPrompt, again).account.stopReason, "a late cancel reaches nobody")
    }

    @Test
    fun `cancel reaches a generation that has not begun`() = runBlocking {
        Executors.newSingleThreadExecutor().asCoroutineDispatcher().use { dispatcher ->
            val engine = Engine.open(Demo.folder.path, Demo.options, dispatcher)
            val session = engine.session()
            val goOn = CountDownLatch(1)
            dispatcher.executor.execute { goOn.await() }
            val events = async { session.events(Demo.longPrompt, asked) }
            // Until the collector stands at the engine's dispatcher.
            repeat(10) { yield() }
            session.cancel()
            goOn.countDown()
            assertEquals(StopReason.CANCELLED to 0L, events.await().account.run { stopReason to tokens })
            assertEquals(StopReason.MAX_TOKENS, session.events(Demo.longPrompt, again).account.stopReason)
            engine.close()
        }
    }

    @Test
    fun `cancelling respond stops the run too`() = withSession { session ->
        val running = CountDownLatch(1)
        val job = runBlocking {
            launch(Dispatchers.Default) {
                running.countDown()
                session.respond(Demo.longPrompt, GenerationOptions(minTokens = 512))
            }.also {
                running.await()
                it.cancelAndJoin()
            }
        }
        assertTrue(job.isCancelled)
        session.reset()
    }

    @Test
    fun `cancelling open closes what was opened`() = runBlocking {
        repeat(5) { attempt ->
            val job = launch(Dispatchers.Default) { Engine.open(Demo.folder.path, Demo.options) }
            Thread.sleep(attempt * 5L)
            job.cancelAndJoin()
        }
        Engine.open(Demo.folder.path, Demo.options).close()
    }
}
