import Foundation
import Testing

import func DrafthorseFFI.provokePanic

@testable import Drafthorse

extension Native {
    /// Every error that an app can catch, from a cause that an app can meet.
    @Suite struct Errors {
        @Test func thereIsNoPack() async throws {
            let message = await expect(EngineError.packNotFound) {
                try await Engine.open(Repository.demoPack.appendingPathComponent("missing"))
            }
            #expect(message.contains("missing"))
            let error: any Error = EngineError.packNotFound(message)
            #expect(error.localizedDescription == message && "\(error)" == message)
        }

        @Test func theFolderIsNoPack() async throws {
            try await PackCopy.with { pack in
                for file in try FileManager.default.contentsOfDirectory(atPath: pack.path) {
                    try FileManager.default.removeItem(at: pack.appendingPathComponent(file))
                }
                await expect(EngineError.packInvalid) { try await Engine.open(pack) }
            }
        }

        @Test func aFileOfThePackIsDamaged() async throws {
            try await PackCopy.with { pack in
                let weights = pack.appendingPathComponent("model.onnx.data")
                var bytes = try Data(contentsOf: weights)
                bytes[5000] ^= 1
                try bytes.write(to: weights)
                let message = await expect(EngineError.packDamaged) { try await Engine.open(pack) }
                #expect(message.contains("model.onnx.data"))

                try bytes.prefix(1000).write(to: weights)
                await expect(EngineError.packDamaged) { try await Engine.open(pack) }
            }
        }

        @Test func theDrafterSpeaksAnotherLanguage() async throws {
            try await PackCopy.with { pack in
                let tokenizer = pack.appendingPathComponent("tokenizer.json")
                try edit(tokenizer) { $0.replacingOccurrences(of: "\"!\":1,\"\\\"\":2", with: "\"!\":2,\"\\\"\":1") }
                let options = EngineOptions(drafter: pack)
                await expect(EngineError.vocabularyMismatch) {
                    try await Engine.open(Repository.demoPack, options: options)
                }
            }
        }

        @Test func thePackIsOfALaterVersion() async throws {
            try await PackCopy.with { pack in
                try edit(pack.appendingPathComponent("drafthorse.json")) {
                    $0.replacingOccurrences(of: "\"format_version\": 1", with: "\"format_version\": 1000")
                }
                await expect(EngineError.unsupported) { try await Engine.open(pack) }
            }
        }

        @Test func theCacheDoesNotFitTheBudget() async throws {
            let options = EngineOptions(contextLength: 512, cacheBytesMax: 1000)
            await expect(EngineError.outOfMemoryBudget) {
                try await Engine.open(Repository.demoPack, options: options)
            }
        }

        @Test func noProviderCanRunTheModel() async throws {
            let options = EngineOptions(targetProviders: [ProviderChoice(.qnn, strict: true)])
            let message = await expect(EngineError.providerUnavailable) {
                try await Engine.open(Repository.demoPack, options: options)
            }
            #expect(message.contains("qnn"))
        }

        @Test func theRuntimeLibraryIsMissing() async throws {
            let options = EngineOptions(runtimeLibrary: URL(fileURLWithPath: "/nowhere/libonnxruntime.so"))
            let message = await expect(EngineError.runtimeLibrary) {
                try await Engine.open(Repository.demoPack, options: options)
            }
            #expect(message.contains("nowhere"))
        }

        @Test(arguments: [
            GenerationOptions(temperature: -1), GenerationOptions(topP: 2), GenerationOptions(minP: .nan),
            GenerationOptions(maxTokens: 0), GenerationOptions(maxTokens: -1), GenerationOptions(topK: .min),
            GenerationOptions(draftLength: .fixed(1000)), GenerationOptions(draftLength: .adaptive(max: -1)),
            GenerationOptions(logitBias: [1_000_000: 1]), GenerationOptions(stop: [""]),
            GenerationOptions(verification: .lenient(.linear(0))),
        ])
        func anOptionIsOutOfItsRange(options: GenerationOptions) async throws {
            let session = try await Demo.engine.session()
            await expect(EngineError.invalidOptions) { try await session.respond(to: "The cat", options: options) }
            _ = try await session.respond(to: "The cat", options: GenerationOptions(maxTokens: 1))
        }

        @Test func aPromptOrAPositionIsOutOfItsRange() async throws {
            let session = try await Demo.engine.session()
            await expect(EngineError.invalidOptions) { try await session.respond(to: .tokens([1_000_000])) }
            await expect(EngineError.invalidOptions) { try await session.rewind(to: -1) }
            let tool = Prompt.messages([.user("Hi")], tools: ["{"])
            await expect(EngineError.invalidOptions) { try await session.respond(to: tool) }
            let message = Message(role: "user", content: "Hi", moreJSON: "[]")
            await expect(EngineError.invalidOptions) { try await session.respond(to: [message]) }
            let threads = EngineOptions(targetThreads: -1)
            await expect(EngineError.invalidOptions) { try await Engine.open(Repository.demoPack, options: threads) }
        }

        @Test func theTemplateRefusesTheMessages() async throws {
            try await PackCopy.with { pack in
                // As long as the real one: lengths are compared even where digests are not.
                let template = "{{ raise_exception('only one turn') }}".padding(toLength: 281, withPad: " ", startingAt: 0)
                try Data(template.utf8).write(to: pack.appendingPathComponent("chat_template.jinja"))
                let engine = try await Engine.open(pack, options: EngineOptions(checkDigests: false))
                let session = try await engine.session()
                let message = await expect(EngineError.chatTemplate) { try await session.respond(to: [.user("Hi")]) }
                #expect(message.contains("only one turn"))
                // Text needs no template.
                _ = try await session.respond(to: "Hi", options: GenerationOptions(maxTokens: 1))
            }
        }

        @Test(arguments: [Constraint.regex("("), .jsonSchema("{"), .lark("start: %")])
        func theConstraintCannotBeUsed(constraint: Constraint) async throws {
            let session = try await Demo.engine.session()
            let options = GenerationOptions(constraint: constraint)
            await expect(EngineError.constraint) { try await session.respond(to: "The cat", options: options) }
        }

        @Test func thePromptDoesNotFit() async throws {
            let session = try await Demo.engine.session()
            let prompt = String(repeating: Demo.longPrompt, count: 3)
            await expect(EngineError.contextFull) { try await session.respond(to: .text(prompt)) }
            _ = try await session.respond(to: "The cat", options: GenerationOptions(maxTokens: 1))
        }

        @Test func anotherGenerationRuns() async throws {
            let session = try await Demo.engine.session()
            var iterator = session.generate("The cat", options: Demo.greedy).makeAsyncIterator()
            _ = try await iterator.next()
            await expect(EngineError.sessionBusy) { try await session.respond(to: "The dog") }
            while try await iterator.next() != nil {}
        }

        @Test func theModelComputesNonsense() async throws {
            try await PackCopy.with { pack in
                let weights = pack.appendingPathComponent("model.onnx.data")
                var bytes = try Data(contentsOf: weights)
                // The file begins with the cosines of 512 positions, 16 floats each; all bits set is a NaN. Short
                // prompts do not meet the second half.
                bytes.replaceSubrange((256 * 64)..<(512 * 64), with: repeatElement(0xFF, count: 256 * 64))
                try bytes.write(to: weights)
                let engine = try await Engine.open(pack, options: EngineOptions(checkDigests: false))
                let session = try await engine.session()
                _ = try await session.respond(to: "The cat", options: GenerationOptions(maxTokens: 1))
                let message = await expect(EngineError.invalidLogits) {
                    try await session.respond(to: .text(Demo.longPrompt))
                }
                #expect(message.contains("target"))
                _ = try await session.respond(to: "The cat", options: GenerationOptions(maxTokens: 1))
            }
        }

        @Test func whatWasClosedIsClosed() async throws {
            let session = try await Demo.engine.session()
            await session.close()
            await expect(EngineError.closed) { try await session.respond(to: "The cat") }
            await expect(EngineError.closed) { try await session.tokens() }
            await expect(EngineError.closed) { try await session.rewind(to: 0) }
            await expect(EngineError.closed) { try await session.reset() }
        }

        @Test func theSystemRefusesToReadAFile() async throws {
            let inAFile = Repository.demoPack.appendingPathComponent("tokenizer.json/pack")
            await expect(EngineError.io) { try await Engine.open(inAFile) }
        }

        @Test func theRuntimeFailsWhileRunning() async throws {
            try await PackCopy.with { pack in
                // A context that the model's position tables do not reach.
                try edit(pack.appendingPathComponent("genai_config.json")) {
                    $0.replacingOccurrences(of: "\"context_length\": 512", with: "\"context_length\":2048")
                }
                let options = EngineOptions(contextLength: 2048, withoutDrafter: true, checkDigests: false)
                let session = try await Engine.open(pack, options: options).session()
                let prompt = String(repeating: Demo.longPrompt, count: 2)
                await expect(EngineError.internal) { try await session.respond(to: .text(prompt)) }
            }
        }

        @Test func aPanicIsAnErrorWithItsMessage() async throws {
            let message = await expect(EngineError.panic) {
                do {
                    try provokePanic(message: "row 3 of 2")
                } catch let error as NativeError {
                    throw EngineError(error)
                }
            }
            #expect(message.contains("row 3 of 2"))
        }

        private func edit(_ file: URL, _ change: (String) -> String) throws {
            let text = try String(contentsOf: file, encoding: .utf8)
            let changed = change(text)
            #expect(changed != text, "nothing was changed in \(file.lastPathComponent)")
            try changed.write(to: file, atomically: true, encoding: .utf8)
        }
    }
}

/// A copy of the demo pack that a test may spoil.
enum PackCopy {
    static func with(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.copyItem(at: Repository.demoPack, to: folder)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }
}
