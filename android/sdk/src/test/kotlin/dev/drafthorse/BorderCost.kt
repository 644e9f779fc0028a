package dev.drafthorse

import java.util.Locale
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test

/**
 * What a streamed token costs beside the passes: `cargo xtask kotlin --bench`. It asserts nothing.
 *
 * The account's `otherMs` is all of a generation's time that is not spent in a pass or in verification: text, the event,
 * the border, the Flow and its collector. It is thus an upper bound of what the border costs.
 */
class BorderCost {
    /** One token is one event: the dearest way to stream. */
    private val options = GenerationOptions(minTokens = 400, maxTokens = 400, draftLength = DraftLength.Fixed(0))
    private val stepNs = 5_000_000.0

    @Test
    fun print() {
        runBlocking { Demo.engine.session().use { measure(it as NativeSession) } }
    }

    private suspend fun measure(session: NativeSession) {
        val ways = linkedMapOf<String, suspend () -> Account>(
            "uniffi alone (blocking calls of next)" to { direct(session) },
            "Flow, collected on the caller's thread" to { flow(session) },
        )
        val times = ways.mapValues { mutableListOf<Double>() }
        repeat(30) { round ->
            for ((name, run) in ways) {
                session.reset()
                val account = run()
                // The first rounds warm up the compiler.
                if (round >= 10) times.getValue(name) += account.time.otherMs * 1e6 / account.tokens
            }
        }
        for ((name, samples) in times) {
            val sorted = samples.sorted()
            val median = sorted[sorted.size / 2]
            println(
                "%-42s %7.0f ns per token (best %.0f, worst %.0f): %.2f %% of a 5 ms step"
                    .format(Locale.ROOT, name, median, sorted.first(), sorted.last(), median / stepNs * 100),
            )
        }
    }

    private suspend fun flow(session: Session): Account {
        var account: Account? = null
        session.generate("Once upon a time", options).collect { if (it is GenerationEvent.Finished) account = it.account }
        return account!!
    }

    private fun direct(session: NativeSession): Account {
        val generation = session.native.generate(Prompt.Text("Once upon a time").toNative(), options.toNative())
        generation.use {
            while (true) {
                val event = generation.next()!!.toPublic()
                if (event is GenerationEvent.Finished) return event.account
            }
        }
    }
}
