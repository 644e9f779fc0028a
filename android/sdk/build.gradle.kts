// LanguageModel and its implementation, without Android classes.
plugins {
    alias(libs.plugins.kotlin.jvm)
    `java-library`
    `maven-publish`
}

kotlin {
    jvmToolchain(17)
    explicitApi()
    compilerOptions.allWarningsAsErrors = true
}

java { withSourcesJar() }

dependencies {
    // Not `api`: an app never sees the generated classes.
    implementation(project(":ffi"))
    api(libs.coroutines.core)
    testImplementation(libs.jna)
    testImplementation(libs.abi.tools)
    testImplementation(libs.coroutines.test)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
}

// The tests run against the host's library; `cargo xtask kotlin` builds it and runs the same tests by Maven.
tasks.test {
    useJUnitPlatform()
    workingDir = rootDir.parentFile
    jvmArgs("-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch")
    systemProperty("jna.library.path", rootDir.resolve("../target/debug").path)
    systemProperty("drafthorse.repository", rootDir.parentFile.path)
    systemProperty("drafthorse.command", rootDir.resolve("../target/debug/drafthorse").path)
    systemProperty("drafthorse.classes", layout.buildDirectory.dir("classes/kotlin/main").get().asFile.path)
}

publishing {
    publications.create<MavenPublication>("maven") {
        artifactId = "drafthorse-sdk"
        from(components["java"])
    }
}
