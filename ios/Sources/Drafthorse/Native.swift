// The only file that imports the generated module: everywhere else its types go by these names, apart from ours.
internal import DrafthorseFFI

typealias NativeEngine = DrafthorseFFI.Engine
typealias NativeSession = DrafthorseFFI.Session
typealias NativeGeneration = DrafthorseFFI.Generation
typealias NativeError = DrafthorseFFI.DrafthorseError

typealias NativeEngineOptions = DrafthorseFFI.EngineOptions
typealias NativeEngineReport = DrafthorseFFI.EngineReport
typealias NativePlacement = DrafthorseFFI.Placement
typealias NativeProvider = DrafthorseFFI.Provider
typealias NativeProviderChoice = DrafthorseFFI.ProviderChoice
typealias NativeDrafterMisfit = DrafthorseFFI.DrafterMisfit
typealias NativeSpinning = DrafthorseFFI.Spinning
typealias NativeCacheLayout = DrafthorseFFI.CacheLayout

typealias NativeSessionOptions = DrafthorseFFI.SessionOptions
typealias NativeDrafting = DrafthorseFFI.Drafting
typealias NativeContextPolicy = DrafthorseFFI.ContextPolicy

typealias NativePrompt = DrafthorseFFI.Prompt
typealias NativeMessage = DrafthorseFFI.Message
typealias NativeGenerationOptions = DrafthorseFFI.GenerationOptions
typealias NativeTokenBias = DrafthorseFFI.TokenBias
typealias NativeVerification = DrafthorseFFI.Verification
typealias NativeLenience = DrafthorseFFI.Lenience
typealias NativeDraftLength = DrafthorseFFI.DraftLength
typealias NativeConstraint = DrafthorseFFI.Constraint

typealias NativeEvent = DrafthorseFFI.GenerationEvent
typealias NativeToken = DrafthorseFFI.Token
typealias NativeAccount = DrafthorseFFI.Account
typealias NativeStopReason = DrafthorseFFI.StopReason
typealias NativePassthrough = DrafthorseFFI.Passthrough

typealias NativeBenchmarkDevice = DrafthorseFFI.BenchmarkDevice
typealias NativeDeviceReading = DrafthorseFFI.DeviceReading

let runNativeBenchmark = DrafthorseFFI.runBenchmark(planJson:device:)
let measureNativeBorder = DrafthorseFFI.measureBorder(rounds:tokensPerRound:pauses:pauseUs:)
