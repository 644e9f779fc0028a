package dev.drafthorse

import java.io.File
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

class MemoryTest {
    private val status = File("/proc/self/status")

    /** The Java heap has a fixed size in these tests and is touched at the start, so that growth is native memory. */
    @Test
    fun `1,000 sessions leave resident memory as it was`() = runBlocking {
        assumeTrue(status.isFile, "resident memory is read from /proc")
        repeat(200) { useSession() }
        val before = residentKib()
        repeat(1_000) { useSession() }
        val grown = residentKib() - before
        val sessionKib = Demo.engine.report.cacheBytes / 1024
        assertTrue(grown < 20 * 1024, "grown by $grown KiB; the caches of one session are $sessionKib KiB")
    }

    /** A cache that nobody writes to takes no memory, so each session generates. */
    private suspend fun useSession() = Demo.engine.session().use { session ->
        session.respond("Once upon a time there was a cat", GenerationOptions(maxTokens = 2))
    }

    private fun residentKib(): Long {
        System.gc()
        return status.readLines().first { it.startsWith("VmRSS:") }.filter(Char::isDigit).toLong()
    }
}
