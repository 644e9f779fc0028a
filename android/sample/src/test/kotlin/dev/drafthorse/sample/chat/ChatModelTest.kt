package dev.drafthorse.sample.chat

import dev.drafthorse.ContextPolicy
import dev.drafthorse.DrafthorseException
import dev.drafthorse.Message
import dev.drafthorse.fake.FakeAnswer
import dev.drafthorse.fake.FakeLanguageModel
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.test.advanceTimeBy
import kotlinx.coroutines.test.advanceUntilIdle
import kotlinx.coroutines.test.runTest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** How an app tests itself with the fake. */
@OptIn(ExperimentalCoroutinesApi::class)
class ChatModelTest {
    @Test
    fun `streams an answer and goes on with the conversation`() = runTest {
        val fake = FakeLanguageModel { FakeAnswer("I heard: ${it.text}", chunkDelayMs = 10) }
        val chat = ChatModel(this) { fake }
        advanceUntilIdle()
        chat.send("hello")
        advanceTimeBy(25)
        assertEquals("I heard:", chat.state.value.answer)
        assertTrue(chat.state.value.busy)
        advanceUntilIdle()
        chat.send("again")
        advanceUntilIdle()
        val said = listOf("hello", "I heard: hello", "again", "I heard: again")
        assertEquals(said, chat.state.value.messages.map(Message::content))
        assertEquals(1, fake.openSessions, "one session for the whole conversation")
        assertEquals(ContextPolicy.DROP_OLDEST_TURNS, fake.requests.last().session.contextPolicy)
        chat.close()
        assertEquals(0, fake.openSessions)
    }

    @Test
    fun `stop keeps what was said`() = runTest {
        val chat = ChatModel(this) { FakeLanguageModel { FakeAnswer("one two three", chunkDelayMs = 10) } }
        advanceUntilIdle()
        chat.send("count")
        advanceTimeBy(15)
        chat.stop()
        advanceUntilIdle()
        assertEquals("one", chat.state.value.messages.last().content)
        assertFalse(chat.state.value.busy)
    }

    @Test
    fun `an error is shown, and the next message is possible`() = runTest {
        var answers = 0
        val fake = FakeLanguageModel {
            if (answers++ == 0) throw DrafthorseException.ContextFull("too long") else FakeAnswer("fine")
        }
        val chat = ChatModel(this) { fake }
        advanceUntilIdle()
        chat.send("a")
        advanceUntilIdle()
        assertEquals("too long", chat.state.value.status)
        chat.send("b")
        advanceUntilIdle()
        assertEquals("fine", chat.state.value.messages.last().content)
    }

    @Test
    fun `a pack that does not open is shown, and tried again with the next message`() = runTest {
        var tries = 0
        val chat = ChatModel(this) {
            if (tries++ == 0) throw DrafthorseException.PackNotFound("no pack at /x") else FakeLanguageModel("here now")
        }
        advanceUntilIdle()
        assertEquals("no pack at /x", chat.state.value.status)
        chat.send("hello?")
        advanceUntilIdle()
        assertEquals("here now", chat.state.value.messages.last().content)
    }

    @Test
    fun `memory given back is taken again with the next message`() = runTest {
        val opened = mutableListOf<FakeLanguageModel>()
        val chat = ChatModel(this) { FakeLanguageModel("fine").also(opened::add) }
        advanceUntilIdle()
        for (round in 1..2) {
            chat.send("hello")
            advanceUntilIdle()
            chat.closeIdleModel()
            assertEquals(0, opened.last().openSessions)
        }
        assertEquals(2, opened.size)
        assertEquals(4, chat.state.value.messages.size)
    }
}
