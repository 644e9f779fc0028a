package dev.drafthorse.api

import java.io.File
import org.jetbrains.kotlin.abi.tools.AbiFilters
import org.jetbrains.kotlin.abi.tools.AbiTools
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

/** What an app can call is a file under review, in the format of Kotlin's binary compatibility validation. */
class PublicApiTest {
    private val android = File(System.getProperty("drafthorse.repository"), "android")
    private val tools = AbiTools.getInstance(javaClass.classLoader)

    @ParameterizedTest
    @ValueSource(strings = ["sdk", "fake", "device"])
    fun `the public API is the one in the file`(module: String) {
        val dump = dump(File(android, "$module/target/classes"))
        val file = File(android, "api/$module.api")
        if (System.getenv("UPDATE_API") != null) file.writeText(dump)
        assertEquals(file.readText(), dump, "if the change is meant: UPDATE_API=1 cargo xtask kotlin")
        assertFalse("dev/drafthorse/ffi" in dump, "the generated border is no part of it")
    }

    private fun dump(classes: File): String {
        val files = classes.walk().filter { it.extension == "class" }.sorted().toList()
        val none = emptySet<String>()
        return StringBuilder().also { tools.printJvmDump(it, files, AbiFilters(none, none, none, none)) }.toString()
    }
}
