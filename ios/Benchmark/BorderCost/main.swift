// What a streamed token costs at the border between Rust and Swift, in nanoseconds.
//
// The events are made up in Rust, without a model, so that pulling them takes the time of the border and of nothing
// else: through the generated Swift on one thread, and through the stream that an app iterates over.

import Drafthorse
import DrafthorseFFI
import Foundation

let rounds = 20_000
let repetitions = 9
/// A step of the target, of which the border is to cost less than one per cent.
let stepNs = 5e6

/// Nanoseconds per event: by the clock, and of processor time on every thread, which busy neighbours hardly change.
struct Sample {
    var wall: Double
    var processor: Double
}

/// What has passed since it was made.
struct Stopwatch {
    private let start = ContinuousClock.now
    private let processorStart = clock()

    func perEvent() -> Sample {
        let processor = Double(clock() - processorStart) / Double(CLOCKS_PER_SEC) * 1e9
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        let wall = Double(seconds) * 1e9 + Double(attoseconds) * 1e-9
        return Sample(wall: wall / Double(rounds), processor: processor / Double(rounds))
    }
}

/// Pulls every event on this thread.
func throughFFI(tokensPerRound: Int) throws -> Sample {
    let generation = measureBorder(rounds: UInt64(rounds), tokensPerRound: UInt32(tokensPerRound))
    let watch = Stopwatch()
    var tokens = 0
    while let event = try generation.next() {
        if case .tokens(_, let more) = event { tokens += more.count }
    }
    precondition(tokens == rounds * tokensPerRound)
    return watch.perEvent()
}

/// Iterates as an app does.
func throughStream(tokensPerRound: Int) async throws -> Sample {
    let watch = Stopwatch()
    var tokens = 0
    for try await event in borderStream(rounds: rounds, tokensPerRound: tokensPerRound) {
        if case .tokens(let chunk) = event { tokens += chunk.tokens.count }
    }
    precondition(tokens == rounds * tokensPerRound)
    return watch.perEvent()
}

func median(_ samples: [Sample], _ value: KeyPath<Sample, Double>) -> Double {
    samples.map { $0[keyPath: value] }.sorted()[samples.count / 2]
}

func row(_ name: String, _ tokensPerRound: Int, _ samples: [Sample]) {
    let (wall, processor) = (median(samples, \.wall), median(samples, \.processor))
    let figures = [processor / Double(tokensPerRound), processor, wall].map { String(Int($0)) }
    let share = (processor / stepNs * 1e4).rounded() / 100
    print(([name, "\(tokensPerRound)"] + figures + ["\(share) %"]).joined(separator: "\t"))
}

print("path\ttokens per event\tCPU ns per token\tCPU ns per event\twall ns per event\tCPU share of a 5 ms step")
for tokensPerRound in [1, 4] {
    var (ffi, stream) = ([Sample](), [Sample]())
    // In turn, so that both meet the same neighbours.
    for _ in 0..<repetitions {
        ffi.append(try throughFFI(tokensPerRound: tokensPerRound))
        stream.append(try await throughStream(tokensPerRound: tokensPerRound))
    }
    row("generated Swift, one thread", tokensPerRound, ffi)
    row("AsyncThrowingStream", tokensPerRound, stream)
}
