package dev.drafthorse

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The README's example is `QuickStart.kt`, letter by letter, and it runs. */
class QuickStartTest {
    @Test
    fun `the README shows the file that is compiled here`() {
        val readme = File(Demo.repository, "README.md").readText()
        val shown = readme.substringAfter("## In Kotlin").substringAfter("```kotlin\n").substringBefore("```")
        val compiled = File(Demo.repository, "android/sdk/src/test/kotlin/QuickStart.kt").readText()
        assertEquals(compiled, shown)
        assertTrue(shown.lines().count { it.isNotBlank() } <= 15)
    }

    @Test
    fun `it streams and ends with the account`() {
        val printed = ByteArrayOutputStream()
        val out = System.out
        System.setOut(PrintStream(printed, true))
        try {
            runBlocking { main() }
        } finally {
            System.setOut(out)
        }
        val lines = printed.toString().trimEnd().lines()
        assertTrue(lines.size >= 2 && lines.first().length > 20, "$lines")
        assertTrue(lines.last().endsWith(" tokens/s"), lines.last())
    }

    private suspend fun main() {
        val entry = Class.forName("QuickStartKt").getMethod("main", kotlin.coroutines.Continuation::class.java)
        kotlin.coroutines.intrinsics.suspendCoroutineUninterceptedOrReturn<Any?> { entry.invoke(null, it) }
    }
}
