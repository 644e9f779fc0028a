package dev.drafthorse.android

import java.io.File
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class ManifestTest {
    /** An app that takes the library needs no network, nor anything else that a user would have to grant. */
    @Test
    fun `no manifest asks for a permission`() {
        val android = File(System.getProperty("drafthorse.repository"), "android")
        val manifests = android.listFiles().orEmpty().map { File(it, "src/main/AndroidManifest.xml") }.filter(File::isFile)
        assertEquals(setOf("device", "benchmark", "sample"), manifests.map { it.parentFile.parentFile.parentFile.name }.toSet())
        assertEquals(emptyList<File>(), manifests.filter { "uses-permission" in it.readText() })
    }
}
