package dev.drafthorse

import java.io.File
import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class SameAsCommandTest {
    private val prompt = "Once upon a time"

    @Test
    fun `the same seed gives the text of the Rust command`() = withSession { session ->
        val texts = listOf(7uL, 8uL, ULong.MAX_VALUE).map { seed ->
            val options = GenerationOptions(
                maxTokens = 60,
                temperature = 0.8f,
                topP = 0.9f,
                seed = seed,
                draftLength = DraftLength.Fixed(4),
            )
            session.reset()
            val response = session.respond(prompt, options)
            assertEquals(seed, response.account.seed)
            val flags = "--max-tokens 60 --temperature 0.8 --top-p 0.9 --seed $seed --draft-tokens 4 --threads 1 --quiet"
            assertEquals(command(flags.split(' ')), response.text + "\n")
            response.text
        }
        assertNotEquals(texts[0], texts[1])
    }

    private fun command(flags: List<String>): String {
        val executable = System.getProperty("drafthorse.command")
        assertTrue(File(executable).canExecute(), "no $executable; run these tests by `cargo xtask kotlin`")
        val line = listOf(executable, "generate", Demo.folder.path, prompt) + flags
        val process = ProcessBuilder(line).redirectError(ProcessBuilder.Redirect.INHERIT).start()
        val text = process.inputStream.bufferedReader().readText()
        assertTrue(process.waitFor(1, TimeUnit.MINUTES) && process.exitValue() == 0, "$line failed")
        return text
    }
}
