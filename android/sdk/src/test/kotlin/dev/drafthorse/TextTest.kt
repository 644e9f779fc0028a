package dev.drafthorse

import dev.drafthorse.ffi.Token as NativeToken
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The demo's tokenizer has single bytes for what it does not know: every emoji lies across token borders. */
class TextTest {
    private val told = "🐴 日本語のテキスト 👩‍👩‍👧 café 🎉"

    @Test
    fun `emoji and CJK arrive whole, whatever the borders of tokens and drafts`() {
        for (draft in listOf(0, 1, 3, 4, 8)) withSession { session ->
            val options = GenerationOptions(constraint = Constraint.Regex(told), draftLength = DraftLength.Fixed(draft))
            val events = session.events("Say it:", options)
            assertEquals(told, events.text)
            assertTrue(events.tokens.size > told.codePointCount(0, told.length), "characters lie across tokens")
            for (chunk in events.chunks) {
                assertFalse('\uFFFD' in chunk.text, "no replacement character: ${chunk.text}")
                assertEquals(chunk.text, String(chunk.text.toByteArray()), "no half of a surrogate pair")
                assertTrue(chunk.tokens.all { it.textEnd in 0..chunk.text.length })
                assertEquals(chunk.text.length, chunk.tokens.last().textEnd)
            }
        }
    }

    @Test
    fun `emoji and CJK go in whole`() = withSession { session ->
        session.respond(told, GenerationOptions(maxTokens = 1))
        val tokens = Demo.engine.tokenize(told)
        assertEquals(tokens, session.tokens().take(tokens.size))
        assertTrue(tokens.size >= told.toByteArray().size / 2)
    }

    @Test
    fun `stop texts of several bytes are left out whole`() = withSession { session ->
        val options = GenerationOptions(constraint = Constraint.Regex("ab🐴cd日本"), stop = listOf("日"))
        val events = session.events("Say it:", options)
        assertEquals("ab🐴cd" to StopReason.STOP_SEQUENCE, events.text to events.account.stopReason)
    }

    @Test
    fun `ends of tokens are characters here and bytes there`() {
        fun ends(text: String, vararg bytes: Int) =
            bytes.map { NativeToken(0u, false, it.toULong()) }.toPublic(text).map { it.textEnd }
        assertEquals(listOf(0, 1, 3), ends("abc", 0, 1, 3))
        assertEquals(listOf(0, 2, 3, 4, 5), ends("🐴日éx", 0, 4, 7, 9, 10))
        assertEquals(listOf(0, 0), ends("", 0, 0))
    }
}
