// The app that measures a phone; `am instrument` starts it. A lab pushes packs of its own beside the demo pack.
plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "dev.drafthorse.benchmark"
    defaultConfig.applicationId = "dev.drafthorse.benchmark"

    // Those that the Rust library is built for: JNA brings more, and a phone of another one would take the app.
    defaultConfig.ndk.abiFilters += listOf("arm64-v8a", "x86_64")

    // The tests run the host's library, so `cargo xtask kotlin` runs them, by Maven.
    testOptions.unitTests.all { it.enabled = false }
}

dependencies {
    implementation(project(":device"))
    implementation(libs.serialization.json)
    testImplementation(libs.junit.jupiter)
    testImplementation(libs.schema.validator)
    testRuntimeOnly(libs.junit.launcher)
}
