// What a streamed token costs at the border between Rust and Swift, in nanoseconds.
//
// The events are made up in Rust, without a model, so that pulling them takes the time of the border and of nothing
// else: through the generated Swift on one thread, and through the stream that an app iterates over.

import Drafthorse
import DrafthorseFFI

let rounds = 20_000
let repetitions = 9
/// A step of the target, of which the border is to cost less than one per cent.
let stepNs = 5e6

func nanoseconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) * 1e9 + Double(duration.components.attoseconds) * 1e-9
}

/// Pulls every event on this thread; returns nanoseconds per event.
func throughFFI(tokensPerRound: Int) throws -> Double {
    let generation = measureBorder(rounds: UInt64(rounds), tokensPerRound: UInt32(tokensPerRound))
    let start = ContinuousClock.now
    var tokens = 0
    while let event = try generation.next() {
        if case .tokens(_, let more) = event { tokens += more.count }
    }
    precondition(tokens == rounds * tokensPerRound)
    return nanoseconds(ContinuousClock.now - start) / Double(rounds)
}

/// Iterates as an app does; returns nanoseconds per event.
func throughStream(tokensPerRound: Int) async throws -> Double {
    let start = ContinuousClock.now
    var tokens = 0
    for try await event in borderStream(rounds: rounds, tokensPerRound: tokensPerRound) {
        if case .tokens(let chunk) = event { tokens += chunk.tokens.count }
    }
    precondition(tokens == rounds * tokensPerRound)
    return nanoseconds(ContinuousClock.now - start) / Double(rounds)
}

func row(_ name: String, _ tokensPerRound: Int, _ samples: [Double]) {
    let sorted = samples.sorted()
    let (least, median) = (sorted[0], sorted[sorted.count / 2])
    let figures = [median / Double(tokensPerRound), median, least].map { String(Int($0)) }
    let share = (median / stepNs * 1e4).rounded() / 100
    print(([name, "\(tokensPerRound)"] + figures + ["\(share) %"]).joined(separator: "\t"))
}

print("path\ttokens per event\tns per token\tns per event, median\tleast\tshare of a step of 5 ms")
for tokensPerRound in [1, 4] {
    var (ffi, stream) = ([Double](), [Double]())
    // In turn, so that both meet the same neighbours.
    for _ in 0..<repetitions {
        ffi.append(try throughFFI(tokensPerRound: tokensPerRound))
        stream.append(try await throughStream(tokensPerRound: tokensPerRound))
    }
    row("generated Swift, one thread", tokensPerRound, ffi)
    row("AsyncThrowingStream", tokensPerRound, stream)
}
