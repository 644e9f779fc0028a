package dev.drafthorse

import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class JourneyTest {
    @Test
    fun `opens, streams, accounts, goes on with the conversation, closes`() = runBlocking {
        val engine = Engine.open(Demo.folder.path, Demo.options)
        assertEquals(EngineState.READY, engine.state.value)
        assertEquals(ExecutionProvider.CPU, engine.report.target.provider)
        assertNotNull(engine.report.drafter, "the demo pack has a drafter: ${engine.report.drafterMissing}")
        assertEquals(512, engine.report.contextLength)
        assertTrue(engine.report.weightBytes > 3_000_000 && engine.report.residentBytes!! > 0 && engine.report.runtime.isNotEmpty())
        assertEquals(setOf(1L, 2L, 4L, 8L), engine.report.costs.targetMs.keys)

        val session = engine.session()
        val conversation = mutableListOf(Message.user("Hello, how are you?"))
        val options = GenerationOptions(maxTokens = 40, draftLength = DraftLength.Fixed(4))
        val first = session.generate(conversation, options).toList()
        assertTrue(first.first() is GenerationEvent.Prefill)
        assertTrue(first.chunks.size > 1, "it streams")
        val account = first.account
        assertEquals(first.tokens.size.toLong(), account.tokens)
        assertEquals(account.accepted.toDouble() / account.proposed, account.acceptanceRate)
        assertTrue(account.proposed > 0 && account.ttftMs > 0 && account.lossless)
        assertTrue(account.drafted >= account.proposed)
        val (target, drafter) = listOf(account.targetNodes, account.drafterNodes).map { it.getValue("CPUExecutionProvider") }
        assertTrue(target > drafter && drafter > 0, "the target has more layers than the drafter")
        assertTrue(first.tokens.any { it.drafted } && first.tokens.any { !it.drafted })
        assertEquals(0, account.promptTokensKept)

        conversation += Message.assistant(first.text.trim())
        conversation += Message.user("What did you do today?")
        val second = session.respond(conversation, options)
        assertTrue(second.account.promptTokensKept > 0, "the first turn is not computed again")
        assertTrue(second.text.isNotBlank())

        engine.close()
        engine.close()
        session.close()
        assertEquals(EngineState.CLOSED, engine.state.value)
    }

    @Test
    fun `the pair says what the target alone says`() {
        val prompt = "Once upon a time"
        val texts = listOf(DraftLength.Fixed(0), DraftLength.Fixed(4), DraftLength.Adaptive(maxDraftTokens = 8)).map {
            lateinit var text: String
            withSession { session -> text = session.respond(prompt, GenerationOptions(maxTokens = 60, draftLength = it)).text }
            text
        }
        assertEquals(1, texts.toSet().size, "$texts")
        assertFalse(texts[0].isBlank())
    }

    @Test
    fun `a flow is cold and may be collected again`() = withSession { session ->
        val flow = session.generate("Tom had a dog", GenerationOptions(maxTokens = 12))
        assertEquals(emptyList<Int>(), session.tokens(), "nothing runs before it is collected")
        assertEquals(flow.toList().text, flow.toList().text)
    }

    @Test
    fun `tokens, rewind and reset are the session's own`() = withSession { session ->
        val events = session.events("Tom had a dog", GenerationOptions(maxTokens = 5))
        val prompt = Demo.engine.tokenize("Tom had a dog")
        assertEquals(prompt + events.tokens.map { it.id }, session.tokens())
        session.rewind(2)
        assertEquals(prompt.take(2), session.tokens())
        session.reset()
        assertEquals(emptyList<Int>(), session.tokens())
        assertEquals(events.text, session.respond(Prompt.Tokens(prompt), GenerationOptions(maxTokens = 5)).text)
    }

    @Test
    fun `every way to stop is reported`() = withSession { session ->
        val long = session.events("Once upon a time", GenerationOptions(maxTokens = 30))
        assertEquals(StopReason.MAX_TOKENS, long.account.stopReason)

        val word = long.text.trim().split(' ')[5]
        val stopped = session.events("Once upon a time", GenerationOptions(maxTokens = 30, stop = listOf(word)))
        assertEquals(StopReason.STOP_SEQUENCE, stopped.account.stopReason)
        assertEquals(long.text.substringBefore(word), stopped.text)

        val ended = session.events("x", GenerationOptions(constraint = Constraint.Regex("yes")))
        assertEquals("yes" to StopReason.STOP_TOKEN, ended.text to ended.account.stopReason)

        val full = session.events("Once upon a time", GenerationOptions(minTokens = 512, draftLength = DraftLength.Fixed(4)))
        assertEquals(StopReason.CONTEXT_FULL, full.account.stopReason)
        assertEquals(512, session.tokens().size - 1, "the last token is never scored")
    }

    @Test
    fun `states tell when something runs`() = runBlocking {
        Engine.open(Demo.folder.path, Demo.options).use { engine ->
            val seen = mutableListOf<EngineState>()
            // More events than are buffered: at the first one the loop cannot have ended.
            val options = GenerationOptions(minTokens = 40, maxTokens = 40, draftLength = DraftLength.Fixed(0))
            engine.session().generate("Once upon a time", options).collect { seen += engine.state.value }
            assertEquals(EngineState.GENERATING, seen.first())
            assertEquals(EngineState.READY, engine.state.value)
        }
    }
}
