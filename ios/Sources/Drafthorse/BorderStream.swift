import DrafthorseAPI

/// Made-up events without a model, by the way that a session's events take: for measuring what that way costs.
/// The library sleeps `pauses` times for `pauseMicroseconds` before each round.
package func borderStream(
    rounds: Int, tokensPerRound: Int, pauses: Int, pauseMicroseconds: Int
) -> AsyncThrowingStream<GenerationEvent, any Error> {
    GenerationRuns().stream {
        RunningGeneration(
            measureNativeBorder(UInt64(rounds), UInt32(tokensPerRound), UInt32(pauses), UInt64(pauseMicroseconds)))
    }
}
