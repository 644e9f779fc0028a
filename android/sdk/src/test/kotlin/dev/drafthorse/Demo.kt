package dev.drafthorse

import java.io.File
import java.nio.file.Files
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking

/** The demo pack, opened once for all tests, and what they all do with it. */
internal object Demo {
    val repository = File(System.getProperty("drafthorse.repository")).canonicalFile
    val folder = File(repository, "tests/packs/demo")
    private val cache = Files.createTempDirectory("drafthorse-costs").toFile().apply { deleteOnExit() }

    /** Operators this small are done before a second thread has woken up. */
    val options = EngineOptions(targetThreads = 1, drafterThreads = 1, cacheFolder = cache.path)

    val engine: Engine by lazy { runBlocking { Engine.open(folder.path, options) } }

    /** A prompt whose prefill takes two steps. */
    val longPrompt = "Once upon a time there was a little girl named Lily who lived in a big house. ".repeat(14)

    /** A copy of the pack's files, for a test to spoil. */
    fun copy(to: File): File = to.also { folder.copyRecursively(it, overwrite = true) }
}

/** Runs [test] with a session of the shared engine, closed afterwards. */
internal fun withSession(options: SessionOptions = SessionOptions(), test: suspend (Session) -> Unit) =
    runBlocking { Demo.engine.session(options).use { test(it) } }

internal suspend fun Session.events(prompt: String, options: GenerationOptions): List<GenerationEvent> =
    generate(prompt, options).toList()

internal val List<GenerationEvent>.chunks get() = filterIsInstance<GenerationEvent.Tokens>()
internal val List<GenerationEvent>.text get() = chunks.joinToString("") { it.text }
internal val List<GenerationEvent>.tokens get() = chunks.flatMap { it.tokens }
internal val List<GenerationEvent>.account get() = (last() as GenerationEvent.Finished).account
