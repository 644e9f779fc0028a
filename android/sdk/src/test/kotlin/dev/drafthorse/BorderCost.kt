package dev.drafthorse

import com.sun.management.OperatingSystemMXBean
import dev.drafthorse.ffi.measureBorder
import java.lang.management.ManagementFactory
import java.util.Locale
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test

/**
 * What a streamed token costs between the runtime and an app: `cargo xtask kotlin bench`. It asserts nothing.
 *
 * The rounds are made up by the library, so that no model runs. What is counted is the processor time of the whole process:
 * the library, JNA, the conversion, the Flow with its threads, and the collector.
 */
class BorderCost {
    private val processor = ManagementFactory.getOperatingSystemMXBean() as OperatingSystemMXBean

    @Test
    fun print() = runBlocking {
        Demo.engine.session().use { session ->
            for (tokens in listOf(1, 4)) {
                show("uniffi alone", tokens) { direct(tokens) }
                show("as a Flow", tokens) { (session as NativeSession).events { rounds(tokens) }.collect() }
            }
        }
    }

    private suspend fun show(way: String, tokensPerRound: Int, run: suspend () -> Unit) {
        // The first rounds warm up the compiler.
        repeat(3) { run() }
        val samples = List(9) {
            val before = processor.processCpuTime
            run()
            (processor.processCpuTime - before).toDouble() / (ROUNDS * tokensPerRound)
        }.sorted()
        val (least, median, most) = Triple(samples.first(), samples[samples.size / 2], samples.last())
        println(
            "%-13s %d a round: %6.0f ns per token (%.0f to %.0f), %.2f %% of a 5 ms step"
                .format(Locale.ROOT, way, tokensPerRound, median, least, most, median / STEP_NS * 100),
        )
    }

    private fun rounds(tokensPerRound: Int) = measureBorder(ROUNDS.toULong(), tokensPerRound.toUInt())

    private fun direct(tokensPerRound: Int) = rounds(tokensPerRound).use { generation ->
        while (generation.next()?.toPublic() != null) Unit
    }

    private companion object {
        const val ROUNDS = 2_000
        const val STEP_NS = 5_000_000.0
    }
}
