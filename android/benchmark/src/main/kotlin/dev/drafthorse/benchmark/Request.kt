package dev.drafthorse.benchmark

import dev.drafthorse.DrafthorseException
import java.io.File
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/**
 * What a lab asked for by `am instrument -e NAME VALUE`.
 *
 * @property plan A file with a plan, of which every field may be left out.
 * @property pack A folder with a pack, in place of the demo pack.
 * @property label The lab's own name of the device.
 * @property budgetSeconds Seconds after which no further prompt is begun.
 */
internal class Request(val plan: File?, val pack: File?, val label: String?, val budgetSeconds: Double?) {
    /** The plan to run, as JSON: the file's, with [folder] as its pack, [host]'s facts, and what else was asked. */
    fun planJson(folder: File, host: Map<String, JsonElement>): String {
        val asked = listOfNotNull(
            label?.let { "device_label" to JsonPrimitive(it) },
            budgetSeconds?.let { "budget_s" to JsonPrimitive(it) },
        )
        return JsonObject(fields() + asked + mapOf("pack" to JsonPrimitive(folder.path), "host" to JsonObject(host))).toString()
    }

    private fun fields(): Map<String, JsonElement> {
        val file = plan ?: return emptyMap()
        if (!file.isFile) throw invalid(file, "there is no such file, or this app may not read it")
        return try {
            Json.parseToJsonElement(file.readText()) as? JsonObject ?: throw invalid(file, "a JSON object is wanted")
        } catch (error: SerializationException) {
            throw invalid(file, error.message.orEmpty())
        }
    }

    private fun invalid(file: File, reason: String) = DrafthorseException.InvalidOptions("plan $file: $reason")

    companion object {
        private val names = setOf("plan", "pack", "label", "budget_s")

        /** Reads [arguments]; a name that means nothing is refused, so that no wish is passed over. */
        fun of(arguments: Map<String, String>): Request {
            val unknown = arguments.keys - names
            if (unknown.isNotEmpty()) throw DrafthorseException.InvalidOptions("$unknown: known are $names")
            val budget = arguments["budget_s"]
            val seconds = budget?.toDoubleOrNull()
            if (budget != null && seconds == null) throw DrafthorseException.InvalidOptions("budget_s $budget: no number")
            return Request(arguments["plan"]?.let(::File), arguments["pack"]?.let(::File), arguments["label"], seconds)
        }
    }
}
