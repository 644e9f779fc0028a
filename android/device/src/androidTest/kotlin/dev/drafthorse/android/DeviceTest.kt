package dev.drafthorse.android

import android.Manifest
import android.content.pm.PackageManager
import android.os.Debug
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import dev.drafthorse.Constraint
import dev.drafthorse.DrafthorseException
import dev.drafthorse.Engine
import dev.drafthorse.EngineOptions
import dev.drafthorse.ExecutionProvider
import dev.drafthorse.GenerationEvent
import dev.drafthorse.GenerationOptions
import dev.drafthorse.StopReason
import dev.drafthorse.generate
import dev.drafthorse.respond
import java.io.File
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** What only a device can show, with the demo pack from the test's own assets. */
@RunWith(AndroidJUnit4::class)
class DeviceTest {
    private val context = InstrumentationRegistry.getInstrumentation().context
    private val pack = PackSource.Assets("demo")

    private fun withEngine(options: EngineOptions = EngineOptions(), test: suspend (Engine) -> Unit) = runBlocking {
        AndroidEngine.open(context, pack, options).use { test(it) }
    }

    @Test
    fun streamsFromAssets() = withEngine { engine ->
        val events = engine.session().generate("Once upon a time", GenerationOptions(maxTokens = 40)).toList()
        val account = (events.last() as GenerationEvent.Finished).account
        assertEquals(StopReason.MAX_TOKENS, account.stopReason)
        assertTrue(account.acceptanceRate > 0)
    }

    @Test
    fun emojiCrossTheBorderWhole() = withEngine { engine ->
        val said = engine.session().respond("Say:", GenerationOptions(constraint = Constraint.Regex("🐴 日本語")))
        assertEquals("🐴 日本語", said.text)
    }

    @Test
    fun cancellingFreesTheSession() = withEngine { engine ->
        val session = engine.session()
        session.generate("Once upon a time", GenerationOptions(minTokens = 500)).take(3).toList()
        assertEquals(StopReason.MAX_TOKENS, session.respond("Tom", GenerationOptions(maxTokens = 4)).account.stopReason)
    }

    @Test
    fun everyProviderOpensOrSaysWhyNot() {
        val options = AndroidEngine.withProviders(context, ExecutionProvider.entries)
        withEngine(options) { engine ->
            val placement = engine.report.target
            val tried = options.targetProviders.map { it.provider }
            assertEquals(tried.takeWhile { it != placement.provider }, placement.refused.map { it.provider })
            assertTrue(placement.refused.all { it.reason.isNotBlank() })
        }
    }

    @Test
    fun weightsStayOutOfTheJavaHeap() {
        System.gc()
        val before = Runtime.getRuntime().run { totalMemory() - freeMemory() }
        withEngine { engine ->
            engine.session().respond("Once upon a time", GenerationOptions(maxTokens = 4))
            System.gc()
            val grown = Runtime.getRuntime().run { totalMemory() - freeMemory() } - before
            assertTrue("the Java heap grew by $grown bytes", grown < 4L shl 20)
            assertTrue(Debug.getNativeHeapAllocatedSize() > 0)
        }
    }

    @Test
    fun asksForNoPermissionToUseTheNetwork() {
        val granted = context.checkSelfPermission(Manifest.permission.INTERNET)
        assertNotEquals(PackageManager.PERMISSION_GRANTED, granted)
    }

    @Test
    fun theMemoryBudgetIsAPositiveShareOfTheDevice() {
        val bytes = MemoryBudget.cacheBytesMax(context, File(context.noBackupFilesDir, "none"))
        assertTrue("$bytes", bytes > 1L shl 20)
    }

    @Test
    fun aMissingPackIsATypedError() {
        val error = runCatching { runBlocking { AndroidEngine.open(context, PackSource.AppStorage("none")) } }
        assertTrue("$error", error.exceptionOrNull() is DrafthorseException.PackNotFound)
        assertFalse(error.isSuccess)
    }
}
