package dev.drafthorse.benchmark

import dev.drafthorse.DrafthorseException
import java.io.File
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class RequestTest {
    @TempDir
    lateinit var folder: File

    private val pack = File("/packs/demo")

    private fun plan(text: String) = File(folder, "plan.json").apply { writeText(text) }

    @Test
    fun `without arguments the pack alone is asked for`() {
        val plan = Json.parseToJsonElement(Request.of(emptyMap()).planJson(pack, emptyMap())).jsonObject
        assertEquals(setOf("pack", "host"), plan.keys)
    }

    @Test
    fun `arguments win over the file, and the phone says what it is`() {
        val file = plan("""{"budget_s": 9, "repetitions": 2, "pack": "elsewhere", "host": {"soc": "a lie"}}""")
        val request = Request.of(mapOf("plan" to file.path, "budget_s" to "30", "label" to "shelf 3"))
        val plan = Json.parseToJsonElement(request.planJson(pack, mapOf("soc" to JsonPrimitive("Chip")))).jsonObject
        assertEquals(JsonPrimitive(30.0), plan["budget_s"])
        assertEquals(JsonPrimitive(2), plan["repetitions"])
        assertEquals(JsonPrimitive("shelf 3"), plan["device_label"])
        assertEquals(JsonPrimitive(pack.path), plan["pack"])
        assertEquals(JsonPrimitive("Chip"), plan.getValue("host").jsonObject["soc"])
    }

    @Test
    fun `what cannot be done is named`() {
        fun refused(arguments: Map<String, String>): String =
            assertThrows(DrafthorseException.InvalidOptions::class.java) { Request.of(arguments).planJson(pack, emptyMap()) }.message!!
        assertTrue("speed" in refused(mapOf("speed" to "9")))
        assertTrue("soon" in refused(mapOf("budget_s" to "soon")))
        assertTrue("no such file" in refused(mapOf("plan" to "nowhere.json")))
        assertTrue("plan.json" in refused(mapOf("plan" to plan("{").path)))
        assertTrue("object" in refused(mapOf("plan" to plan("[]").path)))
    }

    @Test
    fun `a phone's answers become the report's words and units`() {
        val full = reading(Told(sdk = 36, thermalStatus = 3, headroom = 1.25f, percent = 50, microamperes = 1_500_000, nanowattHours = 1_000_000_000))
        assertEquals("severe", full.thermalState)
        assertEquals(1.25, full.thermalHeadroom)
        assertEquals(-1500.0, full.batteryMa, "charging")
        assertEquals(-3600.0, full.energyJ, "1 Wh is left")
        assertEquals(setOf("temperature_c"), full.absent.keys)

        val bare = reading(Told(sdk = 26, thermalStatus = null, headroom = null, percent = Int.MIN_VALUE, microamperes = Int.MIN_VALUE, nanowattHours = Long.MIN_VALUE))
        assertNull(bare.batteryPercent)
        val names = setOf("thermal_state", "thermal_headroom", "battery_percent", "battery_ma", "energy_j", "temperature_c")
        assertEquals(names, bare.absent.keys)
        assertTrue("API 30" in bare.absent.getValue("thermal_headroom"))
        val deaf = reading(Told(sdk = 33, thermalStatus = 9, headroom = Float.NaN, percent = 0, microamperes = 0, nanowattHours = 0))
        assertTrue("forecast" in deaf.absent.getValue("thermal_headroom"))
        assertNull(deaf.thermalState)
    }

    @Test
    fun `what may not be asked often is kept meanwhile`() {
        var (now, asked) = 0L to 0
        val spaced = Spaced(1_000, { now }) { ++asked }
        val values = listOf(0L, 999L, 1_000L, 1_500L, 2_500L).map { at -> spaced.also { now = at }.value() }
        assertEquals(listOf(1, 1, 2, 2, 3), values)
    }
}
