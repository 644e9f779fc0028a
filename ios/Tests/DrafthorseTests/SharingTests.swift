import Drafthorse
import Foundation
import Testing

extension Native {
    /// Several tasks at one session, and what is left when they are done.
    @Suite struct Sharing {
        @Test func twoConsumersOnOneSession() async throws {
            let session = try await Demo.engine.session()
            let expected = try await session.respond(to: "The cat", options: Demo.greedy).text
            var iterator = session.generate("The cat", options: Demo.greedy).makeAsyncIterator()
            var text = try await iterator.next()?.text ?? ""
            await expect(EngineError.sessionBusy) { try await session.respond(to: "The dog") }
            await expect(EngineError.sessionBusy) { try await session.reset() }
            while let event = try await iterator.next() { text += event.text ?? "" }
            #expect(text == expected, "the refused one changed nothing")
        }

        @Test func twoTasksMayShareOneStream() async throws {
            let session = try await Demo.engine.session()
            let expected = try await session.respond(to: "The cat", options: Demo.greedy).account.tokens
            let stream = session.generate("The cat", options: Demo.greedy)
            let counts = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        var tokens = 0
                        for try await case .tokens(let chunk) in stream { tokens += chunk.tokens.count }
                        return tokens
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(counts == expected, "every token reached one of them")
        }

        @Test func closingInFlightEndsTheStream() async throws {
            for closesEngine in [false, true] {
                let engine = try await Engine.open(Repository.demoPack, options: Demo.options)
                let session = try await engine.session()
                let task = Task {
                    try await session.respond(to: "Once upon a time", options: GenerationOptions(minTokens: 512))
                }
                try await Task.sleep(for: .milliseconds(5))
                if closesEngine { await engine.close() } else { await session.close() }
                await session.close()
                // What was cut short is no answer.
                await expect(EngineError.closed) { try await task.value }
                await expect(EngineError.closed) { try await session.respond(to: "Then") }
            }
        }

        @Test func sessionsOutliveTheirEngineVariable() async throws {
            var session: Session?
            do { session = try await Engine.open(Repository.demoPack, options: Demo.options).session() }
            let response = try await session?.respond(to: "The cat", options: Demo.greedy)
            #expect(try await Demo.engine.session().respond(to: "The cat", options: Demo.greedy).text == response?.text)
        }

        @Test func aSlowConsumerStopsTheLoop() async throws {
            let session = try await Demo.engine.session()
            // One token is an event here, so what the loop did beyond what was consumed can be counted.
            let endless = GenerationOptions(minTokens: 512, draftLength: .fixed(0))
            var (consumed, account) = (0, Account?.none)
            for try await event in session.generate("Once upon a time", options: endless) {
                switch event {
                case .prefill: break
                case .tokens:
                    consumed += 1
                    guard consumed == 3 else { continue }
                    // Time for a loop that does not wait to run to the end of the context.
                    try await Task.sleep(for: .seconds(1))
                    session.cancel()
                case .finished(let last): account = last
                }
            }
            let told = try #require(account)
            #expect(told.stopReason == .cancelled && (3...4).contains(told.tokens), "\(told.tokens) tokens")
        }

        @Test func aSlowConsumerLosesNothing() async throws {
            let session = try await Demo.engine.session()
            let fast = try await session.respond(to: "Once upon a time", options: Demo.greedy)
            var text = ""
            for try await event in session.generate("Once upon a time", options: Demo.greedy) {
                text += event.text ?? ""
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(text == fast.text)
        }

        @Test func aThousandSessionsLeaveNothingBehind() async throws {
            let engine = try await Demo.engine
            func use(_ count: Int) async throws {
                for index in 0..<count {
                    let session = try await engine.session()
                    _ = try await session.respond(to: "The cat", options: GenerationOptions(maxTokens: 2))
                    // Every other one is only let go of.
                    if index % 2 == 0 { await session.close() }
                }
            }
            try await use(200)
            let before = try residentBytes()
            try await use(1000)
            let grown = try residentBytes() - before
            #expect(grown < 8 << 20, "\(grown) bytes grown; one session has \(engine.report.cacheBytes) of cache")
        }

        /// Resident memory of this process, in bytes.
        private func residentBytes() throws -> Int {
            let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
            let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
            return try #require(Int(line.split(whereSeparator: \.isWhitespace)[1])) << 10
        }
    }
}
