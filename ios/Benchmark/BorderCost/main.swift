// What a streamed token costs at the border between Rust and Swift: `cargo xtask border`. It promises nothing.
//
// The events are made up in Rust, without a model, so that pulling them takes the time of the border and of nothing
// else: through the generated Swift on one thread, and through the stream that an app iterates over. What is counted is
// processor time on every thread. Paced, the library sleeps 5 ms before each event, and what the same sleeps take before
// a single event is taken off; what is left holds the waking of threads.

import Drafthorse
import DrafthorseFFI
import Foundation

let warmUps = 3
let repetitions = 9
/// A step of the target, of which the border is to cost less than one per cent.
let stepMicroseconds = 5_000

/// How fast events come, and how many are pulled at a time.
struct Pace {
    var name: String
    var rounds: Int
    var pauses: Int

    static let all = [
        Pace(name: "as fast as it goes", rounds: 5_000, pauses: 0),
        Pace(name: "an event every 5 ms", rounds: 200, pauses: 1),
    ]
}

/// Pulls every event on this thread; returns how many tokens there were.
func throughFFI(_ pace: Pace, tokensPerRound: Int) async throws -> Int {
    let generation = measureBorder(
        rounds: UInt64(pace.rounds), tokensPerRound: UInt32(tokensPerRound), pauses: UInt32(pace.pauses),
        pauseUs: UInt64(stepMicroseconds))
    var tokens = 0
    while let event = try generation.next() {
        if case .tokens(_, let more) = event { tokens += more.count }
    }
    return tokens
}

/// Iterates as an app does; returns how many tokens there were.
func throughStream(_ pace: Pace, tokensPerRound: Int) async throws -> Int {
    let stream = borderStream(
        rounds: pace.rounds, tokensPerRound: tokensPerRound, pauses: pace.pauses, pauseMicroseconds: stepMicroseconds)
    var tokens = 0
    for try await event in stream {
        if case .tokens(let chunk) = event { tokens += chunk.tokens.count }
    }
    return tokens
}

/// A way for events to the app.
typealias Way = (Pace, Int) async throws -> Int

/// Microseconds of processor time that pulling took, of all threads.
func processorMicroseconds(_ pace: Pace, _ tokensPerRound: Int, by way: Way) async throws -> Double {
    let start = clock()
    let tokens = try await way(pace, tokensPerRound)
    precondition(tokens == pace.rounds * tokensPerRound)
    return Double(clock() - start) / Double(CLOCKS_PER_SEC) * 1e6
}

func row(_ way: String, _ pace: Pace, _ tokens: Int, _ samples: [Double]) -> String {
    let sorted = samples.sorted()
    let text = { (value: Double) in String(format: "%.1f", value) }
    let median = sorted[sorted.count / 2]
    let range = "\(text(median)) µs (\(text(sorted[0])) to \(text(sorted[sorted.count - 1])))"
    let share = String(format: "%.2f", median / Double(stepMicroseconds) * 100)
    return "| \(way) | \(pace.name) | \(tokens) | \(text(median / Double(tokens))) µs | \(range) | \(share) % |"
}

let ways: [(name: String, way: Way)] = [
    ("generated call", throughFFI), ("AsyncThrowingStream, as an app has it", throughStream),
]
print("| path | pace | tokens per event | processor time per token | per event | of a 5 ms step |")
for tokensPerRound in [1, 4] {
    for pace in Pace.all {
        var samples = ways.map { _ in [Double]() }
        // In turn, so that all meet the same neighbours.
        for repetition in 0..<(warmUps + repetitions) {
            let single = Pace(name: "", rounds: 1, pauses: pace.rounds * pace.pauses)
            let idle = pace.pauses == 0 ? 0 : try await processorMicroseconds(single, tokensPerRound, by: throughFFI)
            for (index, entry) in ways.enumerated() {
                let busy = try await processorMicroseconds(pace, tokensPerRound, by: entry.way)
                if repetition >= warmUps { samples[index].append((busy - idle) / Double(pace.rounds)) }
            }
        }
        for (entry, taken) in zip(ways, samples) { print(row(entry.name, pace, tokensPerRound, taken)) }
    }
}
