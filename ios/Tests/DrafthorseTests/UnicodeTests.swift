import Drafthorse
import Testing

extension Native {
    /// The demo pack writes what is not English byte by byte, so every character here lies across token borders.
    @Suite struct Unicode {
        static let texts = [
            "日本語の文章です。", "🙂🚀👩‍👩‍👧‍👦🏳️‍🌈", "한국어 텍스트", "e\u{301}té — naïve", "𠜎𠜱 ü 🇯🇵",
        ]

        @Test(arguments: texts) func charactersArriveWhole(wanted: String) async throws {
            let session = try await Demo.engine.session()
            // A grammar that allows one text only makes the model say it.
            let options = GenerationOptions(temperature: 0, constraint: .lark("start: \"\(wanted)\""))
            var (text, tokens) = ("", 0)
            for try await event in session.generate("Say it: ", options: options) {
                guard case .tokens(let chunk) = event else { continue }
                #expect(!chunk.text.unicodeScalars.contains("\u{FFFD}"))
                #expect(wanted.utf8.starts(with: (text + chunk.text).utf8))
                text += chunk.text
                tokens += chunk.tokens.count
            }
            #expect(Array(text.utf8) == Array(wanted.utf8))
            #expect(tokens > wanted.unicodeScalars.count, "some characters took several tokens")
        }

        @Test(arguments: texts) func promptsCrossTheBorderUnchanged(prompt: String) async throws {
            let engine = try await Demo.engine
            let tokens = try await engine.tokenize(prompt)
            #expect(tokens.count > prompt.unicodeScalars.count)
            let session = try await engine.session()
            _ = try await session.respond(to: .text(prompt), options: GenerationOptions(maxTokens: 1))
            #expect(Array(try await session.tokens().prefix(tokens.count)) == tokens)
        }

        @Test func aStopTextOfSeveralTokensIsFound() async throws {
            let session = try await Demo.engine.session()
            let options = GenerationOptions(
                temperature: 0, stop: ["🚀"], constraint: .lark("start: \"日本🙂🚀終\""))
            let response = try await session.respond(to: "Say it: ", options: options)
            #expect(response.text == "日本🙂" && response.account.stopReason == .stopSequence)
        }
    }
}
