package dev.drafthorse

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.Path
import kotlin.reflect.KClass
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** Every error of the library, raised by what would really raise it, and caught by its type. */
class ErrorsTest {
    @TempDir
    lateinit var temporary: Path

    private val pack: File by lazy { Demo.copy(temporary.resolve("pack").toFile()) }
    private val unchecked = Demo.options.copy(checkDigests = false)

    private inline fun <reified E : DrafthorseException> assertFails(vararg named: String, noinline action: suspend () -> Unit) {
        val error = runCatching { runBlocking { action() } }.exceptionOrNull()
        assertTrue(error is E, "expected ${E::class.simpleName}, got $error")
        for (name in named) assertTrue(name in error!!.message!!, "$name is not named: ${error.message}")
        raised += E::class
    }

    private suspend fun open(folder: File, options: EngineOptions = Demo.options) =
        Engine.open(folder.path, options).close()

    private fun edit(name: String, change: (String) -> String) = File(pack, name).run { writeText(change(readText())) }

    @Test
    fun `every error has its cause`() {
        packs()
        engines()
        generations()
        borders()
        assertEquals(subclasses(), raised.map { it.simpleName }.toSet(), "every subclass was raised")
    }

    private fun packs() {
        assertFails<DrafthorseException.PackNotFound>("nowhere") { open(temporary.resolve("nowhere").toFile()) }

        edit("genai_config.json") { it.replace("\"vocab_size\": 1024", "\"vocab_size\": \"many\"") }
        assertFails<DrafthorseException.PackInvalid>("genai_config.json", "vocab_size") { open(pack, unchecked) }
        Demo.copy(pack)

        flipByte(File(pack, "model.onnx.data"), at = 1_000_000)
        assertFails<DrafthorseException.PackDamaged>("model.onnx.data") { open(pack) }
        Demo.copy(pack)

        val other = Demo.copy(temporary.resolve("other").toFile())
        File(other, "tokenizer.json").run { writeText(readText().replaceFirst("\"Ġthe\"", "\"Ġthf\"")) }
        assertFails<DrafthorseException.VocabularyMismatch> { open(pack, unchecked.copy(drafter = other.path)) }

        edit("drafthorse.json") { it.replaceFirst(Regex("\"format_version\": *\\d+"), "\"format_version\": 999") }
        assertFails<DrafthorseException.Unsupported>("999") { open(pack, unchecked) }
        Demo.copy(pack)

        // A link to itself is there, and cannot be read.
        File(pack, "tokenizer.json").run { delete() && Files.createSymbolicLink(toPath(), toPath().fileName) != null }
        assertFails<DrafthorseException.Io>("tokenizer.json") { open(pack, unchecked) }
        File(pack, "tokenizer.json").delete()
        Demo.copy(pack)
    }

    private fun engines() {
        assertFails<DrafthorseException.OutOfMemoryBudget>("allows 1000") {
            open(Demo.folder, Demo.options.copy(contextLength = 512, cacheBytesMax = 1000))
        }
        assertFails<DrafthorseException.ProviderUnavailable>("coreml") {
            open(Demo.folder, Demo.options.copy(targetProviders = listOf(ProviderChoice(ExecutionProvider.CORE_ML))))
        }
        assertFails<DrafthorseException.RuntimeLibrary>("no/such/libonnxruntime.so") {
            open(Demo.folder, Demo.options.copy(runtimeLibrary = "no/such/libonnxruntime.so"))
        }
        runBlocking {
            val engine = Engine.open(Demo.folder.path, Demo.options)
            engine.close()
            assertFails<DrafthorseException.Closed> { engine.session() }
            assertFails<DrafthorseException.Closed> { engine.tokenize("x") }
        }
    }

    private fun generations() = withSession { session ->
        suspend fun run(prompt: Prompt = Prompt.Text("x"), options: GenerationOptions = GenerationOptions(maxTokens = 1)) {
            session.respond(prompt, options)
        }
        assertFails<DrafthorseException.InvalidOptions>("top_p") { run(options = GenerationOptions(topP = 2f)) }
        assertFails<DrafthorseException.InvalidOptions>("maxTokens", "-1") { run(options = GenerationOptions(maxTokens = -1)) }
        assertFails<DrafthorseException.InvalidOptions>("prompt") { run(Prompt.Tokens(listOf(99_999))) }
        val half = "a horse: 🐴".dropLast(1)
        assertFails<DrafthorseException.InvalidOptions>("surrogate") { run(Prompt.Text(half)) }
        assertFails<DrafthorseException.InvalidOptions>("surrogate") { run(Prompt.Messages(listOf(Message.user(half)))) }
        assertFails<DrafthorseException.InvalidOptions>("surrogate") { run(options = GenerationOptions(stop = listOf(half))) }
        assertFails<DrafthorseException.InvalidOptions>("surrogate") { Demo.engine.tokenize(half) }
        assertFails<DrafthorseException.Constraint> { run(options = GenerationOptions(constraint = Constraint.Regex("("))) }
        assertFails<DrafthorseException.ContextFull>("512") { run(Prompt.Text("word ".repeat(2_000))) }
        assertFails<DrafthorseException.SessionBusy> {
            session.generate("Once upon a time").onEach { session.reset() }.collect()
        }
        session.respond("x", GenerationOptions(maxTokens = 1))
        session.close()
        assertFails<DrafthorseException.Closed> { run() }
        assertFails<DrafthorseException.Closed> { session.tokens() }

        // Without a manifest nothing says how long the template should be.
        File(pack, "drafthorse.json").delete()
        File(pack, "chat_template.jinja").writeText("{{ raise_exception('no system prompt here') }}")
        assertFails<DrafthorseException.ChatTemplate>("no system prompt here") {
            Engine.open(pack.path, unchecked).use { it.session().respond(listOf(Message.user("x"))) }
        }
        Demo.copy(pack)

        spoilRotations(File(pack, "model.onnx.data"))
        assertFails<DrafthorseException.InvalidLogits>("target") { runWithSpoilt() }
        Demo.copy(pack)

        shortenRotations(File(pack, "model.onnx"))
        assertFails<DrafthorseException.Internal>("ONNX Runtime failed") { runWithSpoilt() }
        Demo.copy(pack)
    }

    private suspend fun runWithSpoilt() = Engine.open(pack.path, unchecked).use { engine ->
        engine.session().respond(Prompt.Tokens(List(310) { 5 }), GenerationOptions(maxTokens = 4))
    }

    private fun borders() {
        assertFails<DrafthorseException.Panic>("row 3 of 2") {
            translated { dev.drafthorse.ffi.provokePanic("row 3 of 2") }
        }
    }

    private fun flipByte(file: File, at: Int) = file.writeBytes(file.readBytes().also { it[at] = (it[at] + 1).toByte() })

    /** The model's first tensor is the table of cosines, 16 floats per position: from position 300 on there is none. */
    private fun spoilRotations(file: File) {
        val bytes = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
        for (at in 300 * 64 until 512 * 64 step 4) bytes.putFloat(at, Float.NaN)
        file.writeBytes(bytes.array())
    }

    /** Declares the tables of rotations 128 positions long, not 512: the graph loads, and fails to run beyond. */
    private fun shortenRotations(file: File) {
        var graph = file.readText(Charsets.ISO_8859_1)
        for (name in listOf("rope.cos", "rope.sin")) {
            val at = graph.indexOf("\u0008\u0080\u0004\u0008\u0010\u0010\u0001B\u0008$name")
            val length = graph.indexOf("32768p", at)
            graph = graph.replaceRange(length, length + 5, "08192").replaceRange(at + 2, at + 3, "\u0001")
        }
        file.writeText(graph, Charsets.ISO_8859_1)
    }

    private fun subclasses() = DrafthorseException::class.java.declaredClasses
        .filter { it.superclass == DrafthorseException::class.java }.map { it.simpleName }.toSet()

    private companion object {
        val raised = mutableSetOf<KClass<out DrafthorseException>>()
    }
}
