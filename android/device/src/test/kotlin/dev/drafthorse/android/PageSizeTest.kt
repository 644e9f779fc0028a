package dev.drafthorse.android

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipFile
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

/** Android 15 has devices with pages of 16 KiB; a library whose segments are aligned to less does not load there. */
class PageSizeTest {
    private val pageBytes = 16L * 1024

    @Test
    fun `JNA's libraries load on pages of 16 KiB`() {
        val path = System.getProperty("drafthorse.jna.aar")
        assumeTrue(path != null, "Maven names the archive")
        val archive = ZipFile(File(path))
        for (abi in listOf("arm64-v8a", "x86_64")) {
            val library = archive.getInputStream(archive.getEntry("jni/$abi/libjnidispatch.so")).readBytes()
            assertTrue(alignments(library).isNotEmpty() && alignments(library).all { it >= pageBytes }, "$abi: ${alignments(library)}")
        }
    }

    @Test
    fun `alignments are read from the program headers`() {
        val header = ByteBuffer.allocate(64 + 2 * 56).order(ByteOrder.LITTLE_ENDIAN)
        header.putLong(32, 64).putShort(54, 56).putShort(56, 2)
        header.putInt(64, 1).putLong(64 + 48, 4096)
        header.putInt(64 + 56, 2).putLong(64 + 56 + 48, 8)
        assertEquals(listOf(4096L), alignments(header.array()), "only what is loaded counts")
    }

    /** Alignments of the segments that are loaded, from the headers of a 64-bit ELF file. */
    private fun alignments(library: ByteArray): List<Long> {
        val file = ByteBuffer.wrap(library).order(ByteOrder.LITTLE_ENDIAN)
        val (start, size, count) = Triple(file.getLong(32).toInt(), file.getShort(54).toInt(), file.getShort(56).toInt())
        return (0 until count).map { start + it * size }.filter { file.getInt(it) == 1 }.map { file.getLong(it + 48) }
    }
}
