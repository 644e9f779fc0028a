package dev.drafthorse.benchmark

import dev.drafthorse.Benchmark
import dev.drafthorse.BenchmarkProgress
import dev.drafthorse.DeviceSensors
import java.io.File
import java.io.IOException

/** Runs a plan and leaves its report in a file. */
internal object Measurement {
    /** Measures as [plan] says and writes the report to [file], whole or not at all. */
    suspend fun run(plan: String, sensors: DeviceSensors, file: File, tell: (String) -> Unit) {
        val report = Benchmark.run(plan, sensors) { tell(line(it)) }
        val part = File(file.path + ".part")
        part.writeText(report)
        if (!part.renameTo(file)) throw IOException("cannot rename $part to $file")
    }

    private fun line(progress: BenchmarkProgress) = when (progress.planned) {
        0L -> progress.step
        else -> "${progress.done} of ${progress.planned}: ${progress.step}"
    }
}
