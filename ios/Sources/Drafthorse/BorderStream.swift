import DrafthorseAPI

/// Made-up events without a model, by the way that a session's events take: for measuring what that way costs.
package func borderStream(rounds: Int, tokensPerRound: Int) -> AsyncThrowingStream<GenerationEvent, any Error> {
    GenerationRuns().stream {
        RunningGeneration(measureNativeBorder(UInt64(rounds), UInt32(tokensPerRound)))
    }
}
