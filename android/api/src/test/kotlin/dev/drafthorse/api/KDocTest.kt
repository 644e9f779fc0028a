package dev.drafthorse.api

import java.io.File
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class KDocTest {
    @Test
    fun `every public item is documented`() {
        val sources = listOf("sdk", "fake", "device").flatMap { module ->
            File(System.getProperty("drafthorse.repository"), "android/$module/src/main/kotlin").walk().filter { it.extension == "kt" }
        }
        val missing = sources.flatMap { file ->
            val lines = file.readLines()
            lines.indices.filter { isPublic(lines[it]) && !isDocumented(lines, it) }.map { "${file.name}:${it + 1}: ${lines[it].trim()}" }
        }
        assertTrue(sources.size > 15)
        assertEquals(emptyList<String>(), missing)
    }

    private fun isPublic(line: String) = line.trim().startsWith("public ")

    private fun isDocumented(lines: List<String>, index: Int): Boolean {
        val before = lines.take(index).map(String::trim).last { !it.startsWith("@") }
        return before.endsWith("*/")
    }
}
