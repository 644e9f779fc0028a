import DrafthorseAPI

// From the generated types to ours, field by field.

/// Runs a native call and gives its errors our names.
func rethrowing<Value>(_ call: () throws -> Value) throws -> Value {
    do {
        return try call()
    } catch let error as NativeError {
        throw EngineError(error)
    }
}

extension EngineError {
    init(_ error: NativeError) {
        self =
            switch error {
            case .PackNotFound(let message): .packNotFound(message)
            case .PackInvalid(let message): .packInvalid(message)
            case .PackDamaged(let message): .packDamaged(message)
            case .VocabularyMismatch(let message): .vocabularyMismatch(message)
            case .Unsupported(let message): .unsupported(message)
            case .OutOfMemoryBudget(let message): .outOfMemoryBudget(message)
            case .ProviderUnavailable(let message): .providerUnavailable(message)
            case .RuntimeLibrary(let message): .runtimeLibrary(message)
            case .InvalidOptions(let message): .invalidOptions(message)
            case .ChatTemplate(let message): .chatTemplate(message)
            case .Constraint(let message): .constraint(message)
            case .ContextFull(let message): .contextFull(message)
            case .SessionBusy(let message): .sessionBusy(message)
            case .InvalidLogits(let message): .invalidLogits(message)
            case .Closed(let message): .closed(message)
            case .Io(let message): .io(message)
            case .Internal(let message): .internal(message)
            case .Panic(let message): .panic(message)
            }
    }
}

extension GenerationEvent {
    init(_ event: NativeEvent) {
        self =
            switch event {
            case .prefill(let done, let total): .prefill(done: Int(clamping: done), total: Int(clamping: total))
            case .tokens(let text, let tokens): .tokens(Chunk(text: text, tokens: tokens.map(Token.init)))
            case .finished(let account): .finished(Account(account))
            }
    }
}

extension Token {
    fileprivate init(_ token: NativeToken) {
        self.init(id: token.id, drafted: token.drafted, textEnd: Int(clamping: token.textEnd))
    }
}

extension Account {
    fileprivate init(_ account: NativeAccount) {
        self.init(
            stopReason: StopReason(account.stopReason),
            promptTokens: Int(clamping: account.promptTokens),
            promptTokensKept: Int(clamping: account.promptTokensKept),
            tokens: Int(clamping: account.tokens),
            ttftMs: account.ttftMs,
            interTokenMs: Percentiles(
                p50: account.interTokenMs.p50, p90: account.interTokenMs.p90, p99: account.interTokenMs.p99,
                max: account.interTokenMs.max),
            prefillTokensPerSecond: account.prefillTokensPerS,
            decodeTokensPerSecond: account.decodeTokensPerS,
            rounds: Int(clamping: account.rounds),
            drafted: Int(clamping: account.drafted),
            proposed: Int(clamping: account.proposed),
            accepted: Int(clamping: account.accepted),
            acceptanceRate: account.acceptanceRate,
            positions: account.positions.map {
                PositionCount(proposed: Int(clamping: $0.proposed), accepted: Int(clamping: $0.accepted))
            },
            tokensPerTargetCall: account.tokensPerTargetCall,
            time: TimeSpent(
                totalMs: account.time.totalMs, prefillMs: account.time.prefillMs, draftMs: account.time.draftMs,
                scoreMs: account.time.scoreMs, acceptMs: account.time.acceptMs, otherMs: account.time.otherMs),
            cacheBytes: Int(clamping: account.cacheBytes),
            targetNodes: account.targetNodes.mapValues { Int(clamping: $0) },
            drafterNodes: account.drafterNodes.mapValues { Int(clamping: $0) },
            draftLengths: account.draftLengths.map {
                DraftLengthCount(tokens: Int(clamping: $0.tokens), rounds: Int(clamping: $0.rounds))
            },
            passthroughRounds: Int(clamping: account.passthroughRounds),
            passthrough: account.passthrough.map(Passthrough.init),
            passthroughText: account.passthroughText,
            seed: account.seed,
            isLossless: account.lossless)
    }
}

extension StopReason {
    fileprivate init(_ reason: NativeStopReason) {
        self =
            switch reason {
            case .stopToken: .stopToken
            case .stopSequence: .stopSequence
            case .maxTokens: .maxTokens
            case .contextFull: .contextFull
            case .cancelled: .cancelled
            }
    }
}

extension Passthrough {
    fileprivate init(_ reason: NativePassthrough) {
        self =
            switch reason {
            case .off: .off
            case .noDrafter: .noDrafter
            case .lastRowOnly: .lastRowOnly
            case .nothingToPropose: .nothingToPropose
            case .oneTokenLeft: .oneTokenLeft
            case .doesNotPay(let acceptance, let cost): .doesNotPay(acceptance: acceptance, cost: cost)
            case .tooManyRejections: .tooManyRejections
            }
    }
}

extension EngineReport {
    init(_ report: NativeEngineReport) {
        self.init(
            path: report.path,
            runtime: report.runtime,
            target: Placement(report.target),
            drafter: report.drafter.map(Placement.init),
            drafterMissing: report.drafterMissing,
            contextLength: Int(clamping: report.contextLen),
            cacheBytes: Int(clamping: report.cacheBytes),
            weightBytes: Int(clamping: report.weightBytes),
            residentBytes: report.residentBytes.map(Int.init(clamping:)),
            targetPassMs: Dictionary(
                report.targetCosts.map { (Int(clamping: $0.rows), $0.ms) }, uniquingKeysWith: { first, _ in first }),
            drafterPassMs: report.drafterMs,
            notes: report.notes)
    }
}

extension Placement {
    fileprivate init(_ placement: NativePlacement) {
        self.init(
            provider: placement.provider,
            nodes: Dictionary(placement.nodes.map { ($0.provider, Int(clamping: $0.nodes)) }, uniquingKeysWith: +),
            refused: placement.refused.map { Refusal(provider: $0.provider, reason: $0.reason) },
            cacheLayout: CacheLayout(placement.cacheLayout),
            chunkLength: Int(clamping: placement.chunkLen))
    }
}

extension CacheLayout {
    fileprivate init(_ layout: NativeCacheLayout) {
        self =
            switch layout {
            case .shared: .shared
            case .growing: .growing
            }
    }
}
