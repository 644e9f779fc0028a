package dev.drafthorse.android

import java.io.File
import org.jetbrains.kotlin.abi.tools.AbiFilters
import org.jetbrains.kotlin.abi.tools.AbiTools
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

/** What an app can call is a file under review, in the format of Kotlin's binary compatibility validation. */
class PublicApiTest {
    @Test
    fun `the public API is the one in the file`() {
        val module = File(System.getProperty("drafthorse.repository"), "android/device")
        val classes = File(module, "target/classes").walk().filter { it.extension == "class" }.sorted().toList()
        val none = emptySet<String>()
        val dump = StringBuilder()
        AbiTools.getInstance(javaClass.classLoader).printJvmDump(dump, classes, AbiFilters(none, none, none, none))
        val file = File(module, "api/device.api")
        if (System.getenv("UPDATE_API") != null) file.writeText(dump.toString())
        assertEquals(file.readText(), dump.toString(), "if the change is meant: UPDATE_API=1 cargo xtask kotlin")
    }
}
