import dev.drafthorse.*

suspend fun main() {
    Engine.open("tests/packs/demo").use { engine ->
        val session = engine.session()
        session.generate("Once upon a time", GenerationOptions(maxTokens = 200)).collect { event ->
            when (event) {
                is GenerationEvent.Prefill -> Unit
                is GenerationEvent.Tokens -> print(event.text)
                is GenerationEvent.Finished -> println("\n${event.account.decodeTokensPerSecond} tokens/s")
            }
        }
    }
}
