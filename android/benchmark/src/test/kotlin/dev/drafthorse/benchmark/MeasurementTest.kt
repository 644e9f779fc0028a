package dev.drafthorse.benchmark

import com.networknt.schema.InputFormat
import com.networknt.schema.JsonSchemaFactory
import com.networknt.schema.SpecVersion
import dev.drafthorse.Benchmark
import dev.drafthorse.BenchmarkProgress
import dev.drafthorse.DrafthorseException
import java.io.File
import java.nio.file.Path
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.double
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** What the phone runs, run here: the real library, the demo pack, a small plan, and a phone's answers made up. */
class MeasurementTest {
    @TempDir
    lateinit var folder: Path

    private val repository = File(System.getProperty("drafthorse.repository"))
    private val pack = File(repository, "tests/packs/demo")
    private val small = """
        {"modes": ["plain", "adaptive"], "decodings": ["greedy"], "threads": 1, "max_tokens": 8, "repetitions": 1,
         "prompts": [{"task": "story", "text": "Once upon a time"}]}
    """
    private val warm = Told(sdk = 34, thermalStatus = 1, headroom = 0.7f, percent = 81, microamperes = -412_000, nanowattHours = 0)

    private fun plan(text: String = small): String {
        val file = folder.resolve("plan.json").toFile().apply { writeText(text) }
        val request = Request.of(mapOf("plan" to file.path, "label" to "shelf 3"))
        return request.planJson(pack, mapOf("soc" to JsonPrimitive("Test Chip 1")))
    }

    @Test
    fun `a small plan becomes a report that the schema takes`() = runBlocking {
        val file = folder.resolve("report.json").toFile()
        val told = mutableListOf<String>()
        Measurement.run(plan(), { reading(warm) }, file, told::add)
        assertTrue(told.any { it.startsWith("warming up") } && told.any { it.startsWith("0 of 2: ") }, "$told")
        assertEquals(setOf("plan.json", "report.json"), folder.toFile().list()!!.toSet(), "nothing half-written is left")

        val text = file.readText()
        assertEquals(emptyList<String>(), violations(text))
        assertFalse(violations(text.replace("\"greedy\"", "\"hasty\"")).isEmpty(), "the schema takes anything")
        check(Json.parseToJsonElement(text).jsonObject)
        assertFalse(repository.canonicalPath in text, "reports travel: nobody's folders are in them")
    }

    private fun check(report: JsonObject) {
        assertEquals(1, report.getValue("format_version").jsonPrimitive.int)
        val machine = report.getValue("machine").jsonObject
        assertEquals("shelf 3", machine.text("label"))
        assertEquals("Test Chip 1", machine.getValue("soc").jsonObject.text("value"))
        val sensors = machine.getValue("sensors").jsonObject
        assertEquals("412.0", sensors.getValue("battery_ma").jsonObject.text("value").toDouble().toString())
        assertTrue("energy_j" in sensors)
        val subject = report.getValue("subjects").jsonArray.single().jsonObject
        val modes = subject.getValue("generations").jsonArray.map { it.jsonObject.text("mode") }
        assertEquals(setOf("plain", "adaptive"), modes.toSet())
        val sample = subject.getValue("samples").jsonArray.first().jsonObject
        assertEquals("light" to 0.7, sample.text("thermal_state") to Math.round(sample.number("thermal_headroom") * 10) / 10.0)
        assertEquals(81.0, sample.number("battery_percent"))
    }

    @Test
    fun `cancelling ends it`() = runBlocking(Dispatchers.Default) {
        val begun = CompletableDeferred<Unit>()
        val endless = plan(small.replace("\"repetitions\": 1", "\"repetitions\": 10000"))
        val measuring = async { Benchmark.run(endless) { if (it.planned > 0) begun.complete(Unit) } }
        begun.await()
        measuring.cancelAndJoin()
        assertTrue(measuring.isCancelled)
    }

    @Test
    fun `what the app throws ends it and comes back`() = runBlocking {
        val broken = IllegalStateException("no sensor")
        var steps = 0
        val count: (BenchmarkProgress) -> Unit = { steps++ }
        val outcome = runCatching { Benchmark.run(plan(), sensors = { throw broken }, onProgress = count) }
        assertSame(broken, generateSequence(outcome.exceptionOrNull()) { it.cause }.last(), "$outcome")
        assertEquals(1, steps)
    }

    @Test
    fun `what is wrong is named`() = runBlocking {
        suspend fun refused(plan: String) = runCatching { Benchmark.run(plan) { } }.exceptionOrNull()!!
        for ((plan, word) in listOf("{" to "plan", "{}" to "pack", """{"pack": "p", "speed": 9}""" to "speed")) {
            val error = refused(plan)
            assertTrue(error is DrafthorseException.InvalidOptions && word in error.message!!, "$error")
        }
        assertTrue(refused("""{"pack": "no/such/folder"}""") is DrafthorseException.PackNotFound)
    }

    private fun violations(report: String): List<String> {
        val schema = JsonSchemaFactory.getInstance(SpecVersion.VersionFlag.V202012)
            .getSchema(File(repository, "bench/report.schema.json").readText())
        return schema.validate(report, InputFormat.JSON).map { it.toString() }
    }

    private fun JsonObject.text(name: String) = getValue(name).jsonPrimitive.content

    private fun JsonObject.number(name: String) = getValue(name).jsonPrimitive.double
}
