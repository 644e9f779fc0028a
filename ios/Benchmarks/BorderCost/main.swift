// What a streamed token costs at the border between Rust and Swift, in nanoseconds.
//
// Every account says how much of a generation's time went to neither model nor verification: text, events, and the
// caller between them. The same greedy generation runs in three ways, in turn; what this time grows by is the border's:
// from Rust to the generated Swift, and from there to a stream with its thread.

import Drafthorse
import DrafthorseFFI
import Foundation

let pack = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("tests/packs/demo")
let prompt = "Once upon a time"
let tokens = 200
let repetitions = 40
/// A step of the target that the border should cost less than one per cent of.
let stepNs = 5e6

/// Time beside the models, per token and per event.
struct Sample {
    var perTokenNs: Double
    var perEventNs: Double

    init(otherMs: Double, tokens: Int, events: Int) {
        perTokenNs = otherMs * 1e6 / Double(tokens)
        perEventNs = otherMs * 1e6 / Double(events)
    }
}

func median(_ samples: [Sample], _ value: KeyPath<Sample, Double>) -> Double {
    let sorted = samples.map { $0[keyPath: value] }.sorted()
    return sorted[sorted.count / 2]
}

/// In Rust alone: what the `drafthorse` command accounts for.
func inRust(command: String) throws -> Sample {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: command)
    process.arguments = [
        "generate", pack.path, prompt, "--json", "--max-tokens", "\(tokens)", "--temperature", "0", "--threads", "1",
        "--draft-tokens", "4",
    ]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let lines = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self).split(separator: "\n")
    process.waitUntilExit()
    guard let last = lines.last,
        let event = try JSONSerialization.jsonObject(with: Data(last.utf8)) as? [String: Any],
        let account = event["account"] as? [String: Any], let time = account["time"] as? [String: Any],
        let other = time["other_ms"] as? Double, let emitted = account["tokens"] as? Int
    else { fatalError("the command printed no account") }
    return Sample(otherMs: other, tokens: emitted, events: lines.count)
}

/// Through the generated Swift, on this thread.
func throughFFI(_ session: DrafthorseFFI.Session) throws -> Sample {
    try session.reset()
    let options = DrafthorseFFI.GenerationOptions(
        maxTokens: UInt64(tokens), temperature: 0, draftLength: .fixed(tokens: 4))
    let generation = try session.generate(prompt: .text(text: prompt), options: options)
    var events = 0
    while let event = try generation.next() {
        events += 1
        if case .finished(let account) = event {
            return Sample(otherMs: account.time.otherMs, tokens: Int(account.tokens), events: events)
        }
    }
    fatalError("the generation has no end")
}

/// As an app does it.
func throughStream(_ session: Drafthorse.Session) async throws -> Sample {
    try await session.reset()
    let options = DrafthorseAPI.GenerationOptions(maxTokens: tokens, temperature: 0, draftLength: .fixed(4))
    var events = 0
    for try await event in session.generate(prompt, options: options) {
        events += 1
        if case .finished(let account) = event {
            return Sample(otherMs: account.time.otherMs, tokens: account.tokens, events: events)
        }
    }
    fatalError("the generation has no end")
}

let native = try DrafthorseFFI.Engine.open(
    path: pack.path, options: DrafthorseFFI.EngineOptions(targetThreads: 1, drafterThreads: 1))
let ffiSession = try native.session(options: DrafthorseFFI.SessionOptions())
let engine = try await Drafthorse.Engine.open(
    pack, options: Drafthorse.EngineOptions(targetThreads: 1, drafterThreads: 1))
let session = try await engine.session()
let command = ProcessInfo.processInfo.environment["DRAFTHORSE_COMMAND"]

var (rust, ffi, stream) = ([Sample](), [Sample](), [Sample]())
for repetition in 0..<(repetitions + 2) {
    let samples = (try command.map(inRust), try throughFFI(ffiSession), try await throughStream(session))
    // The first ones warm up.
    guard repetition >= 2 else { continue }
    if let sample = samples.0 { rust.append(sample) }
    ffi.append(samples.1)
    stream.append(samples.2)
}

func row(_ name: String, _ samples: [Sample]) {
    let values = [median(samples, \.perTokenNs), median(samples, \.perEventNs)].map { String(Int($0)) }
    print(([name] + values).joined(separator: "\t"))
}
print("time beside the models\tns per token\tns per event")
row("Rust alone", rust)
row("generated Swift, one thread", ffi)
row("AsyncThrowingStream", stream)
let border = median(stream, \.perEventNs) - median(rust, \.perEventNs)
print("border: \(Int(border)) ns per event, \((border / stepNs * 1e4).rounded() / 100) % of a step of 5 ms")
