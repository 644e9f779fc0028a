import SwiftUI

/// In front while the device is measured. The test does the work.
@main struct BenchmarkApp: App {
    var body: some Scene {
        WindowGroup { Text("Drafthorse benchmark") }
    }
}
