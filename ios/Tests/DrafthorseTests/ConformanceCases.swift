import Drafthorse
import Foundation

/// `tests/conformance/cases.json`, which the tests of every face read; its README has the format.
struct ConformanceFile: Decodable {
    let format: Int
    let pack: String
    let engine: EngineSettings
    let cases: [ConformanceCase]

    struct EngineSettings: Decodable {
        let target_threads: Int
        let drafter_threads: Int
    }

    static func read() throws -> ConformanceFile {
        let file = Repository.root.appendingPathComponent("tests/conformance/cases.json")
        return try JSONDecoder().decode(ConformanceFile.self, from: Data(contentsOf: file))
    }
}

struct ConformanceCase: Decodable {
    let name: String
    let session: SessionSettings?
    let same_text_as: String?
    let turns: [Turn]

    struct SessionSettings: Decodable {
        let drafting: String?
    }

    struct Turn: Decodable {
        let prompt: PromptField
        let options: OptionFields
        let expect: Expectation
    }

    struct Expectation: Decodable {
        let error: String?
        let text: String?
        let tokens: [TokenID]?
        let drafted: Int?
        let stop_reason: String?
        let prompt_tokens: Int?
        let prompt_tokens_kept: Int?
        let lossless: Bool?
    }

    var sessionOptions: SessionOptions {
        get throws {
            switch session?.drafting {
            case nil: SessionOptions()
            case "none": SessionOptions(drafting: .targetAlone)
            case "model": SessionOptions(drafting: .model)
            case "lookup": SessionOptions(drafting: .lookup)
            case "both": SessionOptions(drafting: .both)
            case .some(let other): throw UnknownWord(word: other)
            }
        }
    }
}

/// A word of the file that this reader has not learned.
struct UnknownWord: Error {
    let word: String
}

struct PromptField: Decodable {
    let text: String?
    let tokens: [TokenID]?
    let messages: [Message]?

    struct Message: Decodable {
        let role: String
        let content: String
    }

    var prompt: Prompt {
        get throws {
            if let text { return .text(text) }
            if let tokens { return .tokens(tokens) }
            guard let messages else { throw UnknownWord(word: "prompt") }
            return .messages(messages.map { Drafthorse.Message(role: $0.role, content: $0.content) })
        }
    }
}

/// Generation options in the runtime's names. A name that is not listed here fails, so that none is passed over.
struct OptionFields: Decodable {
    let options: GenerationOptions

    private enum Key: String, CodingKey, CaseIterable {
        case max_tokens, min_tokens, temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty
        case presence_penalty, logit_bias, seed, stop, verification, draft_length, constraint
    }

    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        for key in try decoder.container(keyedBy: AnyKey.self).allKeys where Key(rawValue: key.stringValue) == nil {
            throw UnknownWord(word: key.stringValue)
        }
        let fields = try decoder.container(keyedBy: Key.self)
        func number<Value: Decodable>(_ key: Key) throws -> Value? { try fields.decodeIfPresent(Value.self, forKey: key) }
        var options = GenerationOptions(
            maxTokens: try number(.max_tokens), minTokens: try number(.min_tokens),
            temperature: try number(.temperature), topK: try number(.top_k), topP: try number(.top_p),
            minP: try number(.min_p), repetitionPenalty: try number(.repetition_penalty),
            frequencyPenalty: try number(.frequency_penalty), presencePenalty: try number(.presence_penalty),
            seed: try number(.seed), stop: try number(.stop) ?? [],
            verification: try fields.decodeIfPresent(VerificationField.self, forKey: .verification)?.value,
            draftLength: try fields.decodeIfPresent(DraftLengthField.self, forKey: .draft_length)?.value,
            constraint: try fields.decodeIfPresent(ConstraintField.self, forKey: .constraint)?.value)
        for pair in try fields.decodeIfPresent([[Double]].self, forKey: .logit_bias) ?? [] {
            options.logitBias[TokenID(pair[0])] = Float(pair[1])
        }
        self.options = options
    }
}

private struct VerificationField: Decodable {
    let value: Verification

    private struct Lenient: Decodable {
        let lenient: [String: Double]
    }

    init(from decoder: any Decoder) throws {
        if let name = try? decoder.singleValueContainer().decode(String.self) {
            switch name {
            case "token": value = .token
            case "block": value = .block
            case "seed_coupled": value = .seedCoupled
            default: throw UnknownWord(word: name)
            }
            return
        }
        let lenient = try Lenient(from: decoder).lenient
        if let epsilon = lenient["linear"] {
            value = .lenient(.linear(epsilon))
        } else if let epsilon = lenient["square"] {
            value = .lenient(.square(epsilon))
        } else if let epsilon = lenient["exponential"] {
            value = .lenient(.exponential(epsilon))
        } else {
            throw UnknownWord(word: "\(lenient)")
        }
    }
}

private struct DraftLengthField: Decodable {
    let fixed: Int?
    let adaptive: Int?

    var value: DraftLength {
        get throws {
            if let fixed { return .fixed(fixed) }
            guard let adaptive else { throw UnknownWord(word: "draft_length") }
            return .adaptive(max: adaptive)
        }
    }
}

private struct ConstraintField: Decodable {
    let regex: String?
    let json_schema: String?
    let lark: String?

    var value: Constraint {
        get throws {
            if let regex { return .regex(regex) }
            if let json_schema { return .jsonSchema(json_schema) }
            guard let lark else { throw UnknownWord(word: "constraint") }
            return .lark(lark)
        }
    }
}
