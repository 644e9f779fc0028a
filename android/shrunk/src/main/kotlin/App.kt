import dev.drafthorse.DrafthorseException
import dev.drafthorse.Engine
import dev.drafthorse.EngineOptions
import dev.drafthorse.GenerationEvent
import dev.drafthorse.GenerationOptions
import dev.drafthorse.generate

/** What an app does with the library: opens a pack, streams, reads the account, catches an error by its type. */
suspend fun main(arguments: Array<String>) {
    val options = EngineOptions(targetThreads = 1, drafterThreads = 1)
    Engine.open(arguments[0], options).use { engine ->
        val session = engine.session()
        session.generate("Once upon a time", GenerationOptions(maxTokens = 12)).collect { event ->
            when (event) {
                is GenerationEvent.Prefill -> println("prefill ${event.done} of ${event.total}")
                is GenerationEvent.Tokens -> println("tokens ${event.tokens.size}")
                is GenerationEvent.Finished -> println("finished ${event.account.stopReason} ${event.account.tokens}")
            }
        }
    }
    try {
        Engine.open("${arguments[0]}/nowhere")
    } catch (error: DrafthorseException.PackNotFound) {
        println("not found: ${error.message}")
    }
}
