import DrafthorseAPI
import Foundation

// From our types to the generated ones, field by field. Ranges are the runtime's business; only what the border's
// unsigned numbers cannot carry is refused here.

/// A count for the other side.
func count(_ option: String, of value: Int) throws -> UInt64 {
    guard let count = UInt64(exactly: value) else {
        throw EngineError.invalidOptions("option \(option): \(value) is negative")
    }
    return count
}

private func count(_ option: String, _ value: Int?) throws -> UInt64? {
    try value.map { try count(option, of: $0) }
}

private func threads(_ option: String, _ value: Int?) throws -> UInt32? {
    guard let value else { return nil }
    guard let threads = UInt32(exactly: value) else {
        throw EngineError.invalidOptions("option \(option): \(value) is no number of threads")
    }
    return threads
}

extension NativeEngineOptions {
    init(_ options: EngineOptions) throws {
        self.init(
            targetProviders: options.targetProviders.map(NativeProviderChoice.init),
            drafterProviders: options.drafterProviders.map(NativeProviderChoice.init),
            targetThreads: try threads("targetThreads", options.targetThreads),
            drafterThreads: try threads("drafterThreads", options.drafterThreads),
            spinning: NativeSpinning(options.spinning),
            contextLen: try count("contextLength", options.contextLength),
            cacheBytesMax: try count("cacheBytesMax", options.cacheBytesMax),
            drafterMisfit: NativeDrafterMisfit(options.drafterMisfit),
            withoutDrafter: options.withoutDrafter,
            checkDigests: options.checkDigests,
            variant: options.variant,
            drafter: options.drafter?.path,
            drafterVariant: options.drafterVariant,
            allowedRoots: options.allowedRoots.map(\.path),
            runtimeLibrary: options.runtimeLibrary?.path,
            cacheFolder: (options.cacheFolder ?? EngineOptions.cacheFolderDefault)?.path,
            device: options.device ?? ProcessInfo.processInfo.operatingSystemVersionString)
    }
}

extension NativeSpinning {
    fileprivate init(_ spinning: Spinning) {
        self =
            switch spinning {
            case .never: .never
            case .withinPass: .withinPass
            case .always: .always
            }
    }
}

extension NativeDrafterMisfit {
    fileprivate init(_ misfit: DrafterMisfit) {
        self =
            switch misfit {
            case .runWithout: .runWithout
            case .fail: .fail
            }
    }
}

extension NativeProviderChoice {
    fileprivate init(_ choice: ProviderChoice) {
        self.init(
            provider: NativeProvider(choice.provider), options: choice.options, strict: choice.strict,
            library: choice.library?.path)
    }
}

extension NativeProvider {
    fileprivate init(_ provider: Provider) {
        self =
            switch provider {
            case .cpu: .cpu
            case .xnnpack: .xnnpack
            case .coreML: .coreMl
            case .nnapi: .nnapi
            case .qnn: .qnn
            case .webGPU: .webGpu
            case .cuda: .cuda
            }
    }
}

extension NativeSessionOptions {
    init(_ options: SessionOptions) {
        self.init(
            drafting: NativeDrafting(options.drafting), contextPolicy: NativeContextPolicy(options.contextPolicy))
    }
}

extension NativeDrafting {
    fileprivate init(_ drafting: Drafting) {
        self =
            switch drafting {
            case .automatic: .auto
            case .targetAlone: .targetAlone
            case .model: .model
            case .lookup: .lookup
            case .both: .both
            }
    }
}

extension NativeContextPolicy {
    fileprivate init(_ policy: ContextPolicy) {
        self =
            switch policy {
            case .fail: .fail
            case .dropOldestTurns: .dropOldestTurns
            }
    }
}

extension NativePrompt {
    init(_ prompt: Prompt) {
        self =
            switch prompt {
            case .text(let text): .text(text: text)
            case .tokens(let tokens): .tokens(tokens: tokens)
            case .messages(let messages, let tools):
                .messages(messages: messages.map(NativeMessage.init), toolsJson: tools)
            }
    }
}

extension NativeMessage {
    fileprivate init(_ message: Message) {
        self.init(role: message.role, content: message.content, moreJson: message.moreJSON)
    }
}

extension NativeGenerationOptions {
    init(_ options: GenerationOptions) throws {
        self.init(
            maxTokens: try count("maxTokens", options.maxTokens),
            minTokens: try count("minTokens", options.minTokens),
            temperature: options.temperature,
            topK: try count("topK", options.topK),
            topP: options.topP,
            minP: options.minP,
            repetitionPenalty: options.repetitionPenalty,
            frequencyPenalty: options.frequencyPenalty,
            presencePenalty: options.presencePenalty,
            logitBias: options.logitBias.map { NativeTokenBias(token: $0.key, bias: $0.value) },
            seed: options.seed,
            stop: options.stop,
            verification: options.verification.map(NativeVerification.init),
            draftLength: try options.draftLength.map(NativeDraftLength.init),
            constraint: options.constraint.map(NativeConstraint.init))
    }
}

extension NativeDeviceReading {
    init(_ reading: DeviceReading) {
        self.init(
            temperatureC: reading.temperatureC, thermalState: reading.thermalState,
            batteryPercent: reading.batteryPercent, batteryMa: reading.batteryMa, energyJ: reading.energyJ,
            residentBytes: reading.residentBytes.map(UInt64.init(clamping:)), absent: reading.absent)
    }
}

extension NativeVerification {
    fileprivate init(_ verification: Verification) {
        self =
            switch verification {
            case .token: .token
            case .block: .block
            case .seedCoupled: .seedCoupled
            case .lenient(let lenience): .lenient(lenience: NativeLenience(lenience))
            }
    }
}

extension NativeLenience {
    fileprivate init(_ lenience: Lenience) {
        self =
            switch lenience {
            case .linear(let epsilon): .linear(epsilon: epsilon)
            case .square(let epsilon): .square(epsilon: epsilon)
            case .exponential(let epsilon): .exponential(epsilon: epsilon)
            }
    }
}

extension NativeDraftLength {
    fileprivate init(_ length: DraftLength) throws {
        self =
            switch length {
            case .fixed(let tokens): .fixed(tokens: try count("draftLength", of: tokens))
            case .adaptive(let max): .adaptive(tokensMax: try count("draftLength", of: max))
            }
    }
}

extension NativeConstraint {
    fileprivate init(_ constraint: Constraint) {
        self =
            switch constraint {
            case .jsonSchema(let schema): .jsonSchema(schema: schema)
            case .regex(let pattern): .regex(pattern: pattern)
            case .lark(let grammar): .lark(grammar: grammar)
            }
    }
}
