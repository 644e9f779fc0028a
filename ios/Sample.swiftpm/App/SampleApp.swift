import Drafthorse
import SwiftUI

/// Opens the pack that lies in the bundle and shows one conversation.
@main struct SampleApp: App {
    @State private var model: ChatModel?
    @State private var failure: String?

    var body: some Scene {
        WindowGroup {
            Group {
                if let model {
                    ChatView(model: model)
                } else if let failure {
                    ContentUnavailableView("No model", systemImage: "shippingbox", description: Text(failure))
                } else {
                    ProgressView("Opening the pack …")
                }
            }
            .task { await open() }
        }
    }

    private func open() async {
        guard model == nil else { return }
        guard let pack = Bundle.main.url(forResource: "demo", withExtension: nil, subdirectory: "Packs") else {
            failure = "There is no pack in the app; see Packs/README.md."
            return
        }
        do {
            let engine = try await Engine.open(pack)
            try await engine.prewarm()
            model = ChatModel(session: try await engine.session(SessionOptions(contextPolicy: .dropOldestTurns)))
        } catch {
            failure = "\(error)"
        }
    }
}
