package dev.drafthorse.android

import android.content.ComponentCallbacks2
import dev.drafthorse.ExecutionProvider
import dev.drafthorse.ExecutionProvider.CPU
import dev.drafthorse.ExecutionProvider.NNAPI
import dev.drafthorse.ExecutionProvider.QNN
import dev.drafthorse.ExecutionProvider.WEB_GPU
import dev.drafthorse.ExecutionProvider.XNNPACK
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class DeviceRulesTest {
    private val gib = 1L shl 30

    @Test
    fun `leaving the screen is no reason to unload`() {
        @Suppress("DEPRECATION")
        val advice = listOf(
            ComponentCallbacks2.TRIM_MEMORY_RUNNING_MODERATE to MemoryAdvice.KEEP,
            ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW to MemoryAdvice.KEEP,
            ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL to MemoryAdvice.CLOSE_IDLE_SESSIONS,
            ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN to MemoryAdvice.KEEP,
            ComponentCallbacks2.TRIM_MEMORY_BACKGROUND to MemoryAdvice.CLOSE_IDLE_SESSIONS,
            ComponentCallbacks2.TRIM_MEMORY_MODERATE to MemoryAdvice.CLOSE_ENGINE,
            ComponentCallbacks2.TRIM_MEMORY_COMPLETE to MemoryAdvice.CLOSE_ENGINE,
        )
        assertEquals(advice, advice.map { (level, _) -> level to MemoryAdvice.of(level) })
    }

    @Test
    fun `caches take half of what the weights leave, and never much of the device`() {
        fun budget(available: Long, low: Boolean = false, pack: Long = gib) =
            MemoryBudget.cacheBytesMax(available, gib / 4, 8 * gib, low, pack)
        assertEquals((2 * gib - gib / 4 - gib) / 2, budget(available = 2 * gib))
        assertEquals(gib, budget(available = 6 * gib), "an eighth of the device")
        assertEquals(gib / 2, budget(available = 6 * gib, low = true), "a sixteenth")
        assertEquals(0, budget(available = gib), "the weights alone do not fit")
    }

    @Test
    fun `providers that a device cannot have are left out, and the CPU is last`() {
        val all = ExecutionProvider.entries
        fun names(facts: DeviceFacts, wanted: List<ExecutionProvider> = all) =
            ProviderPreference.choices(wanted, facts).map { it.provider }

        val phone = DeviceFacts(sdk = 34, socManufacturer = "QTI", vulkan = true, qnnLibrary = "/lib/libQnnHtp.so")
        assertEquals(listOf(XNNPACK, NNAPI, QNN, WEB_GPU, CPU), names(phone))
        assertEquals(listOf(XNNPACK, QNN, WEB_GPU, CPU), names(phone.copy(sdk = 35)))
        assertEquals(listOf(XNNPACK, NNAPI, WEB_GPU, CPU), names(phone.copy(socManufacturer = "Google")))
        assertEquals(listOf(XNNPACK, NNAPI, QNN, CPU), names(phone.copy(sdk = 30, socManufacturer = "", vulkan = false)))
        assertEquals(listOf(XNNPACK, NNAPI, WEB_GPU, CPU), names(phone.copy(qnnLibrary = null)))
        assertEquals(listOf(WEB_GPU, QNN, CPU), names(phone, listOf(CPU, WEB_GPU, QNN, WEB_GPU)), "in the order wanted")
        assertEquals(listOf(CPU), names(phone, emptyList()))
    }

    @Test
    fun `QNN is told where its back end lies`() {
        val facts = DeviceFacts(sdk = 34, socManufacturer = "QTI", vulkan = true, qnnLibrary = "/lib/libQnnHtp.so")
        val choice = ProviderPreference.choices(listOf(QNN), facts).first()
        assertEquals(mapOf("backend_path" to "/lib/libQnnHtp.so"), choice.options)
    }
}
