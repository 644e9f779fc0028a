import Drafthorse
import Foundation
import Testing

extension Native {
    /// Ending a generation in every way that an app can, and going on with the session.
    @Suite struct Cancel {
        /// How a generation is ended.
        enum Way: CaseIterable {
            case cancellingTheTask, leavingTheLoop, cancellingTheSession
        }

        static let short = GenerationOptions(maxTokens: 40, temperature: 0)

        @Test func twoHundredRandomMomentsThenTheRightText() async throws {
            let session = try await Demo.engine.session()
            let again = GenerationOptions(maxTokens: 6, temperature: 0)
            let expected = try await session.respond(to: "The little dog", options: again).text
            var prefillMs = Double.infinity
            for _ in 0..<3 {
                try await session.reset()
                let whole = try await session.respond(to: .text(Demo.longPrompt), options: Self.short)
                prefillMs = min(prefillMs, whole.account.time.prefillMs)
            }
            var random = SplitMix(state: 20_26)
            var (inPrefill, inDecode) = (0, 0)
            for round in 0..<200 {
                let end = Ending(
                    way: Way.allCases[round % 3],
                    // Half of them begin to count after some tokens.
                    tokens: round % 2 == 0 ? 0 : Int.random(in: 1...30, using: &random),
                    after: .milliseconds(Double.random(in: 0...(round % 2 == 0 ? prefillMs : 2), using: &random)))
                try await session.reset()
                let tokens = try await generate(on: session, until: end)
                if tokens == 0 { inPrefill += 1 } else if tokens < 40 { inDecode += 1 }
                let text = try await session.respond(to: "The little dog", options: again).text
                #expect(text == expected, "after round \(round)")
            }
            #expect(inPrefill > 10 && inDecode > 50, "\(inPrefill) before the first token, \(inDecode) before the last")
        }

        /// When and how a generation is ended: some time after so many tokens.
        struct Ending {
            let way: Way
            let tokens: Int
            let after: Duration
        }

        /// Generates and ends it; returns how many tokens came. Only an end before them needs a long prefill.
        private func generate(on session: Session, until end: Ending) async throws -> Int {
            let prompt = end.tokens == 0 ? Demo.longPrompt : "Once upon a time"
            let tokens = Counter()
            let isDue = Counter()
            let task = Task {
                for try await event in session.generate(prompt, options: Self.short) {
                    if case .tokens(let chunk) = event { tokens.add(chunk.tokens.count) }
                    if end.way == .leavingTheLoop, isDue.value > 0 { break }
                }
                tokens.add(0, isLast: true)
            }
            while tokens.value < end.tokens, !tokens.isDone { try await Task.sleep(for: .microseconds(100)) }
            try await Task.sleep(for: end.after)
            switch end.way {
            case .leavingTheLoop: isDue.add(1)
            case .cancellingTheTask: task.cancel()
            case .cancellingTheSession: session.cancel()
            }
            try await task.value
            return tokens.value
        }

        private final class Counter: @unchecked Sendable {
            private let lock = NSLock()
            private var count = 0
            private var last = false

            var value: Int { lock.withLock { count } }
            var isDone: Bool { lock.withLock { last } }

            func add(_ more: Int, isLast: Bool = false) {
                lock.withLock {
                    count += more
                    last = last || isLast
                }
            }
        }

        @Test func aCancelledTaskThrowsAndLeavesTheSessionIdle() async throws {
            let session = try await Demo.engine.session()
            let task = Task { try await session.respond(to: .text(Demo.longPrompt)) }
            try await Task.sleep(for: .milliseconds(1))
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            // Idle at once: neither call would succeed while a generation holds the session.
            #expect(try await session.tokens().count < 512, "it was cut short")
            _ = try await session.respond(to: "Then", options: GenerationOptions(maxTokens: 1))
        }

        @Test func noPassFollowsACancelInPrefill() async throws {
            let session = try await Demo.engine.session()
            var account: Account?
            for try await event in session.generate(Demo.longPrompt) {
                switch event {
                case .prefill(let done, let total):
                    #expect(done < total / 2 + 200 && done < total - 1, "the first of several parts")
                    session.cancel()
                case .tokens: Issue.record("no round may follow")
                case .finished(let last): account = last
                }
            }
            #expect(account?.stopReason == .cancelled && account?.rounds == 0 && account?.tokens == 0)
        }

        @Test func noPassFollowsACancelInDecode() async throws {
            let session = try await Demo.engine.session()
            var (account, tokens) = (Account?.none, 0)
            for try await event in session.generate("Once upon a time", options: GenerationOptions(maxTokens: 400)) {
                switch event {
                case .prefill: break
                case .tokens(let chunk):
                    session.cancel()
                    tokens += chunk.tokens.count
                case .finished(let last): account = last
                }
            }
            #expect(account?.stopReason == .cancelled && account?.rounds == 1 && account?.tokens == tokens)
        }

        @Test func aTaskThatIsCancelledBeforeItBeginsRunsNothing() async throws {
            let session = try await Demo.engine.session()
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                var events = 0
                for try await _ in session.generate("Once upon a time") { events += 1 }
                return events
            }
            #expect(try await task.value == 0)
            #expect(try await session.tokens().isEmpty)
        }

        @Test func cancellingFreesASessionWhoseStreamIsHeld() async throws {
            let session = try await Demo.engine.session()
            let stream = session.generate("Once upon a time", options: Demo.greedy)
            var iterator = stream.makeAsyncIterator()
            _ = try await iterator.next()
            await expect(EngineError.sessionBusy) { try await session.respond(to: "Then") }
            session.cancel()
            // The held stream still has its end to give.
            var last: GenerationEvent?
            while let event = try await iterator.next() { last = event }
            guard case .finished(let account) = last else {
                Issue.record("the account comes last")
                return
            }
            #expect(account.stopReason == .cancelled)
            _ = try await session.respond(to: "Then", options: GenerationOptions(maxTokens: 1))
            withExtendedLifetime(stream) {}
        }
    }
}

/// A small random source with a seed (Steele, Lea & Flood 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
