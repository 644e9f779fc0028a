package dev.drafthorse.android

import dev.drafthorse.DrafthorseException
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.file.Path
import java.util.Collections
import kotlin.coroutines.cancellation.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.test.runTest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** Assets as a map from path to content. */
private open class MapTree(private val files: Map<String, ByteArray>) : AssetTree {
    val opened: MutableList<String> = Collections.synchronizedList(mutableListOf())

    override fun names(path: String) =
        files.keys.filter { it.startsWith("$path/") }.map { it.removePrefix("$path/").substringBefore('/') }.distinct()

    override fun open(path: String): InputStream {
        opened += path
        return files[path]?.inputStream() ?: throw IOException("no asset $path")
    }
}

class UnpackingTest {
    @TempDir
    lateinit var folder: Path

    private val root get() = File(folder.toFile(), "packs")
    private val weights = ByteArray(600_000) { (it * 31).toByte() }
    private val tree = MapTree(mapOf("packs/demo/genai_config.json" to "{}".toByteArray(), "packs/demo/onnx/m.onnx" to weights))

    @Test
    fun `unpacks every file with its folders, once per version`() = runTest {
        val first = Unpacking(tree, root).unpack("packs/demo", "7")
        assertEquals("{}", File(first, "genai_config.json").readText())
        assertTrue(weights.contentEquals(File(first, "onnx/m.onnx").readBytes()))

        assertEquals(first, Unpacking(tree, root).unpack("packs/demo", "7"))
        assertEquals(2, tree.opened.size, "the second time nothing is read")
    }

    @Test
    fun `a new version replaces the old one`() = runTest {
        val old = Unpacking(tree, root).unpack("packs/demo", "7")
        val new = Unpacking(tree, root).unpack("packs/demo", "8")
        assertFalse(old.exists())
        assertTrue(File(new, "genai_config.json").isFile)
    }

    @Test
    fun `what failed leaves nothing, and the next try starts afresh`() = runTest {
        val broken = object : MapTree(mapOf("demo/a" to byteArrayOf(1), "demo/b" to byteArrayOf(2))) {
            override fun open(path: String) = if (path == "demo/b") throw IOException("no space left") else super.open(path)
        }
        val error = runCatching { Unpacking(broken, root).unpack("demo", "7") }.exceptionOrNull()
        assertTrue(error is DrafthorseException.Io && "no space left" in error.message!!, "$error")
        assertEquals(emptyList<String>(), root.walk().filter(File::isFile).map(File::getName).toList())

        val whole = MapTree(mapOf("demo/a" to byteArrayOf(1), "demo/b" to byteArrayOf(2)))
        assertTrue(File(Unpacking(whole, root).unpack("demo", "7"), "b").isFile)
    }

    @Test
    fun `a cancelled unpacking leaves nothing`() = runTest {
        val work = async {
            val scope = currentCoroutineContext()
            val tree = object : MapTree(mapOf("demo/a" to weights)) {
                override fun open(path: String) = super.open(path).also { scope.cancel() }
            }
            Unpacking(tree, root).unpack("demo", "7")
        }
        assertTrue(runCatching { work.await() }.exceptionOrNull() is CancellationException)
        assertEquals(emptyList<String>(), root.walk().filter(File::isFile).map(File::getName).toList())
    }

    @Test
    fun `opened several times at once, a pack is unpacked once and whole`() = runBlocking(Dispatchers.IO) {
        val slow = object : MapTree(mapOf("demo/a" to byteArrayOf(1), "demo/b" to weights)) {
            override fun open(path: String) = super.open(path).also { Thread.sleep(50) }
        }
        val folders = List(4) { async { Unpacking(slow, root).unpack("demo", "7") } }.awaitAll()
        assertEquals(listOf("demo/a", "demo/b"), slow.opened.sorted())
        assertEquals(setOf("a", "b"), folders.toSet().single().list().orEmpty().toSet())
    }

    @Test
    fun `an asset that is not there is an error that names it`() = runTest {
        val error = runCatching { Unpacking(tree, root).unpack("packs/other", "7") }.exceptionOrNull()
        assertTrue(error is DrafthorseException.Io && "packs/other" in error.message!!, "$error")
    }

    @Test
    fun `no path leads out of app storage`() {
        assertEquals(File(root.canonicalFile, "a/b"), below(root, "a/b"))
        for (path in listOf("../x", "a/../../x", "/../x")) {
            assertThrows(DrafthorseException.InvalidOptions::class.java) { below(root, path) }
        }
        assertSame(DrafthorseException.InvalidOptions::class.java, runCatching { below(root, "..") }.exceptionOrNull()?.javaClass)
    }
}
