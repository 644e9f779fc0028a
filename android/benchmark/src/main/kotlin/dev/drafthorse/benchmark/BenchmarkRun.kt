package dev.drafthorse.benchmark

import android.app.Activity
import android.app.Instrumentation
import android.os.Bundle
import dev.drafthorse.android.AndroidEngine
import dev.drafthorse.android.PackSource
import java.io.File
import java.io.IOException
import kotlinx.coroutines.runBlocking

/**
 * Measures the phone: `adb shell am instrument -w dev.drafthorse.benchmark/.BenchmarkRun`. The README has the arguments.
 */
public class BenchmarkRun : Instrumentation() {
    private lateinit var arguments: Map<String, String>

    override fun onCreate(arguments: Bundle?) {
        super.onCreate(arguments)
        val bundle = arguments ?: Bundle.EMPTY
        this.arguments = bundle.keySet().associateWith { bundle.getString(it).orEmpty() }
        start()
    }

    override fun onStart() {
        super.onStart()
        val outcome = runCatching { runBlocking { measure() } }
        val text = outcome.fold({ "report: ${it.path}\n" }, { "failed: $it\n" })
        finish(if (outcome.isSuccess) Activity.RESULT_OK else Activity.RESULT_CANCELED, stream(text))
    }

    private suspend fun measure(): File {
        val request = Request.of(arguments)
        val pack = request.pack?.let { PackSource.Folder(it) } ?: PackSource.Assets("demo")
        val folder = AndroidEngine.prepare(targetContext, pack)
        val report = File(sharedFolder(), "report.json")
        report.delete()
        val plan = request.planJson(folder, phoneFacts(targetContext))
        val screen = startActivitySync(BenchmarkScreen.intent(targetContext)) as BenchmarkScreen
        Measurement.run(plan, PhoneSensors(targetContext), report) { line ->
            screen.show(line)
            tell(line)
        }
        return report
    }

    /** A folder that `adb pull` may read and `adb push` may fill. */
    private fun sharedFolder(): File {
        @Suppress("DEPRECATION") // The folder of this app that the shell may read on every version.
        val folders = targetContext.externalMediaDirs
        return folders.firstOrNull { it != null } ?: throw IOException("the device has no shared storage just now")
    }

    /** `am instrument -w` prints what is called the stream as it comes. */
    private fun tell(line: String) = sendStatus(0, stream("$line\n"))

    private fun stream(text: String) = Bundle().apply { putString(REPORT_KEY_STREAMRESULT, text) }
}
