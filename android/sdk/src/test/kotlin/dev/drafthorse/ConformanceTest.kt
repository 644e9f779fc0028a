package dev.drafthorse

import java.io.File
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.boolean
import kotlinx.serialization.json.contentOrNull
import kotlinx.serialization.json.double
import kotlinx.serialization.json.float
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.TestFactory

/** The cases that Rust, Kotlin and Swift share: `tests/conformance/README.md` describes the file. */
class ConformanceTest {
    private val file = Json.parseToJsonElement(File(Demo.repository, "tests/conformance/cases.json").readText()).jsonObject
    private val cases = file.getValue("cases").jsonArray.map { it.jsonObject }

    @TestFactory
    fun cases(): List<DynamicTest> {
        assertEquals(1, file.getValue("format").jsonPrimitive.int)
        assertEquals("tests/packs/demo", file.text("pack"))
        val engine = file.getValue("engine").jsonObject
        val threads = listOf("target_threads", "drafter_threads").map { engine.getValue(it).jsonPrimitive.int }
        assertEquals(listOf(Demo.options.targetThreads, Demo.options.drafterThreads), threads)
        assertTrue(cases.size > 20)
        return cases.map { case -> dynamicTest(case.text("name")) { run(case) } }
    }

    private fun run(case: JsonObject) = withSession(sessionOptions(case["session"]?.jsonObject)) { session ->
        val texts = case.getValue("turns").jsonArray.map { it.jsonObject }.map { turn(session, it) }
        case["same_text_as"]?.let { other ->
            val first = cases.first { it.text("name") == other.jsonPrimitive.content }.getValue("turns").jsonArray[0]
            assertEquals(first.jsonObject.getValue("expect").jsonObject.text("text"), texts[0])
        }
    }

    /** Runs one generation and compares all that is expected. Returns its text; null for an error. */
    private fun turn(session: Session, turn: JsonObject): String? {
        val expected = turn.getValue("expect").jsonObject
        val options = generationOptions(turn.getValue("options").jsonObject)
        val outcome = runCatching { runBlocking { session.generate(prompt(turn.getValue("prompt").jsonObject), options).toList() } }
        expected["error"]?.let { error ->
            assertEquals(error.jsonPrimitive.content, outcome.exceptionOrNull()?.javaClass?.simpleName)
            return null
        }
        val events = outcome.getOrThrow()
        val account = events.account
        assertEquals(expected.text("text"), events.text)
        assertEquals(expected.getValue("tokens").jsonArray.map { it.jsonPrimitive.int }, events.tokens.map { it.id })
        assertEquals(expected.getValue("drafted").jsonPrimitive.int, events.tokens.count { it.drafted })
        assertEquals(expected.text("stop_reason"), account.stopReason.name)
        assertEquals(expected.getValue("prompt_tokens").jsonPrimitive.long, account.promptTokens)
        assertEquals(expected.getValue("prompt_tokens_kept").jsonPrimitive.long, account.promptTokensKept)
        assertEquals(expected.getValue("lossless").jsonPrimitive.boolean, account.lossless)
        return events.text
    }

    private fun sessionOptions(json: JsonObject?) = json.orEmpty().entries.fold(SessionOptions()) { options, (name, value) ->
        assertEquals("drafting", name)
        val drafting = when (val word = value.jsonPrimitive.content) {
            "none" -> Drafting.TARGET_ALONE
            else -> Drafting.valueOf(word.uppercase())
        }
        options.copy(drafting = drafting)
    }

    private fun prompt(json: JsonObject): Prompt {
        val (kind, value) = json.entries.single()
        return when (kind) {
            "text" -> Prompt.Text(value.jsonPrimitive.content)
            "tokens" -> Prompt.Tokens(value.jsonArray.map { it.jsonPrimitive.int })
            "messages" -> Prompt.Messages(value.jsonArray.map { it.jsonObject }.map { Message(it.text("role"), it.text("content")) })
            else -> error("unknown prompt $kind")
        }
    }

    private fun generationOptions(json: JsonObject) = json.entries.fold(GenerationOptions()) { options, (name, value) ->
        when (name) {
            "max_tokens" -> options.copy(maxTokens = value.jsonPrimitive.int)
            "min_tokens" -> options.copy(minTokens = value.jsonPrimitive.int)
            "temperature" -> options.copy(temperature = value.jsonPrimitive.float)
            "top_k" -> options.copy(topK = value.jsonPrimitive.int)
            "top_p" -> options.copy(topP = value.jsonPrimitive.float)
            "min_p" -> options.copy(minP = value.jsonPrimitive.float)
            "repetition_penalty" -> options.copy(repetitionPenalty = value.jsonPrimitive.float)
            "frequency_penalty" -> options.copy(frequencyPenalty = value.jsonPrimitive.float)
            "presence_penalty" -> options.copy(presencePenalty = value.jsonPrimitive.float)
            "logit_bias" -> options.copy(
                logitBias = value.jsonArray.associate { it.jsonArray[0].jsonPrimitive.int to it.jsonArray[1].jsonPrimitive.float },
            )
            "seed" -> options.copy(seed = value.jsonPrimitive.content.toULong())
            "stop" -> options.copy(stop = value.jsonArray.map { it.jsonPrimitive.content })
            "verification" -> options.copy(verification = verification(value))
            "draft_length" -> options.copy(draftLength = draftLength(value.jsonObject))
            "constraint" -> options.copy(constraint = constraint(value.jsonObject))
            else -> error("unknown option $name")
        }
    }

    private fun draftLength(json: JsonObject): DraftLength {
        val (kind, value) = json.entries.single()
        val tokens = value.jsonPrimitive.int
        return if (kind == "fixed") DraftLength.Fixed(tokens) else DraftLength.Adaptive(tokens)
    }

    private fun constraint(json: JsonObject): Constraint {
        val (kind, value) = json.entries.single()
        // A schema may stand as JSON, or as a text that is JSON.
        val text = (value as? JsonPrimitive)?.contentOrNull ?: value.toString()
        return when (kind) {
            "regex" -> Constraint.Regex(text)
            "json_schema" -> Constraint.JsonSchema(text)
            "lark" -> Constraint.Lark(text)
            else -> error("unknown constraint $kind")
        }
    }

    private fun verification(json: JsonElement): Verification {
        if (json is JsonObject) {
            val (form, epsilon) = json.getValue("lenient").jsonObject.entries.single()
            return Verification.Lenient(Lenience.valueOf(form.uppercase()), epsilon.jsonPrimitive.double)
        }
        return when (val name = json.jsonPrimitive.content) {
            "token" -> Verification.Token
            "block" -> Verification.Block
            "seed_coupled" -> Verification.SeedCoupled
            else -> error("unknown verification $name")
        }
    }

    private fun JsonObject.text(name: String) = getValue(name).jsonPrimitive.content
}
