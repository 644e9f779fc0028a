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
                    var tokens = 0
                    for try await event in session.generate("Once upon a time") where event.text != nil { tokens += 1 }
                    return tokens
                }
                try await Task.sleep(for: .milliseconds(5))
                if closesEngine { await engine.close() } else { await session.close() }
                await session.close()
                // It ends: with its account if that was on the way, else with the reason.
                do { _ = try await task.value } catch EngineError.closed(let message) { #expect(!message.isEmpty) }
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
            let fast = try await session.respond(to: "Once upon a time", options: Demo.greedy)
            var (text, account) = ("", Account?.none)
            for try await event in session.generate("Once upon a time", options: Demo.greedy) {
                text += event.text ?? ""
                if case .finished(let last) = event { account = last }
                try await Task.sleep(for: .milliseconds(20))
            }
            let slow = try #require(account)
            #expect(text == fast.text)
            // The loop stood still meanwhile: its own clock says that the time went to its caller, not to a buffer.
            #expect(slow.time.otherMs > 20 * Double(slow.rounds - 1))
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
