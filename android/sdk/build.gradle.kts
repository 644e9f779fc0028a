// LanguageModel and its implementation, without Android classes.
plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    explicitApi()
    compilerOptions.allWarningsAsErrors = true
}

dependencies {
    // Not `api`: an app never sees the generated classes.
    implementation(project(":ffi"))
    // As in :ffi: Android takes it as an AAR (:device).
    compileOnly(libs.jna)
    api(libs.coroutines.core)
    testImplementation(libs.jna)
    testImplementation(libs.serialization.json)
    testImplementation(libs.coroutines.test)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
}

// The tests run against the host's library; `cargo xtask kotlin` builds it and runs the same tests by Maven.
tasks.test {
    workingDir = rootDir.parentFile
    jvmArgs("-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch")
    systemProperty("jna.library.path", rootDir.resolve("../target/debug").path)
    systemProperty("drafthorse.repository", rootDir.parentFile.path)
    systemProperty("drafthorse.command", rootDir.resolve("../target/debug/drafthorse").path)
}
