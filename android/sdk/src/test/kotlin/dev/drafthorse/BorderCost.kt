package dev.drafthorse

import com.sun.jna.Memory
import com.sun.jna.NativeLibrary
import dev.drafthorse.ffi.Generation
import dev.drafthorse.ffi.measureBorder
import java.util.Locale
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test

/**
 * What a streamed token costs between the runtime and an app: `cargo xtask border`. It asserts nothing.
 *
 * The rounds are made up by the library, so that no model runs. What is counted is the processor time of the whole process:
 * the library, the call, the conversion, the Flow with its threads, and the collector. Paced, the library sleeps 5 ms
 * before each round, and what the same sleeps take within one round is taken off; what is left holds the waking of threads.
 */
class BorderCost {
    /** A way for events to the app: pulls a generation to its end. */
    private class Way(val name: String, val pull: suspend (Generation) -> Unit)

    private val ways = listOf(
        Way("generated call") { generation ->
            while (generation.next()?.toPublic() != null) Unit
        },
        Way("direct call") { generation ->
            val events = Events(generation)
            while (events.next() != null) Unit
        },
        Way("Flow, as an app has it") { generation ->
            session.events { generation }.collect()
        },
    )

    private lateinit var session: NativeSession

    @Test
    fun print() = withSession { opened ->
        session = opened as NativeSession
        println("| path | pace | tokens per event | processor time per token | per event | of a 5 ms step |")
        for (tokens in listOf(1, 4)) {
            compare("as fast as it goes", tokens, rounds = 5_000, pauses = 0)
            compare("an event every 5 ms", tokens, rounds = 200, pauses = 1)
        }
    }

    /** Every way in turn, so that all meet the same neighbours. */
    private suspend fun compare(pace: String, tokens: Int, rounds: Int, pauses: Int) {
        val samples = ways.map { mutableListOf<Double>() }
        repeat(WARM_UPS + REPEATS) { repeat ->
            val idle = if (pauses == 0) 0L else processorNs { ways[0].pull(made(1, tokens, rounds)) }
            for ((way, taken) in ways.zip(samples)) {
                val busy = processorNs { way.pull(made(rounds, tokens, pauses)) }
                if (repeat >= WARM_UPS) taken += (busy - idle).toDouble() / rounds
            }
        }
        for ((way, taken) in ways.zip(samples)) println(row(way.name, pace, tokens, taken.sorted()))
    }

    private fun row(way: String, pace: String, tokens: Int, eventNs: List<Double>): String {
        fun us(place: Int) = eventNs[place] / 1e3
        val median = us(eventNs.size / 2)
        return "| %s | %s | %d | %.1f µs | %.1f µs (%.1f to %.1f) | %.2f %% |"
            .format(Locale.ROOT, way, pace, tokens, median / tokens, median, us(0), us(eventNs.lastIndex), median / STEP_US * 100)
    }

    private fun made(rounds: Int, tokens: Int, pauses: Int) =
        measureBorder(rounds.toULong(), tokens.toUInt(), pauses.toUInt(), STEP_US.toULong())

    private inline fun processorNs(run: () -> Unit): Long {
        val before = clock()
        run()
        return clock() - before
    }

    /** Java's own clock of the process counts in steps of 10 ms. */
    private fun clock(): Long {
        gettime.invokeInt(arrayOf(CLOCK_PROCESS_CPUTIME_ID, now))
        return now.getLong(0) * 1_000_000_000 + now.getLong(8)
    }

    private val gettime = NativeLibrary.getProcess().getFunction("clock_gettime")
    private val now = Memory(16)

    private companion object {
        const val WARM_UPS = 3
        const val REPEATS = 9
        const val STEP_US = 5_000L

        /** Linux's number. */
        const val CLOCK_PROCESS_CPUTIME_ID = 2
    }
}
