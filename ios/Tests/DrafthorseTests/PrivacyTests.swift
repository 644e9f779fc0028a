import Foundation
import Testing

@testable import Drafthorse

extension Native {
    /// What an app's upload is asked about the library.
    @Suite struct Privacy {
        @Test func theManifestTravelsWithTheLibrary() throws {
            let file = try #require(Bundle.module.url(forResource: "PrivacyInfo", withExtension: "xcprivacy"))
            let list = try PropertyListSerialization.propertyList(from: Data(contentsOf: file), format: nil)
            let manifest = try #require(list as? [String: Any])
            #expect(manifest["NSPrivacyTracking"] as? Bool == false)
            #expect((manifest["NSPrivacyCollectedDataTypes"] as? [Any])?.isEmpty == true)
            let accessed = try #require(manifest["NSPrivacyAccessedAPITypes"] as? [[String: Any]])
            #expect(accessed.map { $0["NSPrivacyAccessedAPIType"] as? String } == ["NSPrivacyAccessedAPICategoryFileTimestamp"])
            #expect(accessed[0]["NSPrivacyAccessedAPITypeReasons"] as? [String] == ["C617.1", "3B52.1"])
        }
    }
}
