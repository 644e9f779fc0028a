// swift-tools-version: 6.0
// An app package: open this folder in Xcode and run it on a device or in the simulator.
import AppleProductTypes
import PackageDescription

let package = Package(
    name: "Sample",
    platforms: [.iOS(.v17)],
    products: [
        .iOSApplication(
            name: "Drafthorse Sample", targets: ["App"], bundleIdentifier: "dev.drafthorse.sample",
            displayVersion: "0.1", bundleVersion: "1", supportedDeviceFamilies: [.phone, .pad],
            supportedInterfaceOrientations: [.portrait, .landscapeLeft, .landscapeRight])
    ],
    dependencies: [.package(path: "..")],
    targets: [
        .executableTarget(
            name: "App",
            dependencies: [.product(name: "Drafthorse", package: "ios")],
            path: ".",
            exclude: ["Packs/README.md"],
            sources: ["Model", "App"],
            resources: [.copy("Packs")])
    ]
)
