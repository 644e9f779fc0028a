package dev.drafthorse.shrunk

import java.io.File
import java.nio.file.Path
import java.util.concurrent.TimeUnit
import java.util.zip.ZipFile
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/**
 * The rules that an app's R8 takes over from the AAR, here read by ProGuard, whose language they are in: the app is shrunk
 * and renamed with them and nothing else, and runs with the real library and the demo pack.
 */
class ConsumerRulesTest {
    @TempDir
    lateinit var folder: Path

    private val repository = File(System.getProperty("drafthorse.repository"))
    private val javaHome = File(System.getProperty("java.home"))
    private val libraries = listOf("kotlin-stdlib-", "kotlinx-coroutines-core-", "jna-", "annotations-")
    private val classPath = System.getProperty("java.class.path").split(File.pathSeparator).map(::File)

    @Test
    fun `an app shrunk with the consumer rules still runs`() {
        val app = shrink()
        val names = ZipFile(app).use { archive -> archive.entries().asSequence().map { it.name }.toSet() }
        assertFalse("dev/drafthorse/NativeSession.class" in names, "nothing was renamed")
        assertTrue("dev/drafthorse/Direct.class" in names && "dev/drafthorse/ffi/Generation.class" in names, "$names")

        val library = "-Djna.library.path=${System.getProperty("jna.library.path")}"
        val pack = File(repository, "tests/packs/demo").path
        val lines = java("app", library, "-cp", app.path, "AppKt", pack)
        assertTrue(lines.first().startsWith("prefill "), "$lines")
        assertEquals(12, lines.filter { it.startsWith("tokens ") }.sumOf { it.removePrefix("tokens ").toInt() }, "$lines")
        assertTrue(lines.any { it == "finished MAX_TOKENS 12" }, "$lines")
        assertTrue(lines.last().startsWith("not found: ") && "nowhere" in lines.last(), "$lines")
    }

    private fun shrink(): File {
        val app = folder.resolve("app.jar").toFile()
        val configuration = folder.resolve("app.pro").toFile()
        val program = classPath.filter(::isOfTheApp)
        // The app's own classes, the SDK's three folders, JNA, coroutines, Kotlin's library and its annotations.
        assertEquals(8, program.size, "$program")
        configuration.writeText(
            program.joinToString("\n") { "-injars ${quoted(it)}(!META-INF/**,!module-info.class)" } + "\n" +
                listOf("base", "logging").joinToString("") { "-libraryjars ${quoted(File(javaHome, "jmods/java.$it.jmod"))}(!**.jar;!module-info.class)\n" } +
                "-libraryjars ${quoted(classPath.single { it.name.startsWith("android-all") })}\n" +
                "-outjars ${quoted(app)}\n" +
                "-keep class AppKt { public static void main(java.lang.String[]); }\n" +
                // ProGuard's own optimiser makes coroutines that Java refuses to load; the rules are about names.
                "-dontnote\n-dontoptimize\n" +
                coroutinesRules() +
                File(repository, "android/device/consumer-rules.pro").readText(),
        )
        java("shrinking", "-cp", System.getProperty("java.class.path"), "proguard.ProGuard", "@${configuration.path}")
        return app
    }

    /** R8 reads them by itself. */
    private fun coroutinesRules() = checkNotNull(javaClass.getResource("/META-INF/proguard/coroutines.pro")).readText()

    private fun isOfTheApp(entry: File) =
        entry.path.endsWith("target/classes") || libraries.any { entry.name.startsWith(it) }

    private fun quoted(file: File) = "'${file.path}'"

    /** Runs another Java and returns what it printed. */
    private fun java(name: String, vararg arguments: String): List<String> {
        val output = folder.resolve("$name.txt").toFile()
        val command = listOf(File(javaHome, "bin/java").path) + arguments
        val process = ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output).start()
        assertTrue(process.waitFor(10, TimeUnit.MINUTES), "$name takes too long")
        assertEquals(0, process.exitValue(), "$name: ${output.readText().take(2_000)} ... ${output.readText().takeLast(2_000)}")
        return output.readLines()
    }
}
