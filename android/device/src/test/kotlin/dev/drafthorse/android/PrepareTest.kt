package dev.drafthorse.android

import android.content.Context
import android.content.ContextWrapper
import dev.drafthorse.DrafthorseException
import java.io.File
import java.nio.file.Path
import java.util.concurrent.Executors
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir

/** Loads its library as [Native] does. */
private object LibraryOfAnotherProcessor {
    init {
        System.loadLibrary("drafthorse_of_another_processor")
    }
}

class PrepareTest {
    @TempDir
    lateinit var files: Path

    /** As much of an app as looking for a folder asks for. */
    private inner class App : ContextWrapper(null) {
        val askedOn = mutableListOf<String>()

        override fun getApplicationContext(): Context = this

        override fun getFilesDir(): File = files.toFile().also { askedOn += Thread.currentThread().name }
    }

    @Test
    fun `a processor without a library is an exception, the second time too`() {
        repeat(2) {
            val error = assertThrows<DrafthorseException.Unsupported> { typed { LibraryOfAnotherProcessor.toString() } }
            assertTrue("abiFilters" in error.message!!, "$error")
        }
    }

    @Test
    fun `what the library throws about folders is an exception with its words`() {
        val error = assertThrows<DrafthorseException.Io> { typed { throw RuntimeException("/cache: No space left") } }
        assertTrue("/cache: No space left" in error.message!!, "$error")
    }

    @Test
    fun `folders are looked at on the dispatcher`() = runBlocking {
        val app = App()
        Executors.newSingleThreadExecutor { Thread(it, "own") }.asCoroutineDispatcher().use { dispatcher ->
            runCatching { AndroidEngine.prepare(app, PackSource.AppStorage("demo"), dispatcher) }
        }
        assertEquals(listOf("own"), app.askedOn.distinct().map { it.substringBefore(" @") })
    }
}
